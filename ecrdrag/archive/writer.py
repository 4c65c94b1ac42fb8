"""Own the archive while it is written: ``NAME.partial`` until it is whole, then NAME.

The stories may enter. A pull that ends early leaves the partial file and its journal, and the next one of the same
plan goes on with them. Whoever holds the lock of the partial file owns both; without a lock nobody touches either.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from ecrdrag.archive.file import PositionedFile, positioned
from ecrdrag.archive.journal import JOURNAL_SUFFIX, Journal, System, discard, sync_folder
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


log = logging.getLogger(__name__)

PARTIAL_SUFFIX = ".partial"
_MIB = 1024 * 1024
_STRIDE = _MIB  # bytes of the file that the disk is started on at a time; a multiple of every page size
_STAT_BLOCK = 512  # bytes; what st_blocks counts on every system that has it
# What flock says on a file system without locks, such as NFS without its lock service; it is then as on Windows.
_LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_OPENINGS = 100  # how often others may end, and take the partial file with them, before we give up
# A link must not be followed: whoever may write to the folder could have us empty a file elsewhere.
_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


class ArchiveWriter:
    """Write an archive to its plan; leave it whole at path, or not at all.

    A context manager. Left without commit(), it keeps what has landed for the next run, which goes on
    with it; with resume False it begins anew and keeps nothing. replace allows it to take the place of
    another file. Raises ArchiveError for whatever the disk refuses.
    """

    def __init__(
        self,
        path: Path,
        plan: ArchivePlan,
        *,
        replace: bool = False,
        resume: bool = True,
        open_file: Callable[[int], PositionedFile] = positioned,
        system: System | None = None,
    ):
        self._path = path
        self._plan = plan
        self._sizes = {offset: blob.size for blob, offset in plan.blobs}
        self._partial, self._journal_path = _partial_of(path), _journal_of(path)
        self._replace = replace
        self._resume = resume
        self._open_file = open_file
        self._system = system
        self._descriptor = -1
        self._journal: Journal | None = None
        self._begun = self._committed = False

    def __enter__(self) -> ArchiveWriter:
        with _disk_errors(self._partial):
            self._descriptor = _open_locked(self._path)
        try:
            self._file = self._open_file(self._descriptor)
            self._prepare()
        except BaseException:
            self._leave()
            raise
        return self

    @property
    def landed(self) -> int:
        """Bytes of blobs that have landed, in this run and before it; nobody has verified them."""
        return self._journal.total if self._journal else 0

    def sink(self, offset: int) -> ArchiveSink:
        """Give the window of the blob whose first byte lies at offset."""
        return ArchiveSink(self._file, offset, self._sizes[offset], path=self._partial, journal=self._journal)

    def commit(self) -> None:
        """Put the archive in place: on stable storage first, then under its name."""
        with _disk_errors(self._path):
            if self._journal:
                self._journal.settle()
            os.fsync(self._descriptor)
            if not _is_named(self._descriptor, self._partial):
                raise ArchiveError(
                    f"{self._partial} was removed or replaced while it was written",
                    hint="run the same command again, and leave the partial file alone",
                )
            if os.name == "nt":  # Windows renames no open file
                self._close()
            self._rename()
            self._committed = True
            self._remove_journal()
            self._close()
            sync_folder(self._path.parent)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._committed:
            self._leave()

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
            self._remove_journal()  # before the name goes that another pull would lock
            self._partial.unlink(missing_ok=True)

    def _prepare(self) -> None:
        with _disk_errors(self._partial):
            self._open_journal()
            self._begun = True
            if not (self._journal and self._journal.total):
                os.ftruncate(self._descriptor, 0)
            self._check_space()
            os.ftruncate(self._descriptor, self._plan.total_size)
            for offset, piece in self._plan.known_pieces():
                self._file.write_at(memoryview(piece), offset)

    def _open_journal(self) -> None:
        if not self._resume:
            discard(self._journal_path)
            return
        plan = self._plan
        try:
            self._journal = Journal.open(
                self._journal_path, plan.digest, plan.total_size, self._descriptor, self._system
            )
        except OSError as error:
            why = error.strerror or error
            log.warning("can't write %s: %s; if this pull ends early, it starts over", self._journal_path, why)

    def _check_space(self) -> None:
        needed = max(0, self._plan.total_size - _allocated(self._descriptor))
        free, more = shutil.disk_usage(self._partial.parent).free, " more" if needed < self._plan.total_size else ""
        if free < needed:
            raise ArchiveError(
                f"the disk of {self._path} has {free:,} bytes free, the archive needs {needed:,}{more}",
                hint="make room, or write to another disk with -o",
            )

    def _leave(self) -> None:
        """Keep what has landed, if the file is still ours and anything has; else remove it."""
        named = False
        try:
            with suppress(OSError):
                named = _is_named(self._descriptor, self._partial)
                # Ctrl-C may come before it is known what an earlier run has left.
                named = named and (self._begun or os.fstat(self._descriptor).st_size == 0)
            if named and self._journal and self._journal.total:
                self._keep(self._journal)
                return
            self._remove_journal()
            if os.name == "nt":
                self._close()
            with suppress(OSError):
                if named:
                    self._partial.unlink()
        finally:
            self._close()

    def _keep(self, journal: Journal) -> None:
        landed, size = journal.total / _MIB, sum(self._sizes.values()) / _MIB
        journal.keep()
        log.warning("%s keeps %.1f of %.1f MiB: run the same command again to go on", self._partial, landed, size)

    def _remove_journal(self) -> None:
        journal, self._journal = self._journal, None
        if journal:
            journal.remove()

    def _close(self) -> None:
        """Close once; what close() complains about no longer matters, after fsync or before removal."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


