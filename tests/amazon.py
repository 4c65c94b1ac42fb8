"""Own a local ECR under Amazon's own names, over TLS: a proxy leads every name to it, and it has their certificate.

The flow tests enter. The certificate vouches for itself from 2020 to 2120; its key is known to all, and guards nothing.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.web.tls import server_context
from tests.localecr import REGION, Recorder

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIBATAKBggqhkjOPQQDAjARMQ8wDQYDVQQDDAZhbWF6b24w
IBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBExDzANBgNVBAMMBmFt
YXpvbjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABEximMVEZwL6TLrtgGeZk0hs
SPXOI5FHnrB8zPC3QCe+rN+4YWJkbfJ6XFjGCeD4okok70Ewysmx1ND/0R8qVs2j
gYcwgYQwDwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAoQwQgYDVR0RBDsw
OYIhKi5ka3IuZWNyLnVzLXdlc3QtMi5hbWF6b25hd3MuY29tgg5wdWJsaWMuZWNy
LmF3c4cEfwAAATAdBgNVHQ4EFgQUkxyNqGYhRSc81d84dPTz8z46YoYwCgYIKoZI
zj0EAwIDSAAwRQIgOW4FyJ5V40BtxrLntWns0pBxdviyjZS5sNKmfqa9Ue0CIQCz
8ZeVkrkD4V/FwB6wQYAZQCPLBigDKKJapIt+ca0dOw==
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJFRa2Xe1Y0TfjdW6
ge6cLRCY+VKsjpHks9jiyNqkXbWhRANCAARMYpjFRGcC+ky67YBnmZNIbEj1ziOR
R56wfMzwt0AnvqzfuGFiZG3yelxYxgng+KJKJO9BMMrJsdTQ/9EfKlbN
-----END PRIVATE KEY-----
"""
_BLOCK = 64 * 1024
_MAX_HEAD = 4096


@dataclass(frozen=True)
class Amazon:
    """The local ECR, what it was asked, the environment in which its names are Amazon's, and a password for /v2/."""

    ecr: LocalEcr
    recorder: Recorder
    environment: Mapping[str, str]
    password: str


@contextmanager
def amazon(folder: Path, stock: Callable[[LocalEcr], str]) -> Iterator[Amazon]:
    """Run it until the block ends; stock is done before, without TLS, and gives a password."""
    with LocalEcr(folder / "data", settings=Settings(region=REGION)) as ecr:
        password = stock(ecr)
    certificate, key = folder / "amazon.pem", folder / "amazon.key"
    certificate.write_text(CERTIFICATE)
    key.write_text(KEY)
    tls, recorder = server_context(certificate, key), Recorder()
    with (
        LocalEcr(folder / "data", settings=Settings(region=REGION), wrap=recorder.wrap, tls=tls) as ecr,
        _Proxy(urlsplit(ecr.endpoint).port or 0) as proxy,
    ):
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        proxied = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_address[1]}", "AWS_CA_BUNDLE": str(certificate)}
        try:
            yield Amazon(ecr, recorder, {**ecr.environment, **proxied}, password)
        finally:
            proxy.shutdown()
            thread.join()


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port = port


class _Connection(socketserver.BaseRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        """Take CONNECT (RFC 9110, 9.3.6) to anywhere, and pass on what comes."""
        client: socket.socket = self.request
        head = b""
        while not head.endswith(b"\r\n\r\n") and len(head) < _MAX_HEAD and (more := client.recv(1)):
            head += more
        if not head.startswith(b"CONNECT "):
            return
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
