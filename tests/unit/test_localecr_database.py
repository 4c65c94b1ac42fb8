"""The local ECR's metadata file under errors that no client causes: nobody waits for ever, nothing is half done."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ecrdrag.localecr.names import RepositoryKey
from ecrdrag.localecr.storage.database import Database

KEY = RepositoryKey("1" * 12, "us-west-2", "app")


class Failing(sqlite3.Connection):
    """Fails where it is told to."""

    commit_fails = False
    rollback_fails = False

    def commit(self) -> None:
        if self.commit_fails:
            raise MemoryError
        super().commit()

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
        if self.rollback_fails and sql.startswith("ROLLBACK TO"):
            raise MemoryError
        return super().execute(sql, *arguments)  # type: ignore[arg-type]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: real(path, factory=Failing, **options))
    with closing(Database(tmp_path / "ecr.sqlite")) as database:
        yield database


def names(database: Database) -> list[str]:
    with database.read() as records:
        return [one.key.name for one in records.repositories(KEY.registry, after="", limit=10)]


def add(database: Database, *, spoil: bool = False) -> None:
    with database.write() as records:
        records.add_repository(KEY, 1.0, {})
        if spoil:
            raise ValueError


def test_a_commit_without_memory_fails_and_the_next_one_succeeds(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Failing, "commit_fails", True)
    with pytest.raises((MemoryError, sqlite3.OperationalError)):
        add(database)
    assert names(database) == []
    monkeypatch.undo()
    add(database)
    assert names(database) == ["app"]


def test_a_block_that_cannot_be_undone_for_lack_of_memory_undoes_all(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Failing, "rollback_fails", True)
    with pytest.raises((MemoryError, sqlite3.OperationalError)):
        add(database, spoil=True)
    assert names(database) == []
    monkeypatch.undo()
    add(database)
    assert names(database) == ["app"]


def test_few_readers_are_kept_of_many(database: Database) -> None:
    def nested(depth: int) -> None:
        with database.read():
            if depth:
                nested(depth - 1)

    nested(40)
    assert len(database._idle) == 16
