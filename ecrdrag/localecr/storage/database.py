"""Own the metadata file: its tables, its connections, and transactions that are on disk when they end.

The store may enter; everybody else meets Records.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from ecrdrag.errors import ArchiveError
from ecrdrag.localecr.storage.records import Records
from ecrdrag.localecr.storage.schema import SCHEMA

_SCHEMA_VERSION: Final = 2
# Each reader has a cache of its own, of two mebibytes unless told: sqlite.org, "PRAGMA cache_size", in KiB below 0.
_READER_CACHE: Final = -256
# Each keeps two files open.
_MAX_IDLE: Final = 16

_Questions = TypeVar("_Questions")


class Database:
    """Keep metadata in one SQLite file: many readers, one writer at a time; safe from many threads.

    SQLite with WAL and synchronous=FULL has a transaction on disk before its commit returns, and a
    killed process leaves the last committed state: sqlite.org, "Write-Ahead Logging" and "PRAGMA synchronous".
    """

    def __init__(self, path: Path, *, may_begin: bool = True) -> None:
        self._path = path
        self._may_begin = may_begin
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._queue_lock = threading.Lock()
        self._queued = 0
        self._batch: _Batch | None = None
        self._keep_private()
        self._writer = self._connect()
        try:
            self._prepare()
        except BaseException:
            self._writer.close()
            raise

    def read(self) -> AbstractContextManager[Records]:
        """See one committed state, whatever is written meanwhile."""
        return self.ask(Records)

    @contextmanager
    def ask(self, questions: Callable[[sqlite3.Connection], _Questions]) -> Iterator[_Questions]:
        """See one committed state as read() does, by questions of one's own, whose answers are read to their end."""
        with self._idle_lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect_reader()
        try:
            connection.execute("BEGIN")
            yield questions(connection)
        finally:
            connection.rollback()
            with self._idle_lock:
                is_spare = len(self._idle) >= _MAX_IDLE
                if not is_spare:
                    self._idle.append(connection)
            if is_spare:
                connection.close()

    @contextmanager
    def write(self) -> Iterator[Records]:
        """Change metadata: on disk when the block ends, as if never begun when it raises.

        Those who come while another writes share a transaction, and its sync, with the next ones; everybody leaves
        once it is on disk, also who raises: what a block saw of the others is true by then.
        """
        batch: _Batch | None = None
        try:
            with self._turn() as batch:
                self._writer.execute("SAVEPOINT turn")
                yield Records(self._writer)
                self._writer.execute("RELEASE turn")
        finally:
            if batch is not None:
                batch.wait()

    def close(self) -> None:
        """Close every connection; no read or write may be in progress."""
        with self._write_lock, self._idle_lock:
            for connection in (*self._idle, self._writer):
                connection.close()
            self._idle.clear()

    @contextmanager
    def _turn(self) -> Iterator[_Batch]:
        """Have the writer alone, within a transaction; the last one of a queue commits."""
        self._await_turn()
        try:
            yield self._begin()
        except BaseException as error:
            self._undo_turn(error)
            raise
        finally:
            try:
                if not self._queued:
                    self._commit()
            finally:
                self._write_lock.release()

    def _await_turn(self) -> None:
        with self._queue_lock:
            self._queued += 1
        try:
            self._write_lock.acquire()
        finally:
            with self._queue_lock:
                self._queued -= 1

    def _begin(self) -> _Batch:
        if self._batch is None:
            batch = _Batch()
            self._writer.execute("BEGIN IMMEDIATE")
            self._batch = batch
        return self._batch

    def _undo_turn(self, error: BaseException) -> None:
        if self._batch is None:
            return
        try:
            self._writer.execute("ROLLBACK TO turn")
            self._writer.execute("RELEASE turn")
        except sqlite3.Error:
            # A full disk, say, undoes the whole transaction: sqlite.org, "Response To Errors Within A Transaction".
            self._end_batch(error)
        except BaseException as failed:
            self._end_batch(failed)
            raise

    def _commit(self) -> None:
        if self._batch is None:
            return
        try:
            self._writer.commit()
        except sqlite3.Error as error:
            self._end_batch(error)
        except BaseException as error:  # of SQLITE_NOMEM Python makes a MemoryError
            self._end_batch(error)
            raise
        else:
            self._end_batch(None)

    def _end_batch(self, error: BaseException | None) -> None:
        batch, self._batch = self._batch, None
        if error is not None:
            with suppress(sqlite3.Error, MemoryError):
                self._writer.rollback()
        if batch is not None:
            batch.end(error)

    def _connect_reader(self) -> sqlite3.Connection:
        connection = self._connect()
        connection.execute(f"PRAGMA cache_size = {_READER_CACHE}")
        return connection

    def _keep_private(self) -> None:
        """Let nobody else read the file, which holds secrets, or what a killed process left beside it.

        What SQLite makes there has the same mode.
        """
        self._path.touch(0o600)
        for ending in ("", "-wal", "-shm"):
            # Somebody else's file, which we may use, stays as it is.
            with suppress(PermissionError, FileNotFoundError):
                self._path.with_name(f"{self._path.name}{ending}").chmod(0o600)

    def _connect(self) -> sqlite3.Connection:
        # isolation_level=None: transactions begin where this room says, not where the module guesses.
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self) -> None:
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version == 0 and not self._may_begin:
            # A copy without its WAL looks like a new file; without metadata, every blob would count as garbage.
            raise ArchiveError(
                f"{self._path} holds no metadata",
                hint=f"put it back, with {self._path.name}-wal beside it, or begin with an empty folder",
            )
        if version == 0:
            self._writer.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
        elif version != _SCHEMA_VERSION:
            raise ArchiveError(
                f"{self._path} has format {version}, this version reads {_SCHEMA_VERSION}",
                hint="serve it with the version that wrote it, or start with an empty folder",
            )


class _Batch:
    """Blocks of several writers in one transaction, and how it ended."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def end(self, error: BaseException | None) -> None:
        """Let everybody go who waits."""
        self._error = error
        self._ended.set()

    def wait(self) -> None:
        """Return when all is on disk; raise sqlite3.Error when nothing is."""
        self._ended.wait()
        if self._error is not None:
            raise sqlite3.OperationalError(f"a shared transaction failed: {self._error}") from self._error
