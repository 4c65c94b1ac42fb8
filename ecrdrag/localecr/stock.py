"""Own how a shelf becomes a store: every image known, every blob where it lies.

The service may enter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ecrdrag.content import Digest, Extent
from ecrdrag.errors import ArchiveError, UnsupportedError
from ecrdrag.localecr.api import documents
from ecrdrag.localecr.storage.records import Image, Records
from ecrdrag.localecr.storage.repositories import EVERYWHERE
from ecrdrag.localecr.storage.store import Store
from ecrdrag.manifest import Index, Manifest
from ecrdrag.shelf import Shelf, ShelfImage

# What a repository is described with; nothing that is on a shelf can be moved.
_SETTINGS: Final[Mapping[str, object]] = {
    "imageTagMutability": "IMMUTABLE",
    "imageScanningConfiguration": {"scanOnPush": False},
    "encryptionConfiguration": {"encryptionType": "AES256"},
}


def stock(store: Store, shelf: Shelf, now: float) -> None:
    """Let an empty store give out what is on a shelf, to each account in each region.

    Raises ArchiveError where a file has gone meanwhile, UnsupportedError for what no registry would take.
    """
    for digest, extent in shelf.blobs.items():
        _lend(store, digest, extent)
    with store.metadata.write() as records:
        fillings: dict[str, _Filling] = {}
        for image in shelf.images:
            name = image.label.repository
            if name not in fillings:
                repository = records.add_repository(EVERYWHERE.repository(name), now, dict(_SETTINGS))
                fillings[name] = _Filling(records, repository.id, shelf.blobs, now)
            fillings[name].add(image)


def _lend(store: Store, digest: Digest, extent: Extent) -> None:
    try:
        store.blobs.lend(digest, extent)
    except OSError as error:
        raise ArchiveError(f"{extent.name} can't be read any more: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _Filling:
    """One repository on its way to hold what is on the shelf for it; in one transaction."""

    records: Records
    repository: int
    blobs: Mapping[Digest, Extent]
    now: float
    _layers: set[Digest] = field(default_factory=set)
    _sizes: dict[Digest, int] = field(default_factory=dict)

    def add(self, image: ShelfImage) -> None:
        """Take an image with all that it names, as far as it is on the shelf."""
        for document in image.documents:
            if document.digest not in self._sizes:
                self._add_document(document)
        if image.label.tag:
            self.records.set_tag(self.repository, image.label.tag, str(image.digest), self.now)

    def _add_document(self, document: Manifest | Index) -> None:
        read = _read(document)
        blobs = [blob for blob in read.blobs if blob.digest in self.blobs]
        for blob in blobs:
            if blob.digest not in self._layers:
                self._layers.add(blob.digest)
                self.records.add_layer(self.repository, str(blob.digest), blob.size, self.now)
        children = (self._sizes.get(child.digest, 0) for child in read.children)
        # The model on imageSizeInBytes: of a list, the size of the largest image in it.
        self._sizes[document.digest] = read.blob_size or max(children, default=0)
        image = Image(
            digest=str(document.digest),
            media_type=read.media_type,
            artifact_type=read.artifact_type,
            subject=read.subject,
            size=self._sizes[document.digest],
            pushed=self.now,
            raw=document.raw,
        )
        named = [(str(one.digest), one.media_type) for one in (*blobs, *read.children)]
        self.records.add_image(self.repository, image, named)


def _read(document: Manifest | Index) -> documents.Document:
    """Hold a document to what a push has to, as operations rely on that."""
    try:
        document.raw.decode()
        return documents.read(document.raw, document.media_type)
    except (UnsupportedError, ValueError) as error:
        raise UnsupportedError(f"no registry would take the manifest {document.digest}: {error}") from error
