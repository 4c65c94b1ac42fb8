"""Own temporary files: written once, from front to back or in sections, then read from any byte by many threads.

The archive room and the conversion room may enter. They have no name in any folder, so that a kill leaves nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence

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
        """Bytes written or reserved so far."""
        return self._size

    def write(self, data: bytes | memoryview) -> None:
        """Add data at the end; for one thread."""
        view = memoryview(data)
        self.write_at(view, self._size)
        self._size += len(view)

    def write_at(self, view: memoryview, offset: int) -> None:
        """Write into what was reserved; raise ArchiveError."""
        try:
            self._positioned.write_at(view, offset)
        except OSError as error:
            raise self._error(error) from error

    def read_at(self, buffer: memoryview, offset: int) -> int:
        """Read up to len(buffer) bytes into it and return how many; raise ArchiveError."""
        try:
            return self._positioned.read_at(buffer, offset)
        except OSError as error:
            raise self._error(error) from error

    def reserve(self, size: int) -> Section:
        """Leave room for a blob at the end; for one thread."""
        section = Section(self, self._size, size)
        self._size += size
        return section

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


class Section:
    """Be the BlobSink of one blob in a temporary file, which no earlier run has written to; then give its bytes."""

    def __init__(self, spool: Spool, offset: int, size: int) -> None:
        self._spool, self._offset, self._size = spool, offset, size

    @property
    def extent(self) -> Extent:
        """Place the blob, for as long as the file is open."""
        return self._spool.extent(self._offset, self._offset + self._size)

    def read(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) in order; a view is valid until the next one is asked for."""
        return self._spool.read(self._offset + start, self._offset + stop)

    def write_at(self, view: memoryview, offset: int) -> None:
        """Write all of view; raise ArchiveError."""
        self._spool.write_at(view, self._offset + offset)

    def read_at(self, buffer: memoryview, offset: int) -> int:
        """Read into buffer what was written; raise ArchiveError."""
        return self._spool.read_at(buffer, self._offset + offset)

    def landed(self) -> Sequence[tuple[int, int]]:
        """Give nothing: there was no earlier run."""
        return ()

    def note(self, start: int, stop: int) -> None:
        """Do nothing: nobody will go on here."""

    def forget(self) -> None:
        """Do nothing: what is wrong is written over."""


def _folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none of the folders that it tries can be written to
        return "TMPDIR"
