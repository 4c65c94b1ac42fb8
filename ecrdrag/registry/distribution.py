"""Own /v2/ as any registry speaks it: manifests and blobs by name, and the way in that a challenge asks for.

The command line may enter; what it makes is handed to the rooms that pull. OCI distribution spec, and
distribution/distribution's docs/content/spec/auth/token.md.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final
from urllib.parse import urlencode, urlsplit

import requests

from ecrdrag.content import Digest
from ecrdrag.errors import (
    AuthError,
    BusyError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    TransferError,
    TransientError,
    UnsupportedError,
)
from ecrdrag.manifest import INDEX_TYPES, MANIFEST_TYPES, MAX_MANIFEST_SIZE
from ecrdrag.registry.body import BUFFER_SIZE, Body, Patience
from ecrdrag.registry.challenge import Challenge, parse_challenges
from ecrdrag.registry.heads import Heads
from ecrdrag.registry.http import (
    HEADERS,
    MIN_RATE,
    READ_TIMEOUT,
    SMALL_BODY,
    Connections,
    host_of,
    origin_of,
    translated,
)

Login = tuple[str, str]
"""A user's name and password."""

_ACCEPT: Final = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))
_MAX_TOKEN_REPLY: Final = 1024 * 1024  # bytes
# token.md: expires_in "defaults to 60 seconds"; a token isn't used in its last ones.
_LIFETIME: Final = 60.0
_MARGIN: Final = 5.0
_MAX_REASON: Final = 200  # characters


def netrc_login(url: str) -> Login | None:
    """Look a host's login up in ~/.netrc, or the file that NETRC names."""
    return requests.utils.get_netrc_auth(url)


@dataclass(frozen=True, slots=True)
class _Pass:
    """An Authorization header for a scope, until a moment of the monotonic clock."""

    header: str
    until: float


