"""Own HTTP as the registry's ends use it: requests sent and redirected, replies that can be ended, no secret in a text.

The registry's ends may enter.

requests and urllib3 put whole URLs, signature and all, into exception texts. Nothing of theirs
leaves this room and its users: their errors are put into our own words, ``from None``.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from ecrdrag import __version__
from ecrdrag.errors import BusyError, StalledError, TransferError, TransientError

CONNECT_TIMEOUT: Final = 10.0  # seconds
READ_TIMEOUT: Final = 30.0  # seconds without a byte
MIN_RATE: Final = 1024.0  # bytes per second, over READ_TIMEOUT; a line that shares less between its requests is dead
HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"ecrdrag/{__version__}"}
SMALL_BODY: Final = 4096  # bytes; as much is read of what comes with an error or a redirect
_MAX_REDIRECTS: Final = 5


class Connections:
    """Send requests over at most so many kept-alive connections to each host; safe from many threads.

    ca_bundle is a file or folder of certificates, True for the usual ones. read_timeout is in seconds without a byte.
    Proxies come from the environment.
    """

    def __init__(self, count: int, *, ca_bundle: str | bool, read_timeout: float) -> None:
        # No session: its cookies have no place here, it would send a login of ~/.netrc to every host on the way,
        # presigned URLs and all, and it reads the whole environment for each request.
        self._adapter = requests.adapters.HTTPAdapter(pool_connections=count, pool_maxsize=count)
        self._ca_bundle = ca_bundle
        self._timeout = (CONNECT_TIMEOUT, read_timeout)
        self._proxies: dict[str, Mapping[str, str]] = {}
        self._lock = threading.Lock()
        self._live: set[urllib3.BaseHTTPResponse] = set()
        self._aborted = False

    def send(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Follow redirects, a few, never away from TLS, and without Authorization to another host."""
        for _ in range(_MAX_REDIRECTS + 1):
            self._check_aborted()
            response = self._adapter.send(
                requests.Request(method, url, dict(headers)).prepare(),
                stream=True,
                timeout=self._timeout,
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
            if origin_of(target) != origin_of(url):
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            url = target
        raise TransferError(f"{host_of(url)} redirects more than {_MAX_REDIRECTS} times")

    @contextmanager
    def watched(self, response: requests.Response) -> Iterator[None]:
        """Let abort() end a reply, and end it with the block."""
        with closing(response):
            with self._lock:
                self._live.add(response.raw)
            try:
                self._check_aborted()
                yield
            finally:
                with self._lock:
                    self._live.discard(response.raw)

    def abort(self) -> None:
        """Wake every thread that waits for bytes; later requests fail at once."""
        with self._lock:
            self._aborted = True
            live = list(self._live)
        for raw in live:
            _shut_down(raw)

    def close(self) -> None:
        """Close what is kept alive."""
        self._adapter.close()

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


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """Return what makes two URLs ask the same server: RFC 6454, section 4."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _shut_down(raw: urllib3.BaseHTTPResponse) -> None:
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
