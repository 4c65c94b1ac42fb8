"""Own the story of a push: archive → images → what the registry lacks → upload → manifests → tags.

The command line may enter; this is also the library's way to push.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final

from ecrdrag.aim import Aim, aims_of
from ecrdrag.archive.contents import ArchivedImage
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.content import Descriptor, Digest
from ecrdrag.delivery import Delivery, Fate, Stage, check_child, check_hollow, check_root, fates_of
from ecrdrag.errors import ArchiveError
from ecrdrag.manifest import FOREIGN_LAYER_TYPES, Index
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Destination, RepositorySettings
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.transfer.upload import DEFAULT_UPLOAD_JOBS
from ecrdrag.tree import Document, Tree, grow

__all__ = ["Fate", "PushOptions", "Pushed", "PushedImage", "Stage", "push"]

_SHOWN: Final = 50  # images in a message


@dataclass(frozen=True, slots=True)
class PushOptions:
    """Say how to push: jobs counts layers at once; create lets it create a missing repository so."""

    image: str | None = None
    jobs: int = DEFAULT_UPLOAD_JOBS
    create: RepositorySettings | None = None
    dry_run: bool = False
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class PushedImage:
    """Report one image in one repository: its references there, its tree, and what became of each blob."""

    references: tuple[ImageReference, ...]
    tree: Tree
    fates: Mapping[Digest, Fate]


@dataclass(frozen=True, slots=True)
class Pushed:
    """Report a push; uploaded counts bytes, which a dry run would have uploaded."""

    images: tuple[PushedImage, ...]
    uploaded: int
    seconds: float
    dry_run: bool


def push(
    archive: ArchiveReader,
    reference: ImageReference | None,
    open_destination: Callable[[ImageReference], Destination],
    options: PushOptions,
    stage: Stage,
) -> Pushed:
    """Bring images of an archive into the repositories that reference, or else their own names, mean.

    Tags are set once all blobs of all images are there. Raises EcrdragError.
    """
    begun = time.monotonic()
    cargos = _by_repository(aims_of(archive, reference, options.image), open_destination, options.retry)
    there = [cargo.delivery.has_repository(cargo.aims[0].image.digest, options.create) for cargo in cargos]
    _prepare(archive, [aim.image for cargo in cargos for aim in cargo.aims], stage)
    loads = [_load(archive, cargo, exists, options) for cargo, exists in zip(cargos, there, strict=True)]
    if not options.dry_run:
        for load in loads:
            _bring(archive, load, options, stage)
        for load in loads:  # only now, as every blob that goes up has been hashed
            for image in load.images:
                load.delivery.put(image.tree, [one.tag for one in image.references])
    return Pushed(
        tuple(image for load in loads for image in load.images),
        sum(blob.size for load in loads for blob in load.missing),
        time.monotonic() - begun,
        options.dry_run,
    )


@dataclass(frozen=True, slots=True)
class _Cargo:
    """What goes into one repository."""

    delivery: Delivery
    aims: tuple[Aim, ...]


@dataclass(frozen=True, slots=True)
class _Load:
    """The same, with all that it takes: which blobs have to be uploaded, and whether the repository is there."""

    delivery: Delivery
    exists: bool
    images: tuple[PushedImage, ...]
    missing: tuple[Descriptor, ...]


def _by_repository(
    aims: Sequence[Aim], open_destination: Callable[[ImageReference], Destination], retry: RetryPolicy
) -> tuple[_Cargo, ...]:
    places: dict[str, ImageReference] = {one.name: one for aim in aims for one in aim.references}
    return tuple(
        _Cargo(Delivery(name, open_destination(place), retry), tuple(_those_in(name, aims)))
        for name, place in places.items()
    )


def _those_in(name: str, aims: Sequence[Aim]) -> Iterator[Aim]:
    for aim in aims:
        if references := tuple(one for one in aim.references if one.name == name):
            yield replace(aim, references=references)


def _prepare(archive: ArchiveReader, images: Sequence[ArchivedImage], stage: Stage) -> None:
    if size := archive.size_to_prepare(images):
        with stage("compress") as progress:
            progress.begin(size, 0)
            archive.prepare(images, progress.advance)
    else:
        archive.prepare(images, lambda _: None)


def _load(archive: ArchiveReader, cargo: _Cargo, exists: bool, options: PushOptions) -> _Load:
    trees = [(_tree(archive, aim), aim) for aim in cargo.aims]
    blobs = {blob.digest: blob for tree, _ in trees for blob in tree.blobs if not _stays_out(archive, blob)}
    missing = cargo.delivery.lacking(blobs.values()) if exists else set(blobs)
    for tree, _ in trees:
        _check_held(archive, tree, missing)
    fate = Fate.MISSING if options.dry_run else Fate.UPLOADED
    images = tuple(PushedImage(aim.references, tree, fates_of(tree, blobs, missing, fate)) for tree, aim in trees)
    return _Load(cargo.delivery, exists, images, tuple(blobs[digest] for digest in blobs if digest in missing))


def _tree(archive: ArchiveReader, aim: Aim) -> Tree:
    root = archive.root(aim.image)
    tree = grow(root, lambda entry: _child(archive, root, entry))
    for reference in aim.references:
        check_root(archive.where, tree, reference)
    return tree


def _child(archive: ArchiveReader, root: Document, entry: Descriptor) -> Document:
    try:
        document = archive.manifest(digest=entry.digest)
    except ArchiveError as error:
        place = f" for {entry.platform}" if entry.platform else ""
        there = {one.digest for one in root.manifests if archive.holds(one)} if isinstance(root, Index) else set()
        raise ArchiveError(
            f"{error}: the image{place} that its index names",
            hint=_choices(root, there),
        ) from error
    check_child(archive.where, document, entry)
    return document


def _stays_out(archive: ArchiveReader, blob: Descriptor) -> bool:
    """Registries need not hold foreign layers; an archive that has one gives it all the same."""
    return blob.media_type in FOREIGN_LAYER_TYPES and not archive.holds(blob)


def _check_held(archive: ArchiveReader, tree: Tree, missing: Collection[Digest]) -> None:
    """Hold every blob that is there against its size, whoever else has it, and find those that nobody has."""
    held = {blob.digest for blob in tree.blobs if archive.holds(blob)}
    check_hollow(tree)
    lacking = {blob.digest for blob in tree.blobs if blob.digest in missing and blob.digest not in held}
    if not lacking:
        return
    whole = {
        document.digest for document in tree.manifests if lacking.isdisjoint(blob.digest for blob in document.blobs)
    }
    raise ArchiveError(
        f"{archive.where}: blob {min(lacking, key=str)} is missing, and the registry doesn't have it either",
        hint=_choices(tree.root, whole) or "the archive is not whole: fetch or save it again",
    )


def _choices(root: Document, whole: Set[Digest]) -> str:
    """Say how to push those images of an index that the archive has whole."""
    entries = {one.digest: one for one in root.manifests if one.digest in whole} if isinstance(root, Index) else {}
    shown = [*entries.values()][:_SHOWN]
    lines = [f"--image {one.digest}{f'  {one.platform}' if one.platform else ''}" for one in shown]
    return "\n".join(["push one by one what the archive has of it:", *lines] if lines else [])


def _bring(archive: ArchiveReader, load: _Load, options: PushOptions, stage: Stage) -> None:
    """Upload what is missing, into a new repository where none is, as all that goes into it is known to be there."""
    if not load.exists and options.create is not None:
        load.delivery.create_repository(options.create)
    load.delivery.upload(load.missing, archive, stage, options.jobs)
