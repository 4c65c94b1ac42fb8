"""The local ECR's faults, each as a client meets it on the wire."""

from __future__ import annotations

import http.client
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.faults import Fault, FaultLayer, FaultScript
from tests.localecr import ACCOUNT, client, digest_of, push_image

BLOB = os.urandom(50_000)
# Seconds; the server's patience with requests in progress is longer.
PROMPT = 1.4


@dataclass
class Bad:
    """A local ECR with one layer in it, and the faults that it plays."""

    ecr: LocalEcr
    layer: FaultLayer
    path: str

    def play(self, *blob: Fault, **operations: Fault) -> None:
        self.layer.play(FaultScript(blob, operations={name: (fault,) for name, fault in operations.items()}))

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.ecr.endpoint).netloc, timeout=10)

    def ask(self, connection: http.client.HTTPConnection, range_: str = "bytes=1000-4999") -> None:
        connection.request("GET", self.path, headers={"Range": range_})


def bad_ecr(data: Path, settings: Settings | None = None) -> tuple[LocalEcr, FaultLayer]:
    layer = FaultLayer()
    return LocalEcr(data, settings=settings, wrap=layer.wrap), layer


def stocked_path(ecr: LocalEcr) -> str:
    with client(ecr) as api:
        api.create_repository(repositoryName="app")
        digest = push_image(api, "app", tag="1", layers=[BLOB]).layers[0]
        url = urlsplit(api.get_download_url_for_layer(repositoryName="app", layerDigest=digest)["downloadUrl"])
    return f"{url.path}?{url.query}"


@pytest.fixture(scope="module")
def served_badly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bad]:
    ecr, layer = bad_ecr(tmp_path_factory.mktemp("bad"))
    with ecr:
        yield Bad(ecr, layer, stocked_path(ecr))


@pytest.fixture
def bad(served_badly: Bad) -> Iterator[Bad]:
    yield served_badly
    assert served_badly.layer.left == 0, "a fault was not met"


@pytest.fixture
def connection(bad: Bad) -> Iterator[http.client.HTTPConnection]:
    made = bad.connect()
    yield made
    made.close()


def answer_to(bad: Bad, connection: http.client.HTTPConnection) -> tuple[http.client.HTTPResponse, bytes]:
    bad.ask(connection)
    answer = connection.getresponse()
    return answer, answer.read()


def test_a_cut_answer_is_announced_whole_and_closed_early(bad: Bad, connection: http.client.HTTPConnection) -> None:
    bad.play(Fault("cut", 100))
    bad.ask(connection)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Length"]) == (206, "4000")
    assert answer.headers["Content-Range"] == "bytes 1000-4999/50000"
    assert "Connection" not in answer.headers
    with pytest.raises(http.client.IncompleteRead) as caught:
        answer.read()
    assert caught.value.partial == BLOB[1000:1100]


def test_a_cut_behind_the_end_cuts_nothing(bad: Bad, connection: http.client.HTTPConnection) -> None:
    bad.play(Fault("cut", 4000), Fault("reset", 4000), Fault("stall", 4001))
    for _ in range(4):
        assert answer_to(bad, connection)[1] == BLOB[1000:5000]


@pytest.mark.parametrize(("fault", "most"), [(Fault("reset", 100), 100), (Fault("drop"), 0)])
def test_a_reset_is_an_error_of_the_connection(
    bad: Bad, connection: http.client.HTTPConnection, fault: Fault, most: int
) -> None:
    bad.play(fault)
    bad.ask(connection)
    arrived = b""
    with pytest.raises(ConnectionResetError):  # noqa: PT012 - the error may come with any of them
        while data := connection.sock.recv(65536):
            arrived += data
    body = arrived.partition(b"\r\n\r\n")[2]
    assert len(body) <= most
    assert BLOB[1000:5000].startswith(body)
    assert bool(arrived) <= bool(most)


def silent(bad: Bad, connection: http.client.HTTPConnection, fault: Fault) -> bytes:
    """Return what comes before the silence."""
    bad.play(fault)
    bad.ask(connection)
    arrived = b""
    while fault.number and arrived.partition(b"\r\n\r\n")[2] != BLOB[1000 : 1000 + fault.number]:
        arrived += connection.sock.recv(65536)
    connection.sock.settimeout(0.01)
    with pytest.raises(TimeoutError):
        connection.sock.recv(1)
    return arrived


@pytest.mark.parametrize("fault", [Fault("stall", 100), Fault("hang")])
def test_a_stalled_answer_is_silent_until_the_client_leaves(
    bad: Bad, connection: http.client.HTTPConnection, fault: Fault
) -> None:
    assert silent(bad, connection, fault).startswith(b"HTTP/1.1 206 " if fault.number else b"")
    connection.sock.settimeout(10)
    connection.sock.shutdown(socket.SHUT_WR)
    assert connection.sock.recv(1) == b""


@pytest.mark.parametrize("fault", [Fault("stall", 100), Fault("hang"), Fault("trickle", 1)])
def test_no_fault_keeps_the_server_from_stopping(tmp_path: Path, fault: Fault) -> None:
    ecr, layer = bad_ecr(tmp_path, Settings(grace=0.1))
    with ecr:
        held = Bad(ecr, layer, stocked_path(ecr))
        connection = held.connect()
        if fault.name == "trickle":
            held.play(fault)
            held.ask(connection)
            assert connection.sock.recv(9) == b"HTTP/1.1 "
        else:
            silent(held, connection, fault)
        began = monotonic()
    connection.close()
    assert monotonic() - began < PROMPT, "it waited for those who would have waited for it"


