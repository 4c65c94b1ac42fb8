"""Own a blob server that follows a script: one reply for each request, then whole ranges.

The flow tests enter.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class Request:
    """What a client asked for."""

    path: str
    headers: dict[str, str]
    start: int
    stop: int


Reply = Callable[["Handler", Request], None]


@dataclass
class Script:
    """A blob, the replies still to come, and the requests that came."""

    blob: bytes
    replies: deque[Reply] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    url: str = ""
    release: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Handler(BaseHTTPRequestHandler):
    """Answer GET by the script."""

    protocol_version = "HTTP/1.1"
    timeout = 20
    script: Script

    def setup(self) -> None:
        super().setup()
        with self.script.lock:
            self.script.sockets.append(self.connection)

    def do_GET(self) -> None:
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        start, stop = (int(match[1]), int(match[2]) + 1) if match else (0, len(self.script.blob))
        request = Request(self.path, dict(self.headers.items()), start, stop)
        with self.script.lock:
            self.script.requests.append(request)
            reply = self.script.replies.popleft() if self.script.replies else honest
        try:
            reply(self, request)
        except OSError:  # the client went away
            self.close_connection = True

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def honest(handler: Handler, request: Request) -> None:
    """Send the range that was asked for."""
    blob = handler.script.blob
    span = f"bytes {request.start}-{request.stop - 1}/{len(blob)}"
    handler.answer(206, blob[request.start : request.stop], Content_Range=span)


def whole(handler: Handler, request: Request) -> None:
    """Ignore the range."""
    handler.answer(200, handler.script.blob)


def status(code: int, body: bytes = b"", **headers: str) -> Reply:
    """Answer with a status and a body."""

    def reply(handler: Handler, request: Request) -> None:
        handler.answer(code, body, **headers)

    return reply


def cut(count: int, *, reset: bool = False) -> Reply:
    """Promise the range, send count bytes of it, then close or reset the connection."""

    def reply(handler: Handler, request: Request) -> None:
        blob = handler.script.blob
        span = f"bytes {request.start}-{request.stop - 1}/{len(blob)}"
        length = str(request.stop - request.start)
        piece = blob[request.start : request.start + count]
        handler.answer(206, piece, Content_Range=span, Content_Length=length)
        handler.close_connection = True
        if reset:
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()

    return reply


def stall(count: int) -> Reply:
    """Send count bytes of the range, then nothing until the script is released."""

    def reply(handler: Handler, request: Request) -> None:
        cut(count)(handler, request)
        handler.script.release.wait(20)

    return reply


def content_range(value: str) -> Reply:
    """Send the right bytes under a wrong Content-Range."""

    def reply(handler: Handler, request: Request) -> None:
        handler.answer(206, handler.script.blob[request.start : request.stop], Content_Range=value)

    return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""


@contextmanager
def serving(blob: bytes, replies: Iterable[Reply] = (), *, tls: ssl.SSLContext | None = None) -> Iterator[Script]:
    """Serve a blob by a script on a random port of 127.0.0.1, under TLS where a context is given."""
    script = Script(blob, deque(replies))
    handler = type("ScriptedHandler", (Handler,), {"script": script})
    server = _Server(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    script.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/blob?X-Amz-Signature=SECRET"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        script.release.set()
        server.shutdown()
        thread.join()
        for connection in script.sockets:  # those that clients kept open
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()
