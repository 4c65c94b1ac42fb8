"""Own keyrings: logins that AWS gives and renews, one that a user typed, and several in a row.

The command line may enter, which puts them together for each registry.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from ecrdrag.errors import EcrdragError
from ecrdrag.registry.auth import Credential, EcrToken, Keyring, Login

log = logging.getLogger(__name__)

_PAUSE: Final = 60.0  # seconds between two tries to renew what still lives


class Typed:
    """The login that a user gave on the command line, at whatever registry is asked for."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def find(self, registry: str, *, renew: bool = False) -> Credential | None:
        """Give it."""
        return self._login


class AwsKeyring:
    """A password of ECR, renewed at half of its life, as amazon-ecr-credential-helper does it.

    A newer one that can't be had is no harm while the older one lives. fetch raises EcrdragError.
    """

    def __init__(self, fetch: Callable[[], EcrToken], clock: Callable[[], float] = time.time) -> None:
        self._fetch, self._clock = fetch, clock
        self._lock = threading.Lock()
        self._token: EcrToken | None = None
        self._renewal = 0.0

    def find(self, registry: str, *, renew: bool = False) -> Credential | None:
        """Give the password; raises AuthError, or TransferError where AWS is out of reach."""
        return self.token(renew=renew).login

    def token(self, *, renew: bool = False) -> EcrToken:
        """Give the password with all that came along."""
        with self._lock:
            now = self._clock()
            if self._token is None or renew:
                self._take(self._fetch(), now)
            elif now >= self._renewal:
                self._renew(now)
            assert self._token is not None
            return self._token

    def _take(self, token: EcrToken, now: float) -> None:
        self._token = token
        self._renewal = now + (token.expires - now) / 2

    def _renew(self, now: float) -> None:
        assert self._token is not None
        try:
            self._take(self._fetch(), now)
        except EcrdragError as error:
            if self._token.expires <= now:
                raise
            self._renewal = now + _PAUSE
            log.info("%s; going on with the password that was given before", error)


class Willing:
    """A keyring that has nothing where another fails, or has what is refused: for what anybody may read."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._told = self._refused = False

    def find(self, registry: str, *, renew: bool = False) -> Credential | None:
        """Look there until that fails or is refused, such as a login that docker has had for too long."""
        if renew and not self._refused:
            self._refused = True
            log.warning("%s refuses the login that was found; going on without one", registry)
        return None if self._refused else self._found(registry)

    def _found(self, registry: str) -> Credential | None:
        try:
            return self._keyring.find(registry)
        except EcrdragError as error:
            log.log(logging.DEBUG if self._told else logging.INFO, "%s; going on without a login", error)
            self._told = True
            return None


class InTurn:
    """Several keyrings, the first that finds something counts; the first failure counts if none does."""

    def __init__(self, keyrings: Sequence[Keyring]) -> None:
        self._keyrings = keyrings

    def find(self, registry: str, *, renew: bool = False) -> Credential | None:
        """Ask one after the other."""
        failures: list[EcrdragError] = []
        for keyring in self._keyrings:
            answer = _asked(keyring, registry, renew)
            if isinstance(answer, EcrdragError):
                failures.append(answer)
            elif answer:
                for failure in failures:
                    log.info("%s; going on with another login", failure)
                return answer
        if failures:
            raise failures[0]
        return None


def _asked(keyring: Keyring, registry: str, renew: bool) -> Credential | EcrdragError | None:
    try:
        return keyring.find(registry, renew=renew)
    except EcrdragError as error:
        return error
