"""Own the choice of what a push takes out of an archive: where each image goes, and what is about it.

The stories may enter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from ecrdrag.archive.contents import ArchivedImage, ArchivedReferrer, choose, listed
from ecrdrag.archive.plan import stands_for_digest
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.content import Digest
from ecrdrag.errors import ArchiveError, NotFoundError, UsageError
from ecrdrag.reference import DOCKER_HUB, ImageReference
from ecrdrag.tree import Referrer, Tree

log = logging.getLogger(__name__)

# Where nobody need have meant to push: docker reads a name without a host as Docker Hub's, and podman calls what is
# built on a machine localhost/NAME (containers/podman#15879).
_NOBODYS: Final = (DOCKER_HUB, "localhost")


@dataclass(frozen=True, slots=True)
class Aim:
    """One image of an archive, and every reference that it is to have."""

    image: ArchivedImage
    references: tuple[ImageReference, ...]


def aims_of(archive: ArchiveReader, reference: ImageReference | None, wish: str | None) -> tuple[Aim, ...]:
    """Say which images go where: one image to the reference, else each to its own names.

    wish is a name or a digest, as choose() takes it. Raises UsageError, or NotFoundError for a
    wish that nothing fits; both list what is there.
    """
    images = archive.images if wish is None else (wished(archive, wish),)
    if reference is None:
        aims = tuple(_to_its_names(archive, image) for image in images)
        _check_distinct(archive, aims)
        return aims
    if len(images) > 1:
        raise UsageError(
            f"{archive.where} holds {len(images)} images: choose one for {reference} with --image",
            hint=listed(images),
        )
    return (Aim(images[0], (reference,)),)


def archived_referrers(
    tree: Tree, there: Sequence[ArchivedReferrer], read: Callable[[ArchivedReferrer], Tree]
) -> tuple[Referrer, ...]:
    """Take what is about an image, or a part of it, and what is about that; those about a document come before theirs.

    read gives the documents of one; what is about something else isn't read.
    """
    about: dict[Digest, list[ArchivedReferrer]] = {}
    for one in there:
        about.setdefault(one.subject, []).append(one)
    taken: list[Referrer] = []
    known = [document.digest for document in tree.documents]
    for digest in known:  # which grows
        for one in about.pop(digest, ()):
            taken.append(Referrer(read(one), one.subject, one.tag))
            known += [document.digest for document in taken[-1].tree.documents]
    return tuple(taken)


def check_tags(where: str, aims: Sequence[Aim], trees: Sequence[Tree], referrers: Sequence[Sequence[Referrer]]) -> None:
    """Refuse two things under one tag of a repository, all of whose images these are with what is about them.

    Two repositories may have different signatures of one image: an archive of both doesn't say which are whose.
    """
    owners: dict[str, Digest] = {}
    for aim, tree, each in zip(aims, trees, referrers, strict=True):
        tagged = [(one.tag, tree.root.digest) for one in aim.references]
        for tag, digest in [*tagged, *((one.tag, one.tree.root.digest) for one in each)]:
            if tag and owners.setdefault(tag, digest) != digest:
                raise UsageError(
                    f"{where}: {aim.references[0].name}:{tag} would be two things: {owners[tag]} and {digest}",
                    hint="pull each image with its referrers into an archive of its own, and push one after the other",
                )


def wished(archive: ArchiveReader, wish: str) -> ArchivedImage:
    """Find the image that a user names, one inside an index too; raise NotFoundError, which lists what is there."""
    if image := choose(archive.images, wish, archive.where):
        return image
    with suppress(ValueError, ArchiveError):  # one platform's image inside an index has no name of its own
        return ArchivedImage((), archive.manifest(digest=Digest.parse(wish)).digest)
    raise NotFoundError(f"{archive.where} holds no image {wish}", hint=listed(archive.images))


def _to_its_names(archive: ArchiveReader, image: ArchivedImage) -> Aim:
    found = {name: _reference_of(archive, name, image) for name in image.names}
    references = tuple(dict.fromkeys(reference for reference in found.values() if reference))
    others = [name for name, reference in found.items() if reference is None]
    if not references:
        called = f"is called {', '.join(others)}, which says no registry to push to" if others else "has no name"
        raise UsageError(
            f"{archive.where}: image {image.digest} {called}",
            hint="say where it goes: ARCHIVE REGISTRY/NAME:TAG; by itself nothing goes to Docker Hub or to localhost",
        )
    if others:
        log.warning("%s: not pushed, as nothing says a registry to push to: %s", archive.where, ", ".join(others))
    return Aim(image, references)


def _check_distinct(archive: ArchiveReader, aims: Sequence[Aim]) -> None:
    """Refuse two images of one name: the tag would be left on whichever came last."""
    owners: dict[ImageReference, ArchivedImage] = {}
    for aim in aims:
        for reference in aim.references:
            if owners.setdefault(reference, aim.image) is not aim.image:
                raise UsageError(
                    f"{archive.where}: two images are called {reference}: choose one by its digest with --image",
                    hint=listed([owners[reference], aim.image]),
                )


def _reference_of(archive: ArchiveReader, name: str, image: ArchivedImage) -> ImageReference | None:
    """Read a name, if it says a registry to push to."""
    try:
        reference = ImageReference.parse(name).with_default_tag()
    except UsageError:
        return None
    if reference.registry in _NOBODYS:
        return None
    if archive.is_converted or not stands_for_digest(reference.tag):
        return reference
    return replace(reference, tag=None, digest=image.digest)
