"""Own the story of a push: archive → images, what is about them → what the registry lacks → upload → manifests, tags.

The command line may enter; this is also the library's way to push.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from ecrdrag.aim import Aim, aims_of, archived_referrers, check_tags
from ecrdrag.archive.contents import ArchivedImage, ArchivedReferrer
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.content import Descriptor, Digest
from ecrdrag.delivery import Delivery, Fate, blobs_of, check_hollow, check_root, fates_of
from ecrdrag.errors import ArchiveError, UnsupportedError
from ecrdrag.manifest import FOREIGN_LAYER_TYPES, Document, Index, is_attestation
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Destination, RepositorySettings
from ecrdrag.transfer.progress import Stage
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.transfer.upload import DEFAULT_UPLOAD_JOBS
from ecrdrag.tree import Referrer, Tree, check_child, grow

__all__ = ["Fate", "PushOptions", "Pushed", "PushedImage", "Stage", "push"]

log = logging.getLogger(__name__)

_SHOWN: Final = 50  # images in a message
_MAX_SIZE: Final = 256 * 1024 * 1024  # bytes of all documents that go up, which are kept; real ones have some KiB
_PULL_HINT: Final = (
    "registries take an index only together with all that it names: pull that with --platform all, "
    "or what was chosen as an index of its own with --index subset"
)
_NOT_WHOLE: Final = "the archive is not whole: fetch or save it again"


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
    """Report one image in one repository: its references there, its tree, and what became of each blob.

    referrers are about it, and beside it; their blobs are among the fates.
    """

    references: tuple[ImageReference, ...]
    tree: Tree
    fates: Mapping[Digest, Fate]
    referrers: tuple[Referrer, ...] = ()


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

    What is about them goes along. Tags are set once all blobs of all images are there. Raises EcrdragError.
    """
    begun = time.monotonic()
    targets = _by_repository(aims_of(archive, reference, options.image), open_destination, options.retry)
    there = [target.delivery.has_repository(target.aims[0].image.digest, options.create) for target in targets]
    _prepare(archive, [aim.image for target in targets for aim in target.aims], stage)
    documents = _Documents(archive)
    about = _Referrers(archive, documents)
    batches = [_batch(documents, about, target, exists, options) for target, exists in zip(targets, there, strict=True)]
    about.say_what_stays(is_chosen=options.image is not None)
    if not options.dry_run:
        for batch in batches:
            _bring(archive, batch, options, stage)
        for batch in batches:  # only now, as every blob that goes up has been hashed
            _put(batch)
    return Pushed(
        tuple(image for batch in batches for image in batch.images),
        sum(blob.size for batch in batches for blob in batch.missing),
        time.monotonic() - begun,
        options.dry_run,
    )


@dataclass(frozen=True, slots=True)
class _Target:
    """One repository, and the images that go there."""

    delivery: Delivery
    aims: tuple[Aim, ...]


@dataclass(frozen=True, slots=True)
class _Batch:
    """What a push does to one repository: which blobs it uploads, and whether the repository is there yet."""

    delivery: Delivery
    exists: bool
    images: tuple[PushedImage, ...]
    missing: tuple[Descriptor, ...]


