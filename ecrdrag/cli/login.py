"""Own the command `login`: its options, where its password comes from, and what it prints.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ecrdrag.cli.arguments import add_aws_arguments
from ecrdrag.cli.streams import print_result
from ecrdrag.cli.trust import bundle_of
from ecrdrag.cli.way import login_of
from ecrdrag.credentials.keyrings import Typed
from ecrdrag.credentials.login import Access, log_in, private_access
from ecrdrag.errors import UsageError
from ecrdrag.reference import PUBLIC_HOSTS, EcrHost, ImageReference
from ecrdrag.registry.auth import Login

if TYPE_CHECKING:
    from ecrdrag.cli.aws import AwsSettings

DESCRIPTION: Final = """\
Log in to a registry, as `docker login` does, for docker, podman, skopeo and this tool.

REGISTRY is a host name such as 123456789012.dkr.ecr.us-east-1.amazonaws.com, public.ecr.aws or
registry.example.com:5000, or any reference to an image in it, also an ARN. For a registry of Amazon's the password
comes from AWS, and is good for 12 hours; for any other give --username and --password-stdin.

Docker logs in where it is in PATH. Without docker the registry is asked, and the login is kept where docker would
keep it: by the credential helper that its configuration names, else in that file.
"""
EPILOG: Final = """\
exit codes: 0 logged in, 2 usage, 3 credentials: none, expired or refused, 5 no answer, 7 the file can't be written,
70 a bug, 130 interrupted
"""
_SCHEMES: Final = ("https", "http")  # which docker takes off, and which say nothing

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a login takes."""
    add = parser.add_argument
    add("registry", metavar="REGISTRY", help="a host name, or a reference to an image in it")
    add("-u", "--username", metavar="NAME", help="user at a registry (default: Amazon's own, by a password from AWS)")
    add("--password-stdin", action="store_true", help="read that user's password or token from standard input")
    add("--print", action="store_true", help="print the password from AWS and do nothing else")
    add("--plain-http", action="store_true", help="without docker: speak HTTP to a registry that has no TLS")
    add("--ca-file", metavar="FILE", type=Path, help="without docker: trust these certificates too")
    add_aws_arguments(parser)
    add("--json", action="store_true", help="print the result as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Log in and print where, as whom and until when; or print the password."""
    place = _Place.parse(arguments.registry)
    if arguments.print and (arguments.username is not None or arguments.json):
        raise UsageError("--print prints a password from AWS alone: it takes neither --username nor --json")
    given = login_of(arguments)
    access = Access(place.registry, given) if given else _fetched(arguments, place)
    if arguments.print:
        print_result(access.login.password)
        return 0
    log_in(access, os.environ, partial(_ask, arguments, place))
    print_result(_as_json(access) if arguments.json else _as_text(access))
    return 0


@dataclass(frozen=True, slots=True)
class _Place:
    """A registry; ecr says more where it is a private one of ECR."""

    registry: str
    ecr: EcrHost | None = None

    @classmethod
    def parse(cls, text: str) -> _Place:
        """Read a host name, a URL, or a reference; raise UsageError for what is none of these."""
        bare = text.rstrip("/")
        scheme, _, rest = bare.partition("://")
        host = rest if scheme.lower() in _SCHEMES else bare
        if "/" in host or host.startswith("arn:"):
            reference = ImageReference.parse(bare)
            return cls(reference.registry, reference.ecr)
        if "@" in host:  # not shown: a password may stand before it
            raise UsageError("a registry's name holds no user name or password", hint="give --username")
        return cls._of_host(host)

    @classmethod
    def _of_host(cls, host: str) -> _Place:
        try:
            ecr = EcrHost.parse(host)
        except UsageError as error:
            refused = error
        else:
            return cls(str(ecr), ecr)
        try:
            return cls(ImageReference.parse(f"https://{host}/any").registry)
        except UsageError:
            if "ecr" in host.lower():
                raise refused from None
            hint = "name it as HOST or HOST:PORT, or by a reference to an image in it"
            raise UsageError(f"{host!a} can't be the name of a registry", hint=hint) from None


def _fetched(arguments: argparse.Namespace, place: _Place) -> Access:
    if not place.ecr and place.registry not in PUBLIC_HOSTS:
        raise UsageError(
            f"{place.registry} is not a registry of Amazon's: AWS has no password for it",
            hint="give --username, and the password on standard input with --password-stdin",
        )
    from ecrdrag.registry.ecr_token import fetch_public_token, fetch_token  # late, as all that loads boto3

    settings = _settings(arguments, place)
    if not place.ecr:
        token = fetch_public_token(settings.public(), place.registry)
        return Access(place.registry, token.login, token.expires)
    access = private_access(place.ecr, fetch_token(settings.tokens(place.ecr), place.ecr.account, place.registry))
    if access.registry != place.registry and not arguments.print:
        said = "the ECR API that is asked belongs to the registry %s: logging in there, not at %s"
        log.warning(said, access.registry, place.registry)
    return access


def _settings(arguments: argparse.Namespace, place: _Place) -> AwsSettings:
    from ecrdrag.cli.aws import settings_for  # late, as all that loads boto3

    return settings_for(place.registry, arguments.profile, arguments.endpoint_url, os.environ)


def _ask(arguments: argparse.Namespace, place: _Place, registry: str, login: Login) -> None:
    """Ask a registry whether it lets a login in."""
    from ecrdrag.registry.client import RegistryClient  # late, as all that loads requests
    from ecrdrag.registry.http import Trust

    by_aws = place.ecr is not None and arguments.username is None
    bundle = _settings(arguments, place).ca_bundle() if by_aws else bundle_of(os.environ)
    with RegistryClient(
        ImageReference.parse(f"https://{registry}/any").server,
        keyring=Typed(login),
        plain_http=arguments.plain_http,
        trust=Trust(bundle, arguments.ca_file),
        connections=1,
    ) as client:
        client.check()


def _as_text(access: Access) -> str:
    until = _moment(access.expires)
    return f"logged in to {access.registry} as {access.login.username}" + (f" until {until}" if until else "")


def _as_json(access: Access) -> str:
    return json.dumps(
        {"registry": access.registry, "username": access.login.username, "expires": _moment(access.expires)}
    )


def _moment(expires: float | None) -> str | None:
    """Write a moment in seconds since 1970 as UTC; None for none."""
    return None if expires is None else f"{datetime.fromtimestamp(expires, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
