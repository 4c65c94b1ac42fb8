"""How a body gets into memory: from a socket of http.client's, through urllib3, as the transport has it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import urllib3

from ecrdrag.errors import StalledError
from ecrdrag.registry.body import BUFFER_SIZE, Body, Patience
from tests.http_script import Handler, Reply, Request, Script, cut, serving

BLOB = random.Random(5).randbytes(3 * BUFFER_SIZE + 77)
TIMEOUT = 5.0  # seconds; no test waits for it unless it fails
PATIENT = Patience("host", 1000.0, 0.0)


@contextmanager
def pool_of(script: Script) -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(maxsize=1, timeout=TIMEOUT, retries=False) as pool:
        yield pool


@contextmanager
def body_of(pool: urllib3.PoolManager, script: Script, stop: int = len(BLOB)) -> Iterator[Body]:
    headers = {"Range": f"bytes=0-{stop - 1}"}
    raw = pool.request("GET", script.url, headers=headers, preload_content=False, decode_content=False)
    try:
        yield Body(raw)
    finally:  # as requests does it
        raw.close()
        raw.release_conn()


def read(body: Body, missing: int, patience: Patience = PATIENT) -> Iterator[bytes]:
    """Give copies of the views until all is there, or the body ends."""
    while missing and (view := body.read(missing, patience)):
        missing -= len(view)
        yield bytes(view)


@pytest.mark.parametrize(
    "size", [1, 2, 3, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1, BUFFER_SIZE + 2, 2 * BUFFER_SIZE + 1, len(BLOB)]
)
def test_a_body_of_any_size_comes_whole_and_its_connection_is_used_again(size: int) -> None:
    with serving(BLOB) as script, pool_of(script) as pool:
        for _ in range(3):
            with body_of(pool, script, size) as body:
                views = list(read(body, size))
            assert b"".join(views) == BLOB[:size]
            assert all(0 < len(view) <= BUFFER_SIZE for view in views)
    assert len(script.sockets) == 1


def test_each_thread_has_one_buffer_for_all_its_bodies() -> None:
    def buffers() -> set[int]:
        found = set()
        with serving(BLOB) as script, pool_of(script) as pool:
            for _ in range(2):
                with body_of(pool, script) as body:
                    missing = len(BLOB)
                    while missing:
                        view = body.read(missing, PATIENT)
                        missing -= len(view)
                        found.add(id(view.obj))
                        assert isinstance(view.obj, bytearray)
                        assert len(view.obj) == BUFFER_SIZE
        return found

    with ThreadPoolExecutor(2) as threads:
        together = threading.Barrier(2)
        first, second = threads.map(lambda _: (buffers(), together.wait(20))[0], range(2))
    assert len(first) == len(second) == 1
    assert first != second


@pytest.mark.parametrize("count", [0, 1, 1000, BUFFER_SIZE + 5])
def test_a_body_that_is_cut_ends_behind_what_came(count: int) -> None:
    with serving(BLOB, [cut(count)]) as script, pool_of(script) as pool, body_of(pool, script) as body:
        assert b"".join(read(body, len(BLOB))) == BLOB[:count]
        assert not body.read(len(BLOB) - count, PATIENT), "it stays at its end"


def test_a_body_that_is_cut_before_its_last_byte_is_an_error() -> None:
    with serving(BLOB, [cut(99)]) as script, pool_of(script) as pool, body_of(pool, script, 100) as body:
        views = read(body, 100)
        with pytest.raises(urllib3.exceptions.HTTPError):
            next(views)


@pytest.mark.parametrize("length", [0, 1, 2, 700])
def test_a_body_that_is_shorter_than_the_range_ends_at_once(length: int) -> None:
    def short(handler: Handler, request: Request) -> None:
        handler.answer(206, BLOB[:length], Content_Range=f"bytes 0-999/{len(BLOB)}")

    begun = time.monotonic()
    with serving(BLOB, [short]) as script, pool_of(script) as pool, body_of(pool, script, 1000) as body:
        assert b"".join(read(body, 1000)) == BLOB[:length]
        assert not body.read(1000 - length, PATIENT)
    assert time.monotonic() - begun < TIMEOUT / 2


def test_a_body_that_is_longer_than_the_range_is_not_read_to_its_end() -> None:
    def long(handler: Handler, request: Request) -> None:
        handler.answer(206, BLOB[:2000], Content_Range=f"bytes 0-999/{len(BLOB)}")

    with serving(BLOB, [long]) as script, pool_of(script) as pool:
        for expected in (1, 2):
            with body_of(pool, script, 1000) as body:
                assert b"".join(read(body, 1000)) == BLOB[:1000]
            assert len(script.requests) == expected
    assert len(script.sockets) == 2, "what is left of it must not be taken for the next reply"


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    def endless(handler: Handler, request: Request) -> None:
        handler.send_response(206)
        handler.end_headers()
        handler.wfile.write(BLOB[:1000])
        handler.close_connection = True

    for asked in (1000, 1500, 1001):
        with serving(BLOB, [endless]) as script, pool_of(script) as pool, body_of(pool, script, asked) as body:
            assert b"".join(read(body, asked)) == BLOB[:1000]


def test_what_the_server_says_about_compression_changes_nothing() -> None:
    def compressed(handler: Handler, request: Request) -> None:
        handler.answer(206, BLOB[: request.stop], Content_Encoding="gzip")

    with serving(BLOB, [compressed]) as script, pool_of(script) as pool, body_of(pool, script, 5000) as body:
        assert b"".join(read(body, 5000)) == BLOB[:5000]


def in_transfer_chunks(*pieces: bytes, last: bool = True, wait: bool = False) -> Reply:
    def reply(handler: Handler, request: Request) -> None:
        handler.send_response(206)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if wait:
            handler.script.release.wait(20)
        handler.wfile.write(b"0\r\n\r\n" if last else b"")
        handler.close_connection = not last

    return reply


def test_a_body_in_transfer_chunks_comes_whole_too() -> None:
    pieces = [BLOB[:1], BLOB[1:70_000], BLOB[70_000:]]
    reply = in_transfer_chunks(*pieces)
    with serving(BLOB, [reply]) as script, pool_of(script) as pool, body_of(pool, script) as body:
        views = list(read(body, len(BLOB)))
    assert b"".join(views) == BLOB
    assert max(map(len, views)) <= BUFFER_SIZE


def test_a_body_in_transfer_chunks_that_ends_early_ends_with_what_came() -> None:
    reply = in_transfer_chunks(BLOB[:500])
    with serving(BLOB, [reply]) as script, pool_of(script) as pool, body_of(pool, script) as body:
        assert b"".join(read(body, len(BLOB))) == BLOB[:500]


def test_a_body_in_transfer_chunks_that_is_cut_is_an_error() -> None:
    reply = in_transfer_chunks(BLOB[:500], last=False)
    with serving(BLOB, [reply]) as script, pool_of(script) as pool, body_of(pool, script) as body:
        views = read(body, len(BLOB))
        assert next(views) == BLOB[:500]
        with pytest.raises(urllib3.exceptions.HTTPError):
            next(views)


@pytest.mark.skipif(not hasattr(urllib3.HTTPResponse, "read1"), reason="urllib3 1 reads all or nothing")
def test_what_has_come_in_transfer_chunks_is_not_kept_waiting_for_more() -> None:
    reply = in_transfer_chunks(BLOB[:10], wait=True)
    with serving(BLOB, [reply]) as script, pool_of(script) as pool, body_of(pool, script) as body:
        assert bytes(body.read(len(BLOB), PATIENT)) == BLOB[:10]
        script.release.set()


def test_a_body_tells_how_long_it_waited_for_how_much() -> None:
    told: list[tuple[float, int]] = []

    class Told(Patience):
        def waited(self, seconds: float, came: int) -> None:
            told.append((seconds, came))

    def late(handler: Handler, request: Request) -> None:
        time.sleep(0.01)
        handler.send_response(206)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(BLOB[:40])
        time.sleep(0.01)
        handler.wfile.write(BLOB[40:100])

    begun = time.monotonic()
    with serving(BLOB, [late]) as script, pool_of(script) as pool, body_of(pool, script, 100) as body:
        time.sleep(0.005)
        assert b"".join(read(body, 100, Told("host", 1.0, 1.0))) == BLOB[:100]
    assert sum(came for _, came in told) == 100
    assert 0 < sum(seconds for seconds, _ in told) < time.monotonic() - begun - 0.014, "the rest was spent elsewhere"


def test_patience_ends_when_too_little_came_in_its_time() -> None:
    patience = Patience("host", 30.0, 1024.0)
    patience.waited(29.9, 0)
    with pytest.raises(StalledError, match=r"^host sent only 30719 bytes in 30 s$") as caught:
        patience.waited(0.1, 30_719)
    assert "smaller -j" in caught.value.hint


def test_patience_begins_anew_with_every_span_in_which_enough_came() -> None:
    patience = Patience("host", 30.0, 1024.0)
    patience.waited(30.0, 30_720)
    for _ in range(29):
        patience.waited(1.0, 0)
    with pytest.raises(StalledError, match="only 0 bytes"):
        patience.waited(1.0, 0)
    generous = Patience("host", 30.0, 1024.0)
    generous.waited(10.0, 10**9)
    generous.waited(20.0, 0)
    with pytest.raises(StalledError):
        generous.waited(30.0, 1000)  # what came in the span before doesn't count


def test_patience_with_a_line_that_is_slow_but_alive_never_ends() -> None:
    patience = Patience("host", 30.0, 1024.0)
    for _ in range(1000):
        patience.waited(1.0, 1024)
