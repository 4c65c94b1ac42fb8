"""Own TLS: the certificate as it is given, a client's handshake, its end.

The HTTP server, its connections and the command may enter. Other threads end such a connection by its socket alone,
never by methods of SSLSocket: its shutdown() forgets the encryption first, and what is sent then is plain.
"""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

from ecrdrag.errors import UsageError

_log = logging.getLogger(__name__)

_PLAIN_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 23\r\n\r\n"
    b"This port speaks HTTPS\n"
)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Load a certificate, with those between it and its authority behind it, and its key; raise UsageError."""
    _check_readable(certificate, "certificate")
    _check_readable(key, "key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password of ours it would ask the terminal for one.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise UsageError(
            f"{certificate} and {key} are no certificate and its key: {_reason(error)}",
            hint="both are PEM files; the key is the certificate's own and has no password",
        ) from error
    return context


def _check_readable(path: Path, what: str) -> None:
    # load_cert_chain() doesn't say which of the two it can't read.
    try:
        path.open("rb").close()
    except OSError as error:
        raise UsageError(f"can't read the {what} in {path}: {error.strerror}") from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "not PEM").replace("_", " ").lower()


def wrap(client: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Put TLS around a client's socket, which is no socket of its own any more; raise ConnectionError if it left."""
    try:
        client.getpeername()  # wrap_socket() would raise too, and leave its half-made socket open
    except OSError as error:
        client.close()
        raise ConnectionAbortedError("the client left before its TLS began") from error
    return context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)


def shake_hands(client: socket.socket, seconds: float) -> bool:
    """Let a client's TLS begin, within so many seconds, where it has any; tell whether it goes on."""
    if not isinstance(client, ssl.SSLSocket):
        return True
    client.settimeout(seconds)
    try:
        client.do_handshake()
    except (OSError, ValueError) as error:
        _log.info("a client's TLS didn't begin: %s", error)
        if isinstance(error, ssl.SSLError) and error.reason == "HTTP_REQUEST":
            with suppress(OSError):
                socket.socket.send(client, _PLAIN_ANSWER)
        return False
    return True


def say_goodbye(client: socket.socket) -> None:
    """Tell a client under TLS that nothing was cut off: close_notify, RFC 8446, section 6.1; its own isn't awaited."""
    if isinstance(client, ssl.SSLSocket):
        client.settimeout(0)
        with suppress(OSError, ValueError):
            client.unwrap()


def hang_up(client: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    """End a connection, or one direction of it, from any thread."""
    with suppress(OSError):
        socket.socket.shutdown(client, how)
