"""Clients that are slow, silent or too many, and what a stop does to those that are busy."""

from __future__ import annotations

import hashlib
import http.client
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import urlsplit

import pytest

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.localecr.web.files import FileSlice
from ecrdrag.localecr.web.server import HttpServer
from tests.localecr import Recorder, running, served

MEBIBYTE = 1024 * 1024
LARGE = 16 * MEBIBYTE
SLOWLY_READ = MEBIBYTE
PAUSE = 0.005
LONG = 20.0  # seconds; no test waits for it unless it fails


def connected(endpoint: str, *, buffer: int = 0) -> socket.socket:
    address = urlsplit(endpoint)
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(LONG)
    connection.connect((address.hostname, address.port))
    return connection


def rest(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes or resets."""
    found = b""
    with suppress(ConnectionError):
        while data := connection.recv(65536):
            found += data
    return found


def resting(endpoint: str) -> socket.socket:
    """Connect, and have a request answered: a connection that the server knows, and that is idle."""
    connection = connected(endpoint)
    ask(connection)
    return connection


def ask(connection: socket.socket) -> None:
    """Have a request answered."""
    connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert b"\r\n\r\n" in connection.recv(1000)


def drip(connection: socket.socket, data: bytes) -> None:
    """Send byte by byte until all is sent or the server has enough."""
    with suppress(ConnectionError):
        for number in range(len(data)):
            connection.sendall(data[number : number + 1])
            sleep(PAUSE)


def reading(request: Request, handler: Handler) -> Answer:
    return Answer(200, {}, hashlib.sha256(request.body.read_all(LARGE)).hexdigest().encode())


@contextmanager
def answering(
    tmp_path: Path, answer: Callable[[Request, Handler], Answer], settings: Settings | None = None
) -> Iterator[LocalEcr]:
    recorder = Recorder()
    recorder.intercept = answer
    with running(tmp_path / "data", settings, recorder=recorder) as ecr:
        yield ecr


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_client_that_wants_nothing_is_hung_up_on_without_a_word(tmp_path: Path, sent: bytes) -> None:
    with running(tmp_path / "data", Settings(idle_timeout=0.01)) as ecr, connected(ecr.endpoint) as connection:
        connection.sendall(sent)
        answer = rest(connection)
    assert answer.count(b"HTTP/1.1 ") == answer.count(b"HTTP/1.1 404 ") == (sent != b"")


@pytest.mark.parametrize(
    "sent",
    [
        b"G",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf",
    ],
)
def test_a_client_that_falls_silent_inside_a_request_is_told_so(tmp_path: Path, sent: bytes) -> None:
    settings = Settings(idle_timeout=0.01)
    with answering(tmp_path, reading, settings) as ecr, connected(ecr.endpoint) as connection:
        connection.sendall(sent)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in answer


def refused_while_dripping(connection: socket.socket, data: bytes) -> bytes:
    """Send byte by byte, and return the answer that comes before all is sent."""
    began = monotonic()
    dripping = threading.Thread(target=drip, args=(connection, data))
    dripping.start()
    answer = connection.recv(1000)
    assert monotonic() - began < len(data) * PAUSE / 2
    connection.shutdown(socket.SHUT_RDWR)
    dripping.join()
    return answer


def test_a_head_must_be_whole_in_its_time_however_often_a_byte_comes(tmp_path: Path) -> None:
    with running(tmp_path / "data", Settings(head_timeout=0.05)) as ecr, connected(ecr.endpoint) as connection:
        answer = refused_while_dripping(connection, b"GET / HTTP/1.1\r\nX: " + bytes(5000))
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_the_time_for_a_head_begins_with_its_first_byte(tmp_path: Path) -> None:
    with running(tmp_path / "data", Settings(head_timeout=0.02)) as ecr, connected(ecr.endpoint) as connection:
        for _ in range(6):
            sleep(0.01)
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("head", [b"Content-Length: 5000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1388\r\n"])
def test_a_body_that_drips_is_given_up(tmp_path: Path, head: bytes) -> None:
    settings = Settings(idle_timeout=0.05, min_rate=100_000)
    with answering(tmp_path, reading, settings) as ecr, connected(ecr.endpoint) as connection:
        connection.sendall(b"PUT / HTTP/1.1\r\n" + head)
        assert refused_while_dripping(connection, bytes(5000)).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_is_slow_but_alive_is_waited_for(tmp_path: Path) -> None:
    settings = Settings(idle_timeout=0.1, min_rate=10)
    with answering(tmp_path, reading, settings) as ecr, connected(ecr.endpoint) as connection:
        connection.sendall(b"PUT / HTTP/1.1\r\nConnection: close\r\nContent-Length: 60\r\n\r\n")
        began = monotonic()
        drip(connection, bytes(60))
        assert monotonic() - began > 2 * settings.idle_timeout
        assert rest(connection).startswith(b"HTTP/1.1 200 ")


def test_a_handler_that_takes_its_time_is_no_slow_client(tmp_path: Path) -> None:
    def slowly(request: Request, handler: Handler) -> Answer:
        for _ in request.body.blocks(1000):
            sleep(PAUSE)
        return Answer(200, {})

    settings = Settings(idle_timeout=0.05, min_rate=1_000_000)
    with answering(tmp_path, slowly, settings) as ecr, connected(ecr.endpoint) as connection:
        connection.sendall(b"PUT / HTTP/1.1\r\nConnection: close\r\nContent-Length: 40000\r\n\r\n" + bytes(40_000))
        assert rest(connection).startswith(b"HTTP/1.1 200 ")


def large(tmp_path: Path, *, as_file: bool) -> Callable[[Request, Handler], Answer]:
    path = tmp_path / "large"
    path.write_bytes(bytes(LARGE))
    body = FileSlice(path, 0, LARGE) if as_file else bytes(LARGE)
    return lambda request, handler: Answer(200, {}, body)


@pytest.mark.parametrize("as_file", [False, True])
def test_a_client_that_does_not_read_its_answer_is_given_up(tmp_path: Path, as_file: bool) -> None:
    settings = Settings(idle_timeout=0.02, max_connections=1)
    answer = large(tmp_path, as_file=as_file)
    with (
        answering(tmp_path, answer, settings) as ecr,
        connected(ecr.endpoint, buffer=4096) as stalled,
        connected(ecr.endpoint) as other,
    ):
        stalled.sendall(b"GET / HTTP/1.1\r\n\r\n")
        other.sendall(b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert rest(other).startswith(b"HTTP/1.1 200 "), "there is no room until the stalled one has gone"
        assert len(rest(stalled)) < MEBIBYTE, "the system goes on with what it was given"


@pytest.mark.parametrize("as_file", [False, True])
def test_a_client_that_reads_slowly_gets_all_of_it(tmp_path: Path, as_file: bool) -> None:
    # Less than the system's buffer holds comes free in a span, so that the server can't send anything for long.
    settings = Settings(idle_timeout=0.2, min_rate=1000)
    answer = large(tmp_path, as_file=as_file)
    with answering(tmp_path, answer, settings) as ecr, connected(ecr.endpoint, buffer=16384) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        came, began = 0, monotonic()
        while came < LARGE:
            data = connection.recv(MEBIBYTE if came > SLOWLY_READ else 8192)
            assert data, f"it was given up after {came} bytes"
            came += len(data)
            if came < SLOWLY_READ:
                sleep(PAUSE)
        assert monotonic() - began > 3 * settings.idle_timeout


def test_for_one_client_more_the_one_that_is_idle_for_the_longest_must_go(tmp_path: Path) -> None:
    settings = Settings(max_connections=2, idle_timeout=12)
    with running(tmp_path / "data", settings) as ecr, resting(ecr.endpoint) as idle, resting(ecr.endpoint) as used:
        idle.settimeout(PAUSE)
        ask(used)
        with connected(ecr.endpoint) as third:
            ended = False
            while not ended:
                ask(used)
                with suppress(TimeoutError):
                    ended = idle.recv(1) == b""
            ask(third)
            ask(used)


def test_a_client_too_many_waits_for_those_that_are_busy(tmp_path: Path) -> None:
    busy, go_on = threading.Semaphore(0), threading.Event()

    def waiting(request: Request, handler: Handler) -> Answer:
        busy.release()
        assert go_on.wait(LONG)
        return Answer(200, {})

    with answering(tmp_path, waiting, Settings(max_connections=3)) as ecr:
        before = threading.active_count()
        clients = [connected(ecr.endpoint) for _ in range(30)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        for _ in range(3):
            assert busy.acquire(timeout=LONG)
        assert not busy.acquire(timeout=PAUSE)
        assert threading.active_count() == before + 3
        go_on.set()
        for client in clients:
            assert rest(client).startswith(b"HTTP/1.1 200 ")
            client.close()


def test_an_upload_in_progress_is_finished_when_the_server_stops(tmp_path: Path) -> None:
    with answering(tmp_path, reading, Settings(grace=LONG)) as ecr:
        connection, stopping = connected(ecr.endpoint), threading.Event()
        connection.sendall(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        idle = resting(ecr.endpoint)

        def finish() -> None:
            stopping.set()
            assert idle.recv(1) == b"", "idle connections end first"
            connection.sendall(b"body")

        finishing = threading.Thread(target=finish)
        finishing.start()
        assert stopping.wait(LONG)
    finishing.join()
    answer = rest(connection)
    connection.close()
    idle.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" in answer
    assert answer.endswith(hashlib.sha256(b"body").hexdigest().encode())


@pytest.mark.parametrize("limit_rate", [None, 100 * MEBIBYTE])
def test_a_download_in_progress_is_finished_when_the_server_stops(tmp_path: Path, limit_rate: float | None) -> None:
    settings = Settings(grace=LONG, limit_rate=limit_rate)
    with answering(tmp_path, large(tmp_path, as_file=True), settings) as ecr:
        connection = http.client.HTTPConnection(urlsplit(ecr.endpoint).netloc, timeout=LONG)
        connection.request("GET", "/blob")
        answer = connection.getresponse()
        found: list[int] = []
        finishing = threading.Thread(target=lambda: found.append(len(answer.read())))
        finishing.start()
    finishing.join()
    connection.close()
    assert found == [LARGE]


def test_a_request_that_comes_when_its_connection_was_ended_is_not_begun() -> None:
    server = HttpServer(("127.0.0.1", 0), lambda request: Answer(200, {}), Settings())
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server.rest(ours)
        assert server.resume(ours)
        server.rest(ours)
        server.stop()
        assert not server.resume(ours)
        server.rest(ours)
        assert not server.resume(ours)
        assert theirs.recv(1) == b""


def test_what_takes_longer_than_the_grace_is_cut_off(tmp_path: Path) -> None:
    with answering(tmp_path, large(tmp_path, as_file=True), Settings(grace=0.05)) as ecr:
        stalled = connected(ecr.endpoint, buffer=4096)
        stalled.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stalled.recv(9) == b"HTTP/1.1 "
        began = monotonic()
    assert 0.05 <= monotonic() - began < 5
    assert len(rest(stalled)) < LARGE
    stalled.close()


def test_an_interrupt_ends_requests_in_progress_at_once(tmp_path: Path) -> None:
    before, began = threading.active_count(), monotonic()
    with (  # noqa: PT012 - leaving it is what raises
        pytest.raises(KeyboardInterrupt),
        answering(tmp_path, reading, Settings(grace=LONG)) as ecr,
    ):
        held, idle = connected(ecr.endpoint), resting(ecr.endpoint)
        held.sendall(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert held.recv(100).startswith(b"HTTP/1.1 100 ")

        def interrupt() -> None:
            assert idle.recv(1) == b""
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
    interrupting.join()
    assert rest(held) == b""
    assert threading.active_count() == before
    assert monotonic() - began < LONG / 2
    held.close()
    idle.close()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_serve_at_once(tmp_path: Path, second: int) -> None:
    with served(tmp_path / "data") as server, connected(server.endpoint) as held, resting(server.endpoint) as idle:
        held.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n")
        assert held.recv(100).startswith(b"HTTP/1.1 100 ")
        began = monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        server.process.send_signal(second)
        _, said = server.process.communicate(timeout=LONG)
        assert monotonic() - began < 5, "it waited for its grace to end"
    assert server.process.returncode == 130
    assert "Traceback" not in said
