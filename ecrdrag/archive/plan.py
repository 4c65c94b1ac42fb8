"""Own the layout of the tar: every header, offset and size, before the first layer byte moves.

The writer, the check of an existing file and the stories may enter; nobody else computes offsets.

One tar for every reader: ``oci-layout``, ``index.json`` (containerd, podman, skopeo), ``manifest.json``
(docker load), then ``blobs/sha256/<hex>``, small members first, layers as they were received.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from ecrdrag.content import Descriptor, Digest
from ecrdrag.manifest import OCI_INDEX, Manifest
from ecrdrag.reference import ImageReference

BLOCK: Final = 512  # POSIX ustar: headers and contents fill whole blocks
_END: Final = bytes(2 * BLOCK)  # POSIX ustar: two zero blocks end an archive
_FILE_MODE: Final = 0o644
_FOLDER_MODE: Final = 0o755
_OCI_LAYOUT: Final = {"imageLayoutVersion": "1.0.0"}  # OCI image spec, image-layout.md
# containerd and docker name an imported image after the first, skopeo and podman after either.
_FULL_NAME: Final = "io.containerd.image.name"
_TAG_NAME: Final = "org.opencontainers.image.ref.name"


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


def plan_image(manifest: Manifest, config: bytes, name: ImageName) -> ArchivePlan:
    """Lay out one image; config is the content of manifest.config."""
    return _lay_out(
        (
            ("oci-layout", _json(_OCI_LAYOUT)),
            ("index.json", _json(_index(manifest, name))),
            ("manifest.json", _json(_docker_manifest(manifest, name))),
            *_blob_members(manifest, config),
        )
    )


def blob_path(digest: Digest) -> str:
    """Say where an OCI layout keeps a blob (OCI image spec, image-layout.md)."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _blob_members(manifest: Manifest, config: bytes) -> Iterator[tuple[str, bytes | Descriptor]]:
    small = {manifest.digest: manifest.raw, manifest.config.digest: config}
    for digest, content in small.items():
        yield blob_path(digest), content
    for blob in manifest.blobs:
        if blob.digest not in small:
            yield blob_path(blob.digest), blob


def _index(manifest: Manifest, name: ImageName) -> object:
    entry = {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": len(manifest.raw),
        "annotations": {_FULL_NAME: str(name), _TAG_NAME: name.tag},
    }
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}


def _docker_manifest(manifest: Manifest, name: ImageName) -> object:
    layers = [blob_path(layer.digest) for layer in manifest.layers]
    return [{"Config": blob_path(manifest.config.digest), "RepoTags": [str(name)], "Layers": layers}]


def _lay_out(members: Iterable[tuple[str, bytes | Descriptor]]) -> ArchivePlan:
    slots: list[Slot] = []
    position = 0
    for name, content in _with_folders(members):
        size = len(content) if isinstance(content, bytes) else content.size
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


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
