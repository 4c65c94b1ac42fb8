"""Where a registry is and how it is spoken to: with TLS and without, through proxies, or not at all."""

from __future__ import annotations

import socket
import ssl
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import requests

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import StalledError, TransferError, TransientError, UsageError
from ecrdrag.reference import ImageReference
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import DistributionSource
from ecrdrag.registry.http import HEADERS, Connections, Trust, origin_of, small_body
from ecrdrag.registry.transport import BlobTransport
from tests.certificate import write_certificate
from tests.scripted_registry import Registry, Reply, guarded, scripted

PATH, TARGET, BODY = "team/app/manifests/1", "/v2/team/app/manifests/1", b"what was asked for"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        registry.replies[TARGET] = Reply(BODY)
        yield registry


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A file that vouches for localhost, *.localhost and 127.0.0.1."""
    certificate, _ = write_certificate(tmp_path)
    return certificate


@pytest.fixture
def guard(authority: Path, tmp_path: Path) -> Iterator[Registry]:
    """A registry under TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, tmp_path / "key.pem")
    with scripted(tls=context) as registry:
        registry.replies[TARGET] = Reply(BODY)
        yield registry


def get(client: RegistryClient, target: str = PATH) -> bytes:
    with client.ask("GET", target, scope="", what="it") as response:
        return client.read(response, 1000)


def unused() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["", "http://", "https://"])
def test_nobody_listening_is_said_at_once_with_what_to_check(scheme: str) -> None:
    host = unused()
    with RegistryClient(f"{scheme}{host}/SECRET" if scheme else host) as client, pytest.raises(TransferError) as caught:
        get(client)
    assert not isinstance(caught.value, TransientError)
    assert str(caught.value) == f"no connection to {host} (Connection refused)"
    assert "port" in caught.value.hint
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_a_name_that_nobody_knows_is_said_at_once() -> None:
    with RegistryClient("registry.invalid:5000") as client, pytest.raises(TransferError) as caught:
        get(client)
    assert not isinstance(caught.value, TransientError)
    assert str(caught.value).startswith("no connection to registry.invalid:5000 (")


def test_silence_later_is_worth_another_try() -> None:
    with scripted() as registry:
        registry.replies[TARGET] = Reply(BODY, headers={"Connection": "close"})
        client = RegistryClient(registry.url)
        get(client)
    with client, pytest.raises(TransientError):
        get(client)


def test_a_token_server_that_is_not_there_is_said_at_once(registry: Registry) -> None:
    host = unused()
    registry.replies[TARGET] = guarded(Reply(BODY), "Bearer x", f'Bearer realm="http://{host}/token"')
    with RegistryClient(registry.url) as client, pytest.raises(TransferError) as caught:
        get(client)
    assert not isinstance(caught.value, TransientError)
    assert host in str(caught.value)


def test_this_machine_may_do_without_tls(registry: Registry) -> None:
    with RegistryClient(registry.host) as client:
        assert (get(client), get(client)) == (BODY, BODY)
        assert client.url() == registry.url
    assert registry.targets() == [TARGET, TARGET]


def test_this_machines_token_server_may_do_without_tls_too(registry: Registry) -> None:
    registry.replies[TARGET] = guarded(Reply(BODY), "Bearer t0ken", f'Bearer realm="{registry.url}/token"')
    registry.replies["/token"] = Reply(b'{"token": "t0ken"}')
    with RegistryClient(registry.host) as client:
        assert get(client) == BODY


def test_this_machine_is_asked_for_tls_first(guard: Registry, authority: Path) -> None:
    with RegistryClient(guard.host, trust=Trust(more=authority)) as client:
        assert get(client) == BODY
        assert client.url() == guard.url


def test_a_certificate_of_nobody_is_no_reason_to_do_without_tls(guard: Registry) -> None:
    with RegistryClient(guard.host) as client, pytest.raises(TransferError) as caught:
        get(client)
    assert not isinstance(caught.value, TransientError)
    assert str(caught.value) == f"the certificate of {guard.host} can't be verified"
    assert "--ca-file" in caught.value.hint
    assert guard.asked == []


