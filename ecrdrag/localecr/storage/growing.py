"""Own one unfinished upload: its file, and the running hash of what was acknowledged of it.

Blobs makes it; the operations on layers get it from there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterable
from io import RawIOBase
from pathlib import Path
from typing import Final

from ecrdrag.content import Digest
from ecrdrag.localecr.storage.folders import Folder

_READ_SIZE: Final = 1024 * 1024


def write_all(file: RawIOBase, block: bytes) -> None:
    """Write a whole block, in as many writes as the system makes of it."""
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) or 0 :]


class Growing:
    """One upload's file and the running hash of its acknowledged bytes; used while its lock is held."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.path = folder.path / name
        self.lock = threading.Lock()
        self.users = 0  # that hold it or wait for it; Blobs counts them
        self._folder = folder
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._ahead: tuple[hashlib._Hash, int] | None = None
        self._entered = False

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known here that another object for the same upload wouldn't know."""
        return not self._entered and not self._hashed

    def append(self, blocks: Iterable[bytes], offset: int) -> int:
        """Write blocks from offset on, over anything unacknowledged there; return their size.

        They are on disk when this returns. Nothing is changed that was acknowledged, whatever blocks raises.
        """
        self._own_the_file()
        ahead = self._hash.copy() if self._hashed == offset else None
        size = 0
        with self.path.open("r+b" if self.path.exists() else "wb", buffering=0) as file:
            file.seek(offset)
            for block in blocks:
                write_all(file, block)
                size += len(block)
                if ahead:
                    ahead.update(block)
            file.truncate()
            os.fsync(file.fileno())
        self._enter()
        self._ahead = (ahead, offset + size) if ahead else None
        return size

    def acknowledged(self) -> None:
        """Take what was appended last into the running hash, once metadata has it."""
        if self._ahead:
            self._hash, self._hashed = self._ahead
            self._ahead = None

    def digest(self, size: int) -> Digest:
        """Return the digest of the first size bytes and cut off what lies behind them."""
        self._own_the_file()
        with self.path.open("r+b") as file:
            if os.fstat(file.fileno()).st_size != size:
                file.truncate(size)
                os.fsync(file.fileno())
            if self._hashed != size:
                self._rehash(file.fileno(), size)
        return Digest("sha256", self._hash.hexdigest())

    def replace(self, target: Path) -> None:
        """Give the file target's name too, in place of the file that has it."""
        twin = self.path.with_name(f"{self.path.name}.twin")
        twin.unlink(missing_ok=True)
        os.link(self.path, twin)
        twin.replace(target)
        twin.unlink(missing_ok=True)  # A rename between two names of one file does nothing: rename(2).

    def _rehash(self, descriptor: int, size: int) -> None:
        self._hash, self._hashed = hashlib.sha256(), 0
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            while block := file.read(min(_READ_SIZE, size - self._hashed)):
                self._hash.update(block)
                self._hashed += len(block)

    def _enter(self) -> None:
        """Make the file's name as durable as its bytes, whichever append gave it."""
        if not self._entered:
            self._folder.sync()
            self._entered = True

    def _own_the_file(self) -> None:
        # A kill between place() and the transaction after it leaves one file under both names:
        # the blob must not change when the upload does.
        if not self.path.exists() or self.path.stat().st_nlink == 1:
            return
        copy = self.path.with_name(f"{self.path.name}.copy")
        shutil.copyfile(self.path, copy)
        with copy.open("r+b") as file:
            os.fsync(file.fileno())
        copy.replace(self.path)
        self._folder.sync()
