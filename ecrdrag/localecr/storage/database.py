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

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE repository (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL,
    created REAL NOT NULL, settings TEXT NOT NULL,
    UNIQUE (account, region, name)
);
CREATE TABLE layer (
    repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE,
    digest TEXT NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE TABLE upload (
    id TEXT PRIMARY KEY,
    repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE,
    created REAL NOT NULL, received INTEGER NOT NULL DEFAULT 0, parts INTEGER NOT NULL DEFAULT 0,
    last_part INTEGER NOT NULL DEFAULT 0, too_small INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE image (
    repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE,
    digest TEXT NOT NULL, media_type TEXT NOT NULL, artifact_type TEXT NOT NULL, subject TEXT NOT NULL,
    size INTEGER NOT NULL, pushed REAL NOT NULL, raw BLOB NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE TABLE reference (
    repository INTEGER NOT NULL, parent TEXT NOT NULL, child TEXT NOT NULL, media_type TEXT NOT NULL,
    PRIMARY KEY (repository, parent, child),
    FOREIGN KEY (repository, parent) REFERENCES image ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX reference_by_child ON reference (repository, child);
CREATE TABLE tag (
    repository INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (repository, name),
    FOREIGN KEY (repository, digest) REFERENCES image ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX tag_by_digest ON tag (repository, digest);
"""


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
            self._writer.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
        elif version != _SCHEMA_VERSION:
            raise ArchiveError(
                f"{self._path} has format {version}, this version reads {_SCHEMA_VERSION}",
                hint="serve it with the version that wrote it, or start with an empty folder",
            )
