"""Own HTTP for blobs: one pool of connections, ranged GETs, checked replies, no secret in any text.

The registry's ends may enter.

requests and urllib3 put whole URLs, signature and all, into exception texts. Nothing of theirs
leaves this room: their errors are put into our own words, ``from None``.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from ecrdrag import __version__
from ecrdrag.content import Turns
from ecrdrag.errors import BusyError, IntegrityError, RangeIgnoredError, StalledError, TransferError, TransientError
from ecrdrag.registry.body import Body, Patience
from ecrdrag.registry.ends import Unlimited

CONNECT_TIMEOUT: Final = 10.0  # seconds
READ_TIMEOUT: Final = 30.0  # seconds without a byte
MIN_RATE: Final = 1024.0  # bytes per second, over READ_TIMEOUT; a line that shares less between its requests is dead
MAX_REDIRECTS: Final = 5
HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"ecrdrag/{__version__}"}
SMALL_BODY: Final = 4096  # bytes; as much is read of what comes with an error or a redirect
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")  # RFC 9110, 14.4
_S3_ERROR: Final = re.compile(r"<Code>([A-Za-z]{1,64})</Code>\s*<Message>([^<]{0,200})</Message>")
# RFC 9110, 15: the server asks for another try later.
_TRY_LATER: Final = frozenset({408, 425})
# RFC 6585, 4; and what S3 answers with the code SlowDown ("Best practices design patterns: optimizing performance").
_TOO_MANY: Final = frozenset({429, 503})


class LinkRefusedError(TransientError):
    """The server won't serve this URL any more; a fresh one may work."""


class BlobTransport:
    """Fetch byte ranges of blobs over at most connections kept-alive connections; safe from many threads.

    ca_bundle is a file or folder of certificates, True for the usual ones. turns decide how many
    requests a host gets at once. A reply ends that brings nothing for read_timeout seconds, or over so
    long less than min_rate bytes per second. Proxies come from the environment.
    """

    def __init__(
        self,
        *,
        connections: int,
        ca_bundle: str | bool = True,
        turns: Turns | None = None,
        read_timeout: float = READ_TIMEOUT,
        min_rate: float = MIN_RATE,
    ) -> None:
        # No session: its cookies and ~/.netrc have no place beside a presigned URL, and it reads the whole environment
        # for each request.
        self._adapter = requests.adapters.HTTPAdapter(pool_connections=connections, pool_maxsize=connections)
        self._ca_bundle = ca_bundle
        self._proxies: dict[str, Mapping[str, str]] = {}
        self._turns = turns or Unlimited()
        self._read_timeout, self._min_rate = read_timeout, min_rate
        self._lock = threading.Lock()
        self._live: set[urllib3.BaseHTTPResponse] = set()
        self._aborted = False

    def read_range(self, url: str, *, start: int, stop: int, size: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) of the size bytes behind url.

        Raises LinkRefusedError when a fresh URL may help, RangeIgnoredError when the server sent
        the whole blob instead, TransientError when another try may help, IntegrityError when the
        blob has another size, TransferError when it is no use.
        """
        host = host_of(url)
        with self._turns.turn(host) as turn, translated(host), self._open(url, start, stop) as response:
            host = host_of(response.url)
            _check_reply(response, host, start, stop, size)
            body, missing = Body(response.raw), stop - start
            patience = Patience(host, self._read_timeout, self._min_rate)
            while missing:
                view = body.read(missing, patience)
                if not view:
                    raise TransientError(f"{host} closed the connection {missing} bytes before the end")
                missing -= len(view)
                turn.moved(len(view))
                yield view

    def abort(self) -> None:
        """Wake every thread that waits for bytes; later requests fail at once."""
        self._turns.abort()
        with self._lock:
            self._aborted = True
            live = list(self._live)
        for raw in live:
            shut_down(raw)

    def __enter__(self) -> BlobTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()  # a request that lost a race may still wait for bytes
        self._adapter.close()

    @contextmanager
    def _open(self, url: str, start: int, stop: int) -> Iterator[requests.Response]:
        with self._get(url, {**HEADERS, "Range": f"bytes={start}-{stop - 1}"}) as response:
            with self._lock:
                self._live.add(response.raw)
            try:
                self._check_aborted()
                yield response
            finally:
                with self._lock:
                    self._live.discard(response.raw)

    def _get(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Follow redirects, a few, and never away from TLS."""
        for _ in range(MAX_REDIRECTS + 1):
            self._check_aborted()
            response = self._adapter.send(
                requests.Request("GET", url, headers).prepare(),
                stream=True,
                timeout=(CONNECT_TIMEOUT, self._read_timeout),
                verify=self._ca_bundle,
                proxies=self._proxies_for(url),
            )
            if not response.is_redirect:
                return response
            with response:
                target = urljoin(url, response.headers["Location"])
                response.raw.read(SMALL_BODY)  # one that is read to its end leaves the connection for the next
            if urlsplit(target).scheme not in ("https", urlsplit(url).scheme):
                raise TransferError(f"{host_of(url)} redirects to what is not https, which is not followed")
            url = target
        raise TransferError(f"{host_of(url)} redirects more than {MAX_REDIRECTS} times")

    def _proxies_for(self, url: str) -> Mapping[str, str]:
        """Look a host's proxies up in the environment, once."""
        host = host_of(url)
        if host not in self._proxies:
            self._proxies[host] = requests.utils.get_environ_proxies(url, no_proxy=None)
        return self._proxies[host]

    def _check_aborted(self) -> None:
        if self._aborted:
            raise TransferError("the transfer was stopped")


