"""The local ECR under TLS: real clients, and those that are silent, plain or slow."""

from __future__ import annotations

import hashlib
import http.client
import logging
import socket
import ssl
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config
from mypy_boto3_ecr import ECRClient

from ecrdrag.errors import UsageError
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.localecr.web.files import FileSlice
from ecrdrag.localecr.web.tls import hang_up, server_context, shake_hands, wrap
from tests.certificate import CERTIFICATE, LOCKED_KEY, OTHER_KEY, write_certificate
from tests.localecr import REGION, ROOT, Recorder, clean_environment, push_image, served

MEBIBYTE = 1024 * 1024
LARGE = 16 * MEBIBYTE
LONG = 20.0  # seconds; no test waits for it unless it fails
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def under_tls(
    folder: Path, settings: Settings | None = None, answer: Callable[[Request, Handler], Answer] | None = None
) -> Iterator[LocalEcr]:
    recorder = Recorder()
    recorder.intercept = answer or recorder.intercept
    tls = server_context(*write_certificate(folder))
    with LocalEcr(
        folder / "data", ("127.0.0.1", 0), settings or Settings(region=REGION), wrap=recorder.wrap, tls=tls
    ) as ecr:
        yield ecr


def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=CERTIFICATE)


def plain(ecr: LocalEcr, *, buffer: int = 0) -> socket.socket:
    address = urlsplit(ecr.endpoint)
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(LONG)
    connection.connect((address.hostname, address.port))
    return connection


def connected(ecr: LocalEcr, *, buffer: int = 0) -> ssl.SSLSocket:
    """Connect so that an end without a farewell is an error."""
    raw = plain(ecr, buffer=buffer)
    return trust().wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False)


def rest(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def client_of(environment: Mapping[str, str], authority: Path) -> Iterator[ECRClient]:
    with closing(
        boto3.client(
            "ecr",
            endpoint_url=environment["AWS_ENDPOINT_URL_ECR"],
            region_name=REGION,
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            verify=str(authority),
            config=Config(retries={"total_max_attempts": 1}),
        )
    ) as api:
        yield api


def test_a_real_client_pushes_and_pulls(tmp_path: Path) -> None:
    blob = bytes(range(256)) * 20_000
    certificate, key = write_certificate(tmp_path)
    options = ("--tls-cert", str(certificate), "--tls-key", str(key))
    with served(tmp_path / "data", *options) as server, client_of(server.environment, certificate) as api:
        assert server.endpoint.startswith("https://127.0.0.1:")
        api.create_repository(repositoryName="app")
        layer = push_image(api, "app", tag="1", layers=[blob]).layers[0]
        url = api.get_download_url_for_layer(repositoryName="app", layerDigest=layer)["downloadUrl"]
        assert url.startswith(server.endpoint)
        with urlopen(url, context=trust()) as answer:
            assert answer.read() == blob
        token = api.get_authorization_token()["authorizationData"][0]
        assert token["proxyEndpoint"].startswith("https://")


def test_requests_of_all_kinds_follow_each_other_on_one_connection(tmp_path: Path) -> None:
    def answer(request: Request, handler: Handler) -> Answer:
        return Answer(200, {}, hashlib.sha256(b"".join(request.body.blocks(100_000))).hexdigest().encode())

    with under_tls(tmp_path, answer=answer) as ecr:
        address = urlsplit(ecr.endpoint)
        connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=LONG, context=trust())
        for size in (0, 1, 3 * MEBIBYTE):
            for chunked in (False, True):
                body = iter([bytes(size)] * (size > 0)) if chunked else bytes(size)
                connection.request("PUT", "/x", body, encode_chunked=chunked)
                assert connection.getresponse().read().decode() == hashlib.sha256(bytes(size)).hexdigest()
        connection.close()


