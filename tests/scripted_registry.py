"""Own a server that answers by a table of paths, and notes what it was asked, for clients of /v2/.

The tests of registries' clients enter.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ecrdrag.registry.auth import Credential

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass(frozen=True)
class Asked:
    """A request, and the port that its client has."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    port: int = 0


@dataclass(frozen=True)
class Reply:
    """An answer; length is announced in place of the body's own, chunked is sent without one, hold is waited for."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | str | None = None
    chunked: bool = False
    hold: threading.Event | None = None


def failing(status: int, code: str = "", message: str = "") -> Reply:
    """Answer with a registry's error document."""
    return Reply(json.dumps({"errors": [{"code": code, "message": message}]}).encode(), status)


def ranged(blob: bytes) -> Callable[[Asked], Reply]:
    """Answer with the range of a blob that is asked for, or all of it."""

    def reply(asked: Asked) -> Reply:
        match = _RANGE.fullmatch(asked.headers.get("range", ""))
        if not match:
            return Reply(blob)
        start, stop = int(match[1]), min(int(match[2]) + 1, len(blob))
        return Reply(blob[start:stop], 206, {"Content-Range": f"bytes {start}-{stop - 1}/{len(blob)}"})

    return reply


def guarded(reply: Reply | Callable[[Asked], Reply], header: str, challenge: str) -> Callable[[Asked], Reply]:
    """Give a reply to who has the header, and a challenge to all others."""

    def guard(asked: Asked) -> Reply:
        if asked.headers.get("authorization") != header:
            return Reply(b"{}", 401, {"WWW-Authenticate": challenge})
        return reply if isinstance(reply, Reply) else reply(asked)

    return guard


class Keys:
    """A keyring with one credential for all, and the next one each time that it is to renew; it notes who asks."""

    def __init__(self, *credentials: Credential) -> None:
        self.credentials = list(credentials)
        self.asked: list[tuple[str, bool]] = []

    def find(self, registry: str, *, renew: bool = False) -> Credential | None:
        self.asked.append((registry, renew))
        if renew and len(self.credentials) > 1:
            del self.credentials[0]
        return self.credentials[0] if self.credentials else None


@dataclass
class Registry:
    """Replies by the path that is asked for, without its query; a function makes one of the request."""

    url: str = ""
    replies: dict[str, Reply | Callable[[Asked], Reply]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, asked: Asked) -> Reply:
        with self.lock:
            self.asked.append(asked)
        reply = self.replies.get(asked.target.partition("?")[0], failing(404, "NAME_UNKNOWN"))
        return reply if isinstance(reply, Reply) else reply(asked)

    @property
    def host(self) -> str:
        return self.url.partition("://")[2]

    def targets(self) -> list[str]:
        return [one.target for one in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20
    registry: Registry

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        reply = self.registry.answer(Asked(self.command, self.path, headers, body, self.client_address[1]))
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
        self.end_headers()
        if self.command != "HEAD":
            self._send(reply)
        if reply.length is not None:
            self.close_connection = True

    do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 - the base class looks for these names

    def _send(self, reply: Reply) -> None:
        for start in range(0, len(reply.body), 1000) if reply.chunked else ():
            chunk = reply.body[start : start + 1000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n" if reply.chunked else reply.body)
        if reply.hold:
            reply.hold.wait(20)

    def log_message(self, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""


@contextmanager
def scripted(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Registry]:
    """Serve on a random port of this machine, under TLS where a context is given."""
    registry = Registry()
    server = _Server((host, 0), type("Handler", (_Handler,), {"registry": registry}))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    registry.url = f"{'https' if tls else 'http'}://{host}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
