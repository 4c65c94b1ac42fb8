"""Own one client's connection: its requests one after the other, each read, handled and answered.

The HTTP server may enter. HTTP/1.1 after RFC 9112.
"""

from __future__ import annotations

import logging
import socket
import struct
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from time import monotonic
from typing import Final, Protocol

from werkzeug.datastructures import Headers

from ecrdrag.localecr.settings import Settings
from ecrdrag.localecr.web.delivery import deliver
from ecrdrag.localecr.web.exchange import Answer, Body, ClientGone, End, Request, TooSlow
from ecrdrag.localecr.web.framing import BadFraming
from ecrdrag.localecr.web.head import BadHead, Head, read_head
from ecrdrag.localecr.web.line import Incoming, Outgoing, await_bytes
from ecrdrag.localecr.web.tls import hang_up, say_goodbye

_log = logging.getLogger(__name__)

# How much of what a client sends in vain is read so that it gets to see the answer before the end, how long it may
# take, and how long it may be silent; the times are those of nginx's lingering_time and lingering_timeout.
_MAX_LINGER: Final = 64 * 1024 * 1024
_LINGER_SECONDS: Final = 30.0
_LINGER_SILENCE: Final = 5.0
_LINGER_BLOCK: Final = 64 * 1024
# Closes without a farewell: SO_LINGER of zero seconds (socket(7)).
_RESET: Final = struct.pack("ii", 1, 0)
_MAX_LOGGED: Final = 500
_NO_BODY: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
# What stands for a request that wasn't read.
_NO_HEAD: Final = Head("-", "-", 1, Headers())


class Owner(Protocol):
    """What a connection needs of its server."""

    settings: Settings

    @property
    def stopping(self) -> bool:
        """Whether an answer is its connection's last."""

    def handler(self, request: Request) -> Answer:
        """Answer a request."""

    def wait(self, seconds: float) -> bool:
        """Wait, and tell, at once when it is so, whether the end has come for requests in progress too."""

    def rest(self, client: socket.socket) -> None:
        """Note that a connection waits for nothing but its client."""

    def resume(self, client: socket.socket) -> bool:
        """Note that it does so no more; tell whether it may go on."""


