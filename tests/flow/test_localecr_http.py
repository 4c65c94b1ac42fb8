"""The local ECR's HTTP: connections that stay, bodies that don't fit, clients that go."""

from __future__ import annotations

import errno
import http.client
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import pytest

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from tests.localecr import Recorder, client, push_image, running

BLOB = bytes(range(256)) * 16_000


def connect(ecr: LocalEcr) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(ecr.endpoint).netloc, timeout=10)


def raw(ecr: LocalEcr, request: bytes) -> bytes:
    """Send bytes and return all that comes until the server closes."""
    address = urlsplit(ecr.endpoint)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def blob_path(ecr: LocalEcr) -> str:
    with client(ecr) as api:
        api.create_repository(repositoryName="app")
        digest = push_image(api, "app", layers=[BLOB]).layers[0]
        url = urlsplit(api.get_download_url_for_layer(repositoryName="app", layerDigest=digest)["downloadUrl"])
    return f"{url.path}?{url.query}"


def test_one_connection_serves_many_requests(ecr: LocalEcr) -> None:
    path = blob_path(ecr)
    connection = connect(ecr)
    connection.connect()
    kept = connection.sock
    for start in (0, 5, 1000):
        connection.request("GET", path, headers={"Range": f"bytes={start}-{start + 9}"})
        assert connection.getresponse().read() == BLOB[start : start + 10]
    for _ in range(2):
        connection.request("POST", "/", b"{}")
        assert connection.getresponse().read()
    connection.request("GET", path)
    assert connection.getresponse().read() == BLOB
    connection.request("HEAD", path)
    assert connection.getresponse().read() == b""
    assert connection.sock is kept
    connection.close()


def test_pipelined_requests_are_answered_in_order(ecr: LocalEcr) -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw(ecr, request * 3).count(b"HTTP/1.1 404 ") == 3


