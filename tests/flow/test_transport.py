"""HTTP for blobs against a scripted server: what is asked, what is believed, what is said."""

from __future__ import annotations

import random
import socket
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ecrdrag.errors import BusyError, EcrdragError, IntegrityError, RangeIgnoredError, TransferError, TransientError
from ecrdrag.registry.transport import BlobTransport, LinkRefusedError
from tests.http_script import Handler, Reply, Request, Script, content_range, cut, serving, stall, status, whole

BLOB = random.Random(3).randbytes(1_500_000)
SIZE = len(BLOB)
EXPIRED = (
    b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
    b"<X-Amz-Expires>3600</X-Amz-Expires><HostId>SECRET</HostId></Error>"
)


def read(script: Script, start: int = 0, stop: int = SIZE, *, transport: BlobTransport | None = None) -> bytes:
    received = bytearray()
    with transport or BlobTransport(connections=4) as open_transport:
        for view in open_transport.read_range(script.url, start=start, stop=stop, size=SIZE):
            received += view
    return bytes(received)


def failure_of(*replies: Reply, start: int = 100, stop: int = 2000) -> EcrdragError:
    with serving(BLOB, replies) as script, pytest.raises(EcrdragError) as caught:
        read(script, start, stop)
    text = "".join(traceback.format_exception(caught.value))
    assert "SECRET" not in text
    assert "X-Amz" not in text
    return caught.value


def test_a_range_is_asked_for_and_read_without_any_encoding() -> None:
    with serving(BLOB) as script:
        assert read(script, 100, 1_000_000) == BLOB[100:1_000_000]
    request = script.requests[0]
    assert request.headers["Range"] == "bytes=100-999999"
    assert request.headers["Accept-Encoding"] == "identity"


def test_a_body_that_claims_to_be_compressed_is_taken_as_it_is() -> None:
    def compressed(handler: Handler, request: Request) -> None:
        handler.answer(206, BLOB[:99], Content_Range=f"bytes 0-98/{SIZE}", Content_Encoding="gzip")

    with serving(BLOB, [compressed]) as script:
        assert read(script, 0, 99) == BLOB[:99]


def test_connections_are_kept_and_used_again() -> None:
    with serving(BLOB) as script, BlobTransport(connections=4) as transport:
        for place in range(10):
            for _ in transport.read_range(script.url, start=place, stop=place + 5000, size=SIZE):
                pass
    assert len(script.requests) == 10
    assert len(script.sockets) == 1


def test_many_threads_share_one_transport() -> None:
    with serving(BLOB) as script, BlobTransport(connections=8) as transport, ThreadPoolExecutor(8) as pool:

        def piece(start: int) -> bytes:
            stop = min(start + 40_000, SIZE)
            return b"".join(map(bytes, transport.read_range(script.url, start=start, stop=stop, size=SIZE)))

        assert b"".join(pool.map(piece, range(0, SIZE, 40_000))) == BLOB
    assert len(script.sockets) <= 8


def test_the_whole_blob_may_come_as_200_when_it_was_asked_for() -> None:
    with serving(BLOB, [whole]) as script:
        assert read(script) == BLOB


def test_the_whole_blob_instead_of_a_range_is_refused() -> None:
    assert isinstance(failure_of(whole), RangeIgnoredError)
    assert isinstance(failure_of(whole, start=0, stop=100), RangeIgnoredError)


def test_a_whole_blob_of_another_length_is_no_use() -> None:
    with serving(BLOB[:-1], [whole]) as script, pytest.raises(IntegrityError, match=f"manifest promises {SIZE}"):
        read(script)


@pytest.mark.parametrize(
    "value", ["", "bytes 0-1899/1500000", "bytes 100-1998/1500000", "bytes */1500000", "bytes 100-1999/*"]
)
def test_a_wrong_content_range_is_not_believed(value: str) -> None:
    failure = failure_of(content_range(value))
    assert isinstance(failure, TransientError)
    assert "where bytes 100-1999/1500000 were asked for" in str(failure)


