"""Own the story of an offer: archives → images, their labels and trees → a shelf that a registry serves as they lie.

The command line may enter; this is also the library's way to serve archives.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final

from ecrdrag.archive.contents import ArchivedImage
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.content import Descriptor, Digest, Extent
from ecrdrag.errors import ArchiveError, UnsupportedError, UsageError
from ecrdrag.labels import home_of, labels_of
from ecrdrag.manifest import FOREIGN_LAYER_TYPES, Index, Manifest, parse_object
from ecrdrag.shelf import Label, Shelf, ShelfImage
from ecrdrag.transfer.progress import Progress
from ecrdrag.tree import Document, Tree, grow

log = logging.getLogger(__name__)

_MAX_SIZE: Final = 256 * 1024 * 1024  # bytes of all documents of all images, which are kept; real ones have some KiB
_SHOWN: Final = 10  # platforms in a message
_HEX_TAG: Final = re.compile(r"[0-9a-f]{64}")
_WHOLE: Final = "the archive is not whole: fetch or save it again, or serve it together with what has the rest"

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Give the progress of a stage, which has a name such as read."""


def offer(archives: Sequence[ArchiveReader], stage: Stage) -> Shelf:
    """Put all images of all archives on one shelf, where blobs lie for as long as the archives are open.

    What one archive lacks may be in another. Of an index there may be only some images. Raises UsageError where
    two images have the same name, ArchiveError where nothing of an image is whole, and as the archives do.
    """
    for archive in archives:
        _prepare(archive, stage)
    stock = _Stock(archives)
    found = [stock.find(archive, image) for archive in archives for image in archive.images]
    labels = _Labels(found)
    images = [ShelfImage(label, one.tree.documents) for one in found for label in labels.of(one)]
    distinct = {(image.label, image.digest): image for image in images}  # several archives may have the same
    return Shelf(tuple(distinct.values()), stock.blobs)


def _prepare(archive: ArchiveReader, stage: Stage) -> None:
    """Let docker's format be read once: nothing else says whether its layers are what its configs say."""
    if size := archive.size_to_prepare(archive.images):
        with stage("check") as progress:
            progress.begin(size, 0)
            archive.prepare(archive.images, progress.advance)
    else:
        archive.prepare(archive.images, lambda _: None)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """One image in one archive; subject is the digest of what it is about, as a signature is, or empty."""

    archive: ArchiveReader
    image: ArchivedImage
    tree: Tree
    subject: str


class _Stock:
    """Find documents and blobs in any of the archives."""

    def __init__(self, archives: Sequence[ArchiveReader]) -> None:
        self._archives = archives
        self._children: dict[Digest, Document | None] = {}  # each read once, however many indexes name it
        self._size = 0
        self.blobs: dict[Digest, Extent] = {}

    def find(self, archive: ArchiveReader, image: ArchivedImage) -> _Found:
        """Collect what an image leads to, as far as the archives have it whole; raise ArchiveError for nothing."""
        root = self._counted(archive.root(image))
        if lacking := self._lacking(root):
            raise ArchiveError(f"{archive.where}: blob {lacking} of {image} is missing", hint=_WHOLE)
        tree = grow(root, self._child)
        if not tree.manifests:
            raise ArchiveError(f"{archive.where}: no image is whole that the index {image} names", hint=_WHOLE)
        _say_what_is_there(archive, image, tree)
        return _Found(archive, image, tree, _subject(root))

    def _child(self, entry: Descriptor) -> Document | None:
        if entry.digest not in self._children:
            self._children[entry.digest] = self._find(entry)
        return self._children[entry.digest]

    def _find(self, entry: Descriptor) -> Document | None:
        """Find a document; None for one that isn't there, or that names a blob that isn't there."""
        for archive in self._archives:
            if not archive.is_converted and archive.holds(entry):
                document = self._counted(archive.manifest(digest=entry.digest))
                return None if self._lacking(document) else document
        return None

    def _counted(self, document: Document) -> Document:
        self._size += len(document.raw)
        if self._size > _MAX_SIZE:
            raise UnsupportedError(f"the manifests of all images have more than {_MAX_SIZE} bytes")
        return document

    def _lacking(self, document: Document) -> Digest | None:
        """Place the blobs of an image; name one that isn't there, though registries have to have it."""
        for blob in document.blobs if isinstance(document, Manifest) else ():
            holder = next((archive for archive in self._archives if archive.holds(blob)), None)
            if holder is not None:
                self.blobs.setdefault(blob.digest, holder.extent(blob))
            elif blob.media_type not in FOREIGN_LAYER_TYPES:
                return blob.digest
        return None


