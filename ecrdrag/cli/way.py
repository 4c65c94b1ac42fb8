"""Own the options that say how registries are reached, and how they are read.

The commands that move images enter, and login for the login.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ecrdrag.errors import UsageError
from ecrdrag.registry.auth import Login

APIS: Final = ("auto", "ecr", "registry")
# docker/cli's own words: cli/command/registry/login.go.
_NO_USER: Final = "the --password-stdin option requires --username to be set"
_EMPTY_USER: Final = "username is empty"
_EMPTY_PASSWORD: Final = "password is empty"  # noqa: S105 - a message
_NO_TERMINAL: Final = "cannot perform an interactive login from a non-TTY device"
_ENDS_OF_LINE: Final = ("\r\n", "\n", "\r")


@dataclass(frozen=True, slots=True)
class Way:
    """How a user wants a registry to be reached; login is what was typed, jobs counts requests at once."""

    api: str = "auto"
    profile: str | None = None
    endpoint_url: str | None = None
    plain_http: bool = False
    ca_file: Path | None = None
    login: Login | None = None
    jobs: int = 16


def add_way_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how registries are reached."""
    group = parser.add_argument_group("how registries are reached")
    add = group.add_argument
    add("--api", choices=APIS, default="auto", help="of a private ECR: its API, or as any registry (default: auto)")
    add(
        "--plain-http",
        action="store_true",
        help="speak HTTP to a registry that has no TLS; not needed for this machine",
    )
    add("--ca-file", metavar="FILE", type=Path, help="trust these certificates too, at registries")


def add_login_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the login that a user may give."""
    add = parser.add_argument
    add("-u", "--username", metavar="NAME", help="log in to the registry so (default: as docker would, at ECR by AWS)")
    add("--password-stdin", action="store_true", help="read the password from standard input")


def way_of(arguments: argparse.Namespace) -> Way:
    """Read how a user wants it; raise UsageError for half a login, and one that nobody would look at."""
    if arguments.api == "ecr" and getattr(arguments, "username", None) is not None:
        raise UsageError("the ECR API takes no --username, only AWS credentials", hint="leave --api out")
    return Way(
        api=arguments.api,
        profile=arguments.profile,
        endpoint_url=arguments.endpoint_url,
        plain_http=arguments.plain_http,
        ca_file=arguments.ca_file,
        login=login_of(arguments),
        jobs=arguments.jobs,
    )


def login_of(arguments: argparse.Namespace) -> Login | None:
    """Read the login that a user gives, as `docker login` does; raise UsageError for half of one."""
    username = getattr(arguments, "username", None)  # which not every command has
    if username is None and getattr(arguments, "password_stdin", False):
        raise UsageError(_NO_USER)
    if username is None:
        return None
    if not username:
        raise UsageError(_EMPTY_USER)
    password = _password_from_stdin() if arguments.password_stdin else _asked_for()
    if not password.strip():
        raise UsageError(_EMPTY_PASSWORD)
    return Login(username, password)


def _password_from_stdin() -> str:
    """Read it all and take one end of line off."""
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise UsageError("the password is not UTF-8") from None
    end = next((end for end in _ENDS_OF_LINE if text.endswith(end)), "")
    return text.removesuffix(end)


def _asked_for() -> str:
    if not sys.stdin.isatty():
        raise UsageError(_NO_TERMINAL, hint="give the password on standard input, with --password-stdin")
    try:
        return getpass.getpass()
    except EOFError:
        return ""
