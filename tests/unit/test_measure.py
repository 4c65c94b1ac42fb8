"""How large a blob is of which no document says it, at scripted servers: asked by its first byte, and never guessed."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import pytest

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import (
    AuthError,
    BusyError,
    EcrdragError,
    NotFoundError,
    RepositoryNotFoundError,
    TransferError,
    TransientError,
)
from ecrdrag.reference import ImageReference
from ecrdrag.registry.auth import Login
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import SMALL_BLOB, DistributionSource
from ecrdrag.registry.transport import BlobTransport, LinkRefusedError
from tests.scripted_registry import Asked, Keys, Registry, Reply, failing, guarded, ranged, scripted

BLOB = bytes(300_000)
DIGEST = Digest.of(BLOB)
PATH = f"/v2/team/app/blobs/{DIGEST}"
SIGNED = "/data?X-Amz-Signature=SECRET"
BASIC = "Basic bWU6d29yZA=="


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        registry.replies[PATH] = ranged(BLOB)
        yield registry


@pytest.fixture
def other() -> Iterator[Registry]:
    with scripted() as other:
        other.replies["/data"] = ranged(BLOB)
        yield other


@pytest.fixture
def transport() -> Iterator[BlobTransport]:
    with BlobTransport(connections=2) as transport:
        yield transport


@pytest.fixture
def source(registry: Registry, transport: BlobTransport) -> Iterator[DistributionSource]:
    reference = ImageReference.parse(f"{registry.host}/team/app:1")
    with RegistryClient(registry.url, keyring=Keys(Login("me", "word"))) as client:
        yield DistributionSource(client, transport, reference)


def moved(to: Registry) -> Reply:
    return Reply(b"moved", 307, {"Location": f"{to.url}{SIGNED}"})


def span(text: str) -> Reply:
    return Reply(b"x", 206, {"Content-Range": text})


def test_the_first_byte_says_how_many_there_are_and_keeps_the_connection(
    other: Registry, transport: BlobTransport
) -> None:
    assert [transport.measure(f"{other.url}{SIGNED}") for _ in range(3)] == [len(BLOB)] * 3
    assert {(one.method, one.headers["range"]) for one in other.asked} == {("GET", "bytes=0-0")}
    assert len({one.port for one in other.asked}) == 1


@pytest.mark.parametrize(
    ("reply", "size"),
    [
        (span("bytes 0-0/1"), 1),
        (span(f"bytes 0-0/{2**63 - 1}"), 2**63 - 1),
        (Reply(BLOB), len(BLOB)),
        (Reply(b""), 0),
        (Reply(b"", 416, {"Content-Range": "bytes */0"}), 0),
        (failing(416), 0),
    ],
)
def test_whatever_form_the_answer_has(other: Registry, transport: BlobTransport, reply: Reply, size: int) -> None:
    other.replies["/data"] = reply
    assert transport.measure(f"{other.url}{SIGNED}") == size


@pytest.mark.parametrize(
    "reply",
    [
        span("bytes 0-0/*"),
        span("bytes 0-0"),
        span(""),
        span("bytes 0-0/-1"),
        span("bytes 0-0/" + "9" * 5000),
        Reply(BLOB, chunked=True),
    ],
    ids=["unknown", "none", "empty", "negative", "huge", "chunked"],
)
def test_a_size_that_is_not_told_is_not_guessed(other: Registry, transport: BlobTransport, reply: Reply) -> None:
    other.replies["/data"] = reply
    with pytest.raises(TransferError, match="doesn't say how many bytes") as caught:
        transport.measure(f"{other.url}{SIGNED}")
    assert not isinstance(caught.value, TransientError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NotFoundError),
        (410, NotFoundError),
        (403, LinkRefusedError),
        (400, LinkRefusedError),
        (429, BusyError),
        (503, BusyError),
        (500, TransientError),
    ],
)
def test_a_refusal_says_what_it_means_and_no_secret(
    other: Registry, transport: BlobTransport, status: int, kind: type[EcrdragError]
) -> None:
    other.replies["/data"] = failing(status, "SOME_CODE", "some words")
    with pytest.raises(kind, match=f"127.0.0.1 answered {status}.*some words") as caught:
        transport.measure(f"{other.url}{SIGNED}")
    assert type(caught.value) is kind
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_a_registrys_blob_is_measured_where_it_is(
    registry: Registry, other: Registry, source: DistributionSource
) -> None:
    assert source.measure(DIGEST) == len(BLOB)
    far = Digest.of(b"far")
    registry.replies[f"/v2/team/app/blobs/{far}"] = moved(other)
    other.replies["/data"] = ranged(BLOB[:7])
    assert source.measure(far) == 7
    assert "authorization" not in other.asked[-1].headers


def test_where_a_blob_is_it_is_read_afterwards(registry: Registry, other: Registry, source: DistributionSource) -> None:
    registry.replies[PATH] = moved(other)
    blob = Descriptor("", DIGEST, source.measure(DIGEST))
    assert blob.size > SMALL_BLOB
    assert b"".join(bytes(view) for view in source.read(blob, 0, blob.size)) == BLOB
    assert registry.targets() == [PATH]


def test_a_login_that_is_asked_for_goes_along(registry: Registry, source: DistributionSource) -> None:
    registry.replies[PATH] = guarded(ranged(BLOB), BASIC, "Basic realm=x")
    assert source.measure(DIGEST) == len(BLOB)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (failing(404, "BLOB_UNKNOWN"), NotFoundError),
        (failing(404, "NAME_UNKNOWN"), RepositoryNotFoundError),
        (Reply(status=404), NotFoundError),
        (failing(403, "DENIED"), AuthError),
        (failing(500), TransientError),
    ],
)
def test_a_blob_that_is_not_there_is_not_found_and_nothing_else_is(
    registry: Registry, source: DistributionSource, reply: Reply, kind: type[EcrdragError]
) -> None:
    registry.replies[PATH] = reply
    with pytest.raises(kind) as caught:
        source.measure(DIGEST)
    assert type(caught.value) is kind


def test_a_link_to_nothing_is_not_found(registry: Registry, other: Registry, source: DistributionSource) -> None:
    registry.replies[PATH] = moved(other)
    other.replies["/data"] = failing(404, "NoSuchKey")
    with pytest.raises(NotFoundError):
        source.measure(DIGEST)


def test_a_link_that_has_expired_is_asked_for_again(
    registry: Registry, other: Registry, source: DistributionSource
) -> None:
    def expired_at_first(asked: Asked) -> Reply:
        return failing(403) if len(other.asked) == 1 else ranged(BLOB)(asked)

    registry.replies[PATH] = moved(other)
    other.replies["/data"] = expired_at_first
    with pytest.raises(LinkRefusedError):
        source.measure(DIGEST)
    assert source.measure(DIGEST) == len(BLOB)
    assert len(registry.asked) == 2