def _by_repository(
    aims: Sequence[Aim], open_destination: Callable[[ImageReference], Destination], retry: RetryPolicy
) -> tuple[_Target, ...]:
    places: dict[str, ImageReference] = {one.name: one for aim in aims for one in aim.references}
    return tuple(
        _Target(Delivery(name, open_destination(place), retry), tuple(_those_in(name, aims)))
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


def _batch(documents: _Documents, about: _Referrers, target: _Target, exists: bool, options: PushOptions) -> _Batch:
    archive = documents.archive
    trees = [_tree(documents, aim) for aim in target.aims]
    referrers = [about.of(tree) for tree in trees]
    check_tags(archive.where, target.aims, trees, referrers)
    found = (blob for tree, each in zip(trees, referrers, strict=True) for blob in blobs_of(tree, each))
    blobs = {blob.digest: blob for blob in found if not _stays_out(archive, blob)}
    missing = target.delivery.lacking(blobs.values()) if exists else set(blobs)
    fate = Fate.MISSING if options.dry_run else Fate.UPLOADED
    images: list[PushedImage] = []
    for aim, tree, each in zip(target.aims, trees, referrers, strict=True):
        _check_held(archive, tree, missing)
        for referrer in each:
            _check_referrer(archive, referrer, missing)
        images.append(PushedImage(aim.references, tree, fates_of(tree, blobs, missing, fate, each), each))
    return _Batch(target.delivery, exists, tuple(images), tuple(blobs[digest] for digest in blobs if digest in missing))


class _Documents:
    """Give the documents of an archive, each read and kept once: thousands of them may name the same ones."""

    def __init__(self, archive: ArchiveReader) -> None:
        self.archive = archive
        self._known: dict[Digest, Document] = {}
        self._size = 0

    def root(self, image: ArchivedImage) -> Document:
        """Give the document that an image is."""
        return self._kept(self.archive.root(image))

    def of(self, digest: Digest) -> Document:
        """Give the document that has this digest; raise ArchiveError when it isn't there."""
        return self._known.get(digest) or self._kept(self.archive.manifest(digest=digest))

    def _kept(self, document: Document) -> Document:
        if document.digest not in self._known:
            self._size += len(document.raw)
            if self._size > _MAX_SIZE:
                raise UnsupportedError(
                    f"{self.archive.where}: the manifests of what is to go up have more than {_MAX_SIZE} bytes",
                    hint="push one image at a time, with --image",
                )
        return self._known.setdefault(document.digest, document)


def _tree(documents: _Documents, aim: Aim) -> Tree:
    root = documents.root(aim.image)
    tree = grow(root, lambda entry: _child(documents, root, entry))
    for reference in aim.references:
        check_root(documents.archive.where, tree, reference)
    return tree


def _child(documents: _Documents, root: Document, entry: Descriptor) -> Document:
    archive = documents.archive
    try:
        document = documents.of(entry.digest)
    except ArchiveError as error:
        place = f" for {entry.platform}" if entry.platform else ""
        there = {one.digest for one in root.manifests if archive.holds(one)} if isinstance(root, Index) else set()
        choices = _choices(root, there)
        raise ArchiveError(
            f"{error}: the image{place} that its index names",
            hint=f"{choices}\n{_PULL_HINT}" if choices else _NOT_WHOLE,
        ) from error
    check_child(archive.where, document, entry)
    return document


class _Referrers:
    """Give what an archive has about images, each read once, and note what isn't asked for."""

    def __init__(self, archive: ArchiveReader, documents: _Documents) -> None:
        self._archive, self._documents = archive, documents
        self._there = archive.referrers
        self._trees: dict[Digest, Tree] = {}

    def of(self, tree: Tree) -> tuple[Referrer, ...]:
        """Take what is about an image, or a part of it, and what is about that."""
        return archived_referrers(tree, self._there, self._read)

    def say_what_stays(self, *, is_chosen: bool) -> None:
        """Count what nobody asked for; that is no surprise where one image was chosen."""
        left = sum(one.digest not in self._trees for one in self._there)
        if left:
            level = logging.INFO if is_chosen else logging.WARNING
            what = "other images" if is_chosen else "images that it doesn't hold"
            log.log(level, "%s: referrers of %s are not pushed: %d", self._archive.where, what, left)

    def _read(self, one: ArchivedReferrer) -> Tree:
        if one.digest not in self._trees:
            with _about(one):
                self._trees[one.digest] = grow(self._documents.of(one.digest), self._child)
        return self._trees[one.digest]

    def _child(self, entry: Descriptor) -> Document:
        document = self._documents.of(entry.digest)
        check_child(self._archive.where, document, entry)
        return document


@contextmanager
def _about(one: ArchivedReferrer) -> Iterator[None]:
    """Say of what is missing whom it would be missed by."""
    try:
        yield
    except ArchiveError as error:
        raise ArchiveError(f"{error}: a part of the referrer {one.digest} of {one.subject}", hint=_NOT_WHOLE) from error


def _stays_out(archive: ArchiveReader, blob: Descriptor) -> bool:
    """Registries need not hold foreign layers; an archive that has one gives it all the same."""
    return blob.media_type in FOREIGN_LAYER_TYPES and not archive.holds(blob)


def _check_held(archive: ArchiveReader, tree: Tree, missing: Collection[Digest]) -> None:
    """Raise ArchiveError for a blob of an image that nobody has."""
    lacking = _lacking(archive, tree, missing)
    if not lacking:
        return
    whole = {
        document.digest for document in tree.manifests if lacking.isdisjoint(blob.digest for blob in document.blobs)
    }
    raise ArchiveError(
        f"{archive.where}: blob {min(lacking, key=str)} is missing, and the registry doesn't have it either",
        hint=_choices(tree.root, whole) or _NOT_WHOLE,
    )


def _check_referrer(archive: ArchiveReader, referrer: Referrer, missing: Collection[Digest]) -> None:
    """Raise ArchiveError for a blob of what is about an image that nobody has."""
    if lacking := _lacking(archive, referrer.tree, missing):
        raise ArchiveError(
            f"{archive.where}: blob {min(lacking, key=str)} of the referrer {referrer.tree.root.digest} of "
            f"{referrer.subject} is missing, and the registry doesn't have it either",
            hint=_NOT_WHOLE,
        )


def _lacking(archive: ArchiveReader, tree: Tree, missing: Collection[Digest]) -> Set[Digest]:
    """Hold every blob that is there against its size, whoever else has it, and find those that nobody has."""
    held = {blob.digest for blob in tree.blobs if archive.holds(blob)}
    check_hollow(tree)
    return {blob.digest for blob in tree.blobs if blob.digest in missing and blob.digest not in held}


def _choices(root: Document, whole: Set[Digest]) -> str:
    """Say how to push those images of an index that the archive has whole."""
    found = root.manifests if isinstance(root, Index) else ()
    entries = {one.digest: one for one in found if one.digest in whole and not is_attestation(one)}
    shown = [*entries.values()][:_SHOWN]
    lines = [f"--image {one.digest}{f'  {one.platform}' if one.platform else ''}" for one in shown]
    return "\n".join(["push one by one what the archive has of it:", *lines] if lines else [])


def _put(batch: _Batch) -> None:
    """Put each image with what is about it, of which each is put once, and so beside the first image that has it."""
    done: set[tuple[Digest, str | None]] = set()
    for image in batch.images:
        fresh = {(one.tree.root.digest, one.tag): one for one in image.referrers}
        tags = [one.tag for one in image.references]
        batch.delivery.put(image.tree, tags, [one for key, one in fresh.items() if key not in done])
        done.update(fresh)


def _bring(archive: ArchiveReader, batch: _Batch, options: PushOptions, stage: Stage) -> None:
    """Upload what is missing, into a new repository where none is, as all that goes into it is known to be there."""
    if not batch.exists and options.create is not None:
        batch.delivery.create_repository(options.create)
    batch.delivery.upload(batch.missing, archive, stage, options.jobs)
