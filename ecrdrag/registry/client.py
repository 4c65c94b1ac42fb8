"""Own the talk with one registry over /v2/: where it is, who we are there, requests that are let in, refusals said.

The rooms of /v2/ in registry enter, and the command line, which makes one for each registry.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Final
from urllib.parse import urljoin, urlsplit

import requests

from ecrdrag.errors import AuthError, EcrdragError, TransferError, TransientError, UnsupportedError
from ecrdrag.registry.auth import Keyring, Nobody
from ecrdrag.registry.authority import Authority
from ecrdrag.registry.blocks import Flow
from ecrdrag.registry.body import BUFFER_SIZE, Body, Patience
from ecrdrag.registry.challenge import parse_challenges
from ecrdrag.registry.distribution_errors import Refusal
from ecrdrag.registry.heads import Heads
from ecrdrag.registry.http import (
    HEADERS,
    MIN_RATE,
    READ_TIMEOUT,
    SMALL_BODY,
    Connections,
    Trust,
    host_of,
    is_loopback,
    origin_of,
    small_body,
)
from ecrdrag.registry.http import Body as Sent
from ecrdrag.registry.http_errors import NoTlsError, UnreachableError, translated

_MAX_TOKEN_REPLY: Final = 1024 * 1024  # bytes
_OK: Final = (requests.codes.ok,)
# What a header may meet that was good once: ECR answers 403 to an expired password ("Your authorization token has
# expired. Reauthenticate and try again."), ECR Public 400 to an expired token (aws/containers-roadmap#2835).
_STALE: Final = (requests.codes.bad_request, requests.codes.forbidden)
_READING: Final = ("GET", "HEAD")
_BASIC: Final = "Basic "
_SCHEMES: Final = ("https://", "http://")


class RegistryClient:
    """Ask one registry; safe from many threads.

    server is HOST or HOST:PORT, or a URL where the scheme is known, without /v2/. registry is its name on the keyring,
    server unless given. It is spoken to over TLS; without TLS with plain_http, or on this machine where TLS isn't
    spoken, as docker does it. Who can't be reached at all at first is not worth another try, later it is. A reply ends
    that brings nothing for read_timeout seconds, or over so long less than min_rate bytes per second, or whose head
    takes twice as long.
    """

    def __init__(
        self,
        server: str,
        *,
        registry: str = "",
        keyring: Keyring | None = None,
        plain_http: bool = False,
        trust: Trust | None = None,
        connections: int = 32,
        read_timeout: float = READ_TIMEOUT,
        min_rate: float = MIN_RATE,
    ) -> None:
        has_scheme = "://" in server
        self._server = server.rstrip("/") if has_scheme else f"{'http' if plain_http else 'https'}://{server}"
        self._means_plain = self._server.startswith("http://")
        self._tries_plain = not has_scheme and not plain_http and is_loopback(urlsplit(self._server).hostname or "")
        self.host = urlsplit(self._server).netloc
        self._read_timeout, self._min_rate = read_timeout, min_rate
        self._connections = Connections(connections, trust=trust or Trust(), read_timeout=read_timeout)
        self._heads = Heads(2 * read_timeout)
        self._authority = Authority(registry or self.host, keyring or Nobody(), self._token)
        self._lock = threading.Lock()
        self._met: set[str] = set()

    def url(self, path: str = "") -> str:
        """Give the URL of what is under /v2/, or of the registry itself."""
        with self._lock:
            if self._tries_plain:
                self._server = self._found()
                self._tries_plain = False
        return f"{self._server}/v2/{path}" if path else self._server

    def check(self) -> None:
        """Ask whether it is a registry and lets us in."""
        with self.ask("GET", f"{self.url()}/v2/", scope="", what=f"the registry {self.host}"):
            pass

    @contextmanager
    def ask(
        self,
        method: str,
        target: str,
        *,
        scope: str,
        what: str,
        headers: Mapping[str, str] | None = None,
        body: Sent | None = None,
        good: Collection[int] = _OK,
        follow: bool = True,
    ) -> Iterator[requests.Response]:
        """Give the reply to a request that is let in, its body unread; only what happens in here is translated.

        target is a path under /v2/, or a whole URL, which sees our login on this registry alone. scope is as
        docs/content/spec/auth/scope.md has it, several with spaces between. Raises what a status that isn't good means;
        what names what was asked for.
        """
        url = target if target.startswith(_SCHEMES) else self.url(target)
        with translated(host_of(url)):
            response = self._let_in(method, url, {**HEADERS, **(headers or {})}, body, scope, follow)
        with self._connections.watched(response):
            if response.status_code not in good:
                with translated(self.host):
                    refusal = Refusal.read(response)
                raise refusal.error(host_of(response.url), what)
            yield response

    def authorization(self, scope: str) -> str:
        """Give the header for requests that are sent elsewhere than by ask(), as far as it is known; else empty."""
        return self._authority.header(scope)

    def views(self, response: requests.Response, limit: int | None = None) -> Iterator[memoryview]:
        """Yield a reply's body; raise UnsupportedError over limit bytes, TransientError when some are missing.

        A view is valid until the next one is asked for.
        """
        host = host_of(response.url)
        length = response.headers.get("Content-Length", "")
        with translated(host):
            expected = int(length) if length.isdecimal() else None  # Python reads no number of any length
            body, patience, came = Body(response.raw), Patience(host, self._read_timeout, self._min_rate), 0
            while view := body.read(BUFFER_SIZE, patience):
                came += len(view)
                if limit is not None and came > limit:
                    raise UnsupportedError(f"{host} sends more than the {limit} bytes that can be")
                yield view
            if expected is not None and came < expected:
                raise TransientError(f"{host} closed the connection {expected - came} bytes before the end")

    def read(self, response: requests.Response, limit: int) -> bytes:
        """Read a whole small body; raises as views() does."""
        return b"".join(bytes(view) for view in self.views(response, limit))

    def place(self, response: requests.Response) -> str:
        """Give the URL in Location, which may be relative; raise TransferError where there is none."""
        location = response.headers.get("Location", "")
        if not location:
            raise TransferError(f"{self.host} answered {response.status_code} without a Location")
        with translated(self.host):
            return urljoin(response.url, location)

    def abort(self) -> None:
        """Wake every thread that waits for bytes; later requests fail at once."""
        self._connections.abort()  # first: a thread that waited for a head asks no more
        self._heads.abort()

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
        self._connections.close()

    def _let_in(
        self, method: str, url: str, headers: Mapping[str, str], body: Sent | None, scope: str, follow: bool
    ) -> requests.Response:
        """Send a request, once more with what a challenge asks for, and once more with a new pass for a stale one."""
        if origin_of(url) != origin_of(self.url()):
            return self._send(method, url, headers, body, follow)
        header = self._authority.header(scope)
        response = self._send(method, url, _with(headers, header), body, follow)
        for _ in range(0 if isinstance(body, Flow) else 2):  # what flows by is gone
            better = self._better(response, method, scope, header)
            if not better:
                break
            header, response = better, self._send(method, url, _with(headers, better), body, follow)
            if not header.startswith(_BASIC):
                break  # a token is fresh; a password may be an old one
        return response

    def _better(self, response: requests.Response, method: str, scope: str, header: str) -> str:
        """Give the header that a reply asks for, and read the reply to its end then; empty when it is the answer."""
        if origin_of(response.url) != origin_of(self.url()) or not _is_refused(response, method, header):
            return ""
        try:
            challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
            better = self._authority.answer(challenges, scope, header)
        except BaseException:
            response.close()
            raise
        if better:
            with self._connections.watched(response):
                small_body(response)  # one that is read to its end leaves the connection for the next
        return better

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Sent | None, follow: bool
    ) -> requests.Response:
        try:
            response = self._asked(method, url, headers, body, follow)
        except UnreachableError as error:
            if urlsplit(url).netloc in self._met:
                raise
            hint = f"allow it with --plain-http, if {self.host} speaks HTTP without TLS"
            raise TransferError(str(error), hint=hint if isinstance(error, NoTlsError) else error.hint) from None
        self._met.add(urlsplit(url).netloc)
        return response

    def _asked(
        self, method: str, url: str, headers: Mapping[str, str], body: Sent | None, follow: bool
    ) -> requests.Response:
        send = partial(self._connections.send, method, url, headers, body, follow=follow)
        return self._heads.ask(send, host_of(url), endless=_is_long(body))

    def _token(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        """Ask a token server."""
        host = host_of(url)
        self._check_tls(url)
        with translated(host):
            response = self._send(method, url, {**HEADERS, **headers}, body, follow=method in _READING)
        with self._connections.watched(response):
            if response.status_code != requests.codes.ok:
                with translated(host):
                    refusal = Refusal.read(response)
                raise _of_login(refusal.error(host, f"a token for {self.host}"), refusal.status)
            return self.read(response, _MAX_TOKEN_REPLY)

    def _check_tls(self, url: str) -> None:
        """Hold a token server, which sees the password, to what was said of the registry."""
        with translated(self.host):
            parts = urlsplit(url)
        is_plain = parts.scheme == "http" and self._server.startswith("http://")
        if parts.scheme == "https" or (is_plain and (self._means_plain or is_loopback(parts.hostname or ""))):
            return
        raise AuthError(f"{self.host} sends for a token to what is not https, which is not followed")

    def _found(self) -> str:
        """Find out whether TLS is spoken on this machine's port."""
        try:
            with translated(self.host):
                response = self._asked("GET", f"{self._server}/v2/", HEADERS, None, follow=False)
        except NoTlsError:
            return self._server.replace("https://", "http://", 1)
        except UnreachableError as error:
            raise TransferError(str(error), hint=error.hint) from None
        response.close()
        return self._server


def _is_long(body: Sent | None) -> bool:
    """Tell whether the sending of a body takes as long as it takes."""
    return isinstance(body, Flow) or len(body or b"") > SMALL_BODY


def _of_login(error: EcrdragError, status: int) -> EcrdragError:
    """Take 400 for what it is where a refresh token is refused: RFC 6749, 5.2, invalid_grant."""
    if status != requests.codes.bad_request:
        return error
    return AuthError(str(error), hint=error.hint or "log in to the registry again")


def _with(headers: Mapping[str, str], authorization: str) -> Mapping[str, str]:
    return {**headers, "Authorization": authorization} if authorization else headers


def _is_refused(response: requests.Response, method: str, header: str) -> bool:
    """Tell whether another header may help; a 400 to what isn't only read says something else."""
    if response.status_code == requests.codes.unauthorized:
        return True
    stale = response.status_code in _STALE and bool(header)
    return stale and (method in _READING or response.status_code != requests.codes.bad_request)
