"""Own the journal of a pull: which bytes of the partial file have landed, and what a later run believes of it.

The writer may enter, with the lock of the partial file held.

The rule: what may be gone is not believed. A kill of the process leaves whatever the kernel was given; a crash of the
system, such as a power loss, leaves what was on stable storage. A sync for every range would cost more than it saves,
so the journal tells the two apart:

- ``landed`` is appended right after its bytes were written. It holds as long as the kernel runs that took the
  bytes, which is known by its boot id. So a kill costs what was in flight.
- ``stable POSITION`` is appended, and the journal synced, after a sync of the partial file that began when the journal
  had that many bytes: every SYNC_INTERVAL or SYNC_BYTES, and at the end. What stands above the position holds
  whatever happens, since the line can't be read unless the data was safe before it was written. The order in which
  the system writes back the journal's own pages doesn't matter: the lines are chained, and a gap ends the reading.
- ``session`` says what a run believed when it began: all, under the boot id of the session before, else what is
  above the last mark. It believes no less and no more when it is read again, so nothing is ever taken out.

All this saves the user's time; it doesn't protect the archive. The engine hashes what has landed like all the rest.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ecrdrag.archive.file import positioned
from ecrdrag.archive.history import UNKNOWN_BOOT, BrokenError, History, beginning, head, replay, seal
from ecrdrag.content import Digest

log = logging.getLogger(__name__)

JOURNAL_SUFFIX: Final = ".journal"
SYNC_INTERVAL: Final = 2.0  # seconds; a crash of the system costs what landed in about as long
SYNC_BYTES: Final = 256 * 1024 * 1024  # landed bytes after which the interval isn't waited for
MAX_SIZE: Final = 64 * 1024 * 1024  # bytes; a line for every MiB of 1 TiB

_SYNC: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)
_BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")  # proc_sys_kernel(5)
_BOOT_ID: Final = re.compile(r"[0-9a-f-]{36}")
_BINARY: Final = getattr(os, "O_BINARY", 0)
# Whoever may write to the folder could have us follow a link, or wait for a pipe.
_OPEN_FLAGS: Final = os.O_RDWR | os.O_APPEND | _BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_CREATE_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _BINARY


def _read_boot_id() -> str:
    with suppress(OSError, ValueError):
        text = _BOOT_ID_FILE.read_text("ascii").strip()
        if _BOOT_ID.fullmatch(text):
            return text
    return UNKNOWN_BOOT


@dataclass(frozen=True, slots=True)
class System:
    """What the journal needs of the system: which run of the kernel it is, and syncs every interval, in seconds."""

    boot_id: str = field(default_factory=_read_boot_id)
    sync: Callable[[int], None] = _SYNC
    interval: float = SYNC_INTERVAL


class Journal:
    """Remember across runs which bytes of the partial file have landed; safe from many threads.

    A journal that can't be written any more is said once, and no reason to end a pull.
    """

    def __init__(self, path: Path, descriptor: int, data: int, *, history: History, system: System) -> None:
        self._path, self._descriptor, self._data, self._system = path, descriptor, data, system
        self._size, self._crc, self._ranges = history.size, history.crc, history.ranges
        self._unsynced = 0
        self._names_synced = self._gave_up = self._ending = False
        self._failure: OSError | None = None
        self._lock = threading.Lock()
        self._due = threading.Event()
        # A daemon, so that a disk that hangs can't keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="journal sync", daemon=True)
        self._append(f"session {system.boot_id} {history.base}")
        self._settled = self._size if history.settled else 0  # the size at which all was marked

    @classmethod
    def open(cls, path: Path, plan: Digest, total_size: int, data: int, system: System | None = None) -> Journal:
        """Go on with the journal at path where it is of this plan and of the open partial file; else begin one.

        An old one that isn't believed is said and replaced. Raises OSError when none can be begun.
        """
        system, first = system or System(), head(plan, total_size)
        found = _open_old(path, first, total_size, data, system.boot_id)
        if found is None:
            discard(path)
            found = _create(path, first), beginning(first)
        journal = cls(path, found[0], data, history=found[1], system=system)
        try:
            journal._thread.start()
        except RuntimeError as error:  # the system has no more threads: there will be one mark, at the end
            log.debug("no thread for the journal: %s", error)
        return journal

    @property
    def total(self) -> int:
        """Bytes that have landed, in this run and before it."""
        with self._lock:
            return self._ranges.total

    def landed(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Give the ranges of bytes [start, stop) that have landed, in order and apart."""
        with self._lock:
            return self._ranges.within(start, stop)

    def note(self, start: int, stop: int) -> None:
        """Remember that bytes [start, stop) were written; raises OSError once a sync has failed."""
        with self._lock:
            self._check()
            if start < stop and self._append(f"landed {start} {stop}"):
                self._ranges.add(start, stop)
                self._unsynced += stop - start
                if self._unsynced >= SYNC_BYTES:
                    self._due.set()

    def forget(self, start: int, stop: int) -> None:
        """Believe no more that any of bytes [start, stop) has landed."""
        with self._lock:
            if self._ranges.within(start, stop):
                self._append(f"forgotten {start} {stop}")
                self._ranges.remove(start, stop)

    def mark(self) -> None:
        """Put what has landed on stable storage, then say so there."""
        with self._lock:
            position = self._size
            if position == self._settled or self._gave_up or self._failure:
                return
            self._unsynced = 0
        try:
            self._system.sync(self._data)
        except OSError as error:  # a file's descriptor hears of it once: commit() must not miss it
            self._failure = error
            return
        with self._lock:
            was_last = self._size == position
            if self._append(f"stable {position}") and was_last:
                self._settled = self._size
        self._sync_journal()

    def settle(self) -> None:
        """Wait for the thread to end; raise OSError when a sync has failed."""
        self._ending = True
        self._due.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._check()

    def keep(self) -> None:
        """Leave the journal to a later run, with a last mark if the disk allows; it takes nothing any more."""
        try:
            with suppress(OSError):
                self.settle()
                self.mark()
        finally:
            self._close()

    def remove(self) -> None:
        """Take the journal away; it takes nothing any more."""
        try:
            with suppress(OSError):
                self.settle()
            # Where the partial file has lost its name already, another pull may have begun a journal of its own.
            with suppress(OSError):
                named = os.path.samestat(os.fstat(self._descriptor), self._path.lstat())
                self._close()
                if named:
                    self._path.unlink()
        finally:
            self._close()

    def _work(self) -> None:
        while not self._ending:
            self._due.wait(self._system.interval)
            self._due.clear()
            if not self._ending:
                self.mark()

    def _append(self, text: str) -> bool:
        """Write a line, with the lock held, and say whether it is there."""
        if self._gave_up or self._descriptor < 0:
            return False
        line, crc = seal(text, self._crc)
        try:
            _write(self._descriptor, line)
        except OSError as error:
            self._give_up(error)
            return False
        self._size, self._crc = self._size + len(line), crc
        return True

    def _give_up(self, error: OSError) -> None:
        """Write no more: the lines that are there stay true."""
        self._gave_up = True
        with suppress(OSError):
            os.ftruncate(self._descriptor, self._size)
        level = logging.INFO if self._ending else logging.WARNING
        why = error.strerror or error
        log.log(level, "can't write %s: %s; a kill would lose what lands from now on", self._path, why)

    def _sync_journal(self) -> None:
        with suppress(OSError):  # a mark that is never read costs time, no more
            self._system.sync(self._descriptor)
        if not self._names_synced:
            sync_folder(self._path.parent)
            self._names_synced = True

    def _check(self) -> None:
        if self._failure is not None:
            raise OSError(self._failure.errno, self._failure.strerror) from self._failure

    def _close(self) -> None:
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