def _say_what_is_there(archive: ArchiveReader, image: ArchivedImage, tree: Tree) -> None:
    """Warn of an index that isn't whole: the rest of it will be missed only when somebody pulls it."""
    there = {document.digest for document in tree.documents}
    entries = tree.root.manifests if isinstance(tree.root, Index) else ()
    found = [str(entry.platform or entry.digest) for entry in entries if entry.digest in there]
    if len(found) < len(entries):
        more = ", ..." if len(found) > _SHOWN else ""
        log.warning("%s: %s is there for %s%s only", archive.where, image, ", ".join(found[:_SHOWN]), more)


def _subject(document: Document) -> str:
    """Read what a document is about: OCI image spec, manifest.md and image-index.md."""
    subject = parse_object(document.raw, "manifest").get("subject")
    digest = subject.get("digest") if isinstance(subject, dict) else None
    return digest if isinstance(digest, str) else ""


class _Labels:
    """Decide under which labels each image is found."""

    def __init__(self, found: Sequence[_Found]) -> None:
        self._labels = {one: _named(one) for one in found}
        self._places: dict[str, set[str]] = {}  # repositories, by the digest of each document in them
        _check_distinct(self._labels)
        for one, labels in self._labels.items():
            self._put(one, labels)
        self._put_nameless([one for one, labels in self._labels.items() if not labels])

    def of(self, one: _Found) -> tuple[Label, ...]:
        """List an image's labels, at least one."""
        return self._labels[one]

    def _put(self, one: _Found, labels: tuple[Label, ...]) -> None:
        self._labels[one] = labels
        for document in one.tree.documents if labels else ():
            self._places.setdefault(str(document.digest), set()).update(label.repository for label in labels)

    def _put_nameless(self, waiting: Sequence[_Found]) -> None:
        """Put an image without a name beside what it is about, as a signature is, else where its archive's name says.

        It waits for what it is about, when that is nameless too; digests can't lead in a circle.
        """
        known = {str(document.digest) for one in self._labels for document in one.tree.documents}
        while waiting:
            for one in waiting:
                if one.subject not in known or one.subject in self._places:
                    places = self._places.get(one.subject) or (home_of(one.archive.where),)
                    self._put(one, tuple(Label(place, None) for place in sorted(places)))
            waiting = [one for one in waiting if not self._labels[one]]


def _named(one: _Found) -> tuple[Label, ...]:
    """Read an image's names; one whose tag is a digest's hex digits is found by its digest alone.

    docker_pull.py tags what was pulled by its digest so, which may be that of an index around it.
    """
    labels: dict[Label, None] = {}
    for name in one.image.names:
        found = labels_of(name, home_of(one.archive.where))
        if not found:
            log.warning("%s: image %s is not offered as %r", one.archive.where, one.tree.root.digest, name)
        for label in found:
            by_digest = not one.archive.is_converted and _HEX_TAG.fullmatch(label.tag or "")
            labels[replace(label, tag=None) if by_digest else label] = None
    return tuple(labels)


def _check_distinct(labels: Mapping[_Found, tuple[Label, ...]]) -> None:
    """Refuse two images under one label: what a client got would hang on their order."""
    owners: dict[Label, _Found] = {}
    for one in labels:
        for label in labels[one]:
            owner = owners.setdefault(label, one)
            if label.tag and owner.tree.root.digest != one.tree.root.digest:
                raise UsageError(
                    f"{label} would be two images: {owner.image} in {owner.archive.where}, "
                    f"and {one.image} in {one.archive.where}",
                    hint="serve one of them, or each with a serve of its own",
                )
