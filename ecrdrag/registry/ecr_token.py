"""Own the passwords that ECR gives to clients of /v2/: GetAuthorizationToken, private and public.

credentials and the command line, which builds the clients, may enter.
"""

# ruff: noqa: N803 - the API's own words

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from ecrdrag.errors import AuthError
from ecrdrag.registry.auth import EcrToken, Login
from ecrdrag.registry.ecr_api import structure_of, structures_of, text_of
from ecrdrag.registry.ecr_errors import translated


class PrivateTokenApi(Protocol):
    """What is used of boto3's ecr client."""

    def get_authorization_token(self, *, registryIds: Sequence[str]) -> Mapping[str, object]:
        """Give a password for each registry; the parameter is deprecated, and alone names a registry's own endpoint."""
        ...


class PublicTokenApi(Protocol):
    """What is used of boto3's ecr-public client."""

    def get_authorization_token(self) -> Mapping[str, object]:
        """Give a password for public.ecr.aws."""
        ...


def fetch_token(api: PrivateTokenApi, account: str, where: str) -> EcrToken:
    """Fetch the password of one registry; where names it in messages."""
    with translated(where):
        answer = api.get_authorization_token(registryIds=[account])
    found = structures_of(answer, "authorizationData")
    return _token(found[0] if found else {}, where)


def fetch_public_token(api: PublicTokenApi, where: str) -> EcrToken:
    """Fetch the password of ECR Public, whose authorizationData is one structure, not a list."""
    with translated(where, "ecr-public"):
        answer = api.get_authorization_token()
    return _token(structure_of(answer, "authorizationData"), where)


def _token(data: Mapping[str, object], where: str) -> EcrToken:
    try:
        username, _, password = (
            base64.b64decode(text_of(data, "authorizationToken"), validate=True).decode().partition(":")
        )
    except ValueError:
        username = password = ""
    expires = data.get("expiresAt")
    if not username or not password or not isinstance(expires, datetime):
        raise AuthError(f"{where}: GetAuthorizationToken answered without a password")
    return EcrToken(Login(username, password), expires.timestamp(), text_of(data, "proxyEndpoint"))
