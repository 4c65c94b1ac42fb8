"""Layers that no registry has, on a network that means ill: what is never reached, never sent, never believed."""

from __future__ import annotations

import random
import socket
import ssl
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import EcrdragError, IntegrityError, TransferError, TransientError
from ecrdrag.manifest import FOREIGN_LAYER_TYPES
from ecrdrag.registry.foreign import ForeignLayers
from ecrdrag.registry.guard import Address, is_public
from ecrdrag.registry.http import Trust
from ecrdrag.transfer.download import fetch
from ecrdrag.transfer.retry import RetryPolicy
from tests import amazon
from tests.certificate import write_certificate
from tests.connect_proxy import proxying
from tests.http_script import Handler, Reply, Request, Script, cut, serving, status, whole

BLOB = random.Random(8).randbytes(400_000)
LAYER = Descriptor(FOREIGN_LAYER_TYPES[0], Digest.of(BLOB), len(BLOB))
ONLY_HERE = "127.0.0.1"
FAR = "layers.dkr.ecr.us-west-2.amazonaws.com"  # a name that the certificate of amazon.py vouches for
QUICK = RetryPolicy(tries=3, base=0.001)


def is_near(address: Address) -> bool:
    return str(address) == ONLY_HERE or is_public(address)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    certificate, _ = write_certificate(tmp_path)
    return certificate


@pytest.fixture
def tls(authority: Path, tmp_path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, tmp_path / "key.pem")
    return context


@pytest.fixture
def layers(authority: Path) -> Iterator[ForeignLayers]:
    with ForeignLayers(trust=Trust(str(authority)), connections=4, is_allowed=is_near) as layers:
        yield layers


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where names lead: an answer of the resolver, which whoever owns a name decides."""
    table: dict[str, str] = {}
    resolve = socket.getaddrinfo

    def resolved(host: str, *details: object, **more: object) -> object:
        return resolve(table.get(host, host), *details, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return table


@contextmanager
def listening(address: str = ONLY_HERE) -> Iterator[socket.socket]:
    with socket.create_server((address, 0)) as listener:
        listener.settimeout(10)
        yield listener


def received(listener: socket.socket) -> bytes:
    """Everything that the first client sent."""
    with closing(listener.accept()[0]) as connection:
        connection.settimeout(10)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def refused(layers: ForeignLayers, *urls: str) -> str:
    """Read a layer that can't be had, and return why not."""
    with pytest.raises(EcrdragError) as caught:
        next(layers.read(replace(LAYER, urls=urls), 0, 10))
    assert not isinstance(caught.value, TransientError)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value)) + caught.value.hint
    return str(caught.value)


def whole_layer(layers: ForeignLayers, *urls: str) -> bytes:
    return fetch(replace(LAYER, urls=urls), layers, retry=QUICK)


def test_a_name_that_leads_to_this_machine_gets_a_connection_and_not_a_byte(names: dict[str, str]) -> None:
    with listening() as listener, ForeignLayers(trust=Trust(), connections=1) as layers:
        names["rebound.example"] = ONLY_HERE
        reason = refused(layers, f"https://rebound.example:{listener.getsockname()[1]}/a?sig=SECRET")
        assert "rebound.example has the address 127.0.0.1, which is none of the public internet" in reason
        assert received(listener) == b""


def test_a_listener_hears_who_is_allowed_to_speak_to_it(names: dict[str, str], layers: ForeignLayers) -> None:
    names["rebound.example"] = ONLY_HERE
    with listening() as listener:
        reading = layers.read(replace(LAYER, urls=(f"https://rebound.example:{listener.getsockname()[1]}/",)), 0, 10)
        with ThreadPoolExecutor(1) as pool:
            failure = pool.submit(pytest.raises, EcrdragError, next, reading)
            with closing(listener.accept()[0]) as connection:
                assert connection.recv(1) == b"\x16"  # RFC 8446, 5.1: a handshake begins
            failure.result(10)


def test_a_redirect_to_a_name_that_leads_inside_gets_no_byte(
    names: dict[str, str], tls: ssl.SSLContext, layers: ForeignLayers
) -> None:
    with listening("127.0.0.2") as listener:
        names["inside.example"] = "127.0.0.2"
        target = f"https://inside.example:{listener.getsockname()[1]}/admin"
        with serving(BLOB, [status(302, Location=target)], tls=tls) as script:
            reason = refused(layers, script.url)
        assert "inside.example has the address 127.0.0.2" in reason
        assert received(listener) == b""


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://example.com/?sig=SECRET", "redirects to what is not https"),
        ("ftp://example.com/", "redirects to what is not https"),
        ("https://10.0.0.1/admin?sig=SECRET", "https://10.0.0.1/admin is not asked: 10.0.0.1 is no address of the"),
        ("https://169.254.169.254/latest", "169.254.169.254 is no address of the public internet"),
        ("https://[::ffff:10.0.0.1]/", "::ffff:10.0.0.1 is no address of the public internet"),
        ("//127.0.0.2:{port}/", "127.0.0.2 is no address of the public internet"),
        ("https://me:SECRET@127.0.0.1:{port}/", "it holds a login, and none is sent"),
        ("https://127.1:{port}/", "its host can't be read"),
        ("https://127.0.0.1:{port}\\@example.com/", "it holds what no URL can hold"),
        ("https://①27.0.0.1:{port}/", "is not asked: it holds what no URL can hold"),
    ],
)
def test_a_redirect_to_what_may_not_be_asked_is_not_followed(
    tls: ssl.SSLContext, layers: ForeignLayers, location: str, reason: str
) -> None:
    with serving(BLOB, tls=tls) as script:
        target = location.format(port=urlsplit(script.url).port).encode().decode("latin-1")
        script.replies.append(status(302, Location=target))
        assert reason in refused(layers, script.url)
        assert len(script.requests) == 1