class Distribution:
    """Read from one registry; safe from many threads.

    url is where it is, without /v2/. login finds who to be there, asked when a challenge wants to know. A reply ends
    that brings nothing for read_timeout seconds, or over so long less than min_rate bytes per second, or whose head
    takes twice as long.
    """

    def __init__(
        self,
        url: str,
        *,
        login: Callable[[str], Login | None] = netrc_login,
        ca_bundle: str | bool = True,
        connections: int = 32,
        read_timeout: float = READ_TIMEOUT,
        min_rate: float = MIN_RATE,
    ) -> None:
        self._url = url.rstrip("/")
        self._host = host_of(url)
        self._login = login
        self._read_timeout, self._min_rate = read_timeout, min_rate
        self._connections = Connections(connections, ca_bundle=ca_bundle, read_timeout=read_timeout)
        self._lock = threading.Lock()
        self._passes: dict[str, _Pass] = {}
        self._heads = Heads(2 * read_timeout)

    def check(self) -> None:
        """Ask whether it is a registry and lets us in."""
        with self._ask("GET", "", scope="", what=f"the registry {self._host}"):
            pass

    def digest(self, repository: str, tag: str) -> Digest | None:
        """Tell what a tag stands for without fetching it; None when the registry doesn't say."""
        with self._manifest("HEAD", repository, tag) as response:
            return _digest_in(response)

    def manifest(self, repository: str, reference: str | Digest) -> tuple[bytes, str]:
        """Fetch a manifest or an index by tag or digest, verified where a digest is known, and its media type."""
        with self._manifest("GET", repository, reference) as response:
            raw = b"".join(bytes(view) for view in self._views(response, MAX_MANIFEST_SIZE))
            known = reference if isinstance(reference, Digest) else _digest_in(response)
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if known and Digest.of(raw, known.algorithm) != known:
            raise IntegrityError(f"{self._host} sent a manifest of {repository} that isn't {known}")
        return raw, media_type

    @contextmanager
    def blob(self, repository: str, digest: Digest) -> Iterator[Iterator[memoryview]]:
        """Open a blob: its bytes in order, not verified; a view is valid until the next one is asked for."""
        what = f"blob {digest} of {repository}"
        with self._ask("GET", f"{repository}/blobs/{digest}", scope=_pull(repository), what=what) as response:
            yield self._views(response)

    def abort(self) -> None:
        """Wake every thread that waits for bytes; later requests fail at once."""
        self._connections.abort()  # first: a thread that waited for a head asks no more
        self._heads.abort()

    def __enter__(self) -> Distribution:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
        self._connections.close()

    @contextmanager
    def _manifest(self, method: str, repository: str, reference: str | Digest) -> Iterator[requests.Response]:
        path, what = f"{repository}/manifests/{reference}", f"{repository} {reference}"
        with self._ask(method, path, scope=_pull(repository), what=what, accept=_ACCEPT) as response:
            yield response

    @contextmanager
    def _ask(
        self, method: str, path: str, *, scope: str, what: str, accept: str = "*/*"
    ) -> Iterator[requests.Response]:
        """Give the reply to a request that is let in, its body unread; only what happens in here is translated."""
        with translated(self._host):
            response = self._answered(method, f"{self._url}/v2/{path}", {**HEADERS, "Accept": accept}, scope)
        with self._connections.watched(response):
            if response.status_code != requests.codes.ok:
                raise self._refusal(response, what)
            yield response

    def _answered(self, method: str, url: str, headers: Mapping[str, str], scope: str) -> requests.Response:
        """Send a request, once more with what a challenge asks for."""
        known = self._known(scope)
        response = self._send(method, url, {**headers, "Authorization": known} if known else headers)
        if response.status_code != requests.codes.unauthorized or origin_of(response.url) != origin_of(self._url):
            return response
        with self._connections.watched(response):
            response.raw.read(SMALL_BODY)
            challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
        header = self._authorization(challenges, scope)
        return self._send(method, url, {**headers, "Authorization": header}) if header else response

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        return self._heads.ask(lambda: self._connections.send(method, url, headers), host_of(url))

    def _known(self, scope: str) -> str:
        with self._lock:
            known = self._passes.get(scope)
        return known.header if known and time.monotonic() < known.until else ""

    def _authorization(self, challenges: tuple[Challenge, ...], scope: str) -> str:
        """Do what the first challenge asks for that can be met; empty when none can."""
        for challenge in challenges:
            found = self._bearer(challenge, scope) if challenge.scheme == "bearer" else self._basic(challenge)
            if found:
                with self._lock:
                    self._passes[scope] = found
                return found.header
        return ""

    def _basic(self, challenge: Challenge) -> _Pass | None:
        login = self._login(self._url) if challenge.scheme == "basic" else None
        return _Pass(_basic_header(login), float("inf")) if login else None

    def _bearer(self, challenge: Challenge, scope: str) -> _Pass | None:
        """Fetch a token, as somebody where there is a login, else as anybody."""
        realm = challenge.parameters.get("realm", "")
        if urlsplit(realm).scheme not in ("https", urlsplit(self._url).scheme):
            raise AuthError(f"{self._host} sends for a token to what is not https, which is not followed")
        asked = {"service": challenge.parameters.get("service", ""), "scope": challenge.parameters.get("scope", scope)}
        query = urlencode({name: value for name, value in asked.items() if value})
        login = self._login(self._url)
        headers = {**HEADERS, "Authorization": _basic_header(login)} if login else HEADERS
        begun = time.monotonic()
        response = self._send("GET", f"{realm}{'&' if urlsplit(realm).query else '?'}{query}", headers)
        with self._connections.watched(response):
            if response.status_code != requests.codes.ok:
                raise self._refusal(response, f"a token for {scope or self._host}", host_of(realm))
            token, lifetime = _read_token(b"".join(bytes(view) for view in self._views(response, _MAX_TOKEN_REPLY)))
        return _Pass(f"Bearer {token}", begun + lifetime - _MARGIN)

    def _views(self, response: requests.Response, limit: int | None = None) -> Iterator[memoryview]:
        """Yield a reply's body; raise UnsupportedError over limit bytes, TransientError when some are missing."""
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

    def _refusal(self, response: requests.Response, what: str, host: str = "") -> EcrdragError:
        status = response.status_code
        with translated(self._host):
            reason = _reason(response)
        text = f"{host or host_of(response.url)} answered {status} ({reason}) when asked for {what}"
        if status in (requests.codes.unauthorized, requests.codes.forbidden):
            return AuthError(text, hint="put the login of this host into ~/.netrc")
        if status == requests.codes.not_found:
            return NotFoundError(text)
        if status == requests.codes.too_many_requests:
            return BusyError(text)
        if status >= requests.codes.internal_server_error or status == requests.codes.request_timeout:
            return TransientError(text)
        return TransferError(text)


def _pull(repository: str) -> str:
    """Name what is asked for, as distribution's docs/content/spec/auth/scope.md has it."""
    return f"repository:{repository}:pull"


def _basic_header(login: Login) -> str:
    request = requests.Request("GET", "https://host.invalid/", auth=login).prepare()
    return request.headers["Authorization"]


def _digest_in(response: requests.Response) -> Digest | None:
    with suppress(ValueError):
        return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    return None


def _read_token(raw: bytes) -> tuple[str, float]:
    """Read the reply of a token server: the token, and for how many seconds it is good."""
    try:
        reply = json.loads(raw)
    except (ValueError, RecursionError):
        reply = None
    found = reply if isinstance(reply, dict) else {}
    token = found.get("token") or found.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise AuthError("the token server sent no token")
    return token, _lifetime(found.get("expires_in"))


def _lifetime(told: object) -> float:
    if isinstance(told, int | float) and not isinstance(told, bool):
        with suppress(OverflowError):  # JSON has larger numbers than a float
            return float(told)
    return _LIFETIME


def _reason(response: requests.Response) -> str:
    """Return what a registry says about an error: its first code and message (OCI distribution spec, "Error Codes")."""
    raw = response.raw.read(SMALL_BODY)
    with suppress(ValueError, KeyError, IndexError, TypeError, RecursionError):
        error = json.loads(raw)["errors"][0]
        text = f"{error['code']}: {error.get('message', '')}"
        return "".join(letter if letter.isprintable() else "?" for letter in text[:_MAX_REASON])
    return response.reason or "no reason given"
