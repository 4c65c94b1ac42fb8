"""Own the layout of the tar: every header, offset and size, before the first layer byte moves.

The writer, the check of an existing file and the stories may enter; nobody else computes offsets.

One tar for every reader: ``oci-layout``, ``index.json`` (containerd, podman, skopeo), ``manifest.json``
(docker load), then ``blobs/sha256/<hex>``, small members first, layers as they were received. What is about images,
as signatures are, is listed in ``referrers.json``, which is ours alone: podman and skopeo read an archive without
being told a name only where ``index.json`` has one entry.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from ecrdrag.archive.contents import MAX_IMAGES, MAX_REFERRERS
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import IntegrityError, UnsupportedError
from ecrdrag.manifest import OCI_INDEX, Document, Manifest
from ecrdrag.reference import ImageReference

BLOCK: Final = 512  # POSIX ustar: headers and contents fill whole blocks
_END: Final = bytes(2 * BLOCK)  # POSIX ustar: two zero blocks end an archive
_FILE_MODE: Final = 0o644
_FOLDER_MODE: Final = 0o755
_OCI_LAYOUT: Final = {"imageLayoutVersion": "1.0.0"}  # OCI image spec, image-layout.md
# containerd and docker name an imported image after the first, skopeo and podman after either.
_FULL_NAME: Final = "io.containerd.image.name"
_TAG_NAME: Final = "org.opencontainers.image.ref.name"
REFERRERS_FILE: Final = "referrers.json"  # an OCI index
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_SPREAD: Final = "spread them over several archives"
NOTHING: Final[Mapping[Digest, bytes]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Slot:
    """Place one member: offset is of its content's first byte, size of its content in bytes."""

    name: str
    header: bytes
    offset: int
    size: int
    content: bytes | Descriptor

    @property
    def stop(self) -> int:
        """Offset behind the content and its padding."""
        return self.offset + _padded(self.size)


@dataclass(frozen=True, slots=True)
class ArchivePlan:
    """Lay out a whole archive; slots are in the order of the file, without gaps."""

    slots: tuple[Slot, ...]

    @property
    def total_size(self) -> int:
        """Size of the finished file in bytes."""
        return self.slots[-1].stop + len(_END) if self.slots else len(_END)

    @property
    def blobs(self) -> tuple[tuple[Descriptor, int], ...]:
        """What has to be downloaded, with the offset of its first byte."""
        return tuple((slot.content, slot.offset) for slot in self.slots if isinstance(slot.content, Descriptor))

    @property
    def digest(self) -> Digest:
        """Name the bytes of the finished file, before they are there: plans of other bytes have other digests."""
        return Digest.of(b"".join(_identity(slot) for slot in self.slots))

    def known_pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) of all that is known already: headers, small members and the zeros around.

        These and the blobs are every byte of the file.
        """
        for slot in self.slots:
            yield slot.offset - len(slot.header), slot.header
            if isinstance(slot.content, bytes):
                yield slot.offset, slot.content
            if padding := slot.stop - slot.offset - slot.size:
                yield slot.offset + slot.size, bytes(padding)
        yield self.total_size - len(_END), _END


@dataclass(frozen=True, slots=True)
class ImageName:
    """Name an image for those who load it: docker takes a tag, never a digest."""

    name: str
    tag: str

    @classmethod
    def of(cls, reference: ImageReference) -> ImageName:
        """Take the reference's tag, else the hex digits of its digest."""
        tag = reference.tag or (reference.digest.hex if reference.digest else "latest")
        return cls(reference.name, tag)

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


def stands_for_digest(tag: str | None) -> bool:
    """Tell whether a tag is what ImageName.of makes of a digest, which may be that of an index around the image."""
    return _HEX.fullmatch(tag or "") is not None


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """One image or artifact under at least one name: its documents, children before those that name them, root last.

    loadable is the manifest that docker load gets; None is for what docker can't load.
    """

    names: tuple[ImageName, ...]
    documents: tuple[Document, ...]
    loadable: Manifest | None


@dataclass(frozen=True, slots=True)
class PlannedReferrer:
    """A signature or the like: its documents, root last; tag is what it is found by, if not by its subject."""

    documents: tuple[Document, ...]
    tag: str | None = None


def plan_archive(
    images: Iterable[PlannedImage],
    referrers: Iterable[PlannedReferrer] = (),
    *,
    known: Mapping[Digest, bytes] = NOTHING,
    without: Collection[Digest] = (),
) -> ArchivePlan:
    """Lay out images and what is about them, each distinct blob once; in which order they are given doesn't matter.

    known has the content of some blobs; without names those that are left out. Raises IntegrityError where
    documents disagree about the size of a blob, UnsupportedError for more than the reader would take.
    """
    # Artifacts last: ctr images import unpacks in this order, and stops at the first that has no file system.
    images = sorted(images, key=lambda image: (image.loadable is None, sorted(map(str, image.names))))
    referrers = _in_order(referrers)
    _check_counts(sum(len(image.names) for image in images), len(referrers))
    members = [("oci-layout", _json(_OCI_LAYOUT)), ("index.json", _json(_index(images)))]
    if referrers:
        members.append((REFERRERS_FILE, _json(_referrers(referrers))))
    if any(image.loadable for image in images):
        members.append(("manifest.json", _json(_docker_manifest(images))))
    documents = {document.digest: document for image in images for document in image.documents}
    documents |= {document.digest: document for one in referrers for document in one.documents}
    return _lay_out((*members, *_blob_members(documents.values(), known, without)))


