"""Own a relay between a client and a server: it passes every byte on, and counts those that come back.

The flow tests enter.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_BLOCK = 64 * 1024  # bytes; also what the kernel may hold that the client never reads


class Relay(socketserver.ThreadingTCPServer):
    """Listen on a free port of 127.0.0.1, for a server on another one."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.server_port, self.passed = port, 0
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """The URL that clients are given."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self, size: int) -> None:
        """Count bytes that went to a client."""
        with self._lock:
            self.passed += size


class _Connection(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        client: socket.socket = self.request
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BLOCK)
        with socket.create_connection(("127.0.0.1", self.server.server_port)) as server:
            there = threading.Thread(target=_pass_on, args=(client, server), daemon=True)
            there.start()
            with suppress(OSError):
                while data := server.recv(_BLOCK):
                    client.sendall(data)
                    self.server.count(len(data))
            _hang_up(client)
            _hang_up(server)
            there.join()


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    with suppress(OSError):
        while data := client.recv(_BLOCK):
            server.sendall(data)
    _hang_up(server)


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def relaying(port: int) -> Iterator[Relay]:
    """Relay to a port of 127.0.0.1 until the block ends."""
    with Relay(port) as relay:
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()