@pytest.mark.parametrize("total", [SIZE - 1, SIZE + 1])
def test_a_blob_of_another_size_than_promised_is_an_integrity_error(total: int) -> None:
    failure = failure_of(content_range(f"bytes 100-1999/{total}"))
    assert isinstance(failure, IntegrityError)
    assert str(failure) == f"127.0.0.1 has {total} bytes, the manifest promises {SIZE}"


def test_a_body_that_ends_early_is_worth_another_try() -> None:
    assert isinstance(failure_of(cut(700)), TransientError)


def test_the_bytes_before_a_cut_are_delivered() -> None:
    received = list[int]()
    with serving(BLOB, [cut(600_000)]) as script, BlobTransport(connections=1) as transport:
        views = transport.read_range(script.url, start=0, stop=SIZE, size=SIZE)
        with pytest.raises(TransientError):
            received.extend(byte for view in views for byte in view)
    assert len(received) >= 256 * 1024
    assert BLOB.startswith(bytes(received))


def test_a_reset_is_worth_another_try() -> None:
    assert isinstance(failure_of(cut(0, reset=True)), TransientError)


def test_an_expired_url_asks_for_a_fresh_one_and_says_why() -> None:
    failure = failure_of(status(403, EXPIRED))
    assert isinstance(failure, LinkRefusedError)
    assert str(failure) == "127.0.0.1 answered 403 (AccessDenied: Request has expired)"


def test_a_refusal_that_echoes_the_login_is_told_without_it() -> None:
    echo = b"<Error><Code>Denied</Code><Message>no Bearer abc: s3cretword</Message></Error>"
    with serving(BLOB, [status(403, echo)]) as script, BlobTransport(connections=1) as transport:
        views = transport.read_range(script.url, start=0, stop=10, size=SIZE, authorization="Bearer s3cretword")
        with pytest.raises(LinkRefusedError, match=r"\(Denied: no Bearer abc: \*\*\*\)"):
            next(views)


def test_a_refusal_may_be_a_registrys() -> None:
    failure = failure_of(status(403, b'{"errors":[{"code":"DENIED","message":"not \\u001byou"}]}'))
    assert str(failure) == "127.0.0.1 answered 403 (DENIED: not ?you)"


