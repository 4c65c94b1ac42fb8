"""Own what is known about layers and unfinished uploads.

Records is made of this room among others; who asks, asks Records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ecrdrag.localecr.storage.table import Table

_REFERENCED: Final = (
    "EXISTS (SELECT 1 FROM reference WHERE reference.repository = layer.repository AND child = layer.digest)"
)


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob that a repository knows; the media type is what an image calls it, empty when none does."""

    digest: str
    size: int
    media_type: str
    referenced: bool
    idle: bool = False
    """Whether the collection of garbage has found that nobody refers to it."""


@dataclass(frozen=True, slots=True)
class LayerUse:
    """What the collection of garbage wants to know of a layer: since when it is idle, 0 is not; who needs it."""

    repository: int
    digest: str
    idle: float
    referenced: bool


@dataclass(frozen=True, slots=True)
class Upload:
    """How far an upload has come: only what was acknowledged."""

    id: str
    received: int = 0
    parts: int = 0
    last_part: int = 0
    too_small: bool = False
    first_part: int = 0

    def with_part(self, size: int, *, smallest: int) -> Upload:
        """Return the upload after one more part; a short part is allowed only at the end."""
        short = self.too_small or (self.parts > 0 and self.last_part < smallest)
        return Upload(self.id, self.received + size, self.parts + 1, size, short, self.first_part or size)


class LayerTable(Table):
    """Ask and change layers and uploads."""

    def layer(self, repository: int, digest: str) -> Layer | None:
        """Find a layer of a repository."""
        row = self._run(
            "SELECT layer.size, (SELECT media_type FROM reference"
            " WHERE reference.repository = layer.repository AND child = layer.digest LIMIT 1), idle"
            " FROM layer WHERE repository = ? AND digest = ?",
            (repository, digest),
        ).fetchone()
        return Layer(digest, row[0], row[1] or "", row[1] is not None, bool(row[2])) if row else None

    def add_layer(self, repository: int, digest: str, size: int, added: float) -> None:
        """Make a layer known to a repository."""
        self._run(
            "INSERT INTO layer (repository, digest, size, added) VALUES (?, ?, ?, ?)", (repository, digest, size, added)
        )

    def renew_layers(self, repository: int, digests: Iterable[str]) -> None:
        """Let idle layers begin anew, since a client was told that they are there."""
        self._run_many(
            "UPDATE layer SET idle = 0 WHERE repository = ? AND digest = ? AND idle <> 0",
            [(repository, digest) for digest in digests],
        )

    def layer_uses(self, *, after: tuple[int, str], limit: int) -> list[LayerUse]:
        """List layers of all repositories by repository and digest, from the one after another."""
        rows = self._run(
            f"SELECT repository, digest, idle, {_REFERENCED} FROM layer"  # noqa: S608 - a constant of this file
            " WHERE (repository, digest) > (?, ?) ORDER BY repository, digest LIMIT ?",
            (*after, limit),
        )
        return [LayerUse(row[0], row[1], row[2], bool(row[3])) for row in rows]

    def rest_layers(self, layers: Iterable[LayerUse], now: float) -> None:
        """Note from when on layers are idle, of those that nothing refers to; a reference ends it: schema.py."""
        self._run_many(
            f"UPDATE layer SET idle = ? WHERE repository = ? AND digest = ? AND NOT {_REFERENCED}",  # noqa: S608
            [(now, layer.repository, layer.digest) for layer in layers],
        )

    def expire_layers(self, layers: Iterable[LayerUse], before: float) -> None:
        """Forget layers, of those that are idle since before a time and that nothing refers to."""
        self._run_many(
            "DELETE FROM layer WHERE repository = ? AND digest = ?"  # noqa: S608 - a constant of this file
            f" AND idle <> 0 AND idle <= ? AND NOT {_REFERENCED}",
            [(layer.repository, layer.digest, before) for layer in layers],
        )

    def is_named(self, digest: str) -> bool:
        """Tell whether any repository has a layer of this digest."""
        return self._run("SELECT 1 FROM layer WHERE digest = ? LIMIT 1", (digest,)).fetchone() is not None

    def delete_layer(self, repository: int, digest: str) -> bool:
        """Forget a layer of a repository, whatever refers to it; False when it isn't there."""
        deleted = self._run("DELETE FROM layer WHERE repository = ? AND digest = ?", (repository, digest))
        return deleted.rowcount == 1

    def upload(self, repository: int, upload: str) -> Upload | None:
        """Find an unfinished upload of a repository."""
        row = self._run(
            "SELECT received, parts, last_part, too_small, first_part FROM upload WHERE id = ? AND repository = ?",
            (upload, repository),
        ).fetchone()
        return Upload(upload, row[0], row[1], row[2], bool(row[3]), row[4]) if row else None

    def add_upload(self, repository: int, upload: str, now: float) -> None:
        """Begin an upload."""
        self._run("INSERT INTO upload (id, repository, touched) VALUES (?, ?, ?)", (upload, repository, now))

    def advance_upload(self, state: Upload, now: float) -> bool:
        """Acknowledge a part; False when the upload has gone meanwhile."""
        changed = self._run(
            "UPDATE upload SET touched = ?, received = ?, parts = ?, last_part = ?, too_small = ?, first_part = ?"
            " WHERE id = ?",
            (now, state.received, state.parts, state.last_part, state.too_small, state.first_part, state.id),
        )
        return changed.rowcount == 1

    def delete_upload(self, upload: str) -> bool:
        """End an upload; False when it has gone meanwhile."""
        return self._run("DELETE FROM upload WHERE id = ?", (upload,)).rowcount == 1

    def resting_uploads(self, before: float, *, after: str = "", limit: int = -1) -> list[str]:
        """List by id the uploads that were last touched before a time."""
        rows = self._run(
            "SELECT id FROM upload WHERE touched <= ? AND id > ? ORDER BY id LIMIT ?", (before, after, limit)
        )
        return [row[0] for row in rows]

    def expire_upload(self, upload: str, before: float) -> bool:
        """Forget an upload that was last touched before a time; False when it was touched meanwhile."""
        return self._run("DELETE FROM upload WHERE id = ? AND touched <= ?", (upload, before)).rowcount == 1

    def is_upload(self, upload: str) -> bool:
        """Tell whether there is an unfinished upload of this id, in any repository."""
        return self._run("SELECT 1 FROM upload WHERE id = ?", (upload,)).fetchone() is not None
