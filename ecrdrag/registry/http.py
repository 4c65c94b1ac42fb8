"""Own HTTP as the registry's ends use it: requests sent and redirected, replies that can be ended.

The registry's ends may enter.
"""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from ecrdrag import __version__
from ecrdrag.errors import TransferError, UsageError
from ecrdrag.registry.blocks import Blocks, Flow
from ecrdrag.registry.body import Body as Received
from ecrdrag.registry.body import Patience
from ecrdrag.registry.http_errors import translated

CONNECT_TIMEOUT: Final = 10.0  # seconds
READ_TIMEOUT: Final = 30.0  # seconds without a byte
MIN_RATE: Final = 1024.0  # bytes per second, over READ_TIMEOUT; a line that shares less between its requests is dead
HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"ecrdrag/{__version__}"}
SMALL_BODY: Final = 4096  # bytes; as much is read of what comes with an error or a redirect
_MAX_REDIRECTS: Final = 5
_READING: Final = ("GET", "HEAD")
# RFC 9110, 15.4: after these the same is asked elsewhere, after the others perhaps something else.
_SAME_ELSEWHERE: Final = (requests.codes.temporary_redirect, requests.codes.permanent_redirect)
_BLOCK: Final = 128 * 1024  # bytes of a body handed to the socket at once
_LOCAL: Final = ".localhost"
_HERE: Final = "127.0.0.1"
_PORTS: Final = {"https": 443, "http": 80}
_BAD_PROXY_HINT: Final = (
    "look at https_proxy, http_proxy and all_proxy in the environment; a SOCKS proxy needs the package PySocks"
)
Body = bytes | bytearray | memoryview | Flow


@dataclass(frozen=True, slots=True)
class Trust:
    """Say whose certificates are believed: the usual ones or those of a bundle, and those of one more file.

    bundle is a file or folder in place of the usual ones, True for these.
    """

    bundle: str | bool = True
    more: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Make a TLS context; raise UsageError for a file that can't be used."""
        context = urllib3.util.ssl_.create_urllib3_context()
        _believe(context, Path(requests.utils.DEFAULT_CA_BUNDLE_PATH if self.bundle is True else str(self.bundle)))
        if self.more:
            _believe(context, self.more)
        return context


def _believe(context: ssl.SSLContext, path: Path) -> None:
    try:
        if path.is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is one too
        reason = "there is no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror or error
        raise UsageError(f"the CA file {path} can't be used: {reason}", hint="it holds certificates in PEM") from error


class Guard(Protocol):
    """Decide where requests may go."""

    def check(self, url: str) -> None:
        """Raise an EcrdragError for a URL that may not be asked, at first or after a redirect."""
        ...

    def pools(self) -> Mapping[str, type[urllib3.HTTPSConnectionPool]]:
        """Give the pools of connections that may be made without a proxy, by scheme."""
        ...


class _Adapter(requests.adapters.HTTPAdapter):
    """An adapter with one TLS context for all connections, and with larger blocks where urllib3 can (2 and newer).

    requests would have each connection read all certificates again.
    """

    def __init__(self, count: int, trust: Trust, guard: Guard | None) -> None:
        self._trust, self._guard = trust, guard
        self._tls = trust.context() if trust.more else None  # what a user names is looked at before all else
        self._lock = threading.Lock()
        super().__init__(pool_connections=count, pool_maxsize=count)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **settings: object) -> None:
        """Make the pool with larger blocks."""
        if "key_blocksize" in urllib3.poolmanager.PoolKey._fields:
            settings["blocksize"] = _BLOCK
        super().init_poolmanager(connections, maxsize, block, **settings)
        if self._guard:
            self.poolmanager.pool_classes_by_scheme = self._guard.pools()

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: bool | str, cert: str | tuple[str, str] | None = None
    ) -> tuple[Any, Any]:
        """Lead names under localhost to this machine, whatever resolvers make of them: RFC 6761, 6.3, item 3."""
        parts = urlsplit(request.url or "")
        name = parts.hostname or ""
        place = {"scheme": parts.scheme, "host": _HERE if name.endswith(_LOCAL) else name, "port": parts.port}
        if parts.scheme != "https":
            return place, {}
        tls = {"cert_reqs": "CERT_REQUIRED", "ssl_context": self._context()}
        return place, {**tls, "server_hostname": name} if name.endswith(_LOCAL) else tls

    def cert_verify(self, conn: object, url: str, verify: object, cert: object) -> None:
        """Leave it to the context, which verifies."""

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            self._tls = self._tls or self._trust.context()
            return self._tls


