"""TLS against a real certificate: always verified, against the user's own authority too, and through a proxy."""

from __future__ import annotations

import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ecrdrag.errors import TransferError, TransientError
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.http import Trust
from ecrdrag.registry.transport import BlobTransport
from tests.http_script import serving, status
from tests.real.tools import need
from tests.scripted_registry import Reply, scripted

pytestmark = pytest.mark.real

BLOB = b"layer" * 1000


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a certificate for three names that only itself vouches for; key and certificate in one file."""
    path = tmp_path / "server.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,DNS:ecr.localhost,DNS:registry.test"]
    command = [need("openssl"), "req", *options, *names, "-keyout", str(path), "-out", str(tmp_path / "public.pem")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    path.write_text(path.read_text() + (tmp_path / "public.pem").read_text())
    return path


def context_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def read(url: str, trust: Trust) -> bytes:
    with BlobTransport(connections=1, trust=trust) as transport:
        return b"".join(map(bytes, transport.read_range(url, start=0, stop=len(BLOB), size=len(BLOB))))


def test_a_certificate_of_nobody_is_refused_for_good_with_what_to_do(certificate: Path) -> None:
    with serving(BLOB, tls=context_of(certificate)) as script, pytest.raises(TransferError) as caught:
        read(script.url.replace("127.0.0.1", "localhost"), Trust())
    assert not isinstance(caught.value, TransientError)
    assert (
        str(caught.value)
        == f"the certificate of {urlsplit(script.url).netloc.replace('127.0.0.1', 'localhost')} can't be verified"
    )
    assert "AWS_CA_BUNDLE" in caught.value.hint
    assert script.requests == []


def test_a_certificate_of_the_user_s_authority_is_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with serving(BLOB, tls=context_of(certificate)) as script:
        assert read(script.url.replace("127.0.0.1", "localhost"), Trust(str(certificate))) == BLOB


def test_a_certificate_for_another_name_is_refused(certificate: Path) -> None:
    with serving(BLOB, tls=context_of(certificate)) as script, pytest.raises(TransferError, match="can't be verified"):
        read(script.url, Trust(str(certificate)))
    assert script.requests == []


def test_no_redirect_leads_away_from_tls(certificate: Path) -> None:
    with serving(BLOB) as plain:
        replies, tls = [status(307, Location=plain.url)], context_of(certificate)
        with serving(BLOB, replies, tls=tls) as script, pytest.raises(TransferError, match="redirects to what is not"):
            read(script.url.replace("127.0.0.1", "localhost"), Trust(str(certificate)))
    assert plain.requests == []


def asked_of(name: str, certificate: Path, tls: ssl.SSLContext) -> tuple[list[str], list[str]]:
    """Ask a registry under TLS by a name, and give what it heard: paths and names."""
    with scripted(tls=tls) as registry:
        registry.replies["/v2/"] = Reply(b"{}")
        port = registry.host.partition(":")[2]
        with RegistryClient(f"{name}:{port}", trust=Trust(more=certificate)) as client:
            client.check()
        return registry.targets(), [one.headers["host"].partition(":")[0] for one in registry.asked]


def test_a_name_under_localhost_is_this_machine_with_its_own_certificate(certificate: Path) -> None:
    heard = asked_of("ecr.localhost", certificate, context_of(certificate))
    assert (set(heard[0]), set(heard[1])) == ({"/v2/"}, {"ecr.localhost"})


def test_a_proxy_hands_on_what_it_cannot_read(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tunnel() as (proxy, names):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        heard = asked_of("registry.test", certificate, context_of(certificate))
    assert heard == (["/v2/"], ["registry.test"])
    assert [name.partition(":")[0] for name in names] == ["registry.test"]


@contextmanager
def tunnel() -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that takes every name for this machine, and notes for which it was asked."""
    names: list[str] = []

    class Tunnel(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            name = self.rfile.readline().decode().split()[1]
            while self.rfile.readline().strip():
                pass
            names.append(name)
            with socket.create_connection(("127.0.0.1", int(name.rpartition(":")[2]))) as server:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=pass_on, args=(server, self.connection))
                back.start()
                pass_on(self.connection, server)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", names
        finally:
            server.shutdown()
            thread.join()


def pass_on(here: socket.socket, there: socket.socket) -> None:
    with suppress(OSError):
        while data := here.recv(65536):
            there.sendall(data)
        there.shutdown(socket.SHUT_WR)
