"""Own what is known about images and tags.

Records is made of this room among others; who asks, asks Records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

from ecrdrag.localecr.names import ImageName
from ecrdrag.localecr.storage.table import Table

_COLUMNS: Final = (
    "digest, media_type, artifact_type, subject, size, pushed, raw, archived, archived_at, activated_at, pulled_at"
)
_COLUMNS_WITHOUT_RAW: Final = _COLUMNS.replace("raw", "x''")


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest or an index as pushed; size is what DescribeImages calls imageSizeInBytes."""

    digest: str
    media_type: str
    artifact_type: str
    subject: str
    size: int
    pushed: float
    raw: bytes = b""
    archived: bool = False
    archived_at: float = 0.0
    activated_at: float = 0.0
    """When it became, or becomes, active after it was archived; 0 when it never was."""
    pulled_at: float = 0.0
    """When it was last pulled, as far as that is recorded; 0 is never."""


def _image(row: Sequence[Any]) -> Image:
    digest, media_type, artifact_type, subject, size, pushed, raw, archived, *times = row
    return Image(digest, media_type, artifact_type, subject, size, pushed, raw, bool(archived), *times)


class ImageTable(Table):
    """Ask and change images and tags."""

    def image(self, repository: int, digest: str) -> Image | None:
        """Find an image by digest."""
        row = self._run(
            f"SELECT {_COLUMNS} FROM image WHERE repository = ? AND digest = ?",  # noqa: S608 - constants of this file
            (repository, digest),
        ).fetchone()
        return _image(row) if row else None

    def images(self, repository: int, tag_status: str, *, after: str, limit: int) -> list[Image]:
        """List images by digest, without their raw bytes: all, TAGGED or UNTAGGED ones."""
        rows = self._run(
            f"SELECT {_COLUMNS_WITHOUT_RAW} FROM image"  # noqa: S608 - constants of this file
            " WHERE repository = ? AND digest > ? AND (? = 'ANY' OR (? = 'TAGGED') = EXISTS"
            " (SELECT 1 FROM tag WHERE tag.repository = image.repository AND tag.digest = image.digest))"
            " ORDER BY digest LIMIT ?",
            (repository, after, tag_status, tag_status, limit),
        )
        return [_image(row) for row in rows]

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
            "INSERT INTO image VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
