"""Any registry as a Source, against scripted ones: where blobs are, and how often that is asked."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import (
    AuthError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    RangeIgnoredError,
    TransferError,
    TransientError,
)
from ecrdrag.manifest import Document
from ecrdrag.reference import ImageReference
from ecrdrag.registry.auth import Login
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import SMALL_BLOB, DistributionSource
from ecrdrag.registry.transport import BlobTransport, LinkRefusedError
from ecrdrag.schema1 import Schema1
from ecrdrag.transfer.download import Download, download, fetch
from ecrdrag.transfer.retry import RetryPolicy
from tests.landing import Sink, blob_of
from tests.scripted_registry import Asked, Keys, Registry, Reply, failing, guarded, ranged, scripted

BLOB = random.Random(6).randbytes(300_000)
LARGE = Descriptor("application/octet-stream", Digest.of(BLOB), len(BLOB))
SMALL = Descriptor("application/octet-stream", Digest.of(BLOB[:SMALL_BLOB]), SMALL_BLOB)
BLOBS, TAG = "/v2/team/app/blobs", "/v2/team/app/manifests/1"
LARGE_PATH, SMALL_PATH = f"{BLOBS}/{LARGE.digest}", f"{BLOBS}/{SMALL.digest}"
BASIC = "Basic bWU6d29yZA=="
FAST = RetryPolicy(tries=4, base=0.0)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        registry.replies[LARGE_PATH] = ranged(BLOB)
        registry.replies[SMALL_PATH] = ranged(BLOB[:SMALL_BLOB])
        yield registry


@pytest.fixture
def other() -> Iterator[Registry]:
    with scripted() as other:
        other.replies["/data"] = ranged(BLOB)
        yield other


@contextmanager
def source_of(registry: Registry) -> Iterator[DistributionSource]:
    reference = ImageReference.parse(f"{registry.host}/team/app:1")
    client = RegistryClient(registry.url, keyring=Keys(Login("me", "word")))
    with client, BlobTransport(connections=4) as transport:
        yield DistributionSource(client, transport, reference)


@pytest.fixture
def source(registry: Registry) -> Iterator[DistributionSource]:
    with source_of(registry) as source:
        yield source


def read(source: DistributionSource, blob: Descriptor = LARGE, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(bytes(view) for view in source.read(blob, start, blob.size if stop is None else stop))


def moved(to: Registry, path: str = "/data?X-Amz-Signature=SECRET", status: int = 307) -> Reply:
    return Reply(b"moved", status, {"Location": f"{to.url}{path}"})


def ranges(registry: Registry) -> list[str | None]:
    return [one.headers.get("range") for one in registry.asked]


def test_a_registry_that_sends_blobs_itself_is_asked_once_more_for_a_large_one(
    registry: Registry, source: DistributionSource
) -> None:
    assert read(source, start=0, stop=100_000) + read(source, start=100_000) == BLOB
    assert ranges(registry) == ["bytes=0-0", "bytes=0-99999", "bytes=100000-299999"]
    assert len({one.port for one in registry.asked[:2]}) + len({one.port for one in registry.asked[1:]}) == 3


def test_a_small_blob_takes_one_request(registry: Registry, source: DistributionSource) -> None:
    assert read(source, SMALL) == BLOB[:SMALL_BLOB]
    assert ranges(registry) == [f"bytes=0-{SMALL_BLOB - 1}"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_resolved_once_for_all_chunks(
    registry: Registry, other: Registry, source: DistributionSource, status: int
) -> None:
    registry.replies[LARGE_PATH] = moved(other, status=status)
    with ThreadPoolExecutor(4) as pool:
        pieces = pool.map(lambda start: read(source, start=start, stop=start + 50_000), range(0, 300_000, 50_000))
        assert b"".join(pieces) == BLOB
    assert len(registry.asked) == 1
    assert len(other.asked) == 6


def test_looking_ahead_finds_out_where_a_large_blob_is(
    registry: Registry, other: Registry, source: DistributionSource
) -> None:
    registry.replies[LARGE_PATH] = moved(other)
    for blob in (LARGE, SMALL):
        source.expect(blob)
    assert (registry.targets(), other.asked) == ([LARGE_PATH], [])
    assert read(source) == BLOB
    assert len(registry.asked) == 1


@pytest.mark.parametrize("serves", [False, True], ids=["elsewhere", "here"])
def test_the_connection_is_kept_on_which_that_was_asked(
    registry: Registry, other: Registry, source: DistributionSource, serves: bool
) -> None:
    for content in (BLOB, BLOB[1:], BLOB[2:]):
        blob = blob_of(content)
        registry.replies[f"{BLOBS}/{blob.digest}"] = ranged(content) if serves else moved(other)
        source.expect(blob)
    assert len({one.port for one in registry.asked}) == 1


def test_a_redirect_behind_the_redirect_is_followed(
    registry: Registry, other: Registry, source: DistributionSource
) -> None:
    registry.replies[LARGE_PATH] = moved(other, "/door")
    other.replies["/door"] = moved(other)
    assert read(source) == BLOB


def test_a_redirect_of_a_small_blob_is_followed(
    registry: Registry, other: Registry, source: DistributionSource
) -> None:
    registry.replies[SMALL_PATH] = moved(other)
    other.replies["/data"] = ranged(BLOB[:SMALL_BLOB])
    assert read(source, SMALL) == BLOB[:SMALL_BLOB]
    assert len(registry.asked) == len(other.asked) == 1


def test_a_relative_redirect_stays_at_the_registry_with_the_login(
    registry: Registry, source: DistributionSource
) -> None:
    registry.replies[LARGE_PATH] = guarded(Reply(b"", 307, {"Location": "/data"}), BASIC, "Basic")
    registry.replies["/data"] = guarded(ranged(BLOB), BASIC, "Basic")
    assert read(source) == BLOB


def test_a_link_that_is_refused_is_found_anew(registry: Registry, other: Registry, source: DistributionSource) -> None:
    doors = iter(["/expired", "/data"])
    registry.replies[LARGE_PATH] = lambda _: moved(other, next(doors))
    other.replies["/expired"] = Reply(b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message>", 403)
    with pytest.raises(LinkRefusedError, match="Request has expired"):
        read(source)
    assert read(source) == BLOB
    assert len(registry.asked) == 2


def test_who_is_refused_late_does_not_take_the_fresh_link_away(
    registry: Registry, other: Registry, source: DistributionSource
) -> None:
    expired = Reply(b"", 403)
    late, held = threading.Event(), threading.Event()

    def door(asked: Asked) -> Reply:
        if asked.headers["range"] != "bytes=0-9":
            return expired
        late.set()
        return expired if held.wait(20) else failing(500)

    doors = iter(["/expired", "/data"])
    registry.replies[LARGE_PATH] = lambda _: moved(other, next(doors))
    other.replies["/expired"] = door
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(read, source, LARGE, 0, 10)
        assert late.wait(20)
        with pytest.raises(LinkRefusedError):
            read(source)
        assert read(source) == BLOB
        held.set()
        with pytest.raises(LinkRefusedError):
            first.result(20)
    assert read(source) == BLOB
    assert len(registry.asked) == 2


@pytest.mark.parametrize("blob", [LARGE, SMALL], ids=["large", "small"])
def test_a_login_that_is_asked_for_late_is_given(
    registry: Registry, source: DistributionSource, blob: Descriptor
) -> None:
    registry.replies[f"{BLOBS}/{blob.digest}"] = guarded(ranged(BLOB[: blob.size]), BASIC, "Basic")
    assert fetch(blob, source, retry=FAST) == BLOB[: blob.size]


@pytest.mark.parametrize("blob", [LARGE, SMALL], ids=["large", "small"])
@pytest.mark.parametrize(
    ("reply", "kind"),
    [(failing(404, "BLOB_UNKNOWN"), NotFoundError), (failing(403, "DENIED"), AuthError)],
    ids=["gone", "denied"],
)
def test_a_blob_that_is_refused_ends_the_pull_with_the_reason(
    registry: Registry, source: DistributionSource, blob: Descriptor, reply: Reply, kind: type[EcrdragError]
) -> None:
    registry.replies[f"{BLOBS}/{blob.digest}"] = reply
    with pytest.raises(kind) as caught:
        fetch(blob, source, retry=FAST)
    assert f"blob {blob.digest} of {registry.host}/team/app" in str(caught.value)


@pytest.mark.parametrize("login", [False, True], ids=["to anybody", "to a token"])
def test_a_registry_without_ranges_is_read_by_one_stream(registry: Registry, login: bool) -> None:
    whole: Reply | Callable[[Asked], Reply] = Reply(BLOB)
    if login:
        registry.replies["/token"] = Reply(b'{"token": "t0ken"}')
        whole = guarded(Reply(BLOB), "Bearer t0ken", f'Bearer realm="{registry.url}/token",service="x"')
    registry.replies[LARGE_PATH] = whole
    with source_of(registry) as source:
        with pytest.raises(RangeIgnoredError):
            read(source, start=1000)
        assert read(source) == BLOB
        sink = Sink(len(BLOB))
        download([Download(LARGE, sink)], source, jobs=4, chunk_size=50_000, retry=FAST)
        assert (bytes(sink.content), sink.wrong) == (BLOB, [])


@pytest.mark.parametrize("size", [-1, 1])
def test_a_blob_of_another_size_is_refused(registry: Registry, source: DistributionSource, size: int) -> None:
    registry.replies[LARGE_PATH] = ranged((BLOB + b"x")[: len(BLOB) + size])
    with pytest.raises(IntegrityError, match="manifest promises 300000"):
        read(source)


def test_a_blob_without_a_byte_where_there_should_be_some_is_refused(
    registry: Registry, source: DistributionSource
) -> None:
    registry.replies[LARGE_PATH] = failing(416)
    with pytest.raises(IntegrityError, match="fewer than"):
        read(source)


@pytest.mark.parametrize("location", ["ftp://far.test/x", "file:///etc/passwd", "https://[bad", "http://h:99999/x"])
def test_a_redirect_to_what_is_no_web_server_is_not_followed(
    registry: Registry, source: DistributionSource, location: str
) -> None:
    registry.replies[LARGE_PATH] = Reply(b"", 307, {"Location": location})
    with pytest.raises(TransferError) as caught:
        read(source)
    assert not isinstance(caught.value, TransientError)


def test_an_abort_ends_who_reads_who_asks_and_who_comes(registry: Registry, source: DistributionSource) -> None:
    asked, held = threading.Semaphore(0), threading.Event()

    def hang(_: Asked) -> Reply:
        asked.release()
        held.wait(20)
        return failing(500)

    def stall(_: Asked) -> Reply:
        asked.release()
        return Reply(b"x", 206, {"Content-Range": f"bytes 0-{SMALL_BLOB - 1}/{SMALL_BLOB}"}, SMALL_BLOB, hold=held)

    registry.replies[LARGE_PATH] = registry.replies[TAG] = hang
    registry.replies[SMALL_PATH] = stall
    with ThreadPoolExecutor(3) as pool:
        waiting: list[Future[Document | Schema1] | Future[bytes]] = [
            pool.submit(read, source),
            pool.submit(read, source, SMALL),
        ]
        waiting.append(pool.submit(source.manifest, tag="1"))
        for _ in waiting:
            assert asked.acquire(timeout=20)
        source.abort()
        for each in waiting:
            with pytest.raises(TransferError):
                each.result(10)
    held.set()
    for again in (lambda: read(source), lambda: read(source, SMALL), lambda: source.manifest(tag="1")):
        with pytest.raises(TransferError, match="stopped"):
            again()
