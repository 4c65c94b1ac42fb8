"""TLS for blobs against a real certificate: always verified, against the user's own authority too."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from ecrdrag.errors import TransferError, TransientError
from ecrdrag.registry.transport import BlobTransport
from tests.http_script import serving, status
from tests.real.tools import need

pytestmark = pytest.mark.real

BLOB = b"layer" * 1000


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a certificate for localhost that only itself vouches for; key and certificate in one file."""
    path = tmp_path / "server.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    command = [need("openssl"), "req", *options, *names, "-keyout", str(path), "-out", str(tmp_path / "public.pem")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    path.write_text(path.read_text() + (tmp_path / "public.pem").read_text())
    return path


def context_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def read(url: str, ca_bundle: str | bool) -> bytes:
    with BlobTransport(connections=1, ca_bundle=ca_bundle) as transport:
        return b"".join(map(bytes, transport.read_range(url, start=0, stop=len(BLOB), size=len(BLOB))))


def test_a_certificate_of_nobody_is_refused_for_good_with_what_to_do(certificate: Path) -> None:
    with serving(BLOB, tls=context_of(certificate)) as script, pytest.raises(TransferError) as caught:
        read(script.url.replace("127.0.0.1", "localhost"), True)
    assert not isinstance(caught.value, TransientError)
    assert str(caught.value) == "the certificate of localhost can't be verified"
    assert "AWS_CA_BUNDLE" in caught.value.hint
    assert script.requests == []


def test_a_certificate_of_the_user_s_authority_is_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with serving(BLOB, tls=context_of(certificate)) as script:
        assert read(script.url.replace("127.0.0.1", "localhost"), str(certificate)) == BLOB


def test_a_certificate_for_another_name_is_refused(certificate: Path) -> None:
    with serving(BLOB, tls=context_of(certificate)) as script, pytest.raises(TransferError, match="can't be verified"):
        read(script.url, str(certificate))
    assert script.requests == []


def test_no_redirect_leads_away_from_tls(certificate: Path) -> None:
    with serving(BLOB) as plain:
        replies, tls = [status(307, Location=plain.url)], context_of(certificate)
        with serving(BLOB, replies, tls=tls) as script, pytest.raises(TransferError, match="redirects to what is not"):
            read(script.url.replace("127.0.0.1", "localhost"), str(certificate))
    assert plain.requests == []