class Connection:
    """Serve one client; for one thread."""

    def __init__(self, client: socket.socket, owner: Owner) -> None:
        limits = owner.settings
        self._client = client
        self._owner = owner
        self._outgoing = Outgoing(client, idle=limits.idle_timeout, rate=limits.min_rate)
        self._incoming = Incoming(client, idle=limits.idle_timeout, head=limits.head_timeout, rate=limits.min_rate)
        self._stream = self._incoming.buffered()
        self._lasts = True

    def serve(self) -> None:
        """Answer requests until one side has enough."""
        while self._lasts and self._await_request():
            self._exchange()
        say_goodbye(self._client)

    def _await_request(self) -> bool:
        self._incoming.begin_silence()
        self._owner.rest(self._client)
        try:
            came = self._stream.peek(1)
        except TooSlow:
            return False
        return self._owner.resume(self._client) and came != b""

    def _exchange(self) -> None:
        self._lasts = False
        self._incoming.begin_head()
        try:
            head = read_head(self._stream)
            length = head.body_length()
        except BadHead as bad:
            self._refuse(bad.status, str(bad))
        except TooSlow:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self._incoming.begin_body()
            self._answer(head, Body(self._stream, length, self._allow if head.expects else lambda: None))

    def _allow(self) -> None:
        self._outgoing.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, status: HTTPStatus, text: str = "") -> None:
        self._send(_NO_HEAD, _in_words(status, text), monotonic())
        self._linger()

    def _answer(self, head: Head, body: Body) -> None:
        began = monotonic()
        answer = self._ask(Request(head.method, head.target, head.headers, body))
        if answer.delivery.delay:
            self._owner.wait(answer.delivery.delay)
        self._lasts = head.lasts and body.finished and not self._owner.stopping
        self._send(head, answer, began)
        if answer.delivery.breaks(0 if _is_bare(head, answer) else answer.size):
            self._break_off(answer.delivery.end)
        elif not body.finished:  # also where "100 Continue" wasn't said: RFC 9110, 10.1.1, lets a client go ahead
            self._linger()

    def _ask(self, request: Request) -> Answer:
        """Return the handler's answer; what is wrong with the body is told by us, whatever the handler makes of it."""
        try:
            answer = self._owner.handler(request)
        except (ConnectionError, TimeoutError):
            raise ClientGone("the client has gone") from None
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer
            answer = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, {}, b"", "failed")
            if request.body.broken is None:
                _log.exception("%s %s failed", request.method, request.path)
        broken = request.body.broken
        if broken is None:
            return answer
        if isinstance(broken, BadFraming):
            return _in_words(HTTPStatus.BAD_REQUEST, f"Bad body: {broken}")
        if isinstance(broken, TooSlow):
            return _in_words(HTTPStatus.REQUEST_TIMEOUT)
        raise ClientGone("the client has gone") from None

    def _send(self, head: Head, answer: Answer, began: float) -> None:
        """Send an answer and log it; a body that isn't as long as announced ends the connection."""
        announced = int(answer.headers.get("Content-Length", answer.size))
        bare = _is_bare(head, answer)
        self._lasts = self._lasts and (bare or answer.size == announced)
        start = _write_head(answer, announced, self._lasts)
        outcome = "unfinished"
        try:
            body = b"" if bare else answer.body
            sent = deliver(self._outgoing, start, body, answer.delivery, wait=self._owner.wait)
            outcome = f"{sent} bytes"
        except TooSlow:
            # What it doesn't take would stay in the system's memory for long.
            self._break_off(End.RESET)
            raise
        finally:
            _log_answer(head, answer, outcome, monotonic() - began)

    def _break_off(self, end: End) -> None:
        self._lasts = False
        if end is End.RESET:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        elif end is End.SILENCE:
            self._owner.rest(self._client)
            await_bytes(self._client, self._owner.settings.idle_timeout)

    def _linger(self) -> None:
        """Take what the client still sends, so that it reads the answer, then close: RFC 9112, section 9.6."""
        self._owner.rest(self._client)
        say_goodbye(self._client)
        hang_up(self._client, socket.SHUT_WR)
        block = bytearray(_LINGER_BLOCK)
        deadline = monotonic() + _LINGER_SECONDS
        left = _MAX_LINGER
        with suppress(OSError):
            while left > 0 and (seconds := deadline - monotonic()) > 0:
                self._client.settimeout(min(seconds, _LINGER_SILENCE))
                # Not by SSLSocket's own method: nobody wants it decrypted.
                count = socket.socket.recv_into(self._client, block)
                left -= count or left


def _in_words(status: HTTPStatus, text: str = "") -> Answer:
    words = text or status.phrase
    return Answer(status, {"Content-Type": "text/plain; charset=utf-8"}, f"{words}\n".encode(), words)


def _is_bare(head: Head, answer: Answer) -> bool:
    """Tell whether only the head of an answer is for this client."""
    return head.method == "HEAD" or answer.status in _NO_BODY


def _write_head(answer: Answer, announced: int, lasts: bool) -> bytes:
    status = HTTPStatus(answer.status)
    headers = {"Date": formatdate(usegmt=True), "Server": "ecrdrag", **answer.headers}
    if status not in _NO_BODY:
        headers["Content-Length"] = str(announced)
    if not lasts:
        headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _log_answer(head: Head, answer: Answer, outcome: str, seconds: float) -> None:
    if not _log.isEnabledFor(logging.INFO):
        return
    # Never the query: a link's signature is in it.
    what = f"{head.method} {head.target.partition('?')[0]} {answer.status} {answer.summary}"
    # A client's control characters stay out of the reader's terminal.
    shown = "".join(letter if letter.isprintable() else "?" for letter in what[:_MAX_LOGGED])
    _log.info("%s, %s, %.3f s", shown, outcome, seconds)
