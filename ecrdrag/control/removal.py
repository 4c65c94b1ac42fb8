"""Own the deleting of images and tags: what will go is said first, and what ECR won't let go is told apart.

The commands enter.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ecrdrag.control.images import ACTIVE, ANY, Image, compact, find, images, listing_hint
from ecrdrag.control.plane import Plane
from ecrdrag.control.stored import stored
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import EcrdragError, NotFoundError, RepositoryNotFoundError
from ecrdrag.manifest import Index
from ecrdrag.registry.ecr_api import structure_of, structures_of, text_of
from ecrdrag.registry.ecr_errors import failure
from ecrdrag.registry.ecr_operations import Answer

log = logging.getLogger(__name__)

MAX_IMAGES: Final = 100  # of a call: ImageIdentifierList of the model
_NOT_FOUND: Final = "ImageNotFound"
_IN_INDEX: Final = "ImageReferencedByManifestList"
_INDEX_FIRST: Final = "delete the index that it names first"


@dataclass(frozen=True, slots=True)
class Doomed:
    """What is to be taken away of one image: some of its tags, or itself."""

    image: Image
    tags: tuple[str, ...] = ()
    whole: bool = False
    children: int = 0
    """How many images an index leads to; they stay."""

    @property
    def goes(self) -> bool:
        """Whether the image itself goes, as it does with its last tag: user guide, "Deleting an image"."""
        return self.whole or set(self.image.tags) <= set(self.tags)

    @property
    def image_ids(self) -> list[dict[str, str]]:
        """Name it to BatchDeleteImage: by its digest, or by nothing but a tag, which takes that tag away."""
        return [{"imageDigest": self.image.digest}] if self.whole else [{"imageTag": tag} for tag in self.tags]


@dataclass(frozen=True, slots=True)
class Refused:
    """What stays though it was to go: ImageFailure of the model."""

    answer: Answer

    @property
    def name(self) -> str:
        """The tag that was named, else the digest."""
        return _name_of(structure_of(self.answer, "imageId"))

    @property
    def is_in_index(self) -> bool:
        """Whether an index leads to it."""
        return text_of(self.answer, "failureCode") == _IN_INDEX

    def error(self, plane: Plane, repository: str) -> EcrdragError:
        """Say what is wrong, and with which image."""
        code = text_of(self.answer, "failureCode")
        found = failure(code, f"{self.name}: {text_of(self.answer, 'failureReason') or code}", plane.where(repository))
        hints = {_IN_INDEX: _INDEX_FIRST, _NOT_FOUND: listing_hint(plane, repository)}
        found.hint = hints.get(code, found.hint)
        return found


@dataclass(slots=True)
class Removed:
    """What ECR says of several calls: ImageIdentifiers that are gone, and what stays."""

    image_ids: list[Answer] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def doomed(plane: Plane, repository: str, names: Iterable[EcrName]) -> tuple[list[Doomed], list[Refused]]:
    """Find out what deleting these would take away, and which of them aren't there."""
    asked: dict[str, list[EcrName]] = {}
    found: dict[str, Image] = {}
    missing: list[Refused] = []
    wanted = list(dict.fromkeys(names))
    for name, image in zip(wanted, plane.side_by_side(wanted, partial(_found, plane, repository)), strict=True):
        if image is None:
            missing.append(_missing(name))
        else:
            found[image.digest] = image
            asked.setdefault(image.digest, []).append(name)
    plans = plane.side_by_side(found.values(), lambda image: _doomed(plane, image, asked[image.digest]))
    return list(plans), missing


def delete(plane: Plane, repository: str, wanted: Iterable[Doomed], removed: Removed) -> None:
    """Delete them, indexes before what they lead to; removed is kept up to date, whatever happens.

    What ECR keeps for an index is asked for again once an index has gone: it may have been that one.
    """
    todo = [(one.image.is_index, image_id) for one in wanted for image_id in one.image_ids]
    while todo:
        gone = len(removed.image_ids)
        refused = _delete(plane, repository, [image_id for is_index, image_id in todo if is_index], removed)
        is_progress = len(removed.image_ids) > gone
        refused += _delete(plane, repository, [image_id for is_index, image_id in todo if not is_index], removed)
        held = {one.name for one in refused if one.is_in_index} if is_progress else set()
        todo = [(is_index, image_id) for is_index, image_id in todo if _name_of(image_id) in held]
        again = {_name_of(image_id) for _, image_id in todo}
        removed.refused += [one for one in refused if one.name not in again]