@pytest.mark.parametrize("code", [400, 401, 404, 410])
def test_other_refusals_ask_for_a_fresh_url(code: int) -> None:
    assert isinstance(failure_of(status(code)), LinkRefusedError)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_an_overloaded_server_is_asked_again_with_the_same_url(code: int) -> None:
    failure = failure_of(status(code, b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>"))
    assert type(failure) is (BusyError if code in (429, 503) else TransientError)
    assert "SlowDown: Reduce your rate." in str(failure)


def test_a_blob_shorter_than_promised_is_an_integrity_error() -> None:
    failure = failure_of(status(416, Content_Range="bytes */50"))
    assert isinstance(failure, IntegrityError)


def test_nobody_listening_is_said_without_the_url() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/blob?X-Amz-Signature=SECRET"
        with BlobTransport(connections=1) as transport, pytest.raises(TransientError) as caught:
            next(transport.read_range(url, start=0, stop=10, size=10))
    assert str(caught.value) == f"no connection to {urlsplit(url).netloc} (Connection refused)"
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_a_login_in_netrc_is_never_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password SECRET\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(BLOB) as other, serving(BLOB, [status(307, Location=other.url)]) as script:
        assert read(script, 0, 10) == BLOB[:10]
    assert "Authorization" not in script.requests[0].headers | other.requests[0].headers


def test_authorization_goes_with_the_request_and_along_its_host_but_to_no_other() -> None:
    with serving(BLOB) as other:
        hops = [status(307, Location="/there"), status(307, Location=other.url)]
        with serving(BLOB, hops) as script, BlobTransport(connections=1) as transport:
            views = transport.read_range(script.url, start=0, stop=10, size=SIZE, authorization="Bearer SECRET")
            assert b"".join(map(bytes, views)) == BLOB[:10]
    assert [one.headers.get("Authorization") for one in script.requests] == ["Bearer SECRET", "Bearer SECRET"]
    assert [one.headers.get("Authorization") for one in other.requests] == [None]


def test_cookies_are_not_sent_back() -> None:
    def with_cookie(handler: Handler, request: Request) -> None:
        handler.answer(503, b"", Set_Cookie="session=SECRET; Path=/")

    with serving(BLOB, [with_cookie]) as script, BlobTransport(connections=1) as transport:
        with pytest.raises(TransientError):
            next(transport.read_range(script.url, start=0, stop=10, size=SIZE))
        assert bytes(next(transport.read_range(script.url, start=0, stop=10, size=SIZE))) == BLOB[:10]
    assert "Cookie" not in script.requests[1].headers


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/blob", "https://[bad"])
def test_a_redirect_to_what_is_no_web_server_is_not_followed(location: str) -> None:
    failure = failure_of(status(307, Location=location))
    assert type(failure) is TransferError


def test_the_connection_of_a_redirect_is_used_again() -> None:
    hops = [status(307, b"moved", Location="/there")] * 3
    with serving(BLOB, hops) as script:
        assert read(script, 0, 10) == BLOB[:10]
    assert (len(script.requests), len(script.sockets)) == (4, 1)


def test_redirects_in_a_circle_end_soon() -> None:
    circle = [status(307, Location="/blob?X-Amz-Signature=SECRET")] * 40
    with serving(BLOB, circle) as script, pytest.raises(TransferError) as caught:
        read(script, 0, 10)
    assert (str(caught.value), len(script.requests)) == ("127.0.0.1 redirects more than 5 times", 6)


@pytest.mark.parametrize("url", ["https://[bad", "https://a℀b/", "file:///etc/passwd", "nonsense"])
def test_a_url_that_is_none_is_no_use(url: str) -> None:
    with BlobTransport(connections=1) as transport, pytest.raises(TransferError) as caught:
        next(transport.read_range(url, start=0, stop=10, size=10))
    assert not isinstance(caught.value, TransientError)


def test_abort_does_no_harm_to_a_read_that_has_all_its_bytes() -> None:
    with serving(BLOB) as script, BlobTransport(connections=2) as transport:
        views = transport.read_range(script.url, start=0, stop=10, size=SIZE)
        assert bytes(next(views)) == BLOB[:10]
        transport.abort()
        assert list(views) == []


def test_abort_wakes_a_reader_that_waits_for_an_answer_to_begin() -> None:
    asked = threading.Event()

    def silent(handler: Handler, request: Request) -> None:
        asked.set()
        handler.script.release.wait(20)

    with serving(BLOB, [silent]) as script, BlobTransport(connections=1) as transport, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(next, transport.read_range(script.url, start=0, stop=10, size=SIZE))
        assert asked.wait(10)
        transport.abort()
        assert isinstance(reading.exception(5), TransferError)


def test_abort_wakes_a_reader_that_waits_for_bytes() -> None:
    first, failures = threading.Event(), list[Exception]()

    def reader() -> None:
        try:
            for _ in transport.read_range(script.url, start=0, stop=SIZE, size=SIZE):
                first.set()
        except TransferError as error:
            failures.append(error)

    with serving(BLOB, [stall(600_000)]) as script, BlobTransport(connections=1) as transport:
        thread = threading.Thread(target=reader)
        thread.start()
        assert first.wait(10)
        begun = time.monotonic()
        transport.abort()
        thread.join(10)
        assert time.monotonic() - begun < 5
        assert failures
        with pytest.raises(TransferError, match="stopped"):
            next(transport.read_range(script.url, start=0, stop=10, size=SIZE))
