"""Own the story of a login: a password for a registry, handed to docker, or kept where docker would keep it.

cli/login.py enters.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ecrdrag.credentials.docker_config import ENVIRONMENT, key_of, read, write_auth
from ecrdrag.credentials.programs import Program
from ecrdrag.errors import AuthError, UsageError
from ecrdrag.reference import EcrHost, ImageReference
from ecrdrag.registry.auth import EcrToken, Login

# docker/cli, cli/config/credentials/file_store.go, on one line.
_UNENCRYPTED: Final = (
    "WARNING! Your credentials are stored unencrypted in '%s'. Configure a credential helper to remove this warning. "
    "See https://docs.docker.com/go/credential-store/"
)
_NO_DAEMON: Final = "Cannot connect to the Docker daemon"
_NO_DAEMON_HINT: Final = "start docker, or leave it out of PATH: then the login is written without it"

log = logging.getLogger(__name__)

Check = Callable[[str, Login], None]
"""Ask a registry whether it lets a login in; raises EcrdragError where it doesn't."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who to be at a registry, and until when in seconds since 1970; None where nobody says."""

    registry: str
    login: Login
    expires: float | None = None


def private_access(host: EcrHost, token: EcrToken) -> Access:
    """Say where the password of a private ECR registry opens: the user's name for it, or its endpoint's own."""
    return Access(_place_of(host, token.endpoint), token.login, token.expires)


def log_in(access: Access, environ: Mapping[str, str], check: Check) -> None:
    """Have docker log in; without docker, check the login as docker would, and write what docker would.

    Raises AuthError where the login is refused, or nobody can keep it.
    """
    docker = shutil.which("docker", path=environ.get("PATH", ""))
    if docker and Path(docker).is_absolute():  # not what happens to be in the current folder
        _have_docker_log_in(docker, access, environ)
        return
    program = read(environ).program(access.registry, environ)
    if program:
        program.find()  # now: without a place to keep the login nobody need be asked
    check(access.registry, access.login)
    _keep(access, program, environ)


def _place_of(host: EcrHost, endpoint: str) -> str:
    """Say where a password opens: at the host that was named, or at its endpoint where that is none of AWS's.

    The user's name for AWS's own registry counts: its endpoint has no FIPS and dual-stack. A local ECR's password is
    worth nothing at the name of AWS's, where docker would be refused, and a good login may be kept under that name.
    """
    place = _registry_at(host, endpoint)
    try:
        EcrHost.parse(place)
    except UsageError:
        return place
    return str(host)


def _registry_at(host: EcrHost, endpoint: str) -> str:
    try:
        return ImageReference.parse(f"https://{urlsplit(endpoint).netloc}/any").registry if endpoint else str(host)
    except (UsageError, ValueError):
        raise AuthError(f"{host}: GetAuthorizationToken answered with an endpoint that is none") from None


def _have_docker_log_in(docker: str, access: Access, environ: Mapping[str, str]) -> None:
    login = access.login
    command = [docker, "login", "--username", login.username, "--password-stdin", access.registry]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and nobody can add options: names are checked
            command,
            input=f"{login.password}\n".encode(),  # docker takes one end of line off
            capture_output=True,
            env=dict(environ),
            check=False,
        )
    except OSError as error:
        raise AuthError(f"{docker} can't be run: {error.strerror}") from None
    said, printed = (_lines(stream, login.password) for stream in (done.stderr, done.stdout))
    if done.returncode:
        *said, reason = said or printed or [f"it gave no reason, and ended with {done.returncode}"]
    for line in said:
        log.warning("docker: %s", line)
    if done.returncode:
        hint = _NO_DAEMON_HINT if _NO_DAEMON in reason else ""
        raise AuthError(f"docker could not log in to {access.registry} as {login.username}: {reason}", hint=hint)
    for line in printed:
        log.info("docker: %s", line)


def _lines(stream: bytes, password: str) -> list[str]:
    """Split what docker said, which holds no password, but make sure."""
    return [line.replace(password, "***") for line in stream.decode(errors="replace").splitlines() if line.strip()]


def _keep(access: Access, program: Program | None, environ: Mapping[str, str]) -> None:
    """Keep a login as docker does: a credential helper gets it, and the file says that it is kept elsewhere."""
    registry = access.registry
    if program:
        program.store(key_of(registry), access.login)
        write_auth(environ, registry, None)
        log.info("%s keeps the login", program.command)
    else:
        log.warning(_UNENCRYPTED, write_auth(environ, registry, access.login))
    if environ.get(ENVIRONMENT):
        log.warning("%s is set and takes precedence", ENVIRONMENT)
