"""Own temporary files: written once from front to back, then read from any byte by many threads.

The archive room may enter. They have no name in any folder, so that a kill leaves nothing behind.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

from ecrdrag.archive.file import positioned, views_of
from ecrdrag.content import Extent
from ecrdrag.errors import ArchiveError


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
        return views_of(self._positioned, f"{self._what}: the temporary file", start, stop)

    def extent(self, start: int, stop: int) -> Extent:
        """Place bytes [start, stop), for as long as the file is open."""
        return Extent(self._file.fileno(), start, stop - start, self._what)

    def descriptor(self) -> int:
        """Give a file descriptor of the caller's own on the same file."""
        return os.dup(self._file.fileno())

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def _error(self, error: OSError) -> ArchiveError:
        return ArchiveError(
            f"{self._what}: the temporary file in {_folder()} fails: {error.strerror or error}",
            hint="set TMPDIR to a folder with more room",
        )


def _folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none of the folders that it tries can be written to
        return "TMPDIR"
