"""Own the deleting of images and tags: what will go is said first, and what ECR won't let go is told apart.

The commands enter.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from ecrdrag.control.images import ACTIVE, ANY, Image, compact, find_if_there, images, listing_hint
from ecrdrag.control.plane import Plane
from ecrdrag.control.stored import stored
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import EcrdragError, NotFoundError, RepositoryNotFoundError, TransferError
from ecrdrag.manifest import Index
from ecrdrag.registry.ecr_api import structure_of, structures_of, text_of
from ecrdrag.registry.ecr_errors import failure
from ecrdrag.registry.ecr_operations import Answer

log = logging.getLogger(__name__)

MAX_IMAGES: Final = 100  # of a call: ImageIdentifierList of the model
# ImageFailureCode of the model; _CHANGED is also what we say of an image whose tags are others than was said.
_NOT_FOUND: Final = "ImageNotFound"
_IN_INDEX: Final = "ImageReferencedByManifestList"
_CHANGED: Final = "ImageTagDoesNotMatchDigest"
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

    def objection(self, image_id: Mapping[str, str], now: Image | None) -> Refused | None:
        """Say why not to go on, where that would take something else away than was said."""
        tags = set(now.tags) if now else set()
        if now is None or not {image_id.get("imageTag")} <= {None, *tags}:
            return _missing(image_id)
        goes = tags <= set(self.image.tags if self.whole else self.tags)
        if goes is self.goes:
            return None
        reason = f"its tags were changed meanwhile, to {', '.join(now.tags) or 'none'}"
        return Refused({"imageId": image_id, "failureCode": _CHANGED, "failureReason": reason})


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
        return self._code == _IN_INDEX

    @property
    def is_gone(self) -> bool:
        """Whether there is no such image, or none any more."""
        return self._code == _NOT_FOUND

    @property
    def is_changed(self) -> bool:
        """Whether a tag stands for another image, or came or went since it was said what will go."""
        return self._code == _CHANGED

    @property
    def _code(self) -> str:
        return text_of(self.answer, "failureCode")

    def error(self, plane: Plane, repository: str) -> EcrdragError:
        """Say what is wrong, and with which image."""
        reason = text_of(self.answer, "failureReason") or self._code
        found = failure(self._code, f"{self.name}: {reason}", plane.where(repository))
        if self.is_in_index:
            found.hint = _INDEX_FIRST
        elif self.is_gone or self.is_changed:
            found.hint = listing_hint(plane, repository)
        return found


_Step = tuple[Doomed, Mapping[str, str]]  # what is planned of an image, and one of its names to BatchDeleteImage


@dataclass(slots=True)
class Removed:
    """What ECR says of several calls: ImageIdentifiers that are gone, in no order, and what stays."""

    image_ids: list[Answer] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    unanswered: set[str] = field(default_factory=set)
    """What may be gone or not: the tags and digests of calls that brought no answer yet."""

    def has_taken(self, plans: Iterable[Doomed]) -> set[str]:
        """Give the digests of the images that are gone, by themselves or with the last of their tags."""
        gone = {(text_of(one, "imageDigest"), text_of(one, "imageTag")) for one in self.image_ids}
        there = {
            one.image.digest
            for one in plans
            if not one.goes or any((one.image.digest, tag) not in gone for tag in one.tags)
        }
        return {digest for digest, _ in gone} - there


def doomed(plane: Plane, repository: str, names: Iterable[EcrName]) -> tuple[list[Doomed], list[Refused]]:
    """Find out what deleting these would take away, and which of them aren't there."""
    asked: dict[str, list[EcrName]] = {}
    found: dict[str, Image] = {}
    missing: list[Refused] = []
    wanted = list(dict.fromkeys(names))
    images_found = plane.side_by_side(wanted, lambda name: find_if_there(plane, repository, name.image_id))
    for name, image in zip(wanted, images_found, strict=True):
        if image is None:
            missing.append(_missing(name.image_id))
        else:
            found[image.digest] = image
            asked.setdefault(image.digest, []).append(name)
    plans = plane.side_by_side(found.values(), lambda image: _doomed(plane, image, asked[image.digest]))
    return list(plans), missing


