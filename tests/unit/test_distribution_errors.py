"""What a registry's refusals become: kinds and exit codes by status, code and text, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from ecrdrag.errors import (
    AuthError,
    BusyError,
    ConflictError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    RepositoryNotFoundError,
    TransferError,
    TransientError,
    UnsupportedError,
    UploadLostError,
    UsageError,
)
from ecrdrag.registry.auth import Login
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution_errors import ERROR_CODES, FIELD_CODES
from tests.refused import REFUSED, WHAT, refused
from tests.scripted_registry import Keys, Registry, Reply, failing, scripted

# OCI distribution spec 1.1, "Error Codes": each with the status that distribution's errors.go gives it, and its kind.
OCI = {
    "BLOB_UNKNOWN": (404, NotFoundError, 4),
    "BLOB_UPLOAD_INVALID": (400, TransferError, 5),
    "BLOB_UPLOAD_UNKNOWN": (404, UploadLostError, 5),
    "DIGEST_INVALID": (400, IntegrityError, 6),
    "MANIFEST_BLOB_UNKNOWN": (404, TransientError, 5),
    "MANIFEST_INVALID": (400, UnsupportedError, 8),
    "MANIFEST_UNKNOWN": (404, NotFoundError, 4),
    "NAME_INVALID": (400, UsageError, 2),
    "NAME_UNKNOWN": (404, RepositoryNotFoundError, 4),
    "SIZE_INVALID": (400, IntegrityError, 6),
    "UNAUTHORIZED": (401, AuthError, 3),
    "DENIED": (403, AuthError, 3),
    "UNSUPPORTED": (405, UnsupportedError, 8),
    "TOOMANYREQUESTS": (429, BusyError, 5),
}
# docs/content/spec/api.md and registry/api/errcode beside them.
DOCKER = {
    "MANIFEST_UNVERIFIED": (400, UnsupportedError, 8),
    "PAGINATION_NUMBER_INVALID": (400, UsageError, 2),
    "RANGE_INVALID": (416, TransferError, 5),
    "TAG_INVALID": (400, UsageError, 2),
    "UNAVAILABLE": (503, BusyError, 5),
    "UNKNOWN": (500, TransientError, 5),
}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        yield registry


@pytest.mark.parametrize("code", [*OCI, *DOCKER])
def test_every_code_of_the_specification_has_its_kind_and_exit_code(registry: Registry, code: str) -> None:
    status, kind, exit_code = {**OCI, **DOCKER}[code]
    error = refused(registry, failing(status, code, "the reason"))
    assert (type(error), error.exit_code) == (kind, exit_code)
    assert str(error) == f"127.0.0.1 answered {status} ({code}: the reason) when asked for team/app 1"


def test_the_table_has_the_codes_of_the_specifications_and_no_other() -> None:
    assert set(ERROR_CODES) == {*OCI, *DOCKER}
    assert not set(ERROR_CODES) & set(FIELD_CODES)


@pytest.mark.parametrize("code", [code for code in OCI if OCI[code][0] in (400, 404)])
def test_a_code_means_the_same_under_another_status_and_in_small_letters(registry: Registry, code: str) -> None:
    _, kind, _ = OCI[code]
    assert type(refused(registry, failing(422, code))) is kind
    error = refused(registry, failing(400, code.lower().replace("_", " ")))
    assert type(error) is kind
    assert code in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (206, TransferError),
        (400, TransferError),
        (401, AuthError),
        (403, AuthError),
        (404, NotFoundError),
        (405, UnsupportedError),
        (408, TransientError),
        (409, ConflictError),
        (412, ConflictError),
        (413, TransferError),
        (415, UnsupportedError),
        (425, TransientError),
        (429, BusyError),
        (500, TransientError),
        (501, UnsupportedError),
        (502, TransientError),
        (503, BusyError),
        (504, TransientError),
    ],
)
@pytest.mark.parametrize("code", ["", "SOMETHING_NEW"])
def test_a_status_decides_where_the_code_says_nothing(
    registry: Registry, status: int, kind: type[EcrdragError], code: str
) -> None:
    reply = failing(status, code, "") if code else Reply(b"", status)
    error = refused(registry, reply)
    assert type(error) is kind
    assert str(status) in str(error)
    assert WHAT in str(error)


def test_where_nothing_is_said_to_be_there_it_is_said_what_to_check(registry: Registry) -> None:
    assert refused(registry, Reply(b"<title>Not Found</title>", 404)).hint.startswith("check the registry")


def test_a_refusal_leaves_its_connection_for_the_next_request(registry: Registry) -> None:
    registry.replies[REFUSED] = failing(404, "MANIFEST_UNKNOWN")
    with RegistryClient(registry.host, plain_http=True) as client:
        for method in ("GET", "HEAD", "GET", "HEAD"):
            with pytest.raises(NotFoundError), client.ask(method, "team/app/manifests/1", scope="", what=WHAT):
                pass
    assert len({one.port for one in registry.asked}) == 1


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (400, "TAG_INVALID", "The image tag '1' already exists in the 'app' repository and cannot be overwritten"),
        (400, "TAG_INVALID", ""),
        (412, "PRECONDITION", "Failed to process request due to 'app:1' configured as immutable."),
        (403, "DENIED", "The tag:app:1 is immutable, cannot be overwrite."),
        (409, "TAG_ALREADY_EXISTS", "tag was already pushed"),
        (400, "MANIFEST_INVALID", "cannot update tag 1. The repository has enabled tag immutability"),
    ],
)
def test_an_immutable_tag_is_a_conflict_however_a_registry_says_it(
    registry: Registry, status: int, code: str, text: str
) -> None:
    error = refused(registry, failing(status, code, text), method="PUT")
    assert (type(error), error.exit_code) == (ConflictError, 9)
    if code != "PRECONDITION" or text:
        assert "choose another" in error.hint


def test_a_tag_that_cannot_be_is_no_conflict_to_who_reads(registry: Registry) -> None:
    assert type(refused(registry, failing(400, "TAG_INVALID", "no such tag can be"))) is UsageError
    assert type(refused(registry, failing(403, "DENIED", "this repository is immutable"))) is AuthError


LIMIT = "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"

IN_SIX_HOURS = format_datetime(datetime.now(timezone.utc) + timedelta(hours=6))


@pytest.mark.parametrize(
    ("text", "after", "kind", "hint"),
    [
        ("slow down", "", BusyError, "wait a little"),
        ("slow down", "7", BusyError, "for 7 seconds"),
        ("slow down", "60", BusyError, "for 60 seconds"),
        ("slow down", "61", TransferError, "for 61 seconds"),
        ("slow down", "0", BusyError, "for 0 seconds"),
        ("slow down", "-3", BusyError, "wait a little"),
        ("slow down", "9" * 5000, BusyError, "wait a little"),
        ("slow down", "tomorrow", BusyError, "wait a little"),
        ("slow down", "Fri, 31 Dec 1999 23:59:59 GMT", BusyError, "for 0 seconds"),
        pytest.param("slow down", IN_SIX_HOURS, TransferError, "seconds", id="in six hours"),
        pytest.param("slow down", str(int(datetime.now().timestamp()) + 20), BusyError, "seconds", id="in a moment"),
        (LIMIT, "", TransferError, "who is logged in"),
        (LIMIT, "5", TransferError, "who is logged in"),
        ("Data limit exceeded", "", TransferError, "later"),
    ],
)
def test_a_short_wait_is_worth_another_try_and_a_quota_that_is_used_up_is_not(
    registry: Registry, text: str, after: str, kind: type[EcrdragError], hint: str
) -> None:
    reply = failing(429, "TOOMANYREQUESTS", text)
    error = refused(registry, Reply(reply.body, 429, {"Retry-After": after} if after else {}))
    assert type(error) is kind
    assert hint in error.hint


def test_who_is_logged_in_is_not_told_to_log_in_for_a_higher_limit(registry: Registry) -> None:
    reply = failing(429, "TOOMANYREQUESTS", LIMIT)
    registry.replies[REFUSED] = lambda asked: (
        reply if "authorization" in asked.headers else Reply(b"", 401, {"WWW-Authenticate": "Basic"})
    )
    error = refused(registry, keys=Keys(Login("me", "secret")))
    assert type(error) is TransferError
    assert "logged in" not in error.hint


def test_who_is_not_let_in_has_that_problem_first_whatever_the_code(registry: Registry) -> None:
    for status in (401, 403):
        error = refused(registry, failing(status, "NAME_UNKNOWN", "no such thing for you"))
        assert type(error) is AuthError
        assert "log in" in error.hint


def test_too_many_requests_are_so_under_any_status(registry: Registry) -> None:
    assert type(refused(registry, failing(403, "TOOMANYREQUESTS"))) is BusyError
    assert type(refused(registry, Reply(b"<Error><Code>SlowDown</Code></Error>", 403))) is BusyError


@pytest.mark.parametrize(
    "body",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
    ],
    ids=["Go", "nginx"],
)
def test_plain_http_to_a_registry_with_tls_is_said(registry: Registry, body: bytes) -> None:
    error = refused(registry, Reply(body, 400))
    assert type(error) is UsageError
    assert "--plain-http" in error.hint


def test_storage_that_refuses_a_link_is_not_a_matter_of_logins(registry: Registry) -> None:
    signed = "AWS4-HMAC-SHA256"
    document = "<Error><Code>AccessDenied</Code><Message>{}</Message><StringToSign>X{}</StringToSign></Error>"
    old = refused(registry, Reply(document.format("Request has expired", signed).encode(), 403))
    assert type(old) is TransientError
    shut = refused(registry, Reply(document.format("Access Denied", signed).encode(), 403))
    assert type(shut) is AuthError
    assert "policy" in shut.hint
    assert "login" not in shut.hint
    assert signed not in str(old) + str(shut)