def discard(path: Path) -> None:
    """Take away whatever lies at a journal's path, for good: a crash must not bring it back beside other data."""
    with suppress(OSError):
        path.unlink()
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put new and changed names on stable storage, where a folder can be opened (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _create(path: Path, first: bytes) -> int:
    descriptor = os.open(path, _CREATE_FLAGS, 0o666)
    try:
        _write(descriptor, first)
    except BaseException:
        os.close(descriptor)
        discard(path)
        raise
    return descriptor


def _open_old(path: Path, first: bytes, total_size: int, data: int, boot_id: str) -> tuple[int, History] | None:
    """Open a journal that there is something in to believe, and cut it behind its last sound line."""
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = "is a symbolic link" if error.errno == errno.ELOOP else f"can't be opened: {error.strerror or error}"
        log.warning("%s %s: starting over", path, why)
        return None
    try:
        history = _believe(descriptor, first, total_size, os.fstat(data).st_size, boot_id)
        if history.ranges.total:
            os.ftruncate(descriptor, history.size)
            log.info("%s: %d bytes have landed in an earlier run", path, history.ranges.total)
            return descriptor, history
        log.info("%s tells of nothing that is there: starting over", path)
    except BrokenError as error:
        log.warning("%s %s: starting over", path, error)
    except OSError as error:
        log.warning("%s can't be read: %s: starting over", path, error.strerror or error)
    os.close(descriptor)
    return None


def _believe(descriptor: int, first: bytes, total_size: int, found_size: int, boot_id: str) -> History:
    """Replay a journal beside a partial file of found_size bytes."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise BrokenError("is no file of its own")
    if status.st_size > MAX_SIZE:
        raise BrokenError("is too big for a journal")
    if status.st_size == 0 or found_size == 0:  # a kill while it was begun, or the partial file is gone
        return beginning(first)
    history = replay(_read(descriptor, status.st_size), first, total_size, boot_id)
    if found_size != total_size:
        raise BrokenError(f"is of a file of {total_size:,} bytes, but there are {found_size:,}")
    return history


def _write(descriptor: int, line: bytes) -> None:
    """Append all of line; raise OSError."""
    while line:
        line = line[os.write(descriptor, line) :]


def _read(descriptor: int, size: int) -> bytes:
    view = memoryview(bytearray(size))
    file, done = positioned(descriptor), 0
    while count := file.read_at(view[done:], done):
        done += count
    return bytes(view[:done])
