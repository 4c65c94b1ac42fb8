"""Own the metadata file: its tables, its connections, and transactions that are on disk when they end.

The store may enter; everybody else meets Records.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ecrdrag.errors import ArchiveError
from ecrdrag.localecr.storage.records import Records
from ecrdrag.localecr.storage.schema import SCHEMA

_SCHEMA_VERSION: Final = 2


class Database:
    """Keep metadata in one SQLite file: many readers, one writer at a time; safe from many threads.

    SQLite with WAL and synchronous=FULL has a transaction on disk before its commit returns, and a
    killed process leaves the last committed state: sqlite.org, "Write-Ahead Logging" and "PRAGMA synchronous".
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._writer = self._connect()
        try:
            self._prepare()
        except BaseException:
            self._writer.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Records]:
        """See one committed state, whatever is written meanwhile."""
        with self._idle_lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            connection.execute("BEGIN")
            yield Records(connection)
        finally:
            connection.rollback()
            with self._idle_lock:
                self._idle.append(connection)

    @contextmanager
    def write(self) -> Iterator[Records]:
        """Change metadata: on disk when the block ends, as if never begun when it raises."""
        with self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield Records(self._writer)
                self._writer.commit()
            except BaseException:
                self._writer.rollback()
                raise

    def close(self) -> None:
        """Close every connection; no read or write may be in progress."""
        with self._write_lock, self._idle_lock:
            for connection in (*self._idle, self._writer):
                connection.close()
            self._idle.clear()

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
        if version == 0:
            self._writer.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
        elif version != _SCHEMA_VERSION:
            raise ArchiveError(
                f"{self._path} has format {version}, this version reads {_SCHEMA_VERSION}",
                hint="serve it with the version that wrote it, or start with an empty folder",
            )