def test_plain_http_is_spoken_where_it_is_meant_and_not_elsewhere(registry: Registry) -> None:
    with scripted("0.0.0.0") as far:  # a name of this machine that is not known as one
        far.replies[TARGET] = Reply(BODY)
        with RegistryClient(far.host, plain_http=True) as client:
            assert get(client) == BODY
        far.asked.clear()
        with RegistryClient(far.host) as client, pytest.raises(TransferError) as caught:
            get(client)
        assert not isinstance(caught.value, TransientError)
        assert str(caught.value) == f"no TLS connection to {far.host}"
        assert "--plain-http" in caught.value.hint
        assert far.asked == []


def test_names_under_localhost_are_this_machine(registry: Registry) -> None:
    name = registry.host.replace("127.0.0.1", "123456789012.dkr.ecr.us-west-2.localhost")
    with RegistryClient(name) as client:
        assert get(client) == BODY
    assert [one.headers["host"] for one in registry.asked] == [name]


def test_a_certificate_for_other_names_is_refused(guard: Registry, authority: Path) -> None:
    name = guard.host.replace("127.0.0.1", "far.ecr.localhost")
    with RegistryClient(name, trust=Trust(more=authority)) as client, pytest.raises(TransferError) as caught:
        get(client)
    assert str(caught.value) == f"the certificate of {name} can't be verified"
    assert guard.asked == []


def test_one_more_authority_is_believed_beside_the_usual_ones(authority: Path) -> None:
    usual, more = Trust().context().get_ca_certs(), Trust(more=authority).context().get_ca_certs()
    assert len(usual) > 10
    assert [each for each in more if each not in usual] == Trust(str(authority)).context().get_ca_certs()
    assert all(each in more for each in usual)


def test_a_bundle_takes_the_place_of_the_usual_authorities(guard: Registry, authority: Path) -> None:
    assert len(Trust(str(authority)).context().get_ca_certs()) == 1
    with RegistryClient(guard.url, trust=Trust(str(authority))) as client:
        assert get(client) == BODY


def test_a_blob_is_not_read_away_from_tls(registry: Registry, guard: Registry, authority: Path) -> None:
    blob = Descriptor("application/octet-stream", Digest.of(BODY), 1_000_000)
    guard.replies[f"/v2/team/app/blobs/{blob.digest}"] = Reply(b"", 307, {"Location": registry.url + TARGET})
    reference = ImageReference.parse(f"{guard.host}/team/app:1")
    with (
        RegistryClient(guard.host, trust=Trust(more=authority)) as client,
        BlobTransport(connections=1) as transport,
        pytest.raises(TransferError, match="not https"),
    ):
        DistributionSource(client, transport, reference).expect(blob)
    assert registry.asked == []


def test_a_bundle_leaves_nothing_of_what_requests_would_believe(
    guard: Registry, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = requests.utils.DEFAULT_CA_BUNDLE_PATH
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(authority))
    with RegistryClient(guard.url, trust=Trust(bundle)) as client, pytest.raises(TransferError, match="certificate"):
        get(client)


@pytest.mark.parametrize("content", [None, b"", b"nonsense"], ids=["missing", "empty", "no certificate"])
def test_a_file_of_authorities_that_cannot_be_is_refused_before_anything_is_asked(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=f"the CA file {path} can't be used"):
        RegistryClient("registry.test", trust=Trust(more=path))


def test_a_proxy_is_used_but_not_for_this_machine(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("://", "://user:pass@"))
        proxy.replies["http://registry.test:5000" + TARGET] = Reply(BODY)
        with RegistryClient("registry.test:5000", plain_http=True) as client:
            assert get(client) == BODY
        with RegistryClient(registry.url) as client:
            assert get(client) == BODY
    (asked,) = proxy.asked
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    assert len(registry.asked) == 1


def test_a_proxy_that_does_not_answer_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://{unused()}")
    with RegistryClient("registry.test") as client, pytest.raises(TransferError) as caught:
        get(client)
    assert not isinstance(caught.value, TransientError)
    assert str(caught.value) == "the proxy for registry.test does not answer"


