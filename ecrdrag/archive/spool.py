"""Own temporary files: written once from front to back, then read from any byte by many threads.

The archive room may enter. They have no name in any folder, so that a kill leaves nothing behind.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from typing import Final

from ecrdrag.archive.file import positioned
from ecrdrag.errors import ArchiveError

_BUFFER_SIZE: Final = 1024 * 1024
_buffers = threading.local()


class Spool:
    """Keep bytes in a temporary file, in the folder that TMPDIR names."""

    def __init__(self, what: str) -> None:
        self._what = what
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - close() ends it
        except OSError as error:
            raise self._error(error) from error
        self._positioned = positioned(self._file.fileno())
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, data: bytes | memoryview) -> None:
        """Add data at the end; for one thread."""
        view = memoryview(data)
        try:
            self._positioned.write_at(view, self._size)
        except OSError as error:
            raise self._error(error) from error
        self._size += len(view)

    def read(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) in order; a view is valid until the next one is asked for."""
        buffer = _thread_buffer()
        while start < stop:
            try:
                count = self._positioned.read_at(buffer[: stop - start], start)
            except OSError as error:
                raise self._error(error) from error
            if count == 0:
                raise ArchiveError(f"{self._what}: the temporary file ends at byte {start} of {stop}")
            start += count
            yield buffer[:count]

    def descriptor(self) -> int:
        """Give a file descriptor of the caller's own on the same file."""
        return os.dup(self._file.fileno())

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def _error(self, error: OSError) -> ArchiveError:
        return ArchiveError(
            f"{self._what}: the temporary file in {tempfile.gettempdir()} fails: {error.strerror or error}",
            hint="set TMPDIR to a folder with more room",
        )


def _thread_buffer() -> memoryview:
    if not hasattr(_buffers, "view"):
        _buffers.view = memoryview(bytearray(_BUFFER_SIZE))
    view: memoryview = _buffers.view
    return view
