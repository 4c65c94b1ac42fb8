"""Own who may enter /v2/: the passwords of GetAuthorizationToken, the bearer tokens of /token/, and anybody.

The routes of /v2/ may enter. Amazon ECR user guide, "Private registry authentication", and the public one's.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from ecrdrag.localecr.api.registry import Registry
from ecrdrag.localecr.api.tokens import USER, Pass
from ecrdrag.localecr.hosts import Place
from ecrdrag.localecr.names import RegistryKey
from ecrdrag.localecr.v2 import answers
from ecrdrag.localecr.v2.answers import Refused
from ecrdrag.localecr.v2.dialects import Manner
from ecrdrag.localecr.web.exchange import Answer, Request

READING: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Challenged(Exception):  # noqa: N818 - what a client gets, not a fault of ours
    """The client is asked to log in."""

    header: str

    @property
    def answer(self) -> Answer:
        """Write the 401, as regclient/regclient#709 has it of ECR."""
        headers = {"Content-Type": answers.PLAIN, "WWW-Authenticate": self.header}
        return Answer(HTTPStatus.UNAUTHORIZED, headers, b"Not Authorized\n", "no login")


@dataclass(frozen=True, slots=True)
class Guest:
    """Who was let in: the account that asks, empty for nobody in particular, and the registry that is meant."""

    account: str
    registry: RegistryKey


@dataclass(frozen=True, slots=True)
class Gate:
    """Let requests in, for one dialect at one host name; base is this server's URL there."""

    registry: Registry
    manner: Manner
    place: Place
    base: str

    def enter(self, request: Request) -> Guest:
        """Return who asks, and whom; raise Challenged or Refused."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if self.registry.settings.read_only and request.method not in READING:
            raise Refused(answers.DENIED, "this registry is read-only")  # a login wouldn't help
        if not scheme and self.registry.settings.anonymous_pull and request.method in READING:
            return Guest("", self.place.registry)
        wanted = "bearer" if self.manner.gives_tokens else "basic"
        if scheme.lower() != wanted:
            raise self.challenged
        guest = self._guest(given if self.manner.gives_tokens else self._password(given))
        if not guest.account and request.method not in READING:
            raise Refused(answers.DENIED, "Not Authorized")  # the text is a guess
        return guest

    def token(self, request: Request) -> Answer:
        """Give a bearer token: anybody's, or that of the account whose password comes along."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        account = self._guest(self._password(given)).account if scheme.lower() == "basic" else ""
        expires = int(self.registry.clock() + self.registry.settings.token_lifetime)
        token = Pass(account, self.place.registry.region, expires).seal(self.registry.store.keys.token_secret)
        return answers.write_json({"token": token}, summary="token")

    @property
    def challenged(self) -> Challenged:
        """Ask to log in."""
        return Challenged(self.manner.challenge.format(base=self.base))

    def _password(self, given: str) -> str:
        try:
            user, _, password = base64.b64decode(given, validate=True).decode().partition(":")
        except ValueError:
            user = password = ""
        if user != USER:
            raise self.manner.refuse_token(expired=False, base=self.base)
        return password

    def _guest(self, sealed: str) -> Guest:
        try:
            found = Pass.open(sealed, self.registry.store.keys.token_secret)
        except ValueError:
            found = None
        registry = self._meant(found) if found else None
        if found is None or registry is None:
            raise self.manner.refuse_token(expired=False, base=self.base)
        if found.expires <= self.registry.clock():
            raise self.manner.refuse_token(expired=True, base=self.base)
        return Guest(found.account, registry)

    def _meant(self, found: Pass) -> RegistryKey | None:
        """Return the registry that a password opens here; none where it is for another region.

        Where the host name tells nothing, as in a proxyEndpoint of 127.0.0.1, the password says whose is meant.
        """
        place = self.place.registry
        own = RegistryKey(found.account, found.region)
        if self.place.named or place.is_public or own.is_public:
            return place if found.region == place.region else None
        return own
