"""Own a proxy that takes CONNECT to anywhere, leads it all to one port of this machine, and notes where it was to go.

The tests enter.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_BLOCK = 64 * 1024
_MAX_HEAD = 4096


class Proxy(socketserver.ThreadingTCPServer):
    """Listen on a free port of 127.0.0.1; asked are the places that clients wanted, HOST:PORT."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port = port
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """What clients are given."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Connection(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        """Take CONNECT (RFC 9110, 9.3.6) to anywhere, and pass on what comes."""
        client: socket.socket = self.request
        head = b""
        while not head.endswith(b"\r\n\r\n") and len(head) < _MAX_HEAD and (more := client.recv(1)):
            head += more
        if not head.startswith(b"CONNECT "):
            return
        self.server.asked.append(head.split(b" ")[1].decode())
        with socket.create_connection(("127.0.0.1", self.server.port)) as server:
            client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            there = threading.Thread(target=_pass_on, args=(client, server), daemon=True)
            there.start()
            _pass_on(server, client)
            there.join()


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_BLOCK):
            to.sendall(data)
    for each in (source, to):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxying(port: int) -> Iterator[Proxy]:
    """Lead everything to a port of 127.0.0.1 until the block ends."""
    with Proxy(port) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