def test_a_proxy_that_refuses_is_said_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("://", "://user:SECRET@"))
        with RegistryClient("registry.test") as client, pytest.raises(TransferError) as caught:
            get(client)
    assert not isinstance(caught.value, TransientError)
    assert str(caught.value) == "the proxy for registry.test answered 501"  # as who knows no CONNECT


@pytest.mark.parametrize("proxy", ["http://me:SECRET@[::1", "ftp://me:SECRET@127.0.0.1:1"])
def test_a_proxy_that_can_be_none_is_said_without_its_login(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with RegistryClient("registry.test") as client, pytest.raises(UsageError, match="the proxy for registry") as caught:
        get(client)
    assert "https_proxy" in caught.value.hint
    assert "SECRET" not in "".join(traceback.format_exception(caught.value)) + caught.value.hint


def test_who_answers_no_handshake_is_left_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecrdrag.registry.http.CONNECT_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        with RegistryClient(f"https://{host}") as client, pytest.raises(TransferError) as caught:
            get(client)
    assert not isinstance(caught.value, TransientError)
    assert str(caught.value) == f"no TLS connection to {host} (it answers no handshake)"


def test_a_port_that_goes_without_saying_makes_no_other_origin() -> None:
    assert origin_of("https://h.test/a") == origin_of("https://h.test:443/b") != origin_of("http://h.test:443/")
    assert origin_of("http://h.test:80/") == origin_of("http://H.test/") != origin_of("http://h.test:81/")


@contextmanager
def dripping(said: bytes) -> Iterator[str]:
    """Answer one request with this and then letter by letter, without end; give the server's URL."""
    done = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(said)
            while not done.wait(0.01):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize("body", [None, b"a few bytes"], ids=["asking", "sending"])
def test_an_answer_whose_head_comes_letter_by_letter_is_left(body: bytes | None) -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nX-Letters: ") as url, RegistryClient(url, read_timeout=0.05) as client:
        asking = client.ask("PUT" if body else "GET", PATH, scope="", what="it", body=body)
        with pytest.raises(StalledError, match="did not answer in"), asking:
            pass


def test_a_blob_whose_head_comes_letter_by_letter_is_left() -> None:
    with (
        dripping(b"HTTP/1.1 206 Partial Content\r\nX-Letters: ") as url,
        BlobTransport(connections=1, read_timeout=0.05) as transport,
        pytest.raises(StalledError, match="did not answer in"),
    ):
        next(transport.read_range(url, start=0, stop=10, size=10))


def test_an_error_that_comes_letter_by_letter_is_left() -> None:
    with (
        dripping(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4000\r\n\r\n") as url,
        closing(Connections(1, trust=Trust(), read_timeout=20)) as connections,
    ):
        response = connections.send("GET", f"{url}/", HEADERS)
        with connections.watched(response), pytest.raises(StalledError, match="sent only"):
            small_body(response, seconds=0.05)


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
@pytest.mark.parametrize("size", [0, 1, 10, 4095])
def test_what_comes_with_an_error_is_read_to_its_end(registry: Registry, size: int, chunked: bool) -> None:
    registry.replies["/x"] = Reply(b"x" * size, 404, chunked=chunked)
    with closing(Connections(1, trust=Trust(), read_timeout=20)) as connections:
        for _ in range(3):
            response = connections.send("GET", f"{registry.url}/x", HEADERS)
            with connections.watched(response):
                assert small_body(response) == b"x" * size
    assert len({one.port for one in registry.asked}) == 1


def test_not_all_is_read_of_what_comes_with_an_error(registry: Registry) -> None:
    registry.replies["/x"] = Reply(b"x" * 100_000, 404)
    with closing(Connections(1, trust=Trust(), read_timeout=20)) as connections:
        response: requests.Response = connections.send("GET", f"{registry.url}/x", HEADERS)
        with connections.watched(response):
            assert len(small_body(response)) == 4096
