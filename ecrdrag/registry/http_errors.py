"""Own what is said of HTTP that fails: in our own words, with no secret in them.

The registry's ends may enter.

requests and urllib3 put whole URLs, signature and all, into exception texts. Nothing of theirs
leaves the rooms that enter: their errors are translated, ``from None``.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import requests
import urllib3

from ecrdrag.errors import BusyError, StalledError, TransferError, TransientError


class UnreachableError(TransientError):
    """No connection could be made at all; at the first contact with a host another try is no use."""


class NoTlsError(UnreachableError):
    """A connection could be made, but TLS is not spoken there, or not as it is here."""


@contextmanager
def translated(host: str) -> Iterator[None]:
    """Put what HTTP raises into our words, without a URL in them."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise _in_our_words(error, host) from None


def _in_our_words(error: Exception, host: str) -> TransferError:
    if any(words in str(error) for words in _UNVERIFIED):
        return TransferError(
            f"the certificate of {host} can't be verified",
            hint="set AWS_CA_BUNDLE to your organisation's certificates, or give them with --ca-file",
        )
    if isinstance(error, requests.exceptions.ReadTimeout) and _is_handshake(error):
        return UnreachableError(f"no TLS connection to {host} (it answers no handshake)", hint=_UNREACHABLE_HINT)
    if isinstance(error, requests.exceptions.ProxyError) and (answer := _TUNNEL.search(str(error))):
        return UnreachableError(f"the proxy for {host} answered {answer[1]}", hint=_REFUSING_PROXY_HINT)
    if isinstance(error, requests.exceptions.ConnectionError) and (reason := _unconnected(error)):
        return UnreachableError(f"no connection to {host} ({reason})", hint=_UNREACHABLE_HINT)
    for kinds, ours, words in _TRANSIENT:
        if isinstance(error, kinds):
            return ours(words.format(host=host), hint=_UNREACHABLE_HINT if ours is UnreachableError else "")
    return TransferError(f"{host} can't be read from: {type(error).__name__}")


def _is_handshake(error: BaseException | None) -> bool:
    """Tell whether it is TLS that got no answer: it says so at the bottom of what urllib3 makes of it."""
    while error and _NO_HANDSHAKE not in str(error):
        error = error.__cause__ or error.__context__
    return error is not None


def _unconnected(error: requests.exceptions.ConnectionError) -> str:
    """Say why no connection was made; empty where one was, and broke."""
    cause = getattr(error.args[0] if error.args else None, "reason", None)
    if not isinstance(cause, urllib3.exceptions.NewConnectionError):
        return ""
    reason = getattr(cause.__cause__ or cause.__context__, "strerror", None)
    return reason if isinstance(reason, str) else "no reason given"


_UNVERIFIED: Final = ("CERTIFICATE_VERIFY_FAILED", "doesn't match")  # OpenSSL's words; and urllib3's before 2
_NO_HANDSHAKE: Final = "handshake operation timed out"  # CPython's words, Modules/_ssl.c
_TUNNEL: Final = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")  # http.client's words
_REFUSING_PROXY_HINT: Final = (
    "407 means that it wants USER:PASSWORD@ in https_proxy; else it may not lead there, or no_proxy lacks the host"
)
_UNREACHABLE_HINT: Final = "check the host's name and port, the network and its proxies"
_TRANSIENT: Final[tuple[tuple[tuple[type[Exception], ...], type[TransientError], str], ...]] = (
    ((requests.exceptions.ProxyError,), UnreachableError, "the proxy for {host} does not answer"),
    ((requests.exceptions.ConnectTimeout,), UnreachableError, "connecting to {host} timed out"),
    (
        (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError, socket.timeout),
        StalledError,
        "{host} sent nothing for too long",
    ),
    ((requests.exceptions.SSLError,), NoTlsError, "no TLS connection to {host}"),
    ((urllib3.exceptions.SSLError,), TransientError, "the TLS connection to {host} broke"),
    ((urllib3.exceptions.IncompleteRead,), TransientError, "{host} closed the connection before the end"),
    ((requests.exceptions.ConnectionError,), TransientError, "{host} closed the connection without an answer"),
    ((urllib3.exceptions.ProtocolError, ConnectionError), BusyError, "the connection to {host} broke"),
)
