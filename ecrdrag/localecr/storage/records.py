"""Own what is known about repositories, layers, uploads and images: typed questions to one transaction.

The operations may enter; they get Records from the store's read() and write().
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

from ecrdrag.localecr.names import ImageName, RepositoryKey


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as it was created; settings are CreateRepository's structures as JSON."""

    id: int
    key: RepositoryKey
    created: float
    settings: dict[str, object]


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


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest or an index as pushed; size is what DescribeImages calls imageSizeInBytes."""

    digest: str
    media_type: str
    artifact_type: str
    subject: str
    size: int
    pushed: float
    raw: bytes


class Records:
    """Ask and change metadata inside one transaction; for one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._run_many = connection.executemany

    # Repositories

    def repository(self, key: RepositoryKey) -> Repository | None:
        """Find a repository."""
        row = self._run(
            "SELECT id, created, settings FROM repository WHERE account = ? AND region = ? AND name = ?",
            (key.account, key.region, key.name),
        ).fetchone()
        return Repository(row[0], key, row[1], json.loads(row[2])) if row else None

    def repositories(self, account: str, region: str, *, after: str, limit: int) -> list[Repository]:
        """List repositories by name, at most limit of them, from the one after a name."""
        rows = self._run(
            "SELECT id, name, created, settings FROM repository"
            " WHERE account = ? AND region = ? AND name > ? ORDER BY name LIMIT ?",
            (account, region, after, limit),
        )
        return [Repository(r[0], RepositoryKey(account, region, r[1]), r[2], json.loads(r[3])) for r in rows]

    def add_repository(self, key: RepositoryKey, created: float, settings: dict[str, object]) -> Repository:
        """Create a repository that isn't there."""
        added = self._run(
            "INSERT INTO repository (account, region, name, created, settings) VALUES (?, ?, ?, ?, ?)",
            (key.account, key.region, key.name, created, json.dumps(settings)),
        )
        return Repository(added.lastrowid or 0, key, created, settings)

    def delete_repository(self, repository: int) -> list[str]:
        """Forget a repository and all in it; return the ids of its unfinished uploads."""
        uploads = [row[0] for row in self._run("SELECT id FROM upload WHERE repository = ?", (repository,))]
        self._run("DELETE FROM repository WHERE id = ?", (repository,))
        return uploads

    # Layers and uploads

    def layer(self, repository: int, digest: str) -> Layer | None:
        """Find a layer of a repository."""
        row = self._run(
            "SELECT layer.size, (SELECT media_type FROM reference"
            " WHERE reference.repository = layer.repository AND child = layer.digest LIMIT 1)"
            " FROM layer WHERE repository = ? AND digest = ?",
            (repository, digest),
        ).fetchone()
        return Layer(digest, row[0], row[1] or "", row[1] is not None) if row else None

    def add_layer(self, repository: int, digest: str, size: int) -> None:
        """Make a layer known to a repository."""
        self._run("INSERT INTO layer VALUES (?, ?, ?)", (repository, digest, size))

    def upload(self, repository: int, upload: str) -> Upload | None:
        """Find an unfinished upload of a repository."""
        row = self._run(
            "SELECT received, parts, last_part, too_small FROM upload WHERE id = ? AND repository = ?",
            (upload, repository),
        ).fetchone()
        return Upload(upload, row[0], row[1], row[2], bool(row[3])) if row else None

    def add_upload(self, repository: int, upload: str, created: float) -> None:
        """Begin an upload."""
        self._run("INSERT INTO upload (id, repository, created) VALUES (?, ?, ?)", (upload, repository, created))

    def advance_upload(self, state: Upload) -> bool:
        """Acknowledge a part; False when the upload has gone meanwhile."""
        changed = self._run(
            "UPDATE upload SET received = ?, parts = ?, last_part = ?, too_small = ? WHERE id = ?",
            (state.received, state.parts, state.last_part, state.too_small, state.id),
        )
        return changed.rowcount == 1

    def delete_upload(self, upload: str) -> bool:
        """End an upload; False when it has gone meanwhile."""
        return self._run("DELETE FROM upload WHERE id = ?", (upload,)).rowcount == 1

    def upload_ids(self) -> set[str]:
        """List every unfinished upload."""
        return {row[0] for row in self._run("SELECT id FROM upload")}

    # Images and tags

    def image(self, repository: int, digest: str) -> Image | None:
        """Find an image by digest."""
        row = self._run(
            "SELECT digest, media_type, artifact_type, subject, size, pushed, raw FROM image"
            " WHERE repository = ? AND digest = ?",
            (repository, digest),
        ).fetchone()
        return Image(*row) if row else None

    def images(self, repository: int, tag_status: str, *, after: str, limit: int) -> list[Image]:
        """List images by digest, without their raw bytes: all, TAGGED or UNTAGGED ones."""
        rows = self._run(
            "SELECT digest, media_type, artifact_type, subject, size, pushed, x'' FROM image"
            " WHERE repository = ? AND digest > ? AND (? = 'ANY' OR (? = 'TAGGED') = EXISTS"
            " (SELECT 1 FROM tag WHERE tag.repository = image.repository AND tag.digest = image.digest))"
            " ORDER BY digest LIMIT ?",
            (repository, after, tag_status, tag_status, limit),
        )
        return [Image(*row) for row in rows]

    def image_names(self, repository: int, tag_status: str, *, after: ImageName, limit: int) -> list[ImageName]:
        """List each tag with its digest, and each untagged image once."""
        rows = self._run(
            "SELECT image.digest, coalesce(tag.name, '') AS name FROM image"
            " LEFT JOIN tag ON tag.repository = image.repository AND tag.digest = image.digest"
            " WHERE image.repository = ? AND (image.digest, coalesce(tag.name, '')) > (?, ?)"
            " AND (? = 'ANY' OR (? = 'TAGGED') = (tag.name IS NOT NULL)) ORDER BY 1, 2 LIMIT ?",
            (repository, after.digest, after.tag, tag_status, tag_status, limit),
        )
        return [ImageName(*row) for row in rows]

    def tagged(self, repository: int, tag: str) -> str:
        """Return the digest that a tag stands for, empty when there is no such tag."""
        row = self._run("SELECT digest FROM tag WHERE repository = ? AND name = ?", (repository, tag)).fetchone()
        return row[0] if row else ""

    def tags(self, repository: int, digest: str) -> list[str]:
        """List the tags of an image."""
        rows = self._run("SELECT name FROM tag WHERE repository = ? AND digest = ? ORDER BY name", (repository, digest))
        return [row[0] for row in rows]

    def has_images(self, repository: int) -> bool:
        """Tell whether a repository holds any image."""
        return self._run("SELECT 1 FROM image WHERE repository = ? LIMIT 1", (repository,)).fetchone() is not None

    def parents(self, repository: int, digest: str) -> list[str]:
        """List the indexes that refer to an image."""
        rows = self._run("SELECT parent FROM reference WHERE repository = ? AND child = ?", (repository, digest))
        return sorted(row[0] for row in rows)

    def add_image(self, repository: int, image: Image, references: Iterable[tuple[str, str]]) -> None:
        """Keep an image and the (digest, media type) of each thing that it refers to."""
        self._run(
            "INSERT INTO image VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (repository, *astuple(image)),
        )
        rows: Sequence[tuple[int, str, str, str]] = [
            (repository, image.digest, child, kind) for child, kind in references
        ]
        self._run_many("INSERT OR IGNORE INTO reference VALUES (?, ?, ?, ?)", rows)

    def delete_image(self, repository: int, digest: str) -> None:
        """Forget an image with its tags."""
        self._run("DELETE FROM image WHERE repository = ? AND digest = ?", (repository, digest))

    def set_tag(self, repository: int, tag: str, digest: str) -> None:
        """Let a tag stand for an image, whatever it stood for before."""
        self._run("INSERT OR REPLACE INTO tag VALUES (?, ?, ?)", (repository, tag, digest))

    def delete_tag(self, repository: int, tag: str) -> None:
        """Forget a tag."""
        self._run("DELETE FROM tag WHERE repository = ? AND name = ?", (repository, tag))
