"""Own the story of an offer: archives → images, their labels and trees → a shelf that a registry serves as they lie.

The command line may enter; this is also the library's way to serve archives.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ecrdrag.archive.contents import ArchivedImage, ArchivedReferrer
from ecrdrag.archive.plan import stands_for_digest
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.content import Descriptor, Digest, Extent
from ecrdrag.errors import ArchiveError, UnsupportedError, UsageError
from ecrdrag.labels import home_of, labels_of
from ecrdrag.manifest import FOREIGN_LAYER_TYPES, Document, Index, Manifest
from ecrdrag.shelf import Label, Shelf, ShelfImage
from ecrdrag.transfer.progress import Stage
from ecrdrag.tree import Tree, grow

log = logging.getLogger(__name__)

_MAX_SIZE: Final = 256 * 1024 * 1024  # bytes of all documents of all images, which are kept; real ones have some KiB
_SHOWN: Final = 10  # platforms in a message
_WHOLE: Final = "the archive is not whole: fetch or save it again, or serve it together with what has the rest"


def offer(archives: Sequence[ArchiveReader], stage: Stage) -> Shelf:
    """Put all images of all archives on one shelf, where blobs lie for as long as the archives are open.

    What is about an image is beside it, whichever archive has it. What one archive lacks may be in another. Of an
    index there may be only some images. Raises UsageError where two images have the same name, ArchiveError where
    nothing of an image is whole, and as the archives do.
    """
    for archive in archives:
        _prepare(archive, stage)
    stock = _Stock(archives)
    found = [stock.image(archive, image) for archive in archives for image in archive.images]
    found += [stock.referrer(archive, one) for archive in archives for one in archive.referrers]
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
    """One image in one archive, or what is about one, as a signature is, which then is its subject.

    Messages call it text; tag is what finds something about an image, if not its own subject does.
    """

    archive: ArchiveReader
    text: str
    tree: Tree
    names: tuple[str, ...] = ()
    subject: Digest | None = None
    tag: str | None = None


class _Stock:
    """Find documents and blobs in any of the archives."""

    def __init__(self, archives: Sequence[ArchiveReader]) -> None:
        self._archives = archives
        self._children: dict[Digest, Document | None] = {}  # each read once, however many indexes name it
        self._size = 0
        self.blobs: dict[Digest, Extent] = {}

    def image(self, archive: ArchiveReader, image: ArchivedImage) -> _Found:
        """Collect what an image leads to, as far as the archives have it whole; raise ArchiveError for nothing."""
        tree = self._tree(archive, archive.root(image), str(image))
        _say_what_is_there(archive, image, tree)
        about = None if image.names else tree.root.subject  # an archive of signatures alone has them for its images
        return _Found(archive, str(image), tree, image.names, about.digest if about else None)

    def referrer(self, archive: ArchiveReader, one: ArchivedReferrer) -> _Found:
        """Collect what is about an image in the same way."""
        text = f"the referrer {one.digest} of {one.subject}"
        try:
            root = archive.manifest(digest=one.digest)
        except ArchiveError as error:
            raise ArchiveError(f"{error}: {text}", hint=_WHOLE) from error
        return _Found(archive, text, self._tree(archive, root, text), (), one.subject, one.tag)

    def _tree(self, archive: ArchiveReader, root: Document, text: str) -> Tree:
        if lacking := self._lacking(self._counted(root)):
            raise ArchiveError(f"{archive.where}: blob {lacking} of {text} is missing", hint=_WHOLE)
        tree = grow(root, self._child)
        if not tree.manifests:
            raise ArchiveError(f"{archive.where}: no image is whole that the index {text} names", hint=_WHOLE)
        return tree

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
    found = [*dict.fromkeys(str(entry.platform or entry.digest) for entry in entries if entry.digest in there)]
    if any(entry.digest not in there for entry in entries):
        more = ", ..." if len(found) > _SHOWN else ""
        log.warning("%s: %s is there for %s%s only", archive.where, image, ", ".join(found[:_SHOWN]), more)


class _Labels:
    """Decide under which labels each image is found."""

    def __init__(self, found: Sequence[_Found]) -> None:
        self._labels: dict[_Found, tuple[Label, ...]] = {}
        self._places: dict[Digest | None, set[str]] = {}  # repositories, by the digest of each document in them
        for one in found:
            if one.subject is None:
                self._put(one, _named(one) or (Label(home_of(one.archive.where), None),))
        self._put_referrers([one for one in found if one.subject is not None])
        _check_distinct(self._labels)

    def of(self, one: _Found) -> tuple[Label, ...]:
        """List an image's labels, at least one."""
        return self._labels[one]

    def _put(self, one: _Found, labels: tuple[Label, ...]) -> None:
        self._labels[one] = labels
        for document in one.tree.documents:
            self._places.setdefault(document.digest, set()).update(label.repository for label in labels)

    def _put_referrers(self, referrers: Sequence[_Found]) -> None:
        """Put each beside what it is about, else where its archive's name says.

        It waits for what it is about, when that is about something too; tags could lead in a circle, digests can't.
        """
        about: dict[Digest | None, list[_Found]] = {}
        for one in referrers:
            about.setdefault(one.subject, []).append(one)
        known = {document.digest for one in referrers for document in one.tree.documents}
        for subject in [*self._places, *sorted(about, key=known.__contains__)]:
            placed = [subject]
            for digest in placed:  # which grows
                for one in about.pop(digest, ()):
                    places = self._places.get(digest) or (home_of(one.archive.where),)
                    self._put(one, tuple(Label(place, one.tag) for place in sorted(places)))
                    placed += [document.digest for document in one.tree.documents]


def _named(one: _Found) -> tuple[Label, ...]:
    """Read an image's names; one whose tag stands for a digest is found by its digest alone."""
    labels: dict[Label, None] = {}
    for name in one.names:
        found = labels_of(name, home_of(one.archive.where))
        if not found:
            log.warning("%s: image %s is not offered as %r", one.archive.where, one.tree.root.digest, name)
        for label in found:
            by_digest = not one.archive.is_converted and stands_for_digest(label.tag)
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
                    f"{label} would be two images: {owner.text} in {owner.archive.where}, "
                    f"and {one.text} in {one.archive.where}",
                    hint="serve one of them, or each with a serve of its own",
                )