def test_silence_ends_after_the_idle_timeout(tmp_path: Path) -> None:
    ecr, layer = bad_ecr(tmp_path, Settings(idle_timeout=0.01))
    with ecr:
        connection = http.client.HTTPConnection(urlsplit(ecr.endpoint).netloc, timeout=10)
        layer.play(FaultScript(blob=(Fault("hang"),)))
        connection.request("GET", f"/prod-us-west-2-starport-layer-bucket/{ACCOUNT}/{'0' * 64}")
        assert connection.sock.recv(1) == b""
        connection.close()


def test_a_trickle_is_whole_in_the_end(bad: Bad, connection: http.client.HTTPConnection) -> None:
    bad.play(Fault("trickle", 400_000))
    began = monotonic()
    assert answer_to(bad, connection)[1] == BLOB[1000:5000]
    assert monotonic() - began >= 0.01


def test_whole_answers_a_range_with_the_blob(bad: Bad, connection: http.client.HTTPConnection) -> None:
    bad.play(Fault("whole"))
    answer, body = answer_to(bad, connection)
    assert (answer.status, answer.headers["Content-Range"], body) == (200, None, BLOB)


@pytest.mark.parametrize(
    ("fault", "place"),
    [(Fault("shift", 5), "bytes 1005-5004/50000"), (Fault("total", 5), "bytes 1000-4999/50005")],
)
def test_a_content_range_can_lie(bad: Bad, connection: http.client.HTTPConnection, fault: Fault, place: str) -> None:
    bad.play(fault)
    answer, body = answer_to(bad, connection)
    assert (answer.status, answer.headers["Content-Range"], body) == (206, place, BLOB[1000:5000])


def test_a_flipped_byte_has_right_headers(bad: Bad, connection: http.client.HTTPConnection) -> None:
    bad.play(Fault("flip", 7))
    answer, body = answer_to(bad, connection)
    assert (answer.status, answer.headers["Content-Range"]) == (206, "bytes 1000-4999/50000")
    assert [place for place in range(4000) if body[place] != BLOB[1000 + place]] == [7]


def test_a_short_answer_is_consistent_but_for_its_range(bad: Bad, connection: http.client.HTTPConnection) -> None:
    bad.play(Fault("short", 10), Fault("short", 9999))
    answer, body = answer_to(bad, connection)
    assert (answer.headers["Content-Length"], answer.headers["Content-Range"]) == ("3990", "bytes 1000-4999/50000")
    assert body == BLOB[1000:4990]
    answer, body = answer_to(bad, connection)
    assert (answer.headers["Content-Length"], body) == ("0", b"")
    assert answer_to(bad, connection)[1] == BLOB[1000:5000]


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("error", 500, b"<Code>InternalError</Code><Message>We encountered an internal error. Please try again."),
        ("slowdown", 503, b"<Code>SlowDown</Code><Message>Please reduce your request rate.</Message>"),
        ("expired", 403, b"<Code>AccessDenied</Code><Message>Request has expired</Message>"),
    ],
)
def test_s3s_refusals_are_xml(
    bad: Bad, connection: http.client.HTTPConnection, name: str, status: int, text: bytes
) -> None:
    bad.play(Fault(name))
    answer, body = answer_to(bad, connection)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/xml")
    assert text in body
    assert answer_to(bad, connection)[1] == BLOB[1000:5000]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("throttle", 400, "ThrottlingException"),
        ("error", 500, "ServerException"),
        ("unavailable", 503, "ServiceUnavailable"),
        ("expired-token", 400, "ExpiredTokenException"),
        ("inaccessible", 400, "LayerInaccessibleException"),
    ],
)
def test_the_apis_refusals_are_those_that_boto3_knows(bad: Bad, name: str, status: int, code: str) -> None:
    with client(bad.ecr) as api:
        bad.play(GetDownloadUrlForLayer=Fault(name))
        api.describe_repositories()
        with pytest.raises(ClientError) as caught:
            api.get_download_url_for_layer(repositoryName="app", layerDigest=digest_of(BLOB))
        assert api.get_download_url_for_layer(repositoryName="app", layerDigest=digest_of(BLOB))["downloadUrl"]
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_a_dropped_call_has_no_answer(bad: Bad) -> None:
    with client(bad.ecr) as api:
        bad.play(BatchGetImage=Fault("drop"))
        with pytest.raises(ConnectionClosedError):
            api.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "1"}])
        assert api.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "1"}])["images"]


def test_a_refused_call_leaves_the_connection_open(bad: Bad, connection: http.client.HTTPConnection) -> None:
    bad.play(BatchGetImage=Fault("throttle"))
    headers = {"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.BatchGetImage"}
    connection.request("POST", "/", b'{"repositoryName":"app"}', headers)
    kept = connection.sock
    assert b'"Rate exceeded"' in connection.getresponse().read()
    connection.request("POST", "/", b'{"repositoryName":"app"}', headers)
    assert b"MissingAuthenticationTokenException" in connection.getresponse().read()
    assert connection.sock is kept


def test_the_log_names_the_fault(
    bad: Bad, connection: http.client.HTTPConnection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ecrdrag.localecr")
    bad.play(Fault("slowdown"), Fault("reset", 9), Fault("trickle", 100))
    answer_to(bad, connection)
    for _ in range(2):
        bad.ask(connection)
        connection.sock.recv(1)
        connection.close()
    limit = monotonic() + 10
    while len(lines := [line for line in caplog.messages if "(fault: " in line]) < 3:
        assert monotonic() < limit, lines
        sleep(0.001)
    slow, reset, trickle = lines
    assert " 503 SlowDown (fault: slowdown), " in slow
    assert " 206 blob bytes 1000-4999/50000 (fault: reset 9), 9 bytes, " in reset
    assert " 206 blob bytes 1000-4999/50000 (fault: trickle 100), unfinished, " in trickle
