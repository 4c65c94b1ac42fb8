"""Own what is known about repositories.

Records is made of this room among others; who asks, asks Records.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from ecrdrag.localecr.names import RegistryKey, RepositoryKey
from ecrdrag.localecr.storage.table import Table

EVERYWHERE: Final = RegistryKey("", "")
"""Where a repository is put that each account is to find in each region as its own."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as it was created; settings are CreateRepository's structures as JSON."""

    id: int
    key: RepositoryKey
    created: float
    settings: dict[str, object]


class RepositoryTable(Table):
    """Ask and change repositories."""

    def repository(self, key: RepositoryKey) -> Repository | None:
        """Find a repository."""
        row = self._run(
            "SELECT id, created, settings FROM repository WHERE name = ?"
            " AND (account = ? AND region = ? OR account = ? AND region = ?)",
            (key.name, key.account, key.region, EVERYWHERE.account, EVERYWHERE.region),
        ).fetchone()
        return Repository(row[0], key, row[1], json.loads(row[2])) if row else None

    def repositories(self, registry: RegistryKey, *, after: str, limit: int) -> list[Repository]:
        """List repositories by name, at most limit of them, from the one after a name."""
        rows = self._run(
            "SELECT id, name, created, settings FROM repository WHERE account = ? AND region = ? AND name > ?"
            " UNION ALL"
            " SELECT id, name, created, settings FROM repository WHERE account = ? AND region = ? AND name > ?"
            " ORDER BY name LIMIT ?",
            (registry.account, registry.region, after, EVERYWHERE.account, EVERYWHERE.region, after, limit),
        )
        return [Repository(r[0], registry.repository(r[1]), r[2], json.loads(r[3])) for r in rows]

    def add_repository(self, key: RepositoryKey, created: float, settings: dict[str, object]) -> Repository:
        """Create a repository that isn't there."""
        added = self._run(
            "INSERT INTO repository (account, region, name, created, settings) VALUES (?, ?, ?, ?, ?)",
            (key.account, key.region, key.name, created, json.dumps(settings)),
        )
        return Repository(added.lastrowid or 0, key, created, settings)

    def change_repository(self, repository: int, settings: dict[str, object]) -> None:
        """Give a repository other settings."""
        self._run("UPDATE repository SET settings = ? WHERE id = ?", (json.dumps(settings), repository))

    def delete_repository(self, repository: int) -> list[str]:
        """Forget a repository and all in it; return the ids of its unfinished uploads."""
        uploads = [row[0] for row in self._run("SELECT id FROM upload WHERE repository = ?", (repository,))]
        self._run("DELETE FROM repository WHERE id = ?", (repository,))
        return uploads
