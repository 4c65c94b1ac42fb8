"""What GetAuthorizationToken is asked, private and public, and what its answer is taken for."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

import pytest
from botocore.exceptions import ClientError

from ecrdrag.errors import AuthError
from ecrdrag.registry.auth import EcrToken, Login
from ecrdrag.registry.ecr_token import fetch_public_token, fetch_token

HOST = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
EXPIRES = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


GOOD = {"authorizationToken": coded("AWS:s3cret:x"), "expiresAt": EXPIRES}


class Api:
    """An API with one answer; it notes what it is asked."""

    def __init__(self, data: object) -> None:
        self.data = data
        self.asked: list[Mapping[str, Sequence[str]]] = []

    def get_authorization_token(self, **asked: Sequence[str]) -> Mapping[str, object]:
        self.asked.append(asked)
        if isinstance(self.data, Exception):
            raise self.data
        return {"authorizationData": self.data}


def test_a_private_registry_s_password_is_asked_for_by_its_account() -> None:
    api = Api([{**GOOD, "proxyEndpoint": f"https://{HOST}"}])
    token = fetch_token(api, "123456789012", HOST)
    assert token == EcrToken(Login("AWS", "s3cret:x"), EXPIRES.timestamp(), f"https://{HOST}")
    assert api.asked == [{"registryIds": ["123456789012"]}]
    assert "s3cret" not in repr(token)


def test_the_public_one_has_no_endpoint_and_is_asked_for_nobody_in_particular() -> None:
    api = Api(GOOD)
    assert fetch_public_token(api, "public.ecr.aws") == EcrToken(Login("AWS", "s3cret:x"), EXPIRES.timestamp())
    assert api.asked == [{}]


@pytest.mark.parametrize(
    "changes",
    [
        {"authorizationToken": None},
        {"authorizationToken": ""},
        {"authorizationToken": "AWS:s3cret"},
        {"authorizationToken": coded("s3cret")},
        {"authorizationToken": coded("AWS:")},
        {"authorizationToken": coded(":s3cret")},
        {"authorizationToken": "/" * 8},
        {"expiresAt": None},
        {"expiresAt": "s3cret"},
    ],
)
def test_an_answer_without_a_password_is_said_and_not_shown(changes: Mapping[str, object]) -> None:
    with pytest.raises(AuthError, match=f"{HOST}: GetAuthorizationToken answered without a password") as caught:
        fetch_token(Api([{**GOOD, **changes}]), "123456789012", HOST)
    assert "s3cret" not in str(caught.value)


def test_no_answer_and_a_refusal_name_the_registry() -> None:
    for data in ([], None, [None]):
        with pytest.raises(AuthError, match=f"{HOST}: GetAuthorizationToken answered without a password"):
            fetch_token(Api(data), "123456789012", HOST)
    denied = {"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}
    with pytest.raises(AuthError, match=r"public\.ecr\.aws: GetAuthorizationToken was refused: not authorized"):
        fetch_public_token(Api(ClientError(denied, "GetAuthorizationToken")), "public.ecr.aws")  # type: ignore[arg-type]
