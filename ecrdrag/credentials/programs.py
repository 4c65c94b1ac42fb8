"""Own the running of docker-credential-NAME: docker's credential helpers, of any maker, by their protocol.

credentials may enter. The protocol is docker-credential-helpers', client/ and credentials/: what is asked for goes in
by stdin, JSON or a complaint comes out by stdout; stderr is the user's, as with docker.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ecrdrag.errors import AuthError
from ecrdrag.registry.auth import Credential, IdentityToken, Login

# What a program says where it has nothing, and the user whose secret is an identity token:
# docker-credential-helpers, credentials/error.go; docker/cli, cli/config/credentials/native_store.go.
NOT_FOUND: Final = "credentials not found in native keychain"
TOKEN_USER: Final = "<token>"  # noqa: S105 - a name
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PATIENCE: Final = 60.0  # seconds; some ask the user for a password first
_MAX_SAID: Final = 200  # characters
_HELPERS: Final = "docker-credential-helpers (github.com/docker/docker-credential-helpers)"
_PACKAGES: Final[Mapping[str, str]] = {
    "desktop": "Docker Desktop",
    "ecr-login": "amazon-ecr-credential-helper",
    "ecrdrag": "ecrdrag with pip",
    "gcloud": "the Google Cloud CLI",
    "osxkeychain": _HELPERS,
    "pass": _HELPERS,
    "secretservice": _HELPERS,
    "wincred": _HELPERS,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Program:
    """A credential helper by its name in a configuration; where says which, for messages.

    Every method raises AuthError where the program is missing, complains, or takes longer than patience, in seconds.
    """

    name: str
    where: str
    environ: Mapping[str, str] = field(repr=False)
    patience: float = _PATIENCE

    def get(self, server: str) -> Credential | None:
        """Ask for what it has for a server, called as docker's configuration does; None for nothing."""
        code, said = self._run("get", server, server)
        if code and said.strip() == NOT_FOUND:
            return None
        if code:
            raise self._complaint("get", server, said)
        return self._credential(server, said)

    def store(self, server: str, credential: Credential) -> None:
        """Give it a credential to keep."""
        user, secret = _pair(credential)
        kept = {"ServerURL": server, "Username": user, "Secret": secret}
        code, said = self._run("store", server, f"{json.dumps(kept)}\n")
        if code:
            raise self._complaint("store", server, "" if secret in said else said)

    def erase(self, server: str) -> None:
        """Have it forget a server; what it never had it may complain about."""
        code, said = self._run("erase", server, server)
        if code:
            raise self._complaint("erase", server, said)

    def find(self) -> str:
        """Find the program in PATH; never in the folder that happens to be the current one."""
        if not _NAME.fullmatch(self.name):
            raise AuthError(f"{self.where} names a credential helper that can't be one: {self.name[:_MAX_SAID]!r}")
        found = shutil.which(self.command, path=self.environ.get("PATH", ""))
        if found is None or not Path(found).is_absolute():
            package = _PACKAGES.get(self.name, self.command)
            raise AuthError(
                f"{self.command} is not in PATH, but {self.where} names it",
                hint=f"install {package}, or take it out of {self.where}",
            )
        return found

    @property
    def command(self) -> str:
        """What its file is called."""
        return f"docker-credential-{self.name}"

    def _run(self, action: str, server: str, sent: str) -> tuple[int, str]:
        log.debug("asking %s to %s %s", self.command, action, server)
        try:
            done = subprocess.run(  # noqa: S603 - a file in PATH, one word, no shell
                [self.find(), action],
                input=sent.encode(),
                stdout=subprocess.PIPE,
                env=dict(self.environ),
                timeout=self.patience,
                check=False,
            )
        except subprocess.TimeoutExpired:
            problem = f"didn't {action} {server} within {self.patience:g} seconds"
            raise AuthError(f"{self.command} ({self.where}) {problem}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "its environment can't be given"
            raise AuthError(f"{self.command} ({self.where}) can't be run: {reason}") from None
        return done.returncode, done.stdout.decode(errors="replace")

    def _complaint(self, action: str, server: str, said: str) -> AuthError:
        """Repeat its first line, but nothing that could be an answer."""
        line = said.strip().partition("\n")[0][:_MAX_SAID]
        reason = "it gave no reason" if not line or "{" in line else line
        return AuthError(f"{self.command} ({self.where}) can't {action} {server}: {reason}")

    def _credential(self, server: str, said: str) -> Credential | None:
        """Read its answer as Go does: names in any case, and nothing after the first value matters."""
        try:
            answer, _ = json.JSONDecoder().raw_decode(said.strip())
            found = {name.lower(): value for name, value in answer.items()}
            user, secret = found.get("username", ""), found.get("secret", "")
        except (ValueError, AttributeError, RecursionError):
            user = secret = None
        if not isinstance(user, str) or not isinstance(secret, str):
            raise AuthError(f"{self.command} ({self.where}) didn't answer with the login for {server}")
        if not user or not secret:
            return None
        return IdentityToken(secret) if user == TOKEN_USER else Login(user, secret)


def _pair(credential: Credential) -> tuple[str, str]:
    if isinstance(credential, IdentityToken):
        return TOKEN_USER, credential.token
    return credential.username, credential.password