def test_continue_is_said_and_the_end_is_said_too(tmp_path: Path) -> None:
    def answer(request: Request, handler: Handler) -> Answer:
        return Answer(200, {}, request.body.read_all(10))

    head = b"PUT / HTTP/1.1\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    with under_tls(tmp_path, answer=answer) as ecr, connected(ecr) as connection:
        connection.sendall(head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hi")
        assert rest(connection).endswith(b"\r\n\r\nhi"), "and no SSLEOFError"


def test_a_refused_request_is_answered_whole(tmp_path: Path) -> None:
    with under_tls(tmp_path) as ecr, connected(ecr) as connection:
        connection.sendall(b"PUT /x HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000))
        assert rest(connection).startswith(b"HTTP/1.1 404 ")


def test_a_client_that_says_nothing_stops_nobody_and_is_given_up(tmp_path: Path) -> None:
    with under_tls(tmp_path, Settings(head_timeout=0.2)) as ecr, plain(ecr) as silent, plain(ecr) as half:
        half.sendall(b"\x16\x03\x01\x02\x00")
        for _ in range(3):
            with connected(ecr) as other:
                other.sendall(GET)
                assert other.recv(1000).startswith(b"HTTP/1.1 404 ")
        assert silent.recv(1) == b""
        assert half.recv(1) == b""


def test_a_client_that_speaks_plain_http_is_told_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with under_tls(tmp_path) as ecr:
        with plain(ecr) as connection:
            connection.sendall(GET)
            assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
        with plain(ecr) as connection, suppress(ConnectionError):
            connection.sendall(b"nothing of the kind, and at some length")
            rest(connection)
        for _ in range(20):
            connection = plain(ecr)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            connection.close()
        with connected(ecr) as other:
            other.sendall(GET)
            assert other.recv(1000).startswith(b"HTTP/1.1 404 ")
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def large(folder: Path) -> Callable[[Request, Handler], Answer]:
    path = folder / "large"
    path.write_bytes(bytes(LARGE))
    return lambda request, handler: Answer(200, {}, FileSlice(path, 5, LARGE - 5))


def test_a_file_passes_through_little_memory(tmp_path: Path) -> None:
    with under_tls(tmp_path, answer=large(tmp_path)) as ecr, connected(ecr) as connection:
        connection.sendall(GET)
        buffer, came = bytearray(65536), 0
        tracemalloc.start()
        try:
            while came < LARGE - 10:
                came += connection.recv_into(buffer)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 2 * MEBIBYTE


@pytest.mark.parametrize("buffer", [0, 4096])
def test_a_stop_ends_idle_connections_at_once_and_others_after_the_grace(tmp_path: Path, buffer: int) -> None:
    answer = large(tmp_path) if buffer else None
    grace = 0.05 if buffer else LONG
    with under_tls(tmp_path, Settings(grace=grace), answer) as ecr:
        connection, shaking = connected(ecr, buffer=buffer), plain(ecr)
        connection.sendall(GET)
        assert connection.recv(9) == b"HTTP/1.1 "
        shaking.close()
        began = monotonic()
    assert monotonic() - began < LONG / 2
    with suppress(ConnectionError, ssl.SSLError):
        assert len(rest(connection)) < LARGE - 10
    connection.close()


def test_a_connection_that_another_thread_ends_never_falls_back_to_plain_text(tmp_path: Path) -> None:
    left, right = socket.socketpair()
    with trust().wrap_socket(left, server_hostname="localhost", do_handshake_on_connect=False) as client:
        ours = wrap(right, server_context(*write_certificate(tmp_path)))
        shaking = threading.Thread(target=client.do_handshake)
        shaking.start()
        assert shake_hands(ours, LONG)
        shaking.join()
        hang_up(ours)
        assert ours.version() is not None, "it has forgotten its encryption"
        with pytest.raises(OSError, match=r"EOF|[Bb]roken pipe"):
            ours.sendall(b"x")
        ours.close()


def test_only_tls_from_1_2_on_is_spoken_and_only_http_1(tmp_path: Path) -> None:
    assert server_context(*write_certificate(tmp_path)).minimum_version is ssl.TLSVersion.TLSv1_2
    with under_tls(tmp_path) as ecr:
        context = trust()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with context.wrap_socket(plain(ecr), server_hostname="localhost") as connection:
            assert connection.selected_alpn_protocol() == "http/1.1"


def serve(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ecrdrag", "serve", "--data", str(folder / "data"), *options],
        cwd=ROOT,
        env={**clean_environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_half_of_the_options_is_a_usage_error_and_so_are_files_that_do_not_serve(tmp_path: Path) -> None:
    certificate, key = map(str, write_certificate(tmp_path))
    for options, said in (
        (["--tls-cert", certificate], "--tls-cert and --tls-key are given together"),
        (["--tls-key", key], "--tls-cert and --tls-key are given together"),
        (["--tls-cert", "nowhere", "--tls-key", key], "can't read the certificate in nowhere: No such file"),
    ):
        ended = serve(tmp_path, *options)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert said in ended.stderr
        assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("certificate.pem", "", "can't read the key in .*: Is a directory"),
        ("certificate.pem", "other.pem", "are no certificate and its key: key values mismatch"),
        ("certificate.pem", "locked.pem", "are no certificate and its key"),
        ("certificate.pem", "not.pem", "are no certificate and its key"),
        ("not.pem", "key.pem", "are no certificate and its key"),
        ("key.pem", "certificate.pem", "are no certificate and its key"),
    ],
)
def test_files_that_are_no_certificate_and_its_key_are_refused(
    tmp_path: Path, certificate: str, key: str, said: str
) -> None:
    write_certificate(tmp_path)
    (tmp_path / "other.pem").write_text(OTHER_KEY)
    (tmp_path / "locked.pem").write_text(LOCKED_KEY)
    (tmp_path / "not.pem").write_text("nothing of the kind")
    with pytest.raises(UsageError, match=said):
        server_context(tmp_path / certificate, tmp_path / key)
