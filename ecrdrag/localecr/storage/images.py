"""Own what is known about images and tags.

Records is made of this room among others; who asks, asks Records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

from ecrdrag.localecr.names import ImageName
from ecrdrag.localecr.storage.table import Table

ACTIVE: Final = "ACTIVE"
ARCHIVED: Final = "ARCHIVED"
ACTIVATING: Final = "ACTIVATING"
ANY: Final = "ANY"
"""In place of a tag status, or of an image's status: whatever it is."""

_COLUMNS: Final = (
    "digest, media_type, artifact_type, subject, size, pushed, raw, archived, archived_at, activated_at, pulled_at"
)
_COLUMNS_WITHOUT_RAW: Final = _COLUMNS.replace("raw", "x''")
# What Image.status says, for a wanted status twice and the present time between: (wanted, now, wanted).
_HAS_STATUS: Final = (
    "(? = 'ANY' OR CASE WHEN archived THEN 'ARCHIVED' WHEN activated_at > ? THEN 'ACTIVATING' ELSE 'ACTIVE' END = ?)"
)


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

    def status(self, now: float) -> str:
        """Return ImageStatus: an image that was archived comes back at the time that was set for it."""
        if self.archived:
            return ARCHIVED
        return ACTIVATING if self.activated_at > now else ACTIVE


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag, the digest that it stands for, and since when."""

    name: str
    digest: str
    created: float


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

    def images(
        self, repository: int, tag_status: str, *, status: str = ANY, now: float = 0.0, after: str = "", limit: int = -1
    ) -> list[Image]:
        """List images by digest, without their raw bytes: all, TAGGED or UNTAGGED ones, of any status or of one."""
        rows = self._run(
            f"SELECT {_COLUMNS_WITHOUT_RAW} FROM image"  # noqa: S608 - constants of this file
            " WHERE repository = ? AND digest > ? AND (? = 'ANY' OR (? = 'TAGGED') = EXISTS"
            " (SELECT 1 FROM tag WHERE tag.repository = image.repository AND tag.digest = image.digest))"
            f" AND {_HAS_STATUS} ORDER BY digest LIMIT ?",
            (repository, after, tag_status, tag_status, status, now, status, limit),
        )
        return [_image(row) for row in rows]

    def image_names(
        self, repository: int, tag_status: str, *, status: str = ANY, now: float = 0.0, after: ImageName, limit: int
    ) -> list[ImageName]:
        """List each tag with its digest, and each untagged image once."""
        rows = self._run(
            "SELECT image.digest, coalesce(tag.name, '') AS name FROM image"  # noqa: S608 - constants of this file
            " LEFT JOIN tag ON tag.repository = image.repository AND tag.digest = image.digest"
            " WHERE image.repository = ? AND (image.digest, coalesce(tag.name, '')) > (?, ?)"
            " AND (? = 'ANY' OR (? = 'TAGGED') = (tag.name IS NOT NULL))"
            f" AND {_HAS_STATUS} ORDER BY 1, 2 LIMIT ?",
            (repository, after.digest, after.tag, tag_status, tag_status, status, now, status, limit),
        )
        return [ImageName(*row) for row in rows]

    def referrers(
        self,
        repository: int,
        subject: str,
        *,
        artifact_types: Sequence[str] = (),
        status: str = ANY,
        now: float = 0.0,
        after: str = "",
        limit: int = -1,
    ) -> Iterator[Image]:
        """Give by digest the images that name a subject, which need not be there; no artifact types are all."""
        wanted = f"AND artifact_type IN ({', '.join('?' * len(artifact_types))})" if artifact_types else ""
        rows = self._run(
            # The index has no images without a subject, and SQLite uses it only where the query says so too.
            f"SELECT {_COLUMNS} FROM image WHERE repository = ? AND subject = ? AND subject <> ''"  # noqa: S608
            f" AND digest > ? {wanted} AND {_HAS_STATUS} ORDER BY digest LIMIT ?",
            (repository, subject, after, *artifact_types, status, now, status, limit),
        )
        return map(_image, rows)

    def tagged(self, repository: int, tag: str) -> str:
        """Return the digest that a tag stands for, empty when there is no such tag."""
        row = self._run("SELECT digest FROM tag WHERE repository = ? AND name = ?", (repository, tag)).fetchone()
        return row[0] if row else ""

    def tags(self, repository: int, digest: str) -> list[str]:
        """List the tags of an image."""
        rows = self._run("SELECT name FROM tag WHERE repository = ? AND digest = ? ORDER BY name", (repository, digest))
        return [row[0] for row in rows]

    def tags_between(self, repository: int, first: str, last: str) -> dict[str, list[str]]:
        """List the tags of all images from one digest to another, both included, by digest; others are left out."""
        found: dict[str, list[str]] = {}
        for digest, name in self._run(
            "SELECT digest, name FROM tag WHERE repository = ? AND digest BETWEEN ? AND ? ORDER BY digest, name",
            (repository, first, last),
        ):
            found.setdefault(digest, []).append(name)
        return found

    def tags_by_name(self, repository: int, *, after: str, limit: int) -> list[Tag]:
        """List tags by name, at most limit of them, from the one after a name."""
        rows = self._run(
            "SELECT name, digest, created FROM tag WHERE repository = ? AND name > ? ORDER BY name LIMIT ?",
            (repository, after, limit),
        )
        return [Tag(*row) for row in rows]

    def all_tags(self, repository: int) -> Iterator[tuple[str, str]]:
        """Give every tag's digest and name."""
        return iter(self._run("SELECT digest, name FROM tag WHERE repository = ? ORDER BY digest, name", (repository,)))

    def has_images(self, repository: int) -> bool:
        """Tell whether a repository holds any image."""
        return self._run("SELECT 1 FROM image WHERE repository = ? LIMIT 1", (repository,)).fetchone() is not None

    def parents(self, repository: int, digest: str) -> list[str]:
        """List the indexes that refer to an image."""
        rows = self._run("SELECT parent FROM reference WHERE repository = ? AND child = ?", (repository, digest))
        return sorted(row[0] for row in rows)

    def all_parents(self, repository: int) -> Iterator[tuple[str, str]]:
        """Give the digests of every image that an index refers to, and of that index."""
        return iter(
            self._run(
                "SELECT child, parent FROM image JOIN reference"
                " ON reference.repository = image.repository AND child = digest WHERE image.repository = ?",
                (repository,),
            )
        )

    def is_pullable(self, repository: int, layer: str, now: float) -> bool:
        """Tell whether an active image refers to a layer."""
        row = self._run(
            "SELECT 1 FROM reference JOIN image ON image.repository = reference.repository AND digest = parent"
            " WHERE reference.repository = ? AND child = ? AND NOT archived AND activated_at <= ? LIMIT 1",
            (repository, layer, now),
        ).fetchone()
        return row is not None

    def add_image(self, repository: int, image: Image, references: Iterable[tuple[str, str]]) -> None:
        """Keep an image and the (digest, media type) of each thing that it refers to."""
        self._run(
            f"INSERT INTO image (repository, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (repository, *astuple(image)),
        )
        rows: Sequence[tuple[int, str, str, str]] = [
            (repository, image.digest, child, kind) for child, kind in references
        ]
        self._run_many("INSERT OR IGNORE INTO reference VALUES (?, ?, ?, ?)", rows)

    def archive_image(self, repository: int, digest: str, now: float) -> None:
        """Put an image into the archive."""
        self._run(
            "UPDATE image SET archived = 1, archived_at = ? WHERE repository = ? AND digest = ?",
            (now, repository, digest),
        )

    def activate_image(self, repository: int, digest: str, ready: float) -> None:
        """Take an image out of the archive, so that it is active from a time on."""
        self._run(
            "UPDATE image SET archived = 0, activated_at = ? WHERE repository = ? AND digest = ?",
            (ready, repository, digest),
        )

    def record_pulls(self, repository: int, digests: Iterable[str], now: float) -> None:
        """Note when images were pulled."""
        rows = [(now, repository, digest) for digest in digests]
        self._run_many("UPDATE image SET pulled_at = ? WHERE repository = ? AND digest = ?", rows)

    def delete_image(self, repository: int, digest: str) -> None:
        """Forget an image with its tags."""
        self._run("DELETE FROM image WHERE repository = ? AND digest = ?", (repository, digest))

    def set_tag(self, repository: int, tag: str, digest: str, now: float) -> None:
        """Let a tag stand for an image, whatever it stood for before."""
        self._run("INSERT OR REPLACE INTO tag VALUES (?, ?, ?, ?)", (repository, tag, digest, now))

    def delete_tag(self, repository: int, tag: str) -> None:
        """Forget a tag."""
        self._run("DELETE FROM tag WHERE repository = ? AND name = ?", (repository, tag))