def test_redirects_are_followed_a_few_times(tls: ssl.SSLContext, layers: ForeignLayers) -> None:
    with serving(BLOB, [status(307, Location=f"/{hop}") for hop in range(5)], tls=tls) as script:
        assert bytes(next(layers.read(replace(LAYER, urls=(script.url,)), 0, 10))) == BLOB[:10]
    with serving(BLOB, [status(307, Location=f"/{hop}") for hop in range(6)], tls=tls) as script:
        assert "redirects more than 5 times" in refused(layers, script.url)


def test_nothing_says_who_asks(
    tls: ssl.SSLContext, layers: ForeignLayers, tmp_path: Path, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login me password SECRET\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASECRET")
    tls.verify_mode = ssl.CERT_OPTIONAL  # so that the server asks for a client's certificate
    tls.load_verify_locations(authority)
    certificates = list[bytes | None]()

    cookie = "session=SECRET; Path=/"

    def asking(handler: Handler, request: Request) -> None:
        assert isinstance(handler.connection, ssl.SSLSocket)
        certificates.append(handler.connection.getpeercert(True))
        handler.answer(307, b"", Location="/there", Set_Cookie=cookie, WWW_Authenticate="Basic")

    with serving(BLOB, [asking, status(503, Set_Cookie=cookie)], tls=tls) as script:
        assert whole_layer(layers, script.url) == BLOB
    assert certificates == [None]
    assert len(script.requests) == 3
    for request in script.requests:
        assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "User-Agent", "Range"}


@pytest.mark.parametrize("replies", [[cut(100_000)], [status(500)], [cut(0, reset=True)], [whole, whole]])
def test_a_layer_arrives_whole_over_a_bad_line(
    tls: ssl.SSLContext, layers: ForeignLayers, replies: list[Reply]
) -> None:
    with serving(BLOB, replies, tls=tls) as script:
        assert whole_layer(layers, script.url) == BLOB


def test_a_server_that_is_down_is_passed_over(tls: ssl.SSLContext, layers: ForeignLayers) -> None:
    with listening() as unused:
        gone = f"https://{ONLY_HERE}:{unused.getsockname()[1]}/"
    with serving(BLOB, tls=tls) as script:
        assert whole_layer(layers, gone, script.url) == BLOB


def test_giving_up_says_how_to_do_without(tls: ssl.SSLContext, layers: ForeignLayers) -> None:
    expected = rf"gave up on blob {LAYER.digest} after 3 tries without progress: 127.0.0.1 answered 500"
    with serving(BLOB, [status(500)] * 3, tls=tls) as script, pytest.raises(TransferError, match=expected) as caught:
        whole_layer(layers, script.url)
    assert caught.value.hint == "leave out --foreign-layers to pull without this layer"
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_where_there_was_never_anybody_nobody_waits(layers: ForeignLayers) -> None:
    with listening() as unused:
        gone = f"https://{ONLY_HERE}:{unused.getsockname()[1]}/a?sig=SECRET"
    assert "no connection to 127.0.0.1" in refused(layers, gone)


def test_a_server_that_goes_away_is_asked_again(tls: ssl.SSLContext, layers: ForeignLayers) -> None:
    with serving(BLOB, tls=tls) as script:
        blob = replace(LAYER, urls=(script.url,))
        assert bytes(next(layers.read(blob, 0, 10))) == BLOB[:10]
    for _ in range(2):
        with pytest.raises(TransientError) as caught:
            next(layers.read(blob, 0, 10))
        assert caught.value.hint.endswith("leave out --foreign-layers to pull without this layer")
    assert str(caught.value).startswith("no connection to 127.0.0.1")


def test_bytes_of_another_digest_are_not_believed(tls: ssl.SSLContext, layers: ForeignLayers) -> None:
    with serving(BLOB[:-1] + b"?", tls=tls) as script, pytest.raises(IntegrityError, match=str(LAYER.digest)):
        whole_layer(layers, script.url)


@contextmanager
def behind_a_proxy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Script, list[str], ForeignLayers]]:
    """Serve the layer as FAR behind a proxy on this machine; give what the proxy was asked, and the real rules."""
    certificate, key = folder / "amazon.pem", folder / "amazon.key"
    certificate.write_text(amazon.CERTIFICATE)
    key.write_text(amazon.KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with (
        serving(BLOB, tls=context) as script,
        proxying(urlsplit(script.url).port or 0) as proxy,
        ForeignLayers(trust=Trust(str(certificate)), connections=2) as layers,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://me:SECRET@"))
        yield script, proxy.asked, layers


def test_a_proxy_may_be_near_and_looks_names_up_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with behind_a_proxy(tmp_path, monkeypatch) as (script, asked, layers):
        assert whole_layer(layers, f"https://{FAR}/a") == BLOB
    assert set(asked) == {f"{FAR}:443"}
    assert all("SECRET" not in str(request.headers) for request in script.requests)


@pytest.mark.parametrize(
    "host", ["10.1.2.3", "169.254.169.254", "[fd00:ec2::254]", "localhost", "a.localhost", "127.1"]
)
def test_no_proxy_is_led_inside_by_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with behind_a_proxy(tmp_path, monkeypatch) as (_, asked, layers):
        refused(layers, f"https://{host}/a?sig=SECRET")
        assert asked == []


def test_no_proxy_is_led_inside_by_a_redirect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with behind_a_proxy(tmp_path, monkeypatch) as (script, asked, layers):
        script.replies.append(status(302, Location="https://169.254.169.254/latest"))
        assert "169.254.169.254 is no address" in refused(layers, f"https://{FAR}/a")
        assert asked == [f"{FAR}:443"]
