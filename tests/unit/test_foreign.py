"""Layers that no registry has: which of their URLs are asked, in what order, and what is said when none is of use."""

from __future__ import annotations

import random
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ecrdrag.content import Descriptor, Digest, Turn
from ecrdrag.errors import (
    BusyError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    RangeIgnoredError,
    TransferError,
    TransientError,
    UsageError,
)
from ecrdrag.manifest import FOREIGN_LAYER_TYPES
from ecrdrag.registry.ends import Unlimited
from ecrdrag.registry.foreign import ForeignLayers
from ecrdrag.registry.guard import Address
from ecrdrag.registry.http import Trust
from ecrdrag.transfer.retry import RetryPolicy
from tests.certificate import write_certificate
from tests.scripted_registry import Asked, Registry, Reply, ranged, scripted

BLOB = random.Random(7).randbytes(300_000)
LAYER = Descriptor(FOREIGN_LAYER_TYPES[0], Digest.of(BLOB), len(BLOB))
LEAVE_OUT = "leave out --foreign-layers to pull without this layer"
Server = Reply | Callable[[Asked], Reply]
LARGER = Reply(BLOB[:10], 206, {"Content-Range": f"bytes 0-9/{len(BLOB) + 1}"})


def is_near(address: Address) -> bool:
    return address.is_loopback


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    certificate, _ = write_certificate(tmp_path)
    return certificate