class Connections:
    """Send requests over at most so many kept-alive connections to each host; safe from many threads.

    read_timeout is in seconds without a byte. Proxies come from the environment. Where requests may go is the guard's
    to say, if there is one.
    """

    def __init__(self, count: int, *, trust: Trust, read_timeout: float, guard: Guard | None = None) -> None:
        # No session: its cookies have no place here, it would send a login of ~/.netrc to every host on the way,
        # presigned URLs and all, and it reads the whole environment for each request.
        self._adapter, self._guard = _Adapter(count, trust, guard), guard
        self._timeout = (CONNECT_TIMEOUT, read_timeout)
        self._proxies: dict[str, Mapping[str, str]] = {}
        self._lock = threading.Lock()
        self._live: set[urllib3.BaseHTTPResponse] = set()
        self._aborted = False

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None, *, follow: bool = True
    ) -> requests.Response:
        """Follow redirects, a few, never away from TLS, and without Authorization to another host.

        What isn't GET or HEAD follows only where the same is to be asked, and can be. Without follow, a redirect is
        the reply.
        """
        for _ in range(_MAX_REDIRECTS + 1):
            with translated(place_of(url)):
                response = self._send(method, url, headers, body)
            goes_on = method in _READING or (
                response.status_code in _SAME_ELSEWHERE and not isinstance(body, Flow)  # what flows by is gone
            )
            if not follow or not response.is_redirect or not goes_on:
                return response
            with translated(host_of(url)):
                target = self._target(response)
                is_safe = urlsplit(target).scheme in ("https", urlsplit(url).scheme)
            if not is_safe:
                raise TransferError(f"{host_of(url)} redirects to what is not https, which is not followed")
            if origin_of(target) != origin_of(url):
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            url = target
        raise TransferError(f"{host_of(url)} redirects more than {_MAX_REDIRECTS} times")

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Body | None) -> requests.Response:
        self._check_aborted()
        if self._guard:
            self._guard.check(url)
        # Of no bytes http.client would make a chunked body.
        data = body if isinstance(body, Flow) else Blocks(body) if body else None
        request = requests.Request(method, url, {**headers, **_named(url)}, data=data).prepare()
        proxies = self._proxies_for(url)
        try:
            response = self._adapter.send(request, stream=True, timeout=self._timeout, proxies=proxies)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
            if requests.utils.select_proxy(url, proxies):
                raise UsageError(f"the proxy for {place_of(url)} can't be used", hint=_BAD_PROXY_HINT) from None
            raise
        response.url = url
        return response

    def _target(self, response: requests.Response) -> str:
        with self.watched(response):
            small_body(response)  # one that is read to its end leaves the connection for the next
        return urljoin(response.url, response.headers["Location"])

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
        """Look a host's proxies up in the environment, once; none leads to this machine, as in Go's net/http."""
        place = place_of(url)
        if place not in self._proxies:
            is_near = is_loopback(urlsplit(url).hostname or "")
            self._proxies[place] = {} if is_near else requests.utils.get_environ_proxies(url, no_proxy=None)
        return self._proxies[place]

    def _check_aborted(self) -> None:
        if self._aborted:
            raise TransferError("the transfer was stopped")


def host_of(url: str) -> str:
    """Return the host in a URL, for people to read."""
    try:
        return urlsplit(url).hostname or "the server"
    except ValueError:
        return "the server"


def place_of(url: str) -> str:
    """Return the host in a URL, with its port where it names one."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "the server"
    except ValueError:
        return "the server"


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """Return what makes two URLs ask the same server: RFC 6454, section 4."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _named(url: str) -> Mapping[str, str]:
    """Say whom a request is for where the adapter leads it elsewhere."""
    return {"Host": place_of(url)} if (urlsplit(url).hostname or "").endswith(_LOCAL) else {}


def is_loopback(host: str) -> bool:
    """Tell whether a host name, without a port, is this machine: RFC 6761, 6.3; RFC 1122, 3.2.1.3."""
    name = host.lower().strip("[]")
    if name == "localhost" or name.endswith(_LOCAL):
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return False


def _shut_down(raw: urllib3.BaseHTTPResponse) -> None:
    """Wake the thread that reads from a response, where urllib3 can (2.3 and newer)."""
    shutdown = getattr(raw, "shutdown", None)
    if shutdown is not None:
        with suppress(OSError, ValueError, RuntimeError):  # it has ended by itself
            shutdown()


def small_body(response: requests.Response, seconds: float = READ_TIMEOUT) -> bytes:
    """Read what comes with an error or a redirect, no more of it than SMALL_BODY and no slower than MIN_RATE."""
    return b"".join(map(bytes, beginning(response, SMALL_BODY, seconds)))


def beginning(response: requests.Response, size: int, seconds: float = READ_TIMEOUT) -> Iterator[memoryview]:
    """Yield the first bytes of a body, size at most, as they come; a view is valid until the next one is asked for."""
    body, patience = Received(response.raw), Patience(host_of(response.url), seconds, MIN_RATE)
    missing = size
    while missing and (view := body.read(missing, patience)):
        missing -= len(view)
        yield view
    if missing == size:
        response.raw.read(1)  # of an empty body nothing was read that gave the connection back to the pool
