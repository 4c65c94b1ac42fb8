"""Own an archive as a Source: which images are in it, their manifests, their blobs.

The stories may enter; the command line opens it. Kinds: an OCI image layout (docker_pull.py's archive is
one), whose manifests are kept byte for byte, and docker's format, whose manifests have to be made.
Nothing in an archive is believed: documents are held against their digests here, blobs on their way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Final

from ecrdrag.archive.contents import ArchivedImage, ArchivedReferrer, Contents, StoredBlob
from ecrdrag.archive.convert import Conversion, ConvertedArchive
from ecrdrag.archive.docker import MANIFEST_FILE, SavedImage, is_saved_by_docker
from ecrdrag.archive.layout import LAYOUT_FILE, OciLayout
from ecrdrag.archive.members import KINDS_HINT, Members
from ecrdrag.content import Descriptor, Digest, Extent
from ecrdrag.errors import ArchiveError, IntegrityError, NotFoundError, TransferError, UnsupportedError
from ecrdrag.manifest import Document

_SHOWN_NAMES: Final = 3
_SHOWN_LENGTH: Final = 60  # characters


class ArchiveReader:
    """Read images out of an archive; a context manager, which closes members too.

    Manifests and blobs are for many threads, once prepare() has returned for their images.
    """

    def __init__(self, members: Members, conversion: Conversion | None = None) -> None:
        self._members = members
        self._contents = _open(members, conversion or Conversion())
        self._stopped = threading.Event()

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._contents.close()
        self._members.close()

    @property
    def where(self) -> str:
        """What users call the archive."""
        return self._members.where

    @property
    def images(self) -> tuple[ArchivedImage, ...]:
        """List the images, in the archive's order."""
        return self._contents.images

    @property
    def referrers(self) -> tuple[ArchivedReferrer, ...]:
        """List what is about images, as signatures are, in the archive's order; none of it is among the images."""
        return self._contents.referrers

    @property
    def is_converted(self) -> bool:
        """Say whether manifests are made here; otherwise the archive's own are kept byte for byte."""
        return isinstance(self._contents, ConvertedArchive)

    def saved(self, image: ArchivedImage) -> SavedImage | None:
        """Give an image of docker's format as it lies there; None where the archive has its manifest."""
        return self._contents.saved(image) if isinstance(self._contents, ConvertedArchive) else None

    def size_to_prepare(self, images: Sequence[ArchivedImage]) -> int:
        """Count the bytes that prepare() will read."""
        return self._contents.size_to_prepare(images)

    def prepare(self, images: Sequence[ArchivedImage], advance: Callable[[int], None]) -> None:
        """Make what the images need and the archive doesn't hold; tell advance how many bytes were read."""
        self._contents.prepare(images, advance)

    def root(self, image: ArchivedImage) -> Document:
        """Give the document that an image is, after prepare()."""
        return self._contents.document(self._contents.root(image))

    def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Document:
        """Read a manifest or an index, byte for byte; a tag is looked for in the names of the images."""
        if tag is None and digest is not None:
            return self._contents.document(digest)
        found = self.root(self._tagged(tag))
        if digest is not None and found.digest != digest:
            raise NotFoundError(f"{self.where}: tag {tag} is {found.digest}, not {digest}")
        return found

    def holds(self, blob: Descriptor) -> bool:
        """Say whether the blob can be read; raise IntegrityError when it has another size."""
        stored = self._contents.blob(blob.digest)
        if stored is not None and stored.size != blob.size:
            raise IntegrityError(
                f"{self.where}: blob {blob.digest} has {stored.size} bytes, its descriptor says {blob.size}",
                hint="the archive is damaged: fetch or save it again",
            )
        return stored is not None

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) of a blob; a view is valid until the next one is asked for."""
        for view in self._stored(blob.digest).read(start, stop):
            if self._stopped.is_set():
                raise TransferError(f"{self.where}: stopped")
            yield view

    def extent(self, blob: Descriptor) -> Extent:
        """Say where a blob's bytes lie on disk, for as long as the archive is open."""
        return self._stored(blob.digest).extent

    def expect(self, blob: Descriptor) -> None:
        """Do nothing: it is at hand."""

    def abort(self) -> None:
        """End every read in progress; later ones fail."""
        self._stopped.set()

    def _stored(self, digest: Digest) -> StoredBlob:
        stored = self._contents.blob(digest)
        if stored is None:
            raise ArchiveError(f"{self.where}: blob {digest} is missing")
        return stored

    def _tagged(self, tag: str | None) -> ArchivedImage:
        found = [image for image in self.images if any(name.rpartition(":")[2] == tag for name in image.names)]
        if len(found) != 1:
            raise NotFoundError(f"{self.where}: {len(found)} images have the tag {tag}")
        return found[0]


def _open(members: Members, conversion: Conversion) -> Contents:
    if members.find(LAYOUT_FILE) is not None and not is_saved_by_docker(members):
        return OciLayout(members)
    if members.find(MANIFEST_FILE) is not None:
        return ConvertedArchive(members, conversion)
    if members.find("repositories") is not None:
        raise UnsupportedError(
            f"{members.where}: an archive of docker before 1.10, without {MANIFEST_FILE}",
            hint="load and save it once with a newer docker",
        )
    names = members.names()
    shown = ", ".join(repr(name[:_SHOWN_LENGTH]) for name in names[:_SHOWN_NAMES]) or "no file at all"
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    raise ArchiveError(
        f"{members.where} holds neither {LAYOUT_FILE} nor {MANIFEST_FILE}, but {shown}{more}", hint=KINDS_HINT
    )