@pytest.fixture
def server(authority: Path, tmp_path: Path) -> Iterator[Registry]:
    """A server under TLS that has the layer as /good."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, tmp_path / "key.pem")
    with scripted(tls=context) as server:
        server.replies["/good"] = ranged(BLOB)
        yield server


@pytest.fixture
def layers(authority: Path) -> Iterator[ForeignLayers]:
    with ForeignLayers(trust=Trust(str(authority)), connections=4, is_allowed=is_near) as layers:
        yield layers


def at(server: Registry, *paths: str) -> Descriptor:
    """Describe the layer as being at these paths, with a signed query."""
    return replace(LAYER, urls=tuple(f"{server.url}{path}?sig=SECRET" if path[0] == "/" else path for path in paths))


def read(layers: ForeignLayers, blob: Descriptor, start: int = 0, stop: int = 10) -> bytes:
    return b"".join(map(bytes, layers.read(blob, start, stop)))


@contextmanager
def failing() -> Iterator[list[EcrdragError]]:
    """Expect an error that tells no secret, and give it when the block has ended."""
    caught: list[EcrdragError] = []
    with pytest.raises(EcrdragError) as info:
        yield caught
    assert "SECRET" not in "".join(traceback.format_exception(info.value)) + info.value.hint
    caught.append(info.value)


def paths(server: Registry) -> list[str]:
    return [target.partition("?")[0] for target in server.targets()]


def test_a_layer_comes_from_its_first_url_and_the_others_are_left_alone(
    server: Registry, layers: ForeignLayers
) -> None:
    blob = at(server, "/good", "/other")
    assert read(layers, blob, 0, len(BLOB)) == BLOB
    assert read(layers, blob, 100_000, 200_000) == BLOB[100_000:200_000]
    assert server.targets() == ["/good?sig=SECRET"] * 2
    assert server.asked[1].headers["range"] == "bytes=100000-199999"


@pytest.mark.parametrize(
    "bad",
    [
        Reply(b"", 404),
        Reply(b"", 403),
        Reply(b"", 410),
        LARGER,
        Reply(b"", 416),
        Reply(b"", 302, {"Location": "http://example.com/"}),
        Reply(b"", 302, {"Location": "/circle"}),
    ],
    ids=["404", "403", "410", "a larger one", "a smaller one", "to http", "a circle"],
)
def test_the_next_url_is_asked_when_one_is_no_use_and_from_then_on(
    server: Registry, layers: ForeignLayers, bad: Server
) -> None:
    server.replies["/bad"] = server.replies["/circle"] = bad
    blob = at(server, "/bad", "/good", "/other")
    assert read(layers, blob) == BLOB[:10]
    del server.asked[:]
    assert read(layers, blob, 5, 15) == BLOB[5:15]
    assert paths(server) == ["/good"]


def test_urls_that_may_not_be_asked_are_passed_over(server: Registry, layers: ForeignLayers) -> None:
    there = server.url.partition("://")[2]
    urls = (f"http://{there}/good", f"https://me:SECRET@{there}/good", "https://10.0.0.1/good", "file:///good", "")
    assert read(layers, replace(LAYER, urls=(*urls, f"{server.url}/good"))) == BLOB[:10]
    assert paths(server) == ["/good"]


def test_each_layer_has_urls_of_its_own(server: Registry, layers: ForeignLayers) -> None:
    read(layers, at(server, "/missing", "/good"))
    other = replace(at(server, "/missing", "/good"), digest=Digest.of(b"other"))
    assert read(layers, other) == BLOB[:10]
    assert paths(server) == ["/missing", "/good"] * 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_url_that_fails_for_now_is_asked_after_the_others(
    server: Registry, layers: ForeignLayers, status: int
) -> None:
    server.replies["/busy"] = Reply(b"", status)
    blob = at(server, "/busy", "/missing")
    with failing() as caught:
        read(layers, blob)
    assert type(caught[0]) is (TransientError if status == 500 else BusyError)
    assert caught[0].hint == LEAVE_OUT
    server.replies["/busy"] = ranged(BLOB)
    assert read(layers, blob) == BLOB[:10]
    assert paths(server) == ["/busy", "/missing", "/busy"]


def test_a_url_that_brought_bytes_is_asked_again_first(server: Registry, layers: ForeignLayers) -> None:
    blob = at(server, "/cut", "/good")
    span = {"Content-Range": f"bytes 0-{len(BLOB) - 1}/{len(BLOB)}"}
    server.replies["/cut"] = Reply(BLOB[:100_000], 206, span, length=len(BLOB))
    with pytest.raises(TransientError, match="before the end"):
        read(layers, blob, 0, len(BLOB))
    server.replies["/cut"] = ranged(BLOB)
    assert read(layers, blob) == BLOB[:10]
    assert paths(server) == ["/cut", "/cut"]


def test_a_server_without_ranges_is_asked_for_the_whole_layer(server: Registry, layers: ForeignLayers) -> None:
    server.replies["/whole"] = Reply(BLOB)
    blob = at(server, "/whole", "/good")
    with pytest.raises(RangeIgnoredError):
        read(layers, blob)
    assert read(layers, blob, 0, len(BLOB)) == BLOB
    assert paths(server) == ["/whole", "/whole"]


def test_when_no_url_is_of_use_each_is_named_with_its_reason(server: Registry, layers: ForeignLayers) -> None:
    blob = at(server, "/gone", "http://example.com/a?sig=SECRET", "/denied")
    server.replies["/gone"] = Reply(b"", 410)
    server.replies["/denied"] = Reply(b"<Error><Code>Denied</Code><Message>not you, SECRET</Message></Error>", 403)
    for _ in range(2):
        with failing() as caught:
            read(layers, blob)
        assert type(caught[0]) is TransferError
        assert str(caught[0]) == (
            f"layer {LAYER.digest} can't be fetched from where its manifest says: http://example.com/a: it isn't https;"
            f" {server.url}/gone: 127.0.0.1 answered 410 (Gone);"
            f" {server.url}/denied: 127.0.0.1 answered 403 (Denied: not you, ***)"
        )
        assert caught[0].hint == LEAVE_OUT
    assert paths(server) == ["/gone", "/denied"]


def test_a_wrong_size_everywhere_is_an_integrity_error(server: Registry, layers: ForeignLayers) -> None:
    server.replies["/larger"] = LARGER
    with pytest.raises(IntegrityError, match=f"{LAYER.digest} .* has 300001 bytes, the manifest promises 300000"):
        read(layers, at(server, "/missing", "/larger"))


def test_a_layer_without_urls_is_not_found(layers: ForeignLayers) -> None:
    with pytest.raises(NotFoundError, match=f"doesn't say where layer {LAYER.digest} is") as caught:
        read(layers, LAYER)
    assert caught.value.hint == LEAVE_OUT


def test_no_manifest_sends_us_to_thousands_of_hosts(server: Registry, layers: ForeignLayers) -> None:
    with pytest.raises(TransferError):
        read(layers, at(server, *("/0", "/0"), *(f"/{number}" for number in range(1000))))
    assert paths(server) == [f"/{number}" for number in range(8)]


def test_what_may_not_be_asked_is_said_before_the_first_read(server: Registry, layers: ForeignLayers) -> None:
    layers.expect(at(server, "/missing"))
    with pytest.raises(TransferError, match="it isn't https"):
        layers.expect(replace(LAYER, digest=Digest.of(b"other"), urls=("ftp://example.com/a",)))
    assert server.asked == []


def test_a_certificate_that_is_not_believed_is_said_with_both_ways_on(server: Registry) -> None:
    with ForeignLayers(trust=Trust(), connections=1, is_allowed=is_near) as layers, failing() as caught:
        read(layers, at(server, "/good"))
    assert "the certificate of 127.0.0.1" in str(caught[0])
    assert "--ca-file" in caught[0].hint
    assert caught[0].hint.endswith(f"; or {LEAVE_OUT}")
    assert server.asked == []


def test_a_ca_file_that_cannot_be_used_is_no_fault_of_the_urls(server: Registry, tmp_path: Path) -> None:
    with (
        ForeignLayers(trust=Trust(str(tmp_path / "none")), connections=1, is_allowed=is_near) as layers,
        pytest.raises(UsageError, match="the CA file"),
    ):
        read(layers, at(server, "/good", "/other"))


def test_many_threads_find_the_good_url_together(server: Registry, layers: ForeignLayers) -> None:
    server.replies["/busy"] = Reply(b"", 503)
    blob = at(server, "/missing", "/busy", "/good")

    def piece(start: int) -> bytes:
        return RetryPolicy(base=0.001).insist(lambda: read(layers, blob, start, start + 10_000), "it")

    with ThreadPoolExecutor(8) as pool:
        assert b"".join(pool.map(piece, range(0, len(BLOB), 10_000))) == BLOB
    assert paths(server)[-1] == "/good"


def test_two_failures_at_once_put_a_url_last_once(server: Registry, layers: ForeignLayers) -> None:
    both = threading.Barrier(2, timeout=10)

    def busy(asked: Asked) -> Reply:
        both.wait()
        return Reply(b"", 500)

    server.replies["/busy"] = busy
    blob = at(server, "/busy", "/good")
    with ThreadPoolExecutor(2) as pool:
        failures = [pool.submit(read, layers, blob).exception for _ in range(2)]
        assert [type(failure(10)) for failure in failures] == [TransientError, TransientError]
    assert read(layers, blob) == BLOB[:10]
    assert paths(server) == ["/busy", "/busy", "/good"]


def test_when_the_block_has_ended_nothing_is_asked_any_more(server: Registry, authority: Path) -> None:
    with ForeignLayers(trust=Trust(str(authority)), connections=1, is_allowed=is_near) as layers:
        read(layers, at(server, "/good"))
    with pytest.raises(TransferError, match=r"^the transfer was stopped$"):
        read(layers, at(server, "/good"))
    assert len(server.asked) == 1


def test_who_limits_requests_is_asked_for_each_host(server: Registry, authority: Path) -> None:
    ends = list[str]()

    class Counted(Unlimited):
        @contextmanager
        def turn(self, end: str) -> Iterator[Turn]:
            ends.append(end)
            yield self

    with ForeignLayers(trust=Trust(str(authority)), connections=1, turns=Counted(), is_allowed=is_near) as layers:
        read(layers, at(server, "/good"))
    assert ends == ["127.0.0.1"]


def test_abort_ends_a_read_and_blames_no_url(server: Registry, layers: ForeignLayers) -> None:
    asked, release = threading.Event(), threading.Event()

    def silent(asked_for: Asked) -> Reply:
        asked.set()
        release.wait(20)
        return Reply(b"", 404)

    server.replies["/silent"] = silent
    blob = at(server, "/silent", "/good")
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, layers, blob)
        assert asked.wait(10)
        layers.abort()
        error = reading.exception(5)
    release.set()
    assert str(error) == "the transfer was stopped"
    with pytest.raises(TransferError, match=r"^the transfer was stopped$"):
        read(layers, blob)
    assert paths(server) == ["/silent"]
