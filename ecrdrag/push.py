"""Own the story of a push: archive → images → what the registry lacks → upload → manifests → tags.

The command line may enter; this is also the library's way to push.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import Final

from ecrdrag.aim import Aim, aims_of
from ecrdrag.archive.contents import ArchivedImage
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.content import Descriptor, Digest, Verifier
from ecrdrag.errors import (
    ArchiveError,
    IntegrityError,
    RepositoryNotFoundError,
    TransferError,
    UnsupportedError,
)
from ecrdrag.manifest import FOREIGN_LAYER_TYPES, Index, Manifest
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Destination, RepositorySettings
from ecrdrag.transfer.progress import Progress
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.transfer.upload import DEFAULT_UPLOAD_JOBS, upload
from ecrdrag.tree import Document, Tree, grow

log = logging.getLogger(__name__)

_SHOWN: Final = 50  # images in a message

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Give the progress of a stage, which has a name such as upload."""


@dataclass(frozen=True, slots=True)
class PushOptions:
    """Say how to push: jobs counts layers at once; create lets it create a missing repository so."""

    image: str | None = None
    jobs: int = DEFAULT_UPLOAD_JOBS
    create: RepositorySettings | None = None
    dry_run: bool = False
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class Fate(Enum):
    """What becomes of a blob, in a dry run: would become."""

    UPLOADED = "uploaded"
    EXISTED = "existed"
    LEFT_OUT = "left out"


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
    cargos = _by_repository(aims_of(archive, reference, options.image), open_destination)
    there = [_is_there(cargo, options) for cargo in cargos]
    _prepare(archive, [aim.image for cargo in cargos for aim in cargo.aims], stage)
    loads = [_load(archive, cargo, exists, options) for cargo, exists in zip(cargos, there, strict=True)]
    if not options.dry_run:
        for load in loads:
            _create(load, options)
            _upload(archive, load, options, stage)
        for load in loads:  # only now, as every blob that goes up has been hashed
            _put_images(load, options)
    return Pushed(
        tuple(image for load in loads for image in load.images),
        sum(blob.size for load in loads for blob in load.missing),
        time.monotonic() - begun,
        options.dry_run,
    )


@dataclass(frozen=True, slots=True)
class _Cargo:
    """What goes into one repository."""

    name: str
    destination: Destination
    aims: tuple[Aim, ...]


@dataclass(frozen=True, slots=True)
class _Load:
    """The same, with all that it takes: which blobs have to be uploaded, and whether the repository is there."""

    name: str
    exists: bool
    destination: Destination
    images: tuple[PushedImage, ...]
    missing: tuple[Descriptor, ...]


def _by_repository(
    aims: Sequence[Aim], open_destination: Callable[[ImageReference], Destination]
) -> tuple[_Cargo, ...]:
    places: dict[str, ImageReference] = {one.name: one for aim in aims for one in aim.references}
    return tuple(_Cargo(name, open_destination(place), tuple(_those_in(name, aims))) for name, place in places.items())


def _those_in(name: str, aims: Sequence[Aim]) -> Iterator[Aim]:
    for aim in aims:
        if references := tuple(one for one in aim.references if one.name == name):
            yield replace(aim, references=references)


def _is_there(cargo: _Cargo, options: PushOptions) -> bool:
    """Ask for the repository before anything costs time; one that is to be created may be missing."""
    probe = Descriptor("", cargo.aims[0].image.digest, 1)
    try:
        options.retry.insist(lambda: cargo.destination.missing([probe]), cargo.name)
    except RepositoryNotFoundError:
        if options.create is None:
            raise
        return False
    return True


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
    missing = set(blobs)
    if exists:
        missing = options.retry.insist(lambda: cargo.destination.missing(blobs.values()), cargo.name)
    for tree, _ in trees:
        _check_held(archive, tree, missing)
    images = tuple(
        PushedImage(aim.references, tree, {blob.digest: _fate(blob, blobs, missing) for blob in tree.blobs})
        for tree, aim in trees
    )
    return _Load(
        cargo.name, exists, cargo.destination, images, tuple(blobs[digest] for digest in blobs if digest in missing)
    )


def _tree(archive: ArchiveReader, aim: Aim) -> Tree:
    root = archive.root(aim.image)
    tree = grow(root, lambda entry: _child(archive, root, entry))
    for reference in aim.references:
        if reference.digest not in (None, tree.root.digest):
            raise IntegrityError(
                f"{archive.where}: the image has digest {tree.root.digest}, not {reference.digest} as {reference} says"
            )
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
    if len(document.raw) != entry.size:
        raise IntegrityError(
            f"{archive.where}: {entry.digest} has {len(document.raw)} bytes, its index says {entry.size}"
        )
    return document


def _stays_out(archive: ArchiveReader, blob: Descriptor) -> bool:
    """Registries need not hold foreign layers; an archive that has one gives it all the same."""
    return blob.media_type in FOREIGN_LAYER_TYPES and not archive.holds(blob)


def _check_held(archive: ArchiveReader, tree: Tree, missing: Collection[Digest]) -> None:
    """Hold every blob that is there against its size, whoever else has it, and find those that nobody has."""
    held = {blob.digest for blob in tree.blobs if archive.holds(blob)}
    for blob in tree.blobs:
        if blob.size == 0:  # never uploaded, so nobody else would look
            Verifier(blob, outgoing=True).finish()
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


def _fate(blob: Descriptor, blobs: Mapping[Digest, Descriptor], missing: Collection[Digest]) -> Fate:
    if blob.digest not in blobs:
        return Fate.LEFT_OUT
    return Fate.UPLOADED if blob.digest in missing else Fate.EXISTED


def _create(load: _Load, options: PushOptions) -> None:
    """Create a repository that is missing, now that all that goes into it is known to be there."""
    if load.exists or options.create is None:
        return
    if options.retry.insist(partial(load.destination.create_repository, options.create), load.name):
        log.warning("created repository %s", load.name)


def _upload(archive: ArchiveReader, load: _Load, options: PushOptions, stage: Stage) -> None:
    if load.missing:
        with stage("upload") as progress:
            upload(load.missing, archive, load.destination, jobs=options.jobs, retry=options.retry, progress=progress)


def _put_images(load: _Load, options: PushOptions) -> None:
    for image in load.images:
        for document in image.tree.documents[:-1]:
            _put(load.destination, document, None, options.retry)
        for reference in image.references:
            _put(load.destination, image.tree.root, reference.tag, options.retry)


def _put(destination: Destination, document: Document, tag: str | None, retry: RetryPolicy) -> None:
    what = f"the manifest {document.digest}"
    hollow = isinstance(document, Manifest) and any(blob.size == 0 for blob in document.blobs)
    try:
        is_new = (replace(retry, tries=1) if hollow else retry).insist(
            partial(destination.put_manifest, document, tag), what
        )
    except TransferError as error:
        if not hollow:
            raise
        raise UnsupportedError(f"{what} names a blob without bytes, which ECR takes no upload of: {error}") from error
    log.info("%s %s%s", "put" if is_new else "there was", what, f" as {tag}" if tag else "")
