"""Own positioned reads and writes of one open file, on every system.

The archive room may enter.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final, Protocol

from ecrdrag.errors import ArchiveError

_BUFFER_SIZE: Final = 1024 * 1024
_SYNC_FILE_RANGE_WRITE: Final = 2  # linux/fs.h
_buffers = threading.local()


class PositionedFile(Protocol):
    """Read and write at an offset from the start of the file; safe from many threads."""

    def write_at(self, view: memoryview, offset: int) -> None:
        """Write all of view; raise OSError."""
        ...

    def read_at(self, buffer: memoryview, offset: int) -> int:
        """Read up to len(buffer) bytes into it and return how many; raise OSError."""
        ...

    def start_writeback(self, offset: int, size: int) -> None:
        """Let the system begin to bring written bytes to the disk, at least 1; a hint, which never fails.

        Both numbers are multiples of the page size.
        """
        ...


def positioned(descriptor: int) -> PositionedFile:
    """Choose the best way that this system has; the caller closes the descriptor."""
    return PosixFile(descriptor) if hasattr(os, "pwrite") and hasattr(os, "preadv") else SeekingFile(descriptor)


class PosixFile:
    """Use pwrite and preadv, which move no shared file position."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # The kernel lets one thread write to a file at a time; those that wait there burn CPU time meanwhile.
        self._turn = threading.Lock()

    def write_at(self, view: memoryview, offset: int) -> None:
        """Write all of view; raise OSError."""
        with self._turn:
            while len(view):
                written = os.pwrite(self._descriptor, view, offset)
                view, offset = view[written:], offset + written

    def read_at(self, buffer: memoryview, offset: int) -> int:
        """Read up to len(buffer) bytes into it and return how many; raise OSError."""
        return os.preadv(self._descriptor, [buffer], offset)

    def start_writeback(self, offset: int, size: int) -> None:
        """Start the disk on these bytes, where the system can (Linux): the sync at the end has less to wait for."""
        start = _sync_file_range()
        if start is not None:
            start(self._descriptor, offset, size, _SYNC_FILE_RANGE_WRITE)


class SeekingFile:
    """Seek and then read or write under a lock, where there is no pwrite (Windows)."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def write_at(self, view: memoryview, offset: int) -> None:
        """Write all of view; raise OSError."""
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            while len(view):
                view = view[os.write(self._descriptor, view) :]

    def read_at(self, buffer: memoryview, offset: int) -> int:
        """Read up to len(buffer) bytes into it and return how many; raise OSError."""
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            data = os.read(self._descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def start_writeback(self, offset: int, size: int) -> None:
        """Do nothing."""


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """Find the C library's sync_file_range(2), which Python doesn't offer."""
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (AttributeError, OSError, TypeError):  # another system than Linux; on Windows there is no None
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    call: Callable[[int, int, int, int], int] = function
    return call


def views_of(file: PositionedFile, what: str, start: int, stop: int) -> Iterator[memoryview]:
    """Yield bytes [start, stop) of an open file in order; what names them in an ArchiveError."""
    buffer = _take_buffer()
    try:
        while start < stop:
            try:
                count = file.read_at(buffer[: stop - start], start)
            except OSError as error:
                raise ArchiveError(f"{what} can't be read: {error.strerror or error}") from error
            if count == 0:
                raise ArchiveError(f"{what} ends {stop - start} bytes early: the file was cut while it was read")
            yield buffer[:count]
            start += count
    finally:
        _buffers.spare = buffer


def _take_buffer() -> memoryview:
    """Give each reading thread one buffer, and another only while that is in use."""
    spare: memoryview | None = getattr(_buffers, "spare", None)
    _buffers.spare = None
    return memoryview(bytearray(_BUFFER_SIZE)) if spare is None else spare
