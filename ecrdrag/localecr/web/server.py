"""Own the HTTP of the local ECR: connections, requests, answers; what they mean is a Handler's business.

The service may enter. HTTP/1.1 after RFC 9112, on the standard library's request parser.
"""

from __future__ import annotations

import logging
import selectors
import socket
import struct
import threading
from contextlib import suppress
from email.errors import (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MisplacedEnvelopeHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from time import monotonic, sleep
from typing import Final
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

from ecrdrag.localecr.web.delivery import Wait, deliver
from ecrdrag.localecr.web.exchange import Answer, Body, ClientGone, End, Handler, Request

_log = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_MAX_REQUEST_LINE: Final = 65536
# How much of an unwanted body is read so that the client gets to see the answer before the end.
_MAX_DRAIN: Final = 64 * 1024 * 1024
_DRAIN_BLOCK: Final = 256 * 1024
# How long requests in progress may go on when the server stops; an API call is done long before.
_GRACE: Final = 1.5
# How long to wait when the system has no file or no thread for one more connection.
_PAUSE: Final = 0.1
# Closes without a farewell: SO_LINGER of zero seconds (socket(7)).
_RESET: Final = struct.pack("ii", 1, 0)
# Enough for any file; Python refuses to read numbers of thousands of digits.
_MAX_LENGTH_DIGITS: Final = 18
_MAX_LOGGED: Final = 500
# Headers after such a line would not be seen, or be seen by others otherwise: RFC 9112, section 5.1.
_BROKEN_HEADERS: Final = (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MisplacedEnvelopeHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)
_NO_BODY: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class HttpServer:
    """Listen, and answer each connection in a thread of its own until stop(); tests may do the waiting."""

    def __init__(
        self, address: tuple[str, int], handler: Handler, *, idle_timeout: float, wait: Wait | None = None
    ) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.handler = handler
        self.idle_timeout = idle_timeout
        self._stop = threading.Event()
        self.wait = wait or self._stop.wait
        self._listener = socket.create_server(address, family=family, backlog=_BACKLOG)
        self._waker, self._wake = socket.socketpair()
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._idle: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="local ECR", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on, also when any was asked for."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def stopping(self) -> bool:
        """Whether stop() was called."""
        return self._stop.is_set()

    def start(self) -> None:
        """Begin to answer; the socket listens since construction."""
        self._thread.start()

    def stop(self) -> None:
        """Refuse new connections, end idle ones, let requests in progress finish for a while."""
        self._stop.set()
        self._wake.close()
        if self._thread.is_alive():
            self._thread.join()
        self._waker.close()
        self._listener.close()
        with self._lock:
            threads = list(self._connections.values())
            _hang_up(self._idle)
        self._join(threads)

    def is_idle(self, connection: socket.socket, idle: bool) -> None:
        """Note whether a connection waits for nothing but its client."""
        with self._lock:
            if not idle:
                self._idle.discard(connection)
                return
            self._idle.add(connection)
            if self.stopping:
                _hang_up({connection})

    def _join(self, threads: list[threading.Thread]) -> None:
        deadline = monotonic() + _GRACE
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))
        with self._lock:
            _hang_up(set(self._connections))
        for thread in threads:
            thread.join()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._waker, selectors.EVENT_READ)
            while not self.stopping:
                selector.select()
                if not self.stopping:
                    self._take()

    def _take(self) -> None:
        try:
            connection, peer = self._listener.accept()
        except OSError as error:  # The client has gone already, or the process is out of files for a moment.
            _pause(error)
            return
        thread = threading.Thread(target=self._serve, args=(connection, peer), name="local ECR client", daemon=True)
        with self._lock:
            self._connections[connection] = thread
        try:
            thread.start()
        except RuntimeError as error:  # The process is out of threads for a moment.
            with self._lock:
                del self._connections[connection]
            connection.close()
            _pause(error)

    def _serve(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        try:
            with connection, suppress(ConnectionError, TimeoutError):
                connection.settimeout(self.idle_timeout)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _Connection(connection, peer, self)
        except Exception:  # noqa: BLE001 - one client's trouble is not the server's
            _log.exception("a connection ended with an error")
        finally:
            with self._lock:
                self._idle.discard(connection)
                del self._connections[connection]


def _pause(error: Exception) -> None:
    _log.warning("no connection accepted: %s", error)
    sleep(_PAUSE)


def _hang_up(connections: set[socket.socket]) -> None:
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _is_host(text: str) -> bool:
    """Tell whether a Host header is one: what the signatures' URLs are made of must be read back as it is."""
    try:
        parts = urlsplit(f"//{text}")
        return parts.netloc == text and parts.username is None and (parts.port or 0) >= 0
    except ValueError:
        return False


class _Connection(BaseHTTPRequestHandler):
    """One client's requests, one after the other."""

    protocol_version = "HTTP/1.1"

    def __init__(self, connection: socket.socket, peer: tuple[str, int], owner: HttpServer) -> None:
        self._owner = owner
        self._client: socket.socket = connection
        self._expects = False
        # The base class only hands its third argument on; it serves the whole connection in here.
        super().__init__(connection, peer, owner)  # type: ignore[arg-type]

    def handle_one_request(self) -> None:
        """Read one request, answer it, and say in close_connection whether another may follow."""
        self._owner.is_idle(self._client, True)
        self.raw_requestline = self.rfile.readline(_MAX_REQUEST_LINE + 1)
        self._owner.is_idle(self._client, False)
        self._expects = False
        if len(self.raw_requestline) > _MAX_REQUEST_LINE:
            self.requestline = self.command = ""
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
        elif not self.raw_requestline:
            self.close_connection = True
        elif self.parse_request() and self._is_clear():
            self._answer_request()

    def handle_expect_100(self) -> bool:
        """Remember the wish; "100 Continue" is sent when somebody wants the body."""
        self._expects = True
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no HTTP that this server takes, and close."""
        self.close_connection = True
        text = message or HTTPStatus(code).phrase
        self._send(Answer(code, {"Content-Type": "text/plain; charset=utf-8"}, f"{text}\n".encode(), text))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Drop the base class's own log lines; see _log_answer."""

    def _answer_request(self) -> None:
        body = self._body()
        if body is None:
            return
        began = monotonic()
        request = Request(self.command, self.path, Headers(list(self.headers.items())), body)
        answer = self._ask(request)
        if answer.delivery.delay:
            self._owner.wait(answer.delivery.delay)
        self.close_connection |= self._owner.stopping or body.remaining > 0
        try:
            sent = self._send(answer)
        except OSError:
            self._log_answer(answer, "unfinished", monotonic() - began)
            raise
        self._log_answer(answer, f"{sent} bytes", monotonic() - began)
        self._drain(body)
        if answer.delivery.breaks(0 if self._is_bare(answer) else answer.size):
            self._break_off(answer.delivery.end)

    def _is_clear(self) -> bool:
        """Tell whether the headers have one reading: RFC 9112, sections 3.2 and 5.1; say so to the client if not."""
        hosts = self.headers.get_all("Host", [""])
        broken = any(isinstance(defect, _BROKEN_HEADERS) for defect in self.headers.defects)
        if broken or len(hosts) > 1 or not _is_host(hosts[0]):
            self.send_error(HTTPStatus.BAD_REQUEST, "Bad headers" if broken else "Bad Host")
            return False
        return True

    def _body(self) -> Body | None:
        """Return the request's body, or None when its length can't be told and the client has been told so."""
        lengths = set(self.headers.get_all("Content-Length", ["0"]))
        if "Transfer-Encoding" in self.headers:
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return None
        text = lengths.pop() if len(lengths) == 1 else ""
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_LENGTH_DIGITS):
            self.send_error(HTTPStatus.BAD_REQUEST, "Bad Content-Length")
            return None
        return Body(self.rfile, int(text), self._continue)

    def _continue(self) -> None:
        if self._expects:
            self._client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _ask(self, request: Request) -> Answer:
        try:
            return self._owner.handler(request)
        except (ConnectionError, TimeoutError):
            raise ClientGone("the client has gone") from None
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer
            _log.exception("%s %s failed", request.method, request.path)
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, {}, b"", "failed")

    def _send(self, answer: Answer) -> int:
        """Send an answer and return how many bytes of its body went; a body that isn't whole ends the connection."""
        announced = int(answer.headers.get("Content-Length", answer.size))
        head = self._head(answer, announced)
        bare = self._is_bare(answer)
        self.close_connection |= not bare and answer.size != announced
        return deliver(self._client, head, b"" if bare else answer.body, answer.delivery, wait=self._owner.wait)

    def _is_bare(self, answer: Answer) -> bool:
        """Tell whether only the head of an answer is for this client."""
        return self.command == "HEAD" or answer.status in _NO_BODY

    def _break_off(self, end: End) -> None:
        self.close_connection = True
        if end is End.RESET:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        elif end is End.SILENCE:
            self._owner.is_idle(self._client, True)
            with suppress(OSError):  # A reset, or the idle timeout.
                self._client.recv(1, socket.MSG_PEEK)

    def _head(self, answer: Answer, announced: int) -> bytes:
        status = HTTPStatus(answer.status)
        headers = {"Date": self.date_time_string(), "Server": "ecrdrag", **answer.headers}
        if status not in _NO_BODY:
            headers["Content-Length"] = str(announced)
        if self.close_connection:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _log_answer(self, answer: Answer, outcome: str, seconds: float) -> None:
        # Never the query: a link's signature is in it.
        what = f"{self.command} {self.path.partition('?')[0]} {answer.status} {answer.summary}"
        # A client's control characters stay out of the reader's terminal.
        shown = "".join(letter if letter.isprintable() else "?" for letter in what[:_MAX_LOGGED])
        _log.info("%s, %s, %.3f s", shown, outcome, seconds)

    def _drain(self, body: Body) -> None:
        """Take what the client still sends of a body nobody wanted, so that it reads the answer; then close."""
        if not body.remaining or (body.awaited and self._expects):
            return
        left = min(body.remaining, _MAX_DRAIN)
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_WR)
            while left > 0 and (data := self.rfile.read1(min(left, _DRAIN_BLOCK))):
                left -= len(data)
