"""Own how the body of a reply gets into memory: once, into a buffer that each thread keeps, and not too slowly.

The registry's ends enter.

urllib3 makes new bytes for each read and copies them once more. Here the system copies from the socket straight into
the buffer, through the http.client response that urllib3 holds; where that can't be had, urllib3 reads.
"""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import suppress
from typing import Final

import urllib3

from ecrdrag.errors import StalledError

BUFFER_SIZE: Final = 512 * 1024  # bytes; what each thread that receives holds in memory
_buffers = threading.local()


class Patience:
    """End a reply that brings less than least bytes per second over seconds; time spent elsewhere doesn't count."""

    def __init__(self, host: str, seconds: float, least: float) -> None:
        self._host, self._seconds, self._least = host, seconds, least
        self._waited, self._came = 0.0, 0

    def waited(self, seconds: float, came: int) -> None:
        """Count seconds of waiting for so many bytes; raise StalledError when it is enough."""
        self._waited, self._came = self._waited + seconds, self._came + came
        if self._waited < self._seconds:
            return
        if self._came < self._waited * self._least:
            text = f"{self._host} sent only {self._came} bytes in {self._waited:.0f} s"
            raise StalledError(
                text, hint="the line or the server is as good as dead: try again later, or with a smaller -j"
            )
        self._waited, self._came = 0.0, 0


class Body:
    """Read the body of one reply; for one thread, which must be done with a view before it asks for the next."""

    def __init__(self, raw: urllib3.BaseHTTPResponse) -> None:
        self._raw = raw
        self._plain = _plain(raw)

    def read(self, missing: int, patience: Patience) -> memoryview:
        """Wait for some of the missing bytes, at most as many as a buffer holds; nothing when the body has ended."""
        begun = time.monotonic()
        view = self._read(missing)
        patience.waited(time.monotonic() - begun, len(view))
        return view

    def _read(self, missing: int) -> memoryview:
        plain = self._plain
        if plain is None:
            # read() would wait for all of it, so that nobody could see how slowly it comes; urllib3 1 has no other.
            some = getattr(self._raw, "read1", self._raw.read)
            return memoryview(some(min(missing, BUFFER_SIZE)))
        if plain.length is not None:  # the body may be shorter than the range; nothing comes behind it
            missing = min(missing, plain.length)
        buffer = _thread_buffer()
        count = 0
        if missing > 1:
            count = plain.fp.readinto1(buffer[: missing - 1])
            if count and plain.length is not None:
                plain.length -= count
        if count == missing - 1 and count < BUFFER_SIZE:
            # The last byte comes by urllib3's own way, which gives the connection back to the pool.
            last = self._raw.read(1)
            buffer[count : count + len(last)] = last
            count += len(last)
        return buffer[:count]


def _plain(raw: urllib3.BaseHTTPResponse) -> http.client.HTTPResponse | None:
    """Find the response below urllib3's whose file gives the body as it is: not in transfer chunks."""
    with suppress(AttributeError):
        plain = raw._fp  # type: ignore[attr-defined]
        if isinstance(plain, http.client.HTTPResponse) and not plain.chunked and hasattr(plain.fp, "readinto1"):
            return plain
    return None


def _thread_buffer() -> memoryview:
    if not hasattr(_buffers, "view"):
        _buffers.view = memoryview(bytearray(BUFFER_SIZE))
    view: memoryview = _buffers.view
    return view
