"""Own the archive while it is written: ``NAME.partial`` until it is whole, then NAME.

The stories may enter. A later version keeps a journal beside the partial file and resumes it;
until then a partial file is removed when a pull fails, and taken over when a kill left one.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from ecrdrag.archive.file import PositionedFile, positioned
from ecrdrag.archive.plan import ArchivePlan
from ecrdrag.errors import ArchiveError

try:
    import fcntl
except ImportError:  # Windows: two pulls to one output are not noticed
    _lock: Callable[[int], None] | None = None
else:

    def _lock(descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _LOCKLESS:
                raise


PARTIAL_SUFFIX = ".partial"
# What flock says on a file system without locks, such as NFS without its lock service; it is then as on Windows.
_LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_OPENINGS = 100  # how often others may end, and take the partial file with them, before we give up
# A link must not be followed: whoever may write to the folder could have us empty a file elsewhere.
_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


class ArchiveWriter:
    """Write an archive to its plan; leave it whole at path, or not at all.

    A context manager: leaving it without commit() removes the partial file. replace allows it
    to take the place of another file. Raises ArchiveError for whatever the disk refuses.
    """

    def __init__(
        self,
        path: Path,
        plan: ArchivePlan,
        *,
        replace: bool = False,
        open_file: Callable[[int], PositionedFile] = positioned,
    ):
        self._path = path
        self._plan = plan
        self._partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self._replace = replace
        self._open_file = open_file
        self._descriptor = -1
        self._committed = False

    def __enter__(self) -> ArchiveWriter:
        with _disk_errors(self._partial):
            self._descriptor = self._open_locked()
        try:
            self._file = self._open_file(self._descriptor)
            self._prepare()
        except BaseException:
            self._discard()
            raise
        return self

    def sink(self, offset: int) -> ArchiveSink:
        """Give the window of the blob whose first byte lies at offset."""
        return ArchiveSink(self._file, offset, self._partial)

    def commit(self) -> None:
        """Put the archive in place: on stable storage first, then under its name."""
        with _disk_errors(self._path):
            os.fsync(self._descriptor)
            if not self._is_named(self._descriptor):
                raise ArchiveError(
                    f"{self._partial} was removed or replaced while it was written",
                    hint="run the same command again, and leave the partial file alone",
                )
            if os.name == "nt":  # Windows renames no open file
                self._close()
            self._rename()
            self._committed = True
            self._close()
            _sync_folder(self._path.parent)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._committed:
            self._discard()

    def _rename(self) -> None:
        """Give the file its name; a link, other than a rename, never replaces what came there meanwhile."""
        if self._replace:
            self._partial.replace(self._path)
            return
        try:
            os.link(self._partial, self._path)
        except FileExistsError:
            raise ArchiveError(
                f"{self._path} was created by somebody else meanwhile",
                hint="replace it with --force, or give another file with -o",
            ) from None
        except OSError:  # a file system without links, such as FAT
            self._partial.replace(self._path)
        else:
            self._partial.unlink()

    def _open_locked(self) -> int:
        for _ in range(_OPENINGS):
            descriptor = os.open(self._partial, _OPEN_FLAGS, 0o666)
            try:
                if _lock is not None:
                    _lock(descriptor)
                # The one who held the lock may have renamed or removed the file in the meantime.
                if self._is_named(descriptor):
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                break
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        raise ArchiveError(f"another pull is writing {self._path}", hint="wait for it, or give another file with -o")

    def _is_named(self, descriptor: int) -> bool:
        """Say whether the open file is still the one at the partial path (Windows keeps open files there)."""
        with suppress(FileNotFoundError):
            return _lock is None or os.path.samestat(os.fstat(descriptor), self._partial.lstat())
        return False

    def _prepare(self) -> None:
        with _disk_errors(self._partial):
            os.ftruncate(self._descriptor, 0)
            self._check_space()
            for offset, piece in self._plan.known_pieces():
                self._file.write_at(memoryview(piece), offset)

    def _check_space(self) -> None:
        free, needed = shutil.disk_usage(self._partial.parent).free, self._plan.total_size
        if free < needed:
            raise ArchiveError(
                f"the disk of {self._path} has {free:,} bytes free, the archive needs {needed:,}",
                hint="make room, or write to another disk with -o",
            )

    def _discard(self) -> None:
        with suppress(OSError):
            named = self._is_named(self._descriptor)
            if os.name == "nt":
                self._close()
            if named:
                self._partial.unlink()
        self._close()

    def _close(self) -> None:
        """Close once; what close() complains about no longer matters, after fsync or before removal."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


class ArchiveSink:
    """Take one blob at its place in the archive; offsets count from the blob's first byte."""

    def __init__(self, file: PositionedFile, offset: int, path: Path) -> None:
        self._file = file
        self._offset = offset
        self._path = path

    def write_at(self, view: memoryview, offset: int) -> None:
        """Write all of view; raise ArchiveError."""
        with _disk_errors(self._path):
            self._file.write_at(view, self._offset + offset)

    def read_at(self, buffer: memoryview, offset: int) -> int:
        """Read into buffer what was written; raise ArchiveError."""
        with _disk_errors(self._path, "read"):
            return self._file.read_at(buffer, self._offset + offset)


@contextmanager
def _disk_errors(path: Path, verb: str = "write") -> Iterator[None]:
    """Turn OSError into ArchiveError that names the file."""
    try:
        yield
    except OSError as error:
        raise ArchiveError(f"can't {verb} {path}: {error.strerror or error}", hint=_hint(error)) from error


def _hint(error: OSError) -> str:
    hints = {
        errno.ENOSPC: "the disk is full: make room, or write to another disk with -o",
        errno.EDQUOT: "the disk quota is used up: make room, or write to another disk with -o",
        errno.ENOENT: "the folder does not exist: create it, or give another file with -o",
        errno.ENOTDIR: "the folder is a file: give another file with -o",
        errno.ELOOP: "a symbolic link is in the way: remove it, or give another file with -o",
        errno.EFBIG: "this file system or limit takes no file of that size: write to another disk with -o",
    }
    return hints.get(error.errno or 0, "")


def _sync_folder(folder: Path) -> None:
    """Put a rename on stable storage, where a folder can be opened (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
