"""Own the reading of an OCI image layout: its index.json, and where its blobs lie.

archive/reader.py enters. Format: OCI image spec, image-layout.md; what docker_pull.py writes is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from ecrdrag.archive.contents import MAX_IMAGES, ArchivedImage, StoredBlob, json_of
from ecrdrag.archive.members import Members, content_of
from ecrdrag.archive.plan import blob_path
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import ArchiveError, IntegrityError, UnsupportedError
from ecrdrag.manifest import INDEX_TYPES, OCI_INDEX, Index, Manifest, parse, parse_object

LAYOUT_FILE: Final = "oci-layout"
INDEX_FILE: Final = "index.json"
_VERSION: Final = "1.0.0"  # image-layout.md, "imageLayoutVersion"
# Full names come first: the second annotation is often the tag alone.
_NAMES: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class OciLayout:
    """The Contents of an OCI image layout: everything is there and is kept byte for byte."""

    def __init__(self, members: Members) -> None:
        layout = json_of(members, LAYOUT_FILE)
        version = layout.get("imageLayoutVersion") if isinstance(layout, dict) else None
        if version != _VERSION:
            raise UnsupportedError(f"{members.where}: an OCI layout of version {version!r}, not {_VERSION}")
        self._members = members
        self._entries = _entries(members)

    @property
    def images(self) -> tuple[ArchivedImage, ...]:
        """List the images in the order of index.json, each once with all its names.

        What has no name and is in a listed index is a part of that one: oras lists such parts too.
        """
        names: dict[Digest, dict[str, None]] = {}
        for entry in self._entries:
            names.setdefault(entry.digest, {}).update(dict.fromkeys(_names_of(entry)))
        parts = self._parts() if len(names) > 1 and not all(names.values()) else frozenset()
        return tuple(
            ArchivedImage(tuple(found), digest) for digest, found in names.items() if found or digest not in parts
        )

    def _parts(self) -> frozenset[Digest]:
        """Name what the listed indexes lead to themselves."""
        listed = {entry.digest for entry in self._entries if entry.media_type in INDEX_TYPES}  # each read once
        indexes = (self.document(digest) for digest in listed if self.blob(digest) is not None)
        return frozenset(one.digest for index in indexes if isinstance(index, Index) for one in index.manifests)

    def size_to_prepare(self, images: Sequence[ArchivedImage]) -> int:
        """Count nothing."""
        return 0

    def prepare(self, images: Sequence[ArchivedImage], advance: Callable[[int], None]) -> None:
        """Do nothing."""

    def root(self, image: ArchivedImage) -> Digest:
        """Give the digest that index.json has for it."""
        return image.digest

    def document(self, digest: Digest) -> Manifest | Index:
        """Read a manifest or an index and hold it against its digest."""
        where, path = self._members.where, blob_path(digest)
        member = self._members.find(path)
        if member is None:
            raise ArchiveError(f"{where}: {path} is missing")
        raw = content_of(self._members, member)
        found = Digest.of(raw, digest.algorithm)
        if found != digest:
            raise IntegrityError(f"{where}: {path} is damaged: its digest is {found}")
        listed = next((entry for entry in self._entries if entry.digest == digest), None)
        if listed is not None and listed.size != len(raw):
            raise IntegrityError(f"{where}: {path} has {len(raw)} bytes, {INDEX_FILE} says {listed.size}")
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


def _entries(members: Members) -> tuple[Descriptor, ...]:
    found = members.find(INDEX_FILE)
    if found is None:
        raise ArchiveError(f"{members.where}: {INDEX_FILE} is missing")
    try:
        index = parse(content_of(members, found), OCI_INDEX)
    except UnsupportedError as error:
        raise UnsupportedError(f"{members.where}: {INDEX_FILE}: {error}") from error
    entries = index.manifests if isinstance(index, Index) else ()
    if not 0 < len(entries) <= MAX_IMAGES:
        raise ArchiveError(f"{members.where}: {INDEX_FILE} lists {len(entries)} images, not 1 to {MAX_IMAGES}")
    return entries


def _declared(raw: bytes) -> str:
    declared = parse_object(raw, "document").get("mediaType")
    return declared if isinstance(declared, str) else ""


def _names_of(entry: Descriptor) -> Iterator[str]:
    name = next((entry.annotations[key] for key in _NAMES if entry.annotations.get(key)), None)
    if name is not None:
        yield name