def host_of(url: str) -> str:
    """Return the host in a URL, for people to read."""
    try:
        return urlsplit(url).hostname or "the server"
    except ValueError:
        return "the server"


def _check_reply(response: requests.Response, host: str, start: int, stop: int, size: int) -> None:
    status = response.status_code
    if status == requests.codes.partial_content:
        _check_content_range(response.headers.get("Content-Range", ""), host, start, stop, size)
    elif status == requests.codes.ok:
        _check_whole(response.headers.get("Content-Length"), host, start, stop, size)
    elif status == requests.codes.requested_range_not_satisfiable:
        raise IntegrityError(f"{host} has fewer than the {size} bytes that the manifest promises")
    else:
        raise _refusal(response, host)


def _check_content_range(found: str, host: str, start: int, stop: int, size: int) -> None:
    match = _CONTENT_RANGE.fullmatch(found)
    first, last, total = map(int, match.groups()) if match else (-1, -1, -1)
    if first == start and total != size:
        raise IntegrityError(f"{host} has {total} bytes, the manifest promises {size}")
    if (first, last) != (start, stop - 1):
        raise TransientError(f"{host} sent range {found[:80]!r} where bytes {start}-{stop - 1}/{size} were asked for")


def _check_whole(length: str | None, host: str, start: int, stop: int, size: int) -> None:
    if (start, stop) != (0, size):
        raise RangeIgnoredError(f"{host} sent the whole blob where a range was asked for")
    if length is not None and length != str(size):
        raise IntegrityError(f"{host} sends {length[:20]} bytes, the manifest promises {size}")


def _refusal(response: requests.Response, host: str) -> TransientError:
    status = response.status_code
    match = _S3_ERROR.search(response.raw.read(SMALL_BODY).decode("utf-8", "replace"))
    reason = f"{match[1]}: {match[2]}" if match else response.reason or "no reason given"
    text = f"{host} answered {status} ({reason})"
    if status in _TOO_MANY:
        return BusyError(text)
    if status >= requests.codes.internal_server_error or status in _TRY_LATER:
        return TransientError(text)
    return LinkRefusedError(text)


def shut_down(raw: urllib3.BaseHTTPResponse) -> None:
    """Wake the thread that reads from a response, where urllib3 can (2.3 and newer)."""
    shutdown = getattr(raw, "shutdown", None)
    if shutdown is not None:
        with suppress(OSError, ValueError, RuntimeError):  # it has ended by itself
            shutdown()


@contextmanager
def translated(host: str) -> Iterator[None]:
    """Put what HTTP raises into our words, without a URL in them."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise _in_our_words(error, host) from None


def _in_our_words(error: Exception, host: str) -> TransferError:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return TransferError(
            f"the certificate of {host} can't be verified",
            hint="set AWS_CA_BUNDLE to your organisation's certificates",
        )
    for kinds, ours, words in _TRANSIENT:
        if isinstance(error, kinds):
            return ours(words.format(host=host))
    return TransferError(f"{host} can't be read from: {type(error).__name__}")


_TRANSIENT: Final[tuple[tuple[tuple[type[Exception], ...], type[TransientError], str], ...]] = (
    ((requests.exceptions.ProxyError,), TransientError, "the proxy for {host} does not answer"),
    ((requests.exceptions.ConnectTimeout,), TransientError, "connecting to {host} timed out"),
    (
        (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError, socket.timeout),
        StalledError,
        "{host} sent nothing for too long",
    ),
    ((requests.exceptions.SSLError, urllib3.exceptions.SSLError), TransientError, "the TLS connection to {host} broke"),
    ((urllib3.exceptions.IncompleteRead,), TransientError, "{host} closed the connection before the end"),
    ((requests.exceptions.ConnectionError,), TransientError, "no connection to {host}"),
    ((urllib3.exceptions.ProtocolError, ConnectionError), BusyError, "the connection to {host} broke"),
)