def blob_path(digest: Digest) -> str:
    """Say where an OCI layout keeps a blob (OCI image spec, image-layout.md)."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _in_order(referrers: Iterable[PlannedReferrer]) -> list[PlannedReferrer]:
    """Put referrers in an order that is theirs, each once."""
    distinct = {(one.tag or "", str(one.documents[-1].digest)): one for one in referrers}
    return [distinct[key] for key in sorted(distinct)]


def _check_counts(names: int, referrers: int) -> None:
    if names > MAX_IMAGES:
        raise UnsupportedError(f"an archive holds up to {MAX_IMAGES} names of images, not {names}", hint=_SPREAD)
    if referrers > MAX_REFERRERS:
        raise UnsupportedError(f"an archive holds up to {MAX_REFERRERS} referrers, not {referrers}", hint=_SPREAD)


def _blob_members(
    documents: Collection[Document], known: Mapping[Digest, bytes], without: Collection[Digest]
) -> Iterator[tuple[str, bytes | Descriptor]]:
    """Give documents, then configs, then layers."""
    manifests = [document for document in documents if isinstance(document, Manifest)]
    blobs = [*(manifest.config for manifest in manifests), *(layer for one in manifests for layer in one.layers)]
    members: dict[Digest, bytes | Descriptor] = {document.digest: document.raw for document in documents}
    for blob in blobs:
        if blob.digest not in without:
            found = members.setdefault(blob.digest, known.get(blob.digest, blob))
            _check_size(blob, found)
            if isinstance(found, Descriptor) and not found.urls:  # a foreign layer, of which another says where it is
                members[blob.digest] = blob
    for digest, content in members.items():
        yield blob_path(digest), content


def _check_size(blob: Descriptor, found: bytes | Descriptor) -> None:
    """Documents of different images may disagree, where each alone would do."""
    size = _size(found)
    if size != blob.size:
        raise IntegrityError(
            f"blob {blob.digest} is given two sizes, {size} and {blob.size}",
            hint="one of the images is damaged in its registry: pulled into a file of its own, it fails",
        )


def _index(images: Sequence[PlannedImage]) -> object:
    """List every name; skopeo finds an image by its tag, where several have one tag by the full name."""
    tags = Counter(name.tag for image in images for name in image.names)
    entries = [
        _entry(image.documents[-1], {_FULL_NAME: str(name), _TAG_NAME: name.tag if tags[name.tag] == 1 else str(name)})
        for image in images
        for name in sorted(image.names, key=str)
    ]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}


def _referrers(referrers: Sequence[PlannedReferrer]) -> object:
    entries = [_entry(one.documents[-1], {_TAG_NAME: one.tag} if one.tag else {}) for one in referrers]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}


def _entry(document: Document, annotations: Mapping[str, str]) -> dict[str, object]:
    root = document.descriptor
    entry: dict[str, object] = {"mediaType": root.media_type, "digest": str(root.digest), "size": root.size}
    if root.artifact_type:
        entry["artifactType"] = root.artifact_type
    return {**entry, "annotations": annotations} if annotations else entry


def _docker_manifest(images: Sequence[PlannedImage]) -> object:
    return [
        {
            "Config": blob_path(image.loadable.config.digest),
            "RepoTags": sorted(map(str, image.names)),
            "Layers": [blob_path(layer.digest) for layer in image.loadable.layers],
        }
        for image in images
        if image.loadable
    ]


def _lay_out(members: Iterable[tuple[str, bytes | Descriptor]]) -> ArchivePlan:
    slots: list[Slot] = []
    position = 0
    for name, content in _with_folders(members):
        size = _size(content)
        header = _header(name, size)
        slots.append(Slot(name, header, position + len(header), size, content))
        position = slots[-1].stop
    return ArchivePlan(tuple(slots))


def _with_folders(members: Iterable[tuple[str, bytes | Descriptor]]) -> Iterator[tuple[str, bytes | Descriptor]]:
    """Put each folder before its first member: without one, skopeo 1.9 makes it root's, and fails for others."""
    seen: set[str] = set()
    for name, content in members:
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            if (folder := f"{parent}/") not in seen:
                seen.add(folder)
                yield folder, b""
        yield name, content


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, _FILE_MODE, 0
    if name.endswith("/"):
        member.type, member.mode = tarfile.DIRTYPE, _FOLDER_MODE
    # GNU keeps sizes of 8 GiB and more inside one header block, where PAX needs two more.
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _identity(slot: Slot) -> bytes:
    """Write all that fixes the bytes of a slot, such that no two slots are written alike."""
    if isinstance(slot.content, bytes):
        kind, content = "bytes", slot.content
    else:
        kind, content = "blob", str(slot.content.digest).encode()
    numbers = f"{kind} {slot.offset} {slot.size} {len(slot.header)} {len(content)} "
    return numbers.encode() + slot.header + content


def _size(content: bytes | Descriptor) -> int:
    return len(content) if isinstance(content, bytes) else content.size


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
