"""Requests whose bodies come in chunks, as docker push sends its layers: streamed, limited, refused where broken."""

from __future__ import annotations

import hashlib
import http.client
import logging
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from tests.localecr import Recorder, running

MEBIBYTE = 1024 * 1024
HEAD = b"PUT /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"


class Hashing:
    """A handler that reads its body in blocks and answers with its digest."""

    def __init__(self, size: int = MEBIBYTE) -> None:
        self.size = size
        self.blocks: list[int] = []
        self.came = threading.Semaphore(0)

    def __call__(self, request: Request, handler: Handler) -> Answer:
        digest = hashlib.sha256()
        for block in request.body.blocks(self.size):
            digest.update(block)
            self.blocks.append(len(block))
            self.came.release()
        return Answer(200, {}, digest.hexdigest().encode())


@contextmanager
def taking(tmp_path: Path, settings: Settings | None = None) -> Iterator[tuple[LocalEcr, Hashing]]:
    recorder, hashing = Recorder(), Hashing()
    recorder.intercept = hashing
    with running(tmp_path / "data", settings, recorder=recorder) as ecr:
        yield ecr, hashing


def connected(ecr: LocalEcr) -> socket.socket:
    address = urlsplit(ecr.endpoint)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=10)


def rest(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def raw(ecr: LocalEcr, request: bytes, *, close: bool = True) -> bytes:
    """Send bytes and return all that comes until the server closes."""
    with connected(ecr) as connection:
        connection.sendall(request)
        if close:
            connection.shutdown(socket.SHUT_WR)
        return rest(connection)


def test_chunked_and_counted_bodies_follow_each_other_on_one_connection(tmp_path: Path) -> None:
    with taking(tmp_path) as (ecr, _):
        connection = http.client.HTTPConnection(urlsplit(ecr.endpoint).netloc, timeout=10)
        connection.connect()
        kept = connection.sock
        for number in range(3):
            pieces = [bytes([number]) * size for size in (1, 70_000, 300_000)]
            whole = b"".join(pieces)
            connection.request("PUT", "/upload", iter(pieces), encode_chunked=True)
            assert connection.getresponse().read() == hashlib.sha256(whole).hexdigest().encode()
            connection.request("PUT", "/upload", whole)
            assert connection.getresponse().read() == hashlib.sha256(whole).hexdigest().encode()
        assert connection.sock is kept
        connection.close()


def test_what_has_come_is_not_kept_waiting_for_more(tmp_path: Path) -> None:
    with taking(tmp_path) as (ecr, hashing), connected(ecr) as connection:
        connection.sendall(HEAD + b"\r\n400\r\nab")
        assert hashing.came.acquire(timeout=10)
        connection.sendall(bytes(1022))
        while sum(hashing.blocks) < 1024:
            assert hashing.came.acquire(timeout=10), "it waits for the end of the chunk's line"
        connection.sendall(b"\r\n0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_large_body_passes_through_little_memory(tmp_path: Path) -> None:
    piece = bytes(MEBIBYTE)
    with taking(tmp_path) as (ecr, hashing):
        connection = http.client.HTTPConnection(urlsplit(ecr.endpoint).netloc, timeout=10)
        tracemalloc.start()
        try:
            connection.request("PUT", "/upload", (piece for _ in range(64)), encode_chunked=True)
            assert connection.getresponse().status == 200
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            connection.close()
    assert sum(hashing.blocks) == 64 * MEBIBYTE
    assert max(hashing.blocks) <= hashing.size
    assert peak < 8 * MEBIBYTE


def test_the_api_takes_a_body_in_chunks_up_to_the_limit(tmp_path: Path) -> None:
    with running(tmp_path / "data", Settings(max_body=1000)) as ecr:
        call = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert raw(ecr, call + b"3e8\r\n" + bytes(1000) + b"\r\n0\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        refused = raw(ecr, call + b"3e9\r\n" + bytes(1001) + b"\r\n0\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 413 ")
        assert b"RequestEntityTooLargeException" in refused
        endless = raw(ecr, call + b"ffffffff\r\n" + bytes(5000), close=False)
        assert endless.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close" in endless


def test_continue_is_said_when_a_chunked_body_is_wanted(tmp_path: Path) -> None:
    with taking(tmp_path) as (ecr, _), connected(ecr) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"2\r\n{}\r\n0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_chunked_body_that_nobody_wants_is_not_asked_for(ecr: LocalEcr) -> None:
    answer = raw(ecr, HEAD + b"Expect: 100-continue\r\n\r\n", close=False)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"Connection: close" in answer


def test_a_chunked_body_that_nobody_wants_is_taken_so_that_the_answer_is_seen(ecr: LocalEcr) -> None:
    sent = HEAD + b"\r\n" + (b"100000\r\n" + bytes(MEBIBYTE) + b"\r\n") * 8 + b"0\r\n\r\n"
    answer = raw(ecr, sent)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"Connection: close" in answer


@pytest.mark.parametrize("broken", [b"x\r\n", b"2\r\n{}0\r\n\r\n", b"1" * 16 + b"\r\n", b"0\r\nno trailer\r\n\r\n"])
@pytest.mark.parametrize("hides", [False, True])
def test_a_body_that_breaks_is_400_whatever_the_handler_makes_of_it(
    tmp_path: Path, broken: bytes, hides: bool, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, hashing = Recorder(), Hashing()

    def hiding(request: Request, handler: Handler) -> Answer:
        try:
            return hashing(request, handler)
        except Exception:  # noqa: BLE001 - a handler that makes an answer of everything
            return Answer(500, {}, b"the local ECR failed")

    recorder.intercept = hiding if hides else hashing
    with running(tmp_path / "data", recorder=recorder) as ecr:
        answer = raw(ecr, HEAD + b"\r\n" + broken + b"GET / HTTP/1.1\r\n\r\n", close=False)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize("part", [b"", b"5", b"5\r\nabc", b"5\r\nabcde", b"5\r\nabcde\r\n0\r\n"])
def test_a_client_that_leaves_inside_its_body_is_not_answered(
    tmp_path: Path, part: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with taking(tmp_path) as (ecr, _):
        assert raw(ecr, HEAD + b"\r\n" + part) == b""
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
