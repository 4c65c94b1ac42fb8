"""Own how much is in repositories: images, tags and bytes, counted for many of them side by side.

The other stories of this room and the commands enter.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from ecrdrag.control.images import ACTIVE, ANY, Image, images
from ecrdrag.control.permission import unless_denied
from ecrdrag.control.plane import Plane
from ecrdrag.control.repositories import Repository
from ecrdrag.errors import AuthError, RepositoryNotFoundError

log = logging.getLogger(__name__)

_NOT_ARCHIVED: Final = (ACTIVE, "")  # a server without an archive says nothing


@dataclass(frozen=True, slots=True)
class Usage:
    """What the images of repositories come to; those in the archive, or on their way back, are counted by themselves.

    Sizes are in bytes, and sums: a layer that several images share counts in each of them.
    """

    images: int = 0
    untagged: int = 0
    tags: int = 0
    size: int = 0
    last_push: datetime | None = None
    archived: int = 0
    archived_size: int = 0

    @property
    def everything(self) -> int:
        """How many images there are, in the archive too."""
        return self.images + self.archived

    @property
    def document(self) -> dict[str, object]:
        """Describe it by members of our own."""
        return {
            "imageCount": self.images,
            "taggedImageCount": self.images - self.untagged,
            "untaggedImageCount": self.untagged,
            "tagCount": self.tags,
            "sizeInBytes": self.size,
            "lastPushedAt": self.last_push,
            "archivedImageCount": self.archived,
            "archivedSizeInBytes": self.archived_size,
        }


NOT_COUNTED: Final = dict.fromkeys(Usage().document)


@dataclass(frozen=True, slots=True)
class Counted:
    """A repository and what is in it, or the error by which its images may not be counted."""

    repository: Repository
    found: Usage | AuthError

    @property
    def usage(self) -> Usage | None:
        """What is in it, if that could be counted."""
        return self.found if isinstance(self.found, Usage) else None

    @property
    def document(self) -> dict[str, object]:
        """Describe it as an entry of a list; counts are null where there are none."""
        return {**self.repository.document, **(self.usage.document if self.usage else NOT_COUNTED)}


def measure(plane: Plane, repository: str) -> Usage:
    """Count the images of a repository, a page at a time.

    Those in the archive are asked for too, which DescribeImages leaves out by default: the repository holds them.
    """
    tally = _Tally()
    for image in images(plane, repository, image_status=ANY):
        tally.add(image)
    return tally.usage()


def counted(plane: Plane, found: Iterable[Repository]) -> Iterator[Counted]:
    """Yield repositories in their order with what is in them, while later ones are counted; those gone are left out."""
    for one in plane.side_by_side(found, partial(_counted, plane)):
        if one is not None:
            yield one


def _counted(plane: Plane, repository: Repository) -> Counted | None:
    try:
        return Counted(repository, unless_denied(partial(measure, plane, repository.name)))
    except RepositoryNotFoundError:
        log.info("%s is left out: it was deleted meanwhile", plane.where(repository.name))
        return None


class _Tally:
    """Add images up; for one thread."""

    def __init__(self) -> None:
        self._images = self._untagged = self._tags = self._size = self._archived = self._archived_size = 0
        self._last_push: datetime | None = None

    def add(self, image: Image) -> None:
        """Count one."""
        size = image.size or 0
        if image.status not in _NOT_ARCHIVED:
            self._archived += 1
            self._archived_size += size
            return
        self._images += 1
        self._untagged += not image.tags
        self._tags += len(image.tags)
        self._size += size
        if image.pushed and (not self._last_push or image.pushed > self._last_push):
            self._last_push = image.pushed

    def usage(self) -> Usage:
        """Give what was counted."""
        return Usage(
            images=self._images,
            untagged=self._untagged,
            tags=self._tags,
            size=self._size,
            last_push=self._last_push,
            archived=self._archived,
            archived_size=self._archived_size,
        )
