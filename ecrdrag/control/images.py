"""Own the images of a repository as ECR describes them: listed by pages, found by name, put in order.

The commands and the other rooms of control enter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from enum import Enum
from typing import Final

from ecrdrag.control.image_types import type_words
from ecrdrag.control.plane import Plane
from ecrdrag.control.versions import highest_first
from ecrdrag.errors import NotFoundError, RepositoryNotFoundError, TransferError
from ecrdrag.manifest import INDEX_TYPES
from ecrdrag.registry.ecr_api import number_of, structures_of, text_of, time_of
from ecrdrag.registry.ecr_operations import Answer

# TagStatus, ImageStatusFilter and ImageStatus of the model.
TAGGED: Final = "TAGGED"
UNTAGGED: Final = "UNTAGGED"
ANY: Final = "ANY"
ACTIVE: Final = "ACTIVE"
_NEVER: Final = datetime.min.replace(tzinfo=timezone.utc)


class Order(Enum):
    """How images are put in order."""

    PUSHED = "pushed"  # newest first
    SIZE = "size"  # largest first
    NAME = "name"  # by their tags as versions, highest first; those without a tag last, by digest
    NONE = "none"  # as ECR lists them


@dataclass(frozen=True, slots=True)
class Image:
    """An image, or whatever else a manifest holds, as ECR describes it: ImageDetail of the model."""

    answer: Answer
    region: str

    @property
    def repository(self) -> str:
        """Where it is."""
        return text_of(self.answer, "repositoryName")

    @property
    def digest(self) -> str:
        """What it is called for ever."""
        return text_of(self.answer, "imageDigest")

    @property
    def tags(self) -> tuple[str, ...]:
        """What it is called now, in ECR's order."""
        value = self.answer.get("imageTags")
        return tuple(tag for tag in value if isinstance(tag, str)) if isinstance(value, list) else ()

    @property
    def size(self) -> int | None:
        """Bytes of its layers; of an index those of its largest image (the model on imageSizeInBytes)."""
        return number_of(self.answer, "imageSizeInBytes")

    @property
    def pushed(self) -> datetime | None:
        """When it came; another tag later makes no difference."""
        return time_of(self.answer, "imagePushedAt")

    @property
    def pulled(self) -> datetime | None:
        """When it was pulled last, as ECR has noted it: to the day."""
        return time_of(self.answer, "lastRecordedPullTime")

    @property
    def media_type(self) -> str:
        """The kind of its document."""
        return text_of(self.answer, "imageManifestMediaType")

    @property
    def artifact_type(self) -> str:
        """What the document holds; of an image the type of its config."""
        return text_of(self.answer, "artifactMediaType")

    @property
    def type(self) -> str:
        """Say for people what it is."""
        return type_words(self.media_type, self.artifact_type, self.tags)

    @property
    def subject(self) -> str:
        """The digest of what it is about; empty for none."""
        return text_of(self.answer, "subjectManifestDigest")

    @property
    def status(self) -> str:
        """ACTIVE, ARCHIVED or ACTIVATING."""
        return text_of(self.answer, "imageStatus")

    @property
    def is_index(self) -> bool:
        """Whether it leads to other images."""
        return self.media_type in INDEX_TYPES


def images(plane: Plane, repository: str, *, tag_status: str = "", image_status: str = "") -> Iterator[Image]:
    """List a repository's images as ECR does, page by page; without a status those that are not in the archive."""
    wanted = {name: value for name, value in (("tagStatus", tag_status), ("imageStatus", image_status)) if value}
    for answer in plane.pages("DescribeImages", "imageDetails", repositoryName=repository, filter=wanted or None):
        yield Image(answer, plane.region)


def ordered(found: Iterable[Image], order: Order) -> Iterable[Image]:
    """Put images in order, of which equal ones stay as they come.

    But for NONE all are held at once: 100,000, which is ECR's quota for a repository, take 75 MB.
    """
    if order is Order.NONE:
        return found
    listed = compact(found)
    if order is Order.NAME:
        return _by_name(listed)
    listed.sort(key=_size_of if order is Order.SIZE else _pushed_of, reverse=True)
    return listed


def compact(found: Iterable[Image]) -> list[Image]:
    """Hold many images in little room: equal texts are kept once, and times in UTC rather than a zone of each."""
    shared: dict[str, str] = {}
    return [
        replace(image, answer={member: _small(value, shared) for member, value in image.answer.items()})
        for image in found
    ]


def find(plane: Plane, repository: str, image_id: Mapping[str, str]) -> Image:
    """Find the image that an ImageIdentifier means, in the archive too; raises NotFoundError."""
    try:
        answer = plane.call("DescribeImages", repositoryName=repository, imageIds=[image_id])
    except RepositoryNotFoundError:
        raise
    except NotFoundError:
        raise not_there(plane, repository, image_id) from None
    details = structures_of(answer, "imageDetails")
    if len(details) != 1:
        about = f"DescribeImages described {len(details)} images where one was named"
        raise TransferError(f"{plane.where(repository)}: {about}")
    return Image(details[0], plane.region)


def find_if_there(plane: Plane, repository: str, image_id: Mapping[str, str]) -> Image | None:
    """Find it; None where the repository has none such. Raises RepositoryNotFoundError where that isn't there."""
    try:
        return find(plane, repository, image_id)
    except RepositoryNotFoundError:
        raise
    except NotFoundError:
        return None


def not_there(plane: Plane, repository: str, image_id: Mapping[str, str]) -> NotFoundError:
    """Say that there is no such image."""
    tag, digest = image_id.get("imageTag"), image_id.get("imageDigest")
    called = f"{digest} with tag {tag}" if tag and digest else digest or f"with tag {tag}"
    return NotFoundError(f"{plane.where(repository)}: there is no image {called}", hint=listing_hint(plane, repository))


def listing_hint(plane: Plane, repository: str) -> str:
    """Say which command lists the images of a repository."""
    return f"`ecrdrag image ls {plane.named(repository)}` lists what there is"


def tags_in_order(found: Iterable[Image]) -> list[tuple[str, Image]]:
    """Give all tags with their images, newest image first, and of images pushed at once by tags, highest first."""
    holders = {tag: image for image in compact(found) for tag in image.tags}
    pairs = [(tag, holders[tag]) for tag in highest_first(holders)]
    pairs.sort(key=lambda pair: _pushed_of(pair[1]), reverse=True)
    return pairs


def _by_name(listed: list[Image]) -> Iterable[Image]:
    by_digest = {image.digest: image for image in listed}
    holders = {tag: image.digest for image in listed for tag in image.tags}
    named = dict.fromkeys(holders[tag] for tag in highest_first(holders))
    return [by_digest[digest] for digest in (*named, *sorted(by_digest.keys() - named))]


def _pushed_of(image: Image) -> datetime:
    return image.pushed or _NEVER


def _size_of(image: Image) -> int:
    return image.size or 0


def _small(value: object, shared: dict[str, str]) -> object:
    if isinstance(value, str):
        return value if value.startswith("sha256:") else shared.setdefault(value, value)
    return value.astimezone(timezone.utc) if isinstance(value, datetime) else value
