"""Own where a request's body ends: after a number of bytes, or after the last of its chunks.

The rooms of this package may enter. RFC 9112, sections 6 and 7.1; what is not exactly so is refused.
"""

from __future__ import annotations

import re
from io import BufferedIOBase
from typing import Final, Protocol

# 15 digits are more than any disk; the extensions behind them mean nothing here.
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_TRAILER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")
_MAX_CHUNK_LINE: Final = 1024
_MAX_TRAILERS: Final = 8192
_BLOCK: Final = 256 * 1024


class BadFraming(Exception):  # noqa: N818 - the client's fault, and a reason
    """What the client sends is no body as its head announced one, so nobody knows where it ends."""


class Framing(Protocol):
    """One body; for one thread. A method that meets the end of the connection before the body's raises EOFError."""

    @property
    def finished(self) -> bool:
        """Whether all of it was read, its end included."""

    def read(self, size: int) -> bytes:
        """Return size bytes, or those that are left."""

    def read1(self, size: int) -> bytes:
        """Return at least a byte and at most size as soon as there are any; nothing at the end."""


class Counted:
    """A body of a number of bytes that was announced."""

    def __init__(self, stream: BufferedIOBase, length: int) -> None:
        self._stream = stream
        self._left = length

    @property
    def finished(self) -> bool:
        """Whether all of it was read."""
        return not self._left

    def read(self, size: int) -> bytes:
        """Return size bytes, or those that are left."""
        wanted = min(size, self._left)
        data = self._stream.read(wanted) if wanted else b""
        self._left -= len(data)
        if len(data) < wanted:
            raise EOFError
        return data

    def read1(self, size: int) -> bytes:
        """Return at least a byte and at most size as soon as there are any; nothing at the end."""
        wanted = min(size, self._left)
        data = self._stream.read1(wanted) if wanted else b""
        self._left -= len(data)
        if wanted and not data:
            raise EOFError
        return data


class Chunked:
    """A body in chunks, RFC 9112, section 7.1; raises BadFraming where it isn't one. Trailers are dropped."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream
        self._left = 0  # bytes of this chunk
        self._inside = False  # a chunk, whose line end is still to come
        self._finished = False

    @property
    def finished(self) -> bool:
        """Whether all of it was read, the last chunk and the trailers included."""
        return self._finished

    def read(self, size: int) -> bytes:
        """Return size bytes, or those that are left."""
        data = bytearray()
        while len(data) < size and (block := self.read1(min(size - len(data), _BLOCK))):
            data += block
        return bytes(data)

    def read1(self, size: int) -> bytes:
        """Return at least a byte and at most size as soon as there are any; nothing at the end."""
        if not self._left:
            self._next_chunk()
        if self._finished or not size:
            return b""
        data = self._stream.read1(min(size, self._left))
        if not data:
            raise EOFError
        self._left -= len(data)
        return data

    def _next_chunk(self) -> None:
        if self._finished:
            return
        if self._inside and self._line(2) != b"\r\n":
            raise BadFraming("a chunk is longer than its size")
        match = _CHUNK.fullmatch(self._line(_MAX_CHUNK_LINE))
        if match is None:
            raise BadFraming("a chunk has no size")
        self._left = int(match[1], 16)
        self._inside = True
        if not self._left:
            self._drop_trailers()

    def _drop_trailers(self) -> None:
        room = _MAX_TRAILERS
        while (line := self._line(room)) != b"\r\n":
            if not _TRAILER.fullmatch(line):
                raise BadFraming("a trailer is no header")
            room -= len(line)
        self._finished = True

    def _line(self, limit: int) -> bytes:
        """Read a line of at most limit bytes, or what its first limit bytes are."""
        line = self._stream.readline(limit)
        if len(line) < limit and not line.endswith(b"\n"):
            raise EOFError
        return line
