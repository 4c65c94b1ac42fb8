"""Own the way in that a registry's challenge asks for: a header for each scope, kept while it is good.

registry/client.py enters. OCI distribution spec; distribution/distribution, docs/content/spec/auth.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from ecrdrag.errors import AuthError
from ecrdrag.registry.auth import Credential, IdentityToken, Keyring, Login
from ecrdrag.registry.challenge import Challenge

CLIENT_ID: Final = "ecrdrag"
# token.md: expires_in "defaults to 60 seconds"; a token isn't used in its last ones.
_LIFETIME: Final = 60.0
_MARGIN: Final = 5.0
_PAUSE: Final = 60.0  # seconds in which a renewed password that is refused isn't renewed once more
_REPOSITORY: Final = "repository:"

Ask = Callable[[str, str, Mapping[str, str], bytes | None], bytes]
"""Send a method, URL, headers and body to a token server and return what it answers; raises EcrdragError."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """An Authorization header for a scope, until a moment of the clock."""

    header: str
    until: float


class Authority:
    """Find what to say at one registry; safe from many threads.

    registry is its name on the keyring. Scopes are as in docs/content/spec/auth/scope.md, several with spaces between.
    """

    def __init__(self, registry: str, keyring: Keyring, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._keyring, self._ask, self._clock = registry, keyring, ask, clock
        self._lock = threading.Lock()
        self._challenges: tuple[Challenge, ...] = ()
        self._passes: dict[str, _Pass] = {}
        self._renewed = _Pass("", 0.0)

    def header(self, scope: str) -> str:
        """Give the header for a request, as far as it is known what is asked for; empty when nobody has asked."""
        with self._lock:
            known = self._known(scope)
            return known or self._meet(self._challenges, scope, "")

    def answer(self, challenges: tuple[Challenge, ...], scope: str, refused: str) -> str:
        """Give another header than the refused one, which may be empty; empty when there is none.

        Without challenges it is what was asked for last: who finds a token stale may not say so.
        """
        with self._lock:
            now = challenges or self._challenges
            self._challenges = tuple(map(_for_all, now))
            known = self._known(scope)
            if known and known != refused:
                return known  # another thread was refused as well, and has one by now
            self._passes.pop(scope, None)
            header = self._meet(now, scope, refused)
            return "" if header == refused else header

    def _known(self, scope: str) -> str:
        found = self._passes.get(scope)
        return found.header if found and self._clock() < found.until else ""

    def _meet(self, challenges: Iterable[Challenge], scope: str, refused: str) -> str:
        """Do what the first challenge asks for that can be met."""
        for challenge in challenges:
            if challenge.scheme == "bearer":
                self._passes[scope] = self._bearer(challenge, scope)
                return self._passes[scope].header
            if challenge.scheme == "basic" and (header := self._basic(refused)):
                return header
        return ""

    def _basic(self, refused: str) -> str:
        """Ask the keyring each time, as it may have a newer password; have it renew one that is refused."""
        header = self._login(renew=False)
        now = self._clock()
        if header and header == refused and not (header == self._renewed.header and now < self._renewed.until):
            header = self._login(renew=True)
            self._renewed = _Pass(header, now + _PAUSE)
        return header

    def _login(self, *, renew: bool) -> str:
        credential = self._keyring.find(self._registry, renew=renew)
        return _basic_header(credential) if isinstance(credential, Login) else ""

    def _bearer(self, challenge: Challenge, scope: str) -> _Pass:
        """Fetch a token, as somebody where there is a credential, else as anybody."""
        asked = [("service", challenge.parameters.get("service", ""))]
        asked += [("scope", each) for each in _scopes(challenge.parameters.get("scope", ""), scope)]
        begun = self._clock()
        reply = self._fetched(challenge.parameters.get("realm", ""), [pair for pair in asked if pair[1]])
        token, lifetime = _read_token(reply)
        return _Pass(f"Bearer {token}", begun + lifetime - min(_MARGIN, lifetime / 2))

    def _fetched(self, realm: str, asked: list[tuple[str, str]]) -> bytes:
        """Ask with what the keyring has, once more with what it finds when that was refused."""
        credential = self._keyring.find(self._registry)
        try:
            return self._fetch(realm, asked, credential)
        except AuthError:
            newer = self._keyring.find(self._registry, renew=True) if credential else None
            if newer == credential:
                raise
        return self._fetch(realm, asked, newer)

    def _fetch(self, realm: str, asked: list[tuple[str, str]], credential: Credential | None) -> bytes:
        if isinstance(credential, IdentityToken):
            secret = [("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", credential.token)]
            scopes = " ".join(value for name, value in asked if name == "scope")
            form = [*(pair for pair in asked if pair[0] != "scope"), ("scope", scopes), *secret]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._ask("POST", realm, headers, urlencode(form).encode())
        login = {"Authorization": _basic_header(credential)} if credential else {}
        return self._ask("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(asked)}", login, None)


def _for_all(challenge: Challenge) -> Challenge:
    """Keep what is true of other requests too: a scope that isn't of one repository."""
    kept = {name: value for name, value in challenge.parameters.items() if name != "scope"}
    scope = challenge.parameters.get("scope", "")
    return Challenge(challenge.scheme, kept if scope.startswith(_REPOSITORY) else challenge.parameters)


def _scopes(challenged: str, wanted: str) -> Iterable[str]:
    """Merge what the challenge names with what the work needs; one that isn't of a repository stands for all."""
    if challenged and not challenged.startswith(_REPOSITORY):
        return [challenged]
    actions: dict[str, dict[str, None]] = {}
    for scope in (*challenged.split(), *wanted.split()):
        name, _, allowed = scope.rpartition(":")
        actions.setdefault(name, {}).update(dict.fromkeys(allowed.split(",")))
    return [f"{name}:{','.join(allowed)}" for name, allowed in actions.items()]


def _basic_header(login: Login) -> str:
    pair = f"{login.username}:{login.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _read_token(raw: bytes) -> tuple[str, float]:
    """Read the reply of a token server: the token, and for how many seconds it is good."""
    try:
        reply = json.loads(raw)
    except (ValueError, RecursionError):
        reply = None
    found = reply if isinstance(reply, dict) else {}
    token = found.get("token") or found.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise AuthError("the token server sent no token")
    return token, _lifetime(found.get("expires_in"))


def _lifetime(told: object) -> float:
    if isinstance(told, int | float) and not isinstance(told, bool):
        with suppress(OverflowError):  # JSON has larger numbers than a float
            return float(told)
    return _LIFETIME
