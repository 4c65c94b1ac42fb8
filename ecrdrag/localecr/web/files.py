"""Own parts of files that are sent as they lie: which bytes of which file, and how they are read.

Every room of the local ECR may enter.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Bytes [start, stop) of a file, to be sent without passing through memory."""

    file: Path | int
    """A path, or an open descriptor, which is good for as long as its owner keeps it open."""
    start: int
    stop: int
    modified: float = 0.0
    """Seconds since 1970."""

    @property
    def size(self) -> int:
        """Bytes in the slice."""
        return self.stop - self.start

    @contextmanager
    def opened(self) -> Iterator[FileReader]:
        """Give the whole file, to be read by one thread."""
        if isinstance(self.file, int):
            yield _Borrowed(self.file)
            return
        with self.file.open("rb") as file:
            yield file


class FileReader(Protocol):
    """Read a file from any byte on."""

    def fileno(self) -> int:
        """Let the system send from the file: it is told the offset each time."""
        ...

    def seek(self, offset: int, /) -> object:
        """Go to an offset from the start of the file."""
        ...

    def read(self, size: int, /) -> bytes:
        """Return up to size bytes and go behind them."""
        ...


class _Borrowed:
    """Read a file that others read at the same time, with a position of one's own."""

    _seeking = threading.Lock()

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0

    def fileno(self) -> int:
        """Let the system send from the file: it is told the offset each time."""
        return self._descriptor

    def seek(self, offset: int) -> None:
        self._position = offset

    def read(self, size: int) -> bytes:
        if hasattr(os, "pread"):
            data = os.pread(self._descriptor, size, self._position)
        else:  # Windows
            with self._seeking:
                os.lseek(self._descriptor, self._position, os.SEEK_SET)
                data = os.read(self._descriptor, size)
        self._position += len(data)
        return data
