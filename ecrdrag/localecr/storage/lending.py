"""Own bytes of blobs that lie in files of others: where they are, and whether such a file is still what it was.

The blobs of a store may enter.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ecrdrag.content import Extent
from ecrdrag.localecr.web.files import FileSlice

_log = logging.getLogger(__name__)

_NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Identity:
    """What the system knows of a file that would not be the same of another, or after a change."""

    mode: int
    device: int
    inode: int
    size: int
    modified: int
    """Nanoseconds since 1970."""

    @classmethod
    def of(cls, file: Path | int) -> _Identity:
        """Ask now; raise OSError. A link in the place of a file is another file."""
        found = os.fstat(file) if isinstance(file, int) else os.lstat(file)
        return cls(found.st_mode, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Lent:
    """One blob, and what its file was when it was lent."""

    extent: Extent
    identity: _Identity

    @classmethod
    def of(cls, extent: Extent) -> Lent:
        """Take a blob on loan; raise OSError when its file has gone."""
        return cls(extent, _Identity.of(extent.file))

    def find(self) -> FileSlice | None:
        """Say where the bytes are; None when the file was changed, as what is there now is nobody's blob."""
        file, start = self.extent.file, self.extent.offset
        try:
            unchanged = _Identity.of(file) == self.identity
        except OSError:
            unchanged = False
        if not unchanged:
            _log.warning("%s was changed while it is served: its blobs are refused", self.extent.name)
            return None
        return FileSlice(file, start, start + self.extent.size, self.identity.modified / _NANOSECONDS)
