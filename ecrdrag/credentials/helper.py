"""Own docker's credential helper protocol: what stdin means, what stdout and the exit code answer.

The command line enters. Sources: docker/docker-credential-helpers, credentials/credentials.go and error.go; which
hosts count as ECR: amazon-ecr-credential-helper, ecr-login/api/client.go, and botocore's partitions.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final
from urllib.parse import urlsplit

from ecrdrag.credentials.cache import TokenCache
from ecrdrag.credentials.identities import Identity, fingerprint, identity_for
from ecrdrag.errors import EcrdragError, UsageError
from ecrdrag.reference import PUBLIC_HOSTS, EcrHost
from ecrdrag.registry.auth import EcrToken, Login

PROGRAM: Final = "docker-credential-ecrdrag"
USAGE: Final = f"Usage: {PROGRAM} <store|get|erase|list|version>"
# error.go; clients compare the whole text.
NOT_FOUND: Final = "credentials not found in native keychain"
NO_SERVER: Final = "no credentials server URL"
NO_USERNAME: Final = "no credentials username"
_MAX_INPUT: Final = 64 * 1024  # bytes: bufio.MaxScanTokenSize
_TOO_LONG: Final = "bufio.Scanner: token too long"
_SCHEME: Final = "https://"

# What alone can be a private registry, and is safe in a file's name; EcrHost knows more, and takes its time.
_LIKE_ECR = re.compile(r"[0-9]{12}\.dkr[.-]ecr[a-z0-9.-]*")
# Amazon's helper takes this form of dual-stack hosts too (client_test.go, "IPv6 CN"); their service is dkr-ecr.
_MIXED = re.compile(r"\.dkr\.(ecr(?:-fips)?\.[a-z0-9-]+\.on\.)")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to stdout, and the exit code: 0, or 1 for all that goes wrong."""

    text: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry of ECR by the host name that docker has for it; ecr is None in ECR Public."""

    host: str
    ecr: EcrHost | None

    @classmethod
    def parse(cls, server: str) -> Registry:
        """Read a server as docker writes it, HOST or https://HOST/…; raise UsageError where it isn't of ECR."""
        host = _host_of(server)
        return cls(host, None if host in PUBLIC_HOSTS else EcrHost.parse(_usual(host)))


class EcrLogins:
    """Passwords for registries of ECR, from disk or from AWS."""

    def __init__(
        self, cache: TokenCache, fetch: Callable[[Registry, Identity], EcrToken], environ: Mapping[str, str]
    ) -> None:
        self._cache = cache
        self._fetch = fetch
        self._environ = environ

    def find(self, server: str) -> Login | None:
        """Give the password for a server; None where it isn't of ECR. Raises EcrdragError where it can't be had."""
        host = _host_of(server)
        if host not in PUBLIC_HOSTS and not _LIKE_ECR.fullmatch(host):
            return None
        identity = identity_for(host, self._environ)
        caller, name = fingerprint(identity, self._environ), _usual(host)
        if kept := self._cache.fresh(name, caller):  # only what has been parsed once is in there
            return kept
        registry = registry_of(server)
        return self._cache.login(name, caller, partial(self._fetch, registry, identity)) if registry else None

    def listed(self) -> Mapping[str, str]:
        """Give the user name by server of all passwords on disk."""
        return {_SCHEME + host: username for host, username in self._cache.registries().items()}


class _RefusalError(Exception):
    """What docker is told, in the words of the protocol."""


def answer(arguments: Sequence[str], stdin: BinaryIO, logins: EcrLogins, *, version: str) -> Answer:
    """Do what docker asks for."""
    if len(arguments) != 1:
        return Answer(USAGE, 1)
    (action,) = arguments
    if action in ("--help", "-h"):
        return Answer(USAGE)
    if action in ("--version", "-v", "version"):
        return Answer(f"{PROGRAM} (ecrdrag) {version}")
    try:
        return Answer(_act(action, stdin, logins))
    except _RefusalError as refusal:
        return Answer(str(refusal), 1)