class ArchiveSink:
    """Take one blob at its place in the archive; offsets count from the blob's first byte."""

    def __init__(
        self, file: PositionedFile, offset: int, size: int, *, path: Path, journal: Journal | None = None
    ) -> None:
        self._file = file
        self._offset = offset
        self._stop = offset + size
        self._path = path
        self._journal = journal

    def write_at(self, view: memoryview, offset: int) -> None:
        """Write all of view; raise ArchiveError."""
        with _disk_errors(self._path):
            self._file.write_at(view, self._offset + offset)
        start, stop = (each // _STRIDE * _STRIDE for each in (self._offset + offset, self._offset + offset + len(view)))
        if start < stop:  # whole strides: a page that is written to the disk before it is full is written twice
            self._file.start_writeback(start, stop - start)

    def read_at(self, buffer: memoryview, offset: int) -> int:
        """Read into buffer what was written; raise ArchiveError."""
        with _disk_errors(self._path, "read"):
            return self._file.read_at(buffer, self._offset + offset)

    def landed(self) -> Sequence[tuple[int, int]]:
        """Give the ranges that an earlier run brought, in order and apart."""
        ranges = self._journal.landed(self._offset, self._stop) if self._journal else []
        return [(start - self._offset, stop - self._offset) for start, stop in ranges]

    def note(self, start: int, stop: int) -> None:
        """Remember that bytes [start, stop) have been written; raise ArchiveError when the disk has lost some."""
        if self._journal:
            with _disk_errors(self._path):
                self._journal.note(self._offset + start, self._offset + stop)

    def forget(self) -> None:
        """Believe nothing any more of what was noted."""
        if self._journal:
            self._journal.forget(self._offset, self._stop)


def sweep(path: Path) -> None:
    """Remove what a kill between a commit's steps left beside the archive at path; spare what may be resumed."""
    partial, journal = _partial_of(path), _journal_of(path)
    with suppress(OSError, ArchiveError):
        left = partial.samefile(path) if os.path.lexists(partial) else os.path.lexists(journal)
        if left:
            descriptor = _open_locked(path)
            discard(journal)
            _drop(descriptor, partial)


def _partial_of(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL_SUFFIX)


def _journal_of(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL_SUFFIX + JOURNAL_SUFFIX)


def _open_locked(path: Path) -> int:
    """Open the partial file of path, new or old, so that no other pull has it."""
    partial = _partial_of(path)
    for _ in range(_OPENINGS):
        descriptor = os.open(partial, _OPEN_FLAGS, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # a pipe of somebody's, say: not ours to take away
                raise ArchiveError(f"{partial} is not a regular file", hint="remove it, or give another file with -o")
            if _lock is not None:
                _lock(descriptor)
            # The one who held the lock may have renamed or removed the file in the meantime.
            named = _is_named(descriptor, partial)
            if named and os.fstat(descriptor).st_nlink < 2:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            break
        except BaseException:
            os.close(descriptor)
            raise
        if named:  # a finished archive, whose pull was killed before it took this name away
            _drop(descriptor, partial)
        else:
            os.close(descriptor)
    raise ArchiveError(f"another pull is writing {path}", hint="wait for it, or give another file with -o")


def _is_named(descriptor: int, partial: Path) -> bool:
    """Say whether the open file is still the one at the partial path (Windows keeps open files there)."""
    with suppress(FileNotFoundError):
        return _lock is None or os.path.samestat(os.fstat(descriptor), partial.lstat())
    return False


def _drop(descriptor: int, partial: Path) -> None:
    """Take the partial name away and close the file; the lock is to end last, but Windows removes no open file."""
    if os.name == "nt":
        os.close(descriptor)
        partial.unlink()
        return
    try:
        partial.unlink()
    finally:
        os.close(descriptor)


def _allocated(descriptor: int) -> int:
    """Give the bytes that a file takes on its disk; its size, where the system doesn't tell (Windows)."""
    status = os.fstat(descriptor)
    blocks = getattr(status, "st_blocks", None)
    return status.st_size if blocks is None else int(blocks) * _STAT_BLOCK


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
