"""Own the data folder: its lock, its secrets, metadata and blobs.

The service and the operations may enter.

    ecr.sqlite  metadata     blobs/ uploads/  bytes     keys.json  secrets     lock.sqlite  held while serving
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

from ecrdrag.errors import ArchiveError
from ecrdrag.localecr.storage.blobs import Blobs
from ecrdrag.localecr.storage.database import Database
from ecrdrag.localecr.storage.keys import Keys

METADATA: Final = "ecr.sqlite"
KEYS: Final = "keys.json"


class Store:
    """Open a data folder for one server; close it to let another have it."""

    def __init__(self, folder: Path, accounts: Sequence[str] = ()) -> None:
        with ExitStack() as resources:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                resources.enter_context(locked(folder))
                self.keys = Keys.of(folder / KEYS, accounts)
                self.blobs = Blobs(folder)
                self.metadata = Database(folder / METADATA, may_begin=self.blobs.is_empty)
                resources.callback(self.metadata.close)
            except (OSError, sqlite3.Error) as error:
                raise ArchiveError(
                    f"the data folder {folder} can't be used: {error}", hint="name a folder on a local disk"
                ) from error
            self._resources = resources.pop_all()

    def close(self) -> None:
        """Close files and give the folder free."""
        self._resources.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Have a data folder alone among all processes; raise ArchiveError while another one has it."""
    # SQLite's file lock works on every system and ends with its process, however that ends.
    connection = sqlite3.connect(folder / "lock.sqlite", timeout=0, isolation_level=None, check_same_thread=False)
    try:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):  # SQLITE_BUSY; sqlite_errorcode comes with Python 3.11 only
                raise
            raise ArchiveError(
                f"another local ECR serves the data folder {folder}", hint="stop it, or give this one its own --data"
            ) from error
        yield
    finally:
        connection.close()