def registry_of(server: str) -> Registry | None:
    """Read a server as docker writes it; None where it isn't of ECR."""
    try:
        return Registry.parse(server)
    except UsageError:
        return None


def _act(action: str, stdin: BinaryIO, logins: EcrLogins) -> str:
    if action == "get":
        return _get(_server(stdin), logins)
    if action == "store":
        return _store(_input(stdin))
    if action == "erase":
        return _erase(_server(stdin))
    if action == "list":
        return _json(logins.listed())
    raise _RefusalError(f"{PROGRAM}: unknown action: {action}")


def _get(server: str, logins: EcrLogins) -> str:
    try:
        login = logins.find(server)
    except EcrdragError as error:
        _explain(error)
        raise _RefusalError(NOT_FOUND if _host_of(server) in PUBLIC_HOSTS else _reason(error)) from None
    if login is None:
        raise _RefusalError(NOT_FOUND)
    return _json({"ServerURL": server, "Username": login.username, "Secret": login.password})


def _explain(error: EcrdragError) -> None:
    """Tell people: stderr is docker's own (docker-credential-helpers, client/command.go)."""
    for line in (str(error), *(f"  {each}" for each in error.hint.splitlines())):
        log.error("%s", line)


def _reason(error: EcrdragError) -> str:
    """Say in a line why a private registry's password can't be had.

    Docker from 29 on, buildkit, podman and skopeo end with it: "error getting credentials - err: exit status 1, out:
    `…`". After NOT_FOUND they go on as nobody, which ECR Public takes, and a private registry answers with "no basic
    auth credentials". Older dockers go on in any case (docker/cli, cli/command/registry.go).
    """
    text = "; ".join([str(error), *error.hint.splitlines()])
    return "".join(each if each.isprintable() else " " for each in text)


def _store(text: str) -> str:
    """Accept what docker login has verified, and keep nothing: next time AWS gives a newer one."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise _RefusalError("the credentials are not a JSON object")
    server, username = _member(given, "ServerURL"), _member(given, "Username")
    if not server:
        raise _RefusalError(NO_SERVER)
    if not username:
        raise _RefusalError(NO_USERNAME)
    if registry_of(server) is None:  # a login that went well and is forgotten would be worse than one that fails
        raise _RefusalError(f"{PROGRAM} keeps no passwords, and has only those of ECR, which {_host_of(server)} is not")
    return ""


def _erase(server: str) -> str:
    """Keep the password: docker logout is of the user's own ones, and ours can be had again anyway."""
    if registry_of(server) is None:
        raise _RefusalError(NOT_FOUND)
    return ""


def _member(given: Mapping[str, object], name: str) -> str:
    """Find a member as Go's decoder does, which doesn't mind upper and lower case."""
    found = next((value for key, value in given.items() if key.lower() == name.lower()), "")
    return found if isinstance(found, str) else ""


def _server(stdin: BinaryIO) -> str:
    server = _input(stdin).strip()
    if not server:
        raise _RefusalError(NO_SERVER)
    return server


def _input(stdin: BinaryIO) -> str:
    """Read to the end, as one line."""
    raw = stdin.read(_MAX_INPUT + 1)
    if len(raw) > _MAX_INPUT:
        raise _RefusalError(_TOO_LONG)
    return "".join(line.rstrip("\r\n") for line in raw.decode(errors="replace").split("\n"))


def _json(document: Mapping[str, str]) -> str:
    return json.dumps(document, separators=(",", ":"))


def _host_of(server: str) -> str:
    """Take the host out of a URL or what docker writes in its place; user, port, path and query don't matter."""
    try:
        return urlsplit(_SCHEME + server.removeprefix(_SCHEME)).hostname or ""
    except ValueError:
        return ""


def _usual(host: str) -> str:
    """Give the one name, of those that a registry has, under which its password is kept."""
    return PUBLIC_HOSTS[0] if host in PUBLIC_HOSTS else _MIXED.sub(r".dkr-\1", host)
