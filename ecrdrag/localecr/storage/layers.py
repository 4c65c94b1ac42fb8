"""Own what is known about layers and unfinished uploads.

Records is made of this room among others; who asks, asks Records.
"""

from __future__ import annotations

from dataclasses import dataclass

from ecrdrag.localecr.storage.table import Table


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob that a repository knows; the media type is what an image calls it, empty when none does."""

    digest: str
    size: int
    media_type: str
    referenced: bool


@dataclass(frozen=True, slots=True)
class Upload:
    """How far an upload has come: only what was acknowledged."""

    id: str
    received: int = 0
    parts: int = 0
    last_part: int = 0
    too_small: bool = False

    def with_part(self, size: int, *, smallest: int) -> Upload:
        """Return the upload after one more part; a short part is allowed only at the end."""
        short = self.too_small or (self.parts > 0 and self.last_part < smallest)
        return Upload(self.id, self.received + size, self.parts + 1, size, short)


class LayerTable(Table):
    """Ask and change layers and uploads."""

    def layer(self, repository: int, digest: str) -> Layer | None:
        """Find a layer of a repository."""
        row = self._run(
            "SELECT layer.size, (SELECT media_type FROM reference"
            " WHERE reference.repository = layer.repository AND child = layer.digest LIMIT 1)"
            " FROM layer WHERE repository = ? AND digest = ?",
            (repository, digest),
        ).fetchone()
        return Layer(digest, row[0], row[1] or "", row[1] is not None) if row else None

    def add_layer(self, repository: int, digest: str, size: int, added: float) -> None:
        """Make a layer known to a repository."""
        self._run("INSERT INTO layer VALUES (?, ?, ?, ?)", (repository, digest, size, added))

    def upload(self, repository: int, upload: str) -> Upload | None:
        """Find an unfinished upload of a repository."""
        row = self._run(
            "SELECT received, parts, last_part, too_small FROM upload WHERE id = ? AND repository = ?",
            (upload, repository),
        ).fetchone()
        return Upload(upload, row[0], row[1], row[2], bool(row[3])) if row else None

    def add_upload(self, repository: int, upload: str, now: float) -> None:
        """Begin an upload."""
        self._run("INSERT INTO upload (id, repository, touched) VALUES (?, ?, ?)", (upload, repository, now))

    def advance_upload(self, state: Upload, now: float) -> bool:
        """Acknowledge a part; False when the upload has gone meanwhile."""
        changed = self._run(
            "UPDATE upload SET touched = ?, received = ?, parts = ?, last_part = ?, too_small = ? WHERE id = ?",
            (now, state.received, state.parts, state.last_part, state.too_small, state.id),
        )
        return changed.rowcount == 1

    def delete_upload(self, upload: str) -> bool:
        """End an upload; False when it has gone meanwhile."""
        return self._run("DELETE FROM upload WHERE id = ?", (upload,)).rowcount == 1

    def upload_ids(self) -> set[str]:
        """List every unfinished upload."""
        return {row[0] for row in self._run("SELECT id FROM upload")}