@dataclass(frozen=True, slots=True)
class Untagged:
    """The images of a repository without a tag that may go, the digests of those that stay, and all that there are."""

    images: tuple[Image, ...]
    kept: tuple[str, ...]
    digests: frozenset[str]


def untagged(plane: Plane, repository: str) -> Untagged:
    """Find what has no tag, of which that stays which is about an image that does; the archive is left alone."""
    everything = compact(images(plane, repository, image_status=ANY))
    found = {one.digest: one for one in everything if not one.tags and one.status in ("", ACTIVE)}
    digests = frozenset(one.digest for one in everything)
    kept: list[str] = []
    while stays := [one.digest for one in found.values() if one.subject in digests and one.subject not in found]:
        kept += stays
        for digest in stays:
            del found[digest]
    return Untagged(tuple(found.values()), tuple(kept), digests)


def delete_untagged(plane: Plane, repository: str, wanted: Untagged, removed: Removed) -> list[str]:
    """Delete what has no tag and give the digests of what stays, as it has a use.

    ECR keeps what an index leads to: asking it counts as no pull, as reading all indexes would. What is about another
    image, such as its signature, has no tag either, and goes only once that image is gone.
    """
    there, waiting = set(wanted.digests), {image.digest: image for image in wanted.images}
    kept = list(wanted.kept)
    while ready := [image for image in waiting.values() if image.subject not in there]:
        tried = Removed()
        try:
            delete(plane, repository, [Doomed(image, whole=True) for image in ready], tried)
        finally:
            removed.image_ids += tried.image_ids
            removed.refused += [one for one in tried.refused if not one.is_in_index]
        kept += [one.name for one in tried.refused if one.is_in_index]
        there.difference_update(text_of(one, "imageDigest") for one in tried.image_ids)
        for image in ready:
            del waiting[image.digest]
    return [*kept, *waiting]


def _found(plane: Plane, repository: str, name: EcrName) -> Image | None:
    try:
        return find(plane, repository, name.image_id)
    except RepositoryNotFoundError:
        raise
    except NotFoundError:
        return None


def _missing(name: EcrName) -> Refused:
    """Say what BatchDeleteImage would: ImageFailure of the model, its text that of BatchGetImage."""
    reason = "Requested image not found"
    return Refused({"imageId": name.image_id, "failureCode": _NOT_FOUND, "failureReason": reason})


def _doomed(plane: Plane, image: Image, names: Sequence[EcrName]) -> Doomed:
    whole = any(name.tag is None for name in names)
    tags = () if whole else tuple(dict.fromkeys(name.tag for name in names if name.tag))
    plan = Doomed(image, tags, whole)
    return Doomed(image, tags, whole, _children(plane, image)) if plan.goes and image.is_index else plan


def _children(plane: Plane, image: Image) -> int:
    """Count what an index leads to; one that can't be read may go all the same."""
    try:
        document = stored(plane, image.repository, {"imageDigest": image.digest}).document
    except EcrdragError as error:
        log.info("what %s leads to isn't known: %s", image.digest, error)
        return 0
    return len({entry.digest for entry in document.manifests}) if isinstance(document, Index) else 0


def _delete(plane: Plane, repository: str, image_ids: Sequence[Answer], removed: Removed) -> list[Refused]:
    batches = [image_ids[start : start + MAX_IMAGES] for start in range(0, len(image_ids), MAX_IMAGES)]
    refused: list[Refused] = []
    for answer in plane.side_by_side(
        batches, lambda batch: plane.call("BatchDeleteImage", repositoryName=repository, imageIds=batch)
    ):
        removed.image_ids += structures_of(answer, "imageIds")
        refused += [Refused(one) for one in structures_of(answer, "failures")]
    return refused


def _name_of(image_id: Answer) -> str:
    return text_of(image_id, "imageTag") or text_of(image_id, "imageDigest")
