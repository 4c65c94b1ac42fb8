"""Own who we are to AWS for which registry: the map in ~/.config/ecrdrag/config.toml, and what tells callers apart.

The credential helper and the command line may enter. No network, no boto3: docker waits for what happens here.

    [registries."123456789012.dkr.ecr.us-east-1.amazonaws.com"]
    profile = "prod"
    [registries."210987654321.*"]                                  # or a pattern, as in fnmatch
    role_arn = "arn:aws:iam::210987654321:role/pull"               # assumed with the profile's credentials, if any
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from configparser import Error as ConfigError
from configparser import RawConfigParser
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Final

from ecrdrag.credentials import folders
from ecrdrag.errors import UsageError

_FILE: Final = "config.toml"
_REGISTRIES: Final = "registries"
_KEYS: Final = ("profile", "role_arn")
# IAM user guide, "IAM identifiers".
_ROLE = re.compile(r"arn:[a-z-]+:iam::[0-9]{12}:role/[!-~]+")

# Where botocore looks besides the files: botocore configprovider.py, credentials.py, utils.py.
_PROFILE_VARIABLES: Final = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")  # in botocore's order
_KEY_VARIABLE: Final = "AWS_ACCESS_KEY_ID"
_WEB_VARIABLES: Final = ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")
_CONTAINER_VARIABLES: Final = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
_ENDPOINT_VARIABLES: Final = ("AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")  # how they begin
_SECRETS: Final = ("aws_secret_access_key", "aws_session_token", "aws_security_token")
_QUOTES: Final = "\"'"
_SECTIONS: Final = {"sso_session": "sso-session", "services": "services"}  # what a profile may refer to


@dataclass(frozen=True, slots=True)
class Identity:
    """The profile to use, and the role to assume with it; with neither, whoever AWS's settings say."""

    profile: str | None = None
    role_arn: str | None = None


def identity_for(registry: str, environ: Mapping[str, str]) -> Identity:
    """Look a registry up in the user's map: by its name, then by the patterns in their order.

    Raises UsageError, naming file and key, where the map can't be understood.
    """
    file = folders.configuration(environ) / _FILE
    entries = _entries(file)
    host = registry.lower()
    if host in entries:
        return entries[host]
    return next((found for pattern, found in entries.items() if fnmatchcase(host, pattern)), Identity())


def fingerprint(identity: Identity, environ: Mapping[str, str]) -> str:
    """Tell this caller, at this endpoint, from others: a hash of names and key ids, never of a secret.

    What AWS gives to containers and machines has no name here: all of it counts as one caller.
    """
    endpoints = {name: value for name, value in environ.items() if name.startswith(_ENDPOINT_VARIABLES)}
    material = [identity.role_arn, endpoints, _caller(identity.profile, environ)]
    return hashlib.sha256(json.dumps(material, sort_keys=True).encode()).hexdigest()


def _entries(file: Path) -> dict[str, Identity]:
    try:
        text = file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{file} can't be read: {reason}") from error
    document = _parsed(file, text)
    _check_keys(file, "", document, (_REGISTRIES,))
    registries = _table(file, _REGISTRIES, document.get(_REGISTRIES, {}))
    found: dict[str, Identity] = {}
    for name, value in registries.items():
        found.setdefault(name.lower(), _identity(file, f'{_REGISTRIES}."{name}"', value))
    return found


def _parsed(file: Path, text: str) -> dict[str, object]:
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")  # late: most users have no map
    try:
        document: dict[str, object] = toml.loads(text)
    except ValueError as error:
        raise UsageError(f"{file} is not TOML: {error}") from None
    return document


def _identity(file: Path, key: str, value: object) -> Identity:
    table = _table(file, key, value)
    _check_keys(file, f"{key}.", table, _KEYS)
    if not table:
        raise UsageError(f"{file}: {key} needs a profile or a role_arn")
    for name, each in table.items():
        if not isinstance(each, str) or not each:
            raise UsageError(f"{file}: {key}.{name} must be text in quotes")
    role = table.get("role_arn")
    if role is not None and not _ROLE.fullmatch(str(role)):
        raise UsageError(f"{file}: {key}.role_arn must be the ARN of a role, as arn:aws:iam::123456789012:role/NAME")
    profile = table.get("profile")
    return Identity(None if profile is None else str(profile), None if role is None else str(role))


def _table(file: Path, key: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise UsageError(f"{file}: {key} must be a table")
    return value


def _check_keys(file: Path, prefix: str, table: Mapping[str, object], known: tuple[str, ...]) -> None:
    for name in table:
        if name not in known:
            raise UsageError(f"{file}: {prefix}{name} is not known", hint=f"there is {' and '.join(known)}")


def _caller(profile: str | None, environ: Mapping[str, str]) -> object:
    """Gather what decides who calls; botocore credentials.py, create_credential_resolver, has the order.

    Keys in the environment come first, but not before a profile that was asked for.
    """
    if not profile and environ.get(_KEY_VARIABLE):
        return environ[_KEY_VARIABLE]
    named = (environ.get(each) for each in _PROFILE_VARIABLES)
    name = profile or next(filter(None, named), "default")
    sections = dict(_sections(name, _files(environ)))
    variables = [*_CONTAINER_VARIABLES, *(() if profile else _WEB_VARIABLES)]
    if any("credential_source" in section for section in sections.values()):
        variables.append(_KEY_VARIABLE)
    return [name, sections, {each: environ.get(each, "") for each in variables}]


def _sections(name: str, files: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Walk from a profile to all that it refers to; without secrets, but with settings that don't matter."""
    waiting, seen = [f"profile {name}"], set[str]()
    while waiting:
        title = waiting.pop()
        if title in seen or title not in files:
            continue
        seen.add(title)
        section = files[title]
        yield title, {key: value for key, value in section.items() if key not in _SECRETS}
        waiting += [f"{kind} {section[key]}" for key, kind in _SECTIONS.items() if key in section]
        waiting += [f"profile {section['source_profile']}"] if "source_profile" in section else []


def _files(environ: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    """Read AWS's two files as botocore session.py, full_config, does: the second one adds to profiles of the first."""
    folder = folders.home(environ) / ".aws"
    merged: dict[str, dict[str, str]] = {}
    for title, section in _read(environ.get("AWS_CONFIG_FILE") or str(folder / "config")):
        kind, _, name = title.partition(" ")
        plain = "profile default" if title == "default" else f"{kind} {name.strip().strip(_QUOTES)}"
        merged.setdefault(plain, {}).update(section)
    for title, section in _read(environ.get("AWS_SHARED_CREDENTIALS_FILE") or str(folder / "credentials")):
        merged.setdefault(f"profile {title}", {}).update(section)
    return merged


def _read(path: str) -> list[tuple[str, dict[str, str]]]:
    parser = RawConfigParser()
    try:
        parser.read(os.path.expanduser(os.path.expandvars(path)), "utf-8")  # noqa: PTH111 - as botocore does
    except (ConfigError, UnicodeDecodeError, OSError):
        return []  # botocore says what is wrong, better
    return [(title, dict(parser[title])) for title in parser.sections()]
