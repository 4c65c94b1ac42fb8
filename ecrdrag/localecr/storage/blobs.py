"""Own blob bytes on disk: one file for each digest, shared by all repositories, and files still growing.

The store and the operations may enter.

    blobs/sha256/HEX    whole and verified: it appears there only by a link to a synced file
    uploads/UUID        one unfinished upload; bytes past what metadata acknowledges mean nothing
    uploads/UUID.*      its copy or second name for a moment
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from ecrdrag.content import Digest, Extent
from ecrdrag.localecr.storage.folders import Folder, sync_folder
from ecrdrag.localecr.storage.growing import Growing
from ecrdrag.localecr.storage.lending import Lent
from ecrdrag.localecr.web.files import FileSlice

ALGORITHM: Final = "sha256"


class Blobs:
    """Keep blobs and uploads as files under one folder; safe from many threads. No lock is held over I/O."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs" / ALGORITHM
        self._uploads = folder / "uploads"
        for place in (self._blobs, self._uploads):
            place.mkdir(parents=True, exist_ok=True)
        for place in (folder.absolute().parent, folder, self._blobs.parent):
            sync_folder(place)
        self._blob_folder, self._upload_folder = Folder(self._blobs), Folder(self._uploads)
        self._live: dict[str, Growing] = {}
        self._live_lock = threading.Lock()
        self._register = threading.Condition()
        self._placing: Counter[str] = Counter()
        self._removing: set[str] = set()
        self._lent: dict[str, Lent] = {}

    def path(self, hexadecimal: str) -> Path:
        """Return where the blob with this sha256 is, if it is."""
        return self._blobs / hexadecimal

    def find(self, hexadecimal: str) -> FileSlice | None:
        """Find the bytes of a blob; None when they aren't here."""
        if lent := self._lent.get(hexadecimal):
            return lent.find()
        path = self.path(hexadecimal)
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return FileSlice(path, 0, status.st_size, status.st_mtime)

    def lend(self, digest: Digest, extent: Extent) -> None:
        """Let a blob be found whose bytes lie in somebody else's file, for as long as that stays as it is."""
        self._lent[digest.hex] = Lent.of(extent)

    @contextmanager
    def growing(self, upload: str) -> Iterator[Growing]:
        """Hold one upload: its parts come one after the other, others go on meanwhile."""
        growing = self._enter(upload)
        try:
            with growing.lock:
                yield growing
        finally:
            self._leave(upload, growing)

    @contextmanager
    def at_rest(self, uploads: Iterable[str]) -> Iterator[list[str]]:
        """Hold those of the uploads that nobody else holds at this moment."""
        with ExitStack() as held:
            free = []
            for upload in uploads:
                growing = self._enter(upload)
                held.callback(self._leave, upload, growing)
                if growing.lock.acquire(blocking=False):
                    held.callback(growing.lock.release)
                    free.append(upload)
            yield free

    @contextmanager
    def placing(self, digest: Digest) -> Iterator[None]:
        """Keep a blob from being removed as garbage until metadata names it, which the block has to see to."""
        with self._register:
            self._register.wait_for(lambda: digest.hex not in self._removing)
            self._placing[digest.hex] += 1
        try:
            yield
        finally:
            with self._register:
                self._placing[digest.hex] -= 1
                if not self._placing[digest.hex]:
                    del self._placing[digest.hex]

    def place(self, growing: Growing, digest: Digest) -> None:
        """Make a whole upload a blob, inside placing(); on disk when this returns. Its own name stays until discard().

        Over one that is there: its bytes may have suffered, these were just read.
        """
        if digest.hex not in self._placing:
            raise RuntimeError("a blob that isn't being placed may be removed at any time")
        target = self.path(digest.hex)
        try:
            os.link(growing.path, target)
        except FileExistsError:
            growing.replace(target)
        self._blob_folder.sync()

    def remove(self, hexadecimal: str, is_named: Callable[[], bool]) -> None:
        """Remove a blob unless somebody is placing it, or metadata names it now.

        Who comes to place it meanwhile waits, for this blob alone.
        """
        with self._register:
            if hexadecimal in self._placing or hexadecimal in self._removing:
                return
            self._removing.add(hexadecimal)
        try:
            if not is_named():
                self.path(hexadecimal).unlink(missing_ok=True)
        finally:
            with self._register:
                self._removing.discard(hexadecimal)
                self._register.notify_all()

    @property
    def is_empty(self) -> bool:
        """Whether there is no blob at all."""
        with closing(self.names()) as names:
            return next(names, None) is None

    def names(self) -> Generator[str, None, None]:
        """Give the sha256 of every blob; what comes or goes meanwhile may be among them or not."""
        with os.scandir(self._blobs) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    yield entry.name

    def upload_size(self, upload: str) -> int:
        """Return how many bytes there are of an upload, acknowledged or not."""
        path = self._uploads / upload
        return path.stat().st_size if path.exists() else 0

    def discard(self, upload: str) -> None:
        """Remove an upload's file and what memory knows of it."""
        (self._uploads / upload).unlink(missing_ok=True)
        with self._live_lock:
            self._live.pop(upload, None)

    def sweep(self, is_upload: Callable[[str], bool]) -> None:
        """Remove files of uploads that neither metadata nor a part on its way knows, as a kill leaves them.

        Metadata knew each before it had a file, and knows none again that it forgot.
        """
        for file in list(self._uploads.iterdir()):
            upload = file.name.partition(".")[0]
            if upload not in self._live and not is_upload(upload):
                file.unlink(missing_ok=True)

    def _enter(self, upload: str) -> Growing:
        with self._live_lock:
            growing = self._live.setdefault(upload, Growing(self._upload_folder, upload))
            growing.users += 1
        return growing

    def _leave(self, upload: str, growing: Growing) -> None:
        with self._live_lock:
            growing.users -= 1
            if not growing.users and growing.is_blank and self._live.get(upload) is growing:
                del self._live[upload]