def delete(plane: Plane, repository: str, wanted: Iterable[Doomed], removed: Removed) -> None:
    """Delete them, indexes before what they lead to; removed is kept up to date, whatever happens.

    What has changed since it was said what will go stays, and is refused. What ECR keeps for an index is asked for
    again once an index has gone: it may have been that one.
    """
    todo = [(one, image_id) for one in wanted for image_id in one.image_ids]
    while todo:
        gone = len(removed.image_ids)
        refused = _delete(plane, repository, [step for step in todo if step[0].image.is_index], removed)
        is_progress = len(removed.image_ids) > gone
        refused += _delete(plane, repository, [step for step in todo if not step[0].image.is_index], removed)
        held = {one.name for one in refused if one.is_in_index} if is_progress else set()
        todo = [step for step in todo if _name_of(step[1]) in held]
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
    image, such as its signature, has no tag either, and goes only once that image is gone. What has a tag by now stays.
    """
    there, waiting = set(wanted.digests), {image.digest: image for image in wanted.images}
    kept = list(wanted.kept)
    while ready := [image for image in waiting.values() if image.subject not in there]:
        # One list for all rounds: an interrupt at any time leaves what is gone in it.
        tried = Removed(removed.image_ids, unanswered=removed.unanswered)
        delete(plane, repository, [Doomed(image, whole=True) for image in ready], tried)
        kept += [one.name for one in tried.refused if one.is_in_index or one.is_changed]
        removed.refused += [one for one in tried.refused if not (one.is_in_index or one.is_changed or one.is_gone)]
        there.difference_update(text_of(one, "imageDigest") for one in tried.image_ids)
        there.difference_update(one.name for one in tried.refused if one.is_gone)
        for image in ready:
            del waiting[image.digest]
    return [*kept, *waiting]


def _missing(image_id: Mapping[str, str]) -> Refused:
    """Say what BatchDeleteImage would: ImageFailure of the model, its text that of BatchGetImage."""
    reason = "Requested image not found"
    return Refused({"imageId": image_id, "failureCode": _NOT_FOUND, "failureReason": reason})


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


def _delete(plane: Plane, repository: str, steps: Sequence[_Step], removed: Removed) -> list[Refused]:
    """Delete a hundred at a time; a failure is raised once the calls beside it have brought their answers."""
    failures: list[EcrdragError] = []

    def attempt(batch: Sequence[_Step]) -> list[Refused]:
        try:
            return [] if failures else _delete_batch(plane, repository, batch, removed)
        except EcrdragError as error:
            failures.append(error)
            return []

    batches = [steps[start : start + MAX_IMAGES] for start in range(0, len(steps), MAX_IMAGES)]
    refused = list(chain.from_iterable(plane.side_by_side(batches, attempt)))
    if failures:
        removed.refused += refused
        raise failures[0]
    return refused


def _delete_batch(plane: Plane, repository: str, steps: Sequence[_Step], removed: Removed) -> list[Refused]:
    """Look again, as somebody may have pushed while the user was asked, and delete what is as was said."""
    now = _now(plane, repository, list(dict.fromkeys(plan.image.digest for plan, _ in steps)))
    objections = [plan.objection(image_id, now.get(plan.image.digest)) for plan, image_id in steps]
    refused = [one for one in objections if one]
    ready = [image_id for (_, image_id), objection in zip(steps, objections, strict=True) if not objection]
    if ready:
        answer = _asked(plane, repository, ready, removed)
        refused += [Refused(one) for one in structures_of(answer, "failures")]
    return refused


def _asked(plane: Plane, repository: str, image_ids: Sequence[Answer], removed: Removed) -> Answer:
    """Call, and note in this thread what is gone: after an interrupt no other listens any more."""
    names = {_name_of(image_id) for image_id in image_ids}
    removed.unanswered |= names
    try:
        answer = plane.call("BatchDeleteImage", repositoryName=repository, imageIds=image_ids)
        removed.image_ids += structures_of(answer, "imageIds")
    except TransferError:  # after a silence, perhaps: it may have been done all the same
        raise
    except EcrdragError:
        removed.unanswered -= names
        raise
    removed.unanswered -= names
    return answer


def _now(plane: Plane, repository: str, digests: Sequence[str]) -> dict[str, Image]:
    """Describe images by their digests; ECR describes none where one is gone, which halves of them find."""
    try:
        answer = plane.call(
            "DescribeImages", repositoryName=repository, imageIds=[{"imageDigest": digest} for digest in digests]
        )
    except RepositoryNotFoundError:
        raise
    except NotFoundError:
        half = len(digests) // 2
        return {**_now(plane, repository, digests[:half]), **_now(plane, repository, digests[half:])} if half else {}
    found = [Image(one, plane.region) for one in structures_of(answer, "imageDetails")]
    return {image.digest: image for image in found}


def _name_of(image_id: Answer) -> str:
    return text_of(image_id, "imageTag") or text_of(image_id, "imageDigest")