def test_an_empty_line_before_a_request_is_skipped(ecr: LocalEcr) -> None:
    assert raw(ecr, b"\r\nGET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("options", [b"close", b"Close", b"keep-alive, close", b"x\r\nConnection: close"])
def test_a_client_that_wants_to_close_is_the_last_to_be_answered(ecr: LocalEcr, options: bytes) -> None:
    request = b"GET / HTTP/1.1\r\nConnection: " + options + b"\r\n\r\n"
    answer = raw(ecr, request * 2)
    assert answer.count(b"HTTP/1.1 404 ") == 1
    assert b"Connection: close" in answer


def test_an_http_1_0_client_gets_a_closed_connection(ecr: LocalEcr) -> None:
    answer = raw(ecr, b"GET /x HTTP/1.0\r\n\r\nGET /x HTTP/1.0\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer


def test_what_is_not_there_is_404(ecr: LocalEcr) -> None:
    connection = connect(ecr)
    for method, path, status in [("GET", "/", 404), ("PUT", "/", 404), ("POST", "/x", 404), ("GET", "/x", 403)]:
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def test_a_body_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with running(tmp_path / "small", Settings(max_body=1000)) as ecr:
        connection = connect(ecr)
        connection.request("POST", "/", bytes(1_000_000), {"X-Amz-Target": "x"})
        answer = connection.getresponse()
        assert answer.status == 413
        assert answer.headers["Connection"] == "close"
        assert b"RequestEntityTooLargeException" in answer.read()
        connection.close()


def test_continue_is_said_only_when_the_body_is_wanted(tmp_path: Path) -> None:
    with running(tmp_path / "small", Settings(max_body=1000)) as ecr:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        wanted = raw(ecr, head % 2 + b"{}")
        assert wanted.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 ")
        unwanted = raw(ecr, head % 2000)
        assert unwanted.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_did_not_wait_for_continue_reads_the_answer_all_the_same(tmp_path: Path) -> None:
    with running(tmp_path / "small", Settings(max_body=1000)) as ecr:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        assert raw(ecr, head % 8_000_000 + bytes(8_000_000)).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501),
        (b'POST / HTTP/1.1\r\nTransfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400),
        (b"GET /\x1b HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.10\r\n\r\n", 400),
        (b"GET /?a#b HTTP/1.1\r\n\r\n", 400),
        (b"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + (b"X: " + b"y" * 7_000 + b"\r\n") * 10 + b"\r\n", 431),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nno colon\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"POST / HTTP/1.1\r\nX : y\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n folded: x\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"POST / HTTP/1.1\r\nX: y\r\n folded\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"POST / HTTP/1.1\r\nX: y\rContent-Length: 2\r\n\r\n{}", 400),
        (b"POST / HTTP/1.1\r\nX: \0\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"POST / HTTP/1.1\r\n: no name\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: user@name\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: name/path\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: name:99999\r\n\r\n", 400),
    ],
)
def test_a_request_whose_end_is_unclear_is_refused_and_closed(ecr: LocalEcr, head: bytes, status: int) -> None:
    answer = raw(ecr, head)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer


def test_clients_that_go_away_leave_no_trace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path / "data") as ecr:
        path = blob_path(ecr).encode()
        address = urlsplit(ecr.endpoint)
        for request in (
            b"",
            b"GET /",
            b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf",
            b"GET " + path + b" HTTP/1.1\r\nHost: " + address.netloc.encode() + b"\r\n\r\n",
        ):
            with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                connection.sendall(request)
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_idle_connections_do_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    with running(tmp_path / "data") as ecr:
        connection = connect(ecr)
        connection.request("GET", "/")
        connection.getresponse().read()
        began = monotonic()
    assert monotonic() - began < 5, "it waited for an idle client"
    assert connection.sock.recv(1) == b""
    connection.close()


def test_a_system_without_files_or_threads_is_waited_for(
    ecr: LocalEcr, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = iter([OSError(errno.EMFILE, "Too many open files")] * 2)
    threads = iter([RuntimeError("can't start new thread")])
    accept, start = socket.socket.accept, threading.Thread.start

    def accepting(listener: socket.socket) -> tuple[socket.socket, object]:
        for error in files:
            raise error
        return accept(listener)

    def starting(thread: threading.Thread) -> None:
        for error in threads:
            raise error
        start(thread)

    monkeypatch.setattr(socket.socket, "accept", accepting)
    monkeypatch.setattr(threading.Thread, "start", starting)
    began = monotonic()
    with suppress(ConnectionError):
        assert raw(ecr, b"GET / HTTP/1.1\r\n\r\n") == b""
    assert raw(ecr, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 404 ")
    assert monotonic() - began > 0.2, "it tried again without a pause"
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["no connection accepted"] * 3


def test_a_head_never_leaves_without_its_answer(ecr: LocalEcr, monkeypatch: pytest.MonkeyPatch) -> None:
    # botocore reads a success out of a 200 whose body is cut off, as a kill between two sends would leave it.
    sent: list[bytes] = []
    real = socket.socket.send

    def send(connection: socket.socket, data: bytes, flags: int = 0) -> int:
        sent.append(bytes(data))
        return real(connection, data, flags)

    with client(ecr) as api:
        monkeypatch.setattr(socket.socket, "send", send)
        api.describe_repositories()
    answers = [data for data in sent if data.startswith(b"HTTP/1.1 200 ")]
    assert [data.partition(b"\r\n\r\n")[2] for data in answers] == [b'{"repositories":[]}']


def test_a_stopped_server_gives_its_port_and_folder_free(tmp_path: Path) -> None:
    with running(tmp_path / "data") as ecr:
        port = urlsplit(ecr.endpoint).port or 0
        keys = ecr.credentials
    with LocalEcr(tmp_path / "data", ("127.0.0.1", port)) as again:
        assert again.credentials == keys


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("localhost", "localhost")])
def test_the_endpoint_is_an_address_that_answers(tmp_path: Path, host: str, shown: str) -> None:
    with LocalEcr(tmp_path / "data", (host, 0)) as ecr, client(ecr) as api:
        assert ecr.endpoint.startswith(f"http://{shown}:")
        assert api.describe_repositories()["repositories"] == []


def test_the_log_has_a_line_for_each_request_and_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "ecrdrag.localecr")
    with running(tmp_path / "data") as ecr:
        path = blob_path(ecr)
        connection = connect(ecr)
        connection.request("GET", path, headers={"Range": "bytes=0-9"})
        connection.getresponse().read()
        connection.close()
        raw(ecr, b"GET /\x9b2J HTTP/1.1\r\n\r\n")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("ecrdrag.localecr")]
    assert any(line.startswith("POST / 200 PutImage, ") for line in lines)
    assert any(f"GET {path.partition('?')[0]} 206 blob bytes 0-9/{len(BLOB)}, 10 bytes" in line for line in lines)
    assert any(line.startswith("GET /?2J 403 ") for line in lines)
    assert "Signature" not in "".join(lines)
    assert ecr.credentials[1] not in "".join(lines)


def answering(answer: Answer) -> Callable[[Request, Handler], Answer]:
    return lambda request, handler: answer


def test_a_layer_around_the_handler_can_answer_for_it(tmp_path: Path) -> None:
    recorder = Recorder()
    with running(tmp_path / "data", recorder=recorder) as ecr:
        path = blob_path(ecr)
        assert recorder.count("PutImage") == 1

        for sent in (1000, 0):
            short = Answer(200, {"Content-Length": str(len(BLOB))}, BLOB[:sent])
            recorder.intercept = answering(short)
            connection = connect(ecr)
            connection.request("GET", path)
            with pytest.raises(http.client.IncompleteRead) as caught:
                connection.getresponse().read()
            assert len(caught.value.partial) == sent
            connection.close()


def test_a_handler_that_fails_is_answered_with_500(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    with running(tmp_path / "data", recorder=recorder) as ecr:

        def fail(request: Request, handler: Handler) -> Answer:
            raise ValueError("a bug")

        recorder.intercept = fail
        connection = connect(ecr)
        connection.request("GET", "/")
        assert connection.getresponse().status == 500
        connection.close()
    assert "a bug" in caplog.text
