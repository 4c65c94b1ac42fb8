"""Own who we are at a registry: credentials, and what a challenge makes of them.

The registry's ends may enter, as may credentials and the command line, which find credentials.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Login:
    """A user's name and password."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """A refresh token that a registry gave at a login, in place of a password."""

    token: str = field(repr=False)


Credential = Login | IdentityToken


@dataclass(frozen=True, slots=True)
class EcrToken:
    """A login that ECR gives; until when it is good, in seconds since 1970; and the registry's URL, empty in public."""

    login: Login
    expires: float
    endpoint: str = ""


class Keyring(Protocol):
    """Find who to be at a registry; safe from many threads."""

    def find(self, registry: str, *, renew: bool = False) -> Credential | None:
        """Look up the credential for a registry, HOST or HOST:PORT as in a reference; None for anybody.

        renew says that what was found before was refused: a cached one won't do. Raises AuthError where there is
        something that can't be had.
        """
        ...


class Nobody:
    """A keyring without a key."""

    def find(self, registry: str, *, renew: bool = False) -> Credential | None:
        """Find nothing."""
        return None
