"""What is read out of a registry's error reply: code and text, in any form, cut, printable, and with no secret."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Iterator
from datetime import datetime
from random import Random

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import AuthError, NotFoundError, TransientError
from ecrdrag.registry.auth import IdentityToken, Login
from tests.refused import REFUSED, refused
from tests.scripted_registry import Keys, Registry, Reply, failing, scripted

PASSWORD = "s3cret:word,with some-length/and=signs"
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
DIGEST = Digest.of(b"any")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        yield registry


@pytest.fixture
def other() -> Iterator[Registry]:
    with scripted() as other:
        yield other


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"Not Authorized\n", "Not Authorized"),  # ECR
        (403, b'{"errors":[{"code":"DENIED","message":"denied"}]}', "DENIED: denied"),  # GHCR
        (403, b'{"errors":[{"code":"denied","message":"no"}]}', "DENIED: no"),
        (404, b'{"errors":{"code":"NOT_FOUND","message":"no artifact"}}', "NOT_FOUND: no artifact"),
        (404, b'{"errors":[{"status":404,"message":"The named manifest is not known"}]}', "The named manifest is not"),
        (401, b'{"details":"incorrect username or password"}', "incorrect username or password"),  # Docker Hub
        (400, b'{"error":"invalid_grant","error_description":"too old"}', "invalid_grant: too old"),
        (401, b'{"error":{"code":401,"message":"Permission","status":"UNAUTHENTICATED"}}', "(Permission)"),
        (404, b'{"timestamp":1,"status":404,"error":"Not Found","path":"/x"}', "(Not Found)"),
        (500, b'{"code":1024,"message":"broken"}', "1024: broken"),
        (500, b'{"errors":["out of order"]}', "(out of order)"),
        (500, b'{"errors":[]}', "Internal Server Error"),
        (500, b'{"errors":null}', "Internal Server Error"),
        (500, b"[]", "Internal Server Error"),
        (500, b'"just text"', "(just text)"),
        (500, b"", "Internal Server Error"),
        (502, b"<html><head><title>502 Bad &amp; worse</title></head>", "(502 Bad & worse)"),
        (502, b"<html><body>nothing else", "Bad Gateway"),
        (500, b"[" * 60_000, "answered 500"),
        (500, b"\x1f\x8b\x08 compressed", "Internal Server Error"),
        (
            400,
            b'{"errors":[{"code":"MANIFEST_INVALID","message":"bad","detail":{"message":"no config"}}]}',
            "bad: no conf",
        ),
        (
            404,
            b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown","detail":"unknown tag=1"}]}',
            "unknown tag=1",
        ),
        (404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"x","detail":{"Tag":"1"}}]}', "MANIFEST_UNKNOWN: x)"),
        (500, b'{"errors":[{"code":"UNKNOWN","message":"same","detail":"same"}]}', "(UNKNOWN: same)"),
        (404, b'{"errors":[{"code":"NAME_UNKNOWN","message":null,"detail":null}]}', "(NAME_UNKNOWN)"),
        (400, b'{"errors":[{"code":null,"message":7}]}', "Bad Request"),
        (500, b'{"errors":[{"code":true,"message":" two\\n  lines\\t"}]}', "(two lines)"),
        (
            403,
            b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>No</Message></Error>",
            "AccessDenied: No",
        ),
    ],
)
def test_whatever_form_a_refusal_has_its_text_is_found(registry: Registry, status: int, body: bytes, said: str) -> None:
    assert said in str(refused(registry, Reply(body, status)))


def test_the_first_of_several_errors_is_told_with_their_number(registry: Registry) -> None:
    errors = [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown", "detail": {"digest": str(DIGEST)}}] * 90
    body = json.dumps({"errors": errors}).encode()
    assert len(body) > 10_000
    error = refused(registry, Reply(body, 404), method="PUT")
    assert type(error) is TransientError
    assert "(MANIFEST_BLOB_UNKNOWN: blob unknown (and 89 more))" in str(error)


def test_a_text_is_cut_and_printable(registry: Registry) -> None:
    error = refused(registry, failing(400, "C" * 500, "red\x1b[31m \u202eturned \ud800" + "very " * 500))
    assert "red?[31m ?turned ?very" in str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 600
    assert str(error).count("...") == 2


def test_a_refusal_whose_body_breaks_off_is_still_what_its_status_says(registry: Registry) -> None:
    body = b'{"errors":[{"code":"UNAUTHORIZED"'
    assert type(refused(registry, Reply(body, 401, length=1000))) is AuthError
    assert type(refused(registry, Reply(b"no chunk\r\n", 401, {"Transfer-Encoding": "chunked"}))) is AuthError
    assert type(refused(registry, Reply(b"x" * 200_000, 404, chunked=True))) is NotFoundError


SECRETS = {
    "the header": f"bad header Authorization: Basic {BASIC} was sent",
    "the credentials": f"credentials {BASIC} unknown",
    "a piece of them": f"can't read {BASIC[5:25]}",
    "the password": f"the password {PASSWORD} is wrong for me",
    "a piece of it": "unknown word,with some-length/and in it",
    "a signed URL": "see https://s3.test/b/sha256?X-Amz-Signature=0123abc&X-Amz-Credential=AKIA0 for more",
    "a parameter": "bad X-Amz-Signature=0123abc given",
    "a login in a URL": "no http://me:pw0123abc@registry.test/v2/",
    "another's token": "Bearer 0123abcdefghijklmnop was meant",
    "a web token": "token eyJhbGciOi0123abc.eyJzdWIiOiJ4In0.c2ln is old",
    "a member": 'sent {"refresh_token": "0123abcdefghij"}',
    "Azure's": "blob?sv=1&sig=0123abc%3D",
}


@pytest.mark.parametrize("echo", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("form", ["errors", "plain"])
def test_a_refusal_that_echoes_a_secret_is_told_without_it(registry: Registry, echo: str, form: str) -> None:
    body = failing(403, "DENIED", echo).body if form == "errors" else echo.encode()
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    registry.replies[REFUSED] = lambda asked: Reply(body, 403 if "authorization" in asked.headers else 401, challenge)
    error = refused(registry, keys=Keys(Login("me", PASSWORD)))
    assert any("authorization" in asked.headers for asked in registry.asked)
    shown = "".join(traceback.format_exception(error)) + error.hint
    assert "***" in shown
    for secret in (BASIC[5:25], PASSWORD, "some-length/and", "0123abc"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("password", "echo"),
    [
        ("open it up", "password 'open it up' is too old"),
        ("open  it up", "password 'open  it up' is too old"),
        ("bWU6", "cannot read bWU6YldVNg== as it is"),
    ],
    ids=["of short words", "with more space between", "that is in what is made of it"],
)
def test_a_password_of_any_form_is_left_out(registry: Registry, password: str, echo: str) -> None:
    reply = Reply(echo.encode(), 401, {"WWW-Authenticate": "Basic"})
    error = refused(registry, reply, Keys(Login("me", password)))
    assert "***" in str(error)
    assert password not in str(error)
    assert "YldVNg" not in str(error)
    assert "it up" not in str(error)


def test_what_a_signed_link_held_is_left_out_of_what_its_storage_says(registry: Registry, other: Registry) -> None:
    target = f"{other.url}/blob?X-Amz-Signature=0123456789abcdef&sig=wholly-other&part=1"
    registry.replies[REFUSED] = Reply(b"", 307, {"Location": target})
    other.replies["/blob"] = Reply(b"neither 0123456789abcdef nor wholly-other fits part 1", 403)
    assert "(neither *** nor *** fits part 1)" in str(refused(registry))


def test_a_login_in_a_redirect_is_left_out(registry: Registry, other: Registry) -> None:
    registry.replies[REFUSED] = Reply(b"", 307, {"Location": f"http://me:pw0rd@{other.host}/v2/elsewhere"})
    other.replies["/v2/elsewhere"] = failing(401, "UNAUTHORIZED")
    error = refused(registry)
    assert other.host in error.hint
    assert "pw0rd" not in str(error) + error.hint


def test_any_piece_of_a_password_that_gives_something_away_is_left_out(registry: Registry) -> None:
    random = Random(6)
    for _ in range(20):
        start = random.randrange(len(BASIC) - 12)
        piece = BASIC[start : start + random.randrange(8, 12)]
        reply = Reply(f"cannot read '{piece}' of it".encode(), 401, {"WWW-Authenticate": "Basic"})
        error = refused(registry, reply, Keys(Login("me", PASSWORD)))
        assert "cannot read '***' of it" in str(error), f"seed 6: {piece}"


def test_a_token_server_that_echoes_what_it_was_sent_is_quoted_without_it(registry: Registry) -> None:
    registry.replies[REFUSED] = Reply(b"", 401, {"WWW-Authenticate": f'Bearer realm="{registry.url}/token"'})
    registry.replies["/token"] = lambda asked: failing(
        401, "UNAUTHORIZED", f"no such token: {asked.body.decode()[-36:]}"
    )
    error = refused(registry, keys=Keys(IdentityToken("only-letters-and-such-that-none-knows")))
    assert any(asked.method == "POST" for asked in registry.asked)
    assert type(error) is AuthError
    assert "no such token" in str(error)
    assert "letters" not in str(error)


@pytest.mark.parametrize(
    "text",
    [
        (
            "User: arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/me@example.com is not "
            "authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:us-west-2:123456789012:repository/app"
        ),
        f"layer {DIGEST} does not exist in the repository with name 'team/app' in the registry with id '123456789012'",
        "Your authorization token has expired. Reauthenticate and try again.",
        "invalid token: signature is invalid; token expired: 12 minutes ago",
        "see https://docs.registry.test/errors#denied, and log in with Bearer authentication",
        "Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must have value less than 1000'",
    ],
)
def test_what_helps_people_is_left_as_it_is(registry: Registry, text: str) -> None:
    assert text in str(refused(registry, failing(400, "UNSUPPORTED", text)))


@pytest.mark.parametrize("letters", ["a", "<", "sig=", "a.", "<title", '"', "http://", "eyJ", "token:", ";", "\\"])
def test_no_text_takes_long(registry: Registry, letters: str) -> None:
    body = (letters * 70_000)[:64_000].encode()
    begun = datetime.now()
    refused(registry, Reply(body, 500))
    assert (datetime.now() - begun).total_seconds() < 2
