"""Own blob bytes on disk: one file for each digest, shared by all repositories, and files still growing.

The store and the operations may enter.

    blobs/sha256/HEX    whole and verified: it appears there only by a link to a synced file
    uploads/UUID        one unfinished upload; bytes past what metadata acknowledges mean nothing
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import RawIOBase
from pathlib import Path
from typing import Final

from ecrdrag.content import Digest
from ecrdrag.localecr.storage.keys import sync_folder
from ecrdrag.localecr.web.exchange import FileSlice

_READ_SIZE: Final = 1024 * 1024


class Blobs:
    """Keep blobs and uploads as files under one folder; safe from many threads."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs" / "sha256"
        self._uploads = folder / "uploads"
        for place in (self._blobs, self._uploads):
            place.mkdir(parents=True, exist_ok=True)
        for place in (folder.absolute().parent, folder, self._blobs.parent):
            sync_folder(place)
        self._live: dict[str, Growing] = {}
        self._live_lock = threading.Lock()

    def path(self, hexadecimal: str) -> Path:
        """Return where the blob with this sha256 is, if it is."""
        return self._blobs / hexadecimal

    def find(self, hexadecimal: str) -> FileSlice | None:
        """Find the bytes of a blob; None when they aren't here."""
        path = self.path(hexadecimal)
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return FileSlice(path, 0, status.st_size, status.st_mtime)

    @contextmanager
    def growing(self, upload: str) -> Iterator[Growing]:
        """Hold one upload: its parts come one after the other, others go on meanwhile."""
        with self._live_lock:
            growing = self._live.setdefault(upload, Growing(self._uploads / upload))
        with growing.lock:
            yield growing

    def place(self, growing: Growing, digest: Digest) -> None:
        """Make a whole upload a blob; on disk when this returns. The upload's own name stays until discard()."""
        # Another upload may have made the link a moment ago and not be done with its sync.
        with suppress(FileExistsError):
            os.link(growing.path, self.path(digest.hex))
        sync_folder(self._blobs)

    def discard(self, upload: str) -> None:
        """Remove an upload's file and what memory knows of it."""
        (self._uploads / upload).unlink(missing_ok=True)
        self.forget(upload)

    def forget(self, upload: str) -> None:
        """Drop what memory knows of an upload; its file says the same."""
        with self._live_lock:
            self._live.pop(upload, None)

    def sweep(self, known: set[str]) -> None:
        """Remove files of uploads that metadata doesn't know: left by a kill before an acknowledgement."""
        for file in self._uploads.iterdir():
            if file.name not in known:
                file.unlink()


def write_all(file: RawIOBase, block: bytes) -> None:
    """Write a whole block, in as many writes as the system makes of it."""
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) or 0 :]


class Growing:
    """One upload's file and the running hash of its acknowledged bytes; used while its lock is held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._ahead: tuple[hashlib._Hash, int] | None = None

    def append(self, blocks: Iterable[bytes], offset: int) -> int:
        """Write blocks from offset on, over anything unacknowledged there; return their size.

        They are on disk when this returns. Nothing is changed that was acknowledged, whatever blocks raises.
        """
        self._own_the_file()
        is_new = not self.path.exists()
        ahead = self._hash.copy() if self._hashed == offset else None
        size = 0
        with self.path.open("wb" if is_new else "r+b", buffering=0) as file:
            file.seek(offset)
            for block in blocks:
                write_all(file, block)
                size += len(block)
                if ahead:
                    ahead.update(block)
            file.truncate()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path.parent)
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

    def _rehash(self, descriptor: int, size: int) -> None:
        self._hash, self._hashed = hashlib.sha256(), 0
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            while block := file.read(min(_READ_SIZE, size - self._hashed)):
                self._hash.update(block)
                self._hashed += len(block)

    def _own_the_file(self) -> None:
        # A kill between place() and the transaction after it leaves one file under both names:
        # the blob must not change when the upload does.
        if not self.path.exists() or self.path.stat().st_nlink == 1:
            return
        copy = self.path.with_name(f"{self.path.name}.copy")
        shutil.copyfile(self.path, copy)
        copy.replace(self.path)
        sync_folder(self.path.parent)
