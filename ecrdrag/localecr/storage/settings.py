"""Own documents that are stored and given back: policies, rules, templates, configurations.

Records is made of this room among others; who asks, asks Records. A kind has one document, whose name is
empty, or several with a name each; the operations that own a kind say what its value looks like.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ecrdrag.localecr.names import RegistryKey
from ecrdrag.localecr.storage.table import Table

Value = dict[str, object]
"""A document as JSON has it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One document, with the seconds since 1970 at which it was first and last stored."""

    name: str
    value: Value
    created: float
    changed: float


class SettingTable(Table):
    """Ask and change documents of registries and of repositories."""

    def registry_setting(self, registry: RegistryKey, kind: str, name: str = "") -> Setting | None:
        """Find a registry's document."""
        rows = self._run(
            "SELECT name, value, created, changed FROM registry_setting"
            " WHERE account = ? AND region = ? AND kind = ? AND name = ?",
            (registry.account, registry.region, kind, name),
        )
        return next(map(_setting, rows), None)

    def registry_settings(self, registry: RegistryKey, kind: str, *, after: str = "", limit: int = -1) -> list[Setting]:
        """List a registry's documents of a kind by name, from the one after a name; a limit below 0 is none."""
        rows = self._run(
            "SELECT name, value, created, changed FROM registry_setting"
            " WHERE account = ? AND region = ? AND kind = ? AND name > ? ORDER BY name LIMIT ?",
            (registry.account, registry.region, kind, after, limit),
        )
        return [_setting(row) for row in rows]

    def put_registry_setting(self, registry: RegistryKey, kind: str, value: Value, now: float, name: str = "") -> None:
        """Store a registry's document, over one that is there."""
        self._run(
            "INSERT INTO registry_setting VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET value = excluded.value, changed = excluded.changed",
            (registry.account, registry.region, kind, name, json.dumps(value), now, now),
        )

    def delete_registry_setting(self, registry: RegistryKey, kind: str, name: str = "") -> bool:
        """Forget a registry's document; False when there is none."""
        deleted = self._run(
            "DELETE FROM registry_setting WHERE account = ? AND region = ? AND kind = ? AND name = ?",
            (registry.account, registry.region, kind, name),
        )
        return deleted.rowcount == 1

    def repository_setting(self, repository: int, kind: str, name: str = "") -> Setting | None:
        """Find a repository's document."""
        rows = self._run(
            "SELECT name, value, created, changed FROM repository_setting"
            " WHERE repository = ? AND kind = ? AND name = ?",
            (repository, kind, name),
        )
        return next(map(_setting, rows), None)

    def put_repository_setting(self, repository: int, kind: str, value: Value, now: float, name: str = "") -> None:
        """Store a repository's document, over one that is there."""
        self._run(
            "INSERT INTO repository_setting VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET value = excluded.value, changed = excluded.changed",
            (repository, kind, name, json.dumps(value), now, now),
        )

    def delete_repository_setting(self, repository: int, kind: str, name: str = "") -> bool:
        """Forget a repository's document; False when there is none."""
        deleted = self._run(
            "DELETE FROM repository_setting WHERE repository = ? AND kind = ? AND name = ?", (repository, kind, name)
        )
        return deleted.rowcount == 1


def _setting(row: tuple[str, str, float, float]) -> Setting:
    return Setting(row[0], json.loads(row[1]), row[2], row[3])
