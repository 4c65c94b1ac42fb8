"""Own the reading of an OCI image layout: its index.json, and where its blobs lie.

archive/reader.py enters. Format: OCI image spec, image-layout.md; what docker_pull.py writes is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Final

from ecrdrag.archive.contents import (
    MAX_IMAGES,
    MAX_REFERRERS,
    ArchivedImage,
    ArchivedReferrer,
    StoredBlob,
    json_of,
)
from ecrdrag.archive.listing import Facts, Listing, sort
from ecrdrag.archive.members import Members, content_of
from ecrdrag.archive.plan import REFERRERS_FILE, blob_path
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import ArchiveError, IntegrityError, UnsupportedError
from ecrdrag.manifest import OCI_INDEX, Document, Index, parse, parse_object

LAYOUT_FILE: Final = "oci-layout"
INDEX_FILE: Final = "index.json"
_VERSION: Final = "1.0.0"  # image-layout.md, "imageLayoutVersion"


class OciLayout:
    """The Contents of an OCI image layout: everything is there and is kept byte for byte."""

    def __init__(self, members: Members) -> None:
        layout = json_of(members, LAYOUT_FILE)
        version = layout.get("imageLayoutVersion") if isinstance(layout, dict) else None
        if version != _VERSION:
            raise UnsupportedError(f"{members.where}: an OCI layout of version {version!r}, not {_VERSION}")
        self._members = members
        self._entries = _entries(members, INDEX_FILE, "images", MAX_IMAGES)
        has_list = members.find(REFERRERS_FILE) is not None
        self._referrers = _entries(members, REFERRERS_FILE, "referrers", MAX_REFERRERS) if has_list else ()
        self._listed = {one.digest: (one, REFERRERS_FILE) for one in self._referrers}
        self._listed.update({one.digest: (one, INDEX_FILE) for one in self._entries})

    @property
    def images(self) -> tuple[ArchivedImage, ...]:
        """List the images in the order of index.json, each once with all its names."""
        return self._listing.images

    @property
    def referrers(self) -> tuple[ArchivedReferrer, ...]:
        """List what index.json and our own list beside it say to be about images."""
        return self._listing.referrers

    @cached_property
    def _listing(self) -> Listing:
        facts = Facts(self._members.where, self.document, lambda digest: self.blob(digest) is not None)
        return sort(self._entries, self._referrers, facts)

    def size_to_prepare(self, images: Sequence[ArchivedImage]) -> int:
        """Count nothing."""
        return 0

    def prepare(self, images: Sequence[ArchivedImage], advance: Callable[[int], None]) -> None:
        """Do nothing."""

    def root(self, image: ArchivedImage) -> Digest:
        """Give the digest that index.json has for it."""
        return image.digest

    def document(self, digest: Digest) -> Document:
        """Read a manifest or an index and hold it against its digest."""
        where, path = self._members.where, blob_path(digest)
        member = self._members.find(path)
        if member is None:
            raise ArchiveError(f"{where}: {path} is missing")
        raw = content_of(self._members, member)
        found = Digest.of(raw, digest.algorithm)
        if found != digest:
            raise IntegrityError(f"{where}: {path} is damaged: its digest is {found}")
        listed, file = self._listed.get(digest, (None, ""))
        if listed is not None and listed.size != len(raw):
            raise IntegrityError(f"{where}: {path} has {len(raw)} bytes, {file} says {listed.size}")
        try:
            return parse(raw, _declared(raw) or (listed.media_type if listed else ""))
        except UnsupportedError as error:
            raise UnsupportedError(f"{where}: {path}: {error}", hint=error.hint) from error

    def blob(self, digest: Digest) -> StoredBlob | None:
        """Find a blob under the name that its digest gives it."""
        member = self._members.find(blob_path(digest))
        if member is None:
            return None
        return StoredBlob(digest, self._members.extent(member), partial(self._members.read, member))

    def close(self) -> None:
        """Do nothing."""


def _entries(members: Members, name: str, what: str, limit: int) -> tuple[Descriptor, ...]:
    """Read a list of documents, of which there is one at least."""
    found = members.find(name)
    if found is None:
        raise ArchiveError(f"{members.where}: {name} is missing")
    try:
        index = parse(content_of(members, found), OCI_INDEX)
    except UnsupportedError as error:
        raise UnsupportedError(f"{members.where}: {name}: {error}") from error
    entries = index.manifests if isinstance(index, Index) else ()
    if not 0 < len(entries) <= limit:
        raise ArchiveError(f"{members.where}: {name} lists {len(entries)} {what}, not 1 to {limit}")
    return entries


def _declared(raw: bytes) -> str:
    declared = parse_object(raw, "document").get("mediaType")
    return declared if isinstance(declared, str) else ""
