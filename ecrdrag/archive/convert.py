"""Own the making of a registry's image out of docker's archive format: layers compressed, a manifest written.

archive/reader.py enters. The same archive and options give the same bytes, whatever runs side by side.
A layer that is compressed already is kept as it is; every layer is held against the digest that the
config gives its plain tar.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ecrdrag.archive.compress import Compression, GzipBlocks
from ecrdrag.archive.contents import ArchivedImage, ArchivedReferrer, StoredBlob
from ecrdrag.archive.decompress import SNIFFED, decompressed, sniff
from ecrdrag.archive.docker import DockerArchive, DockerImage, DockerLayer, SavedImage
from ecrdrag.archive.members import Member, Members
from ecrdrag.archive.press import Hashed, Press
from ecrdrag.content import Digest
from ecrdrag.errors import ArchiveError, IntegrityError
from ecrdrag.manifest import DOCKER_CONFIG, DOCKER_MANIFEST, LAYER_TYPES, OCI_CONFIG, OCI_MANIFEST, Manifest, parse

FORMATS: Final = ("docker", "oci")
_KEPT: Final = ("gzip", "zstd")  # what registries take; bzip2 and xz are compressed anew


@dataclass(frozen=True, slots=True)
class Conversion:
    """Say how docker's archives become images: format None is docker's, but OCI's where a layer is zstd.

    Docker's documents have no type for such a layer.
    """

    compression: Compression = field(default_factory=Compression)
    format: str | None = None


@dataclass(frozen=True, slots=True)
class _ReadyLayer:
    """A layer as it will be sent, and how its tar is compressed in it."""

    blob: StoredBlob
    compression: str


class ConvertedArchive:
    """The Contents of an archive in docker's format; a layer that several images share is done once."""

    def __init__(self, members: Members, conversion: Conversion) -> None:
        self._members = members
        self._conversion = conversion
        self._press = Press(conversion.compression, members.where)
        self._archive = DockerArchive(members)
        self._ready: dict[DockerLayer, _ReadyLayer] = {}
        self._manifests: dict[Digest, Manifest] = {}
        self._roots: dict[Digest, Digest] = {}
        self._blobs: dict[Digest, StoredBlob] = {}

    @property
    def images(self) -> tuple[ArchivedImage, ...]:
        """List the images in the order of manifest.json."""
        return self._archive.images

    @property
    def referrers(self) -> tuple[ArchivedReferrer, ...]:
        """List nothing: docker's format has no place for any."""
        return ()

    def saved(self, image: ArchivedImage) -> SavedImage:
        """Give an image as it lies there, before anything is made of it."""
        return self._archive.saved(image.digest)

    def size_to_prepare(self, images: Sequence[ArchivedImage]) -> int:
        """Count the bytes of the distinct layer files."""
        return sum(layer.member.size for layer in self._waiting(images))

    def prepare(self, images: Sequence[ArchivedImage], advance: Callable[[int], None]) -> None:
        """Make layers ready, side by side, and write manifests.

        Raises IntegrityError for a layer that isn't what its config says, ArchiveError for what can't be read.
        """
        self._press.run(self._waiting(images), partial(self._make_ready, advance))
        for image in images:
            self._write_manifest(self._archive.image(image.digest))

    def root(self, image: ArchivedImage) -> Digest:
        """Give the digest of the manifest that prepare() wrote."""
        return self._roots[image.digest]

    def document(self, digest: Digest) -> Manifest:
        """Give a manifest that prepare() wrote."""
        if digest not in self._manifests:
            raise ArchiveError(f"{self._members.where} holds no manifest {digest}")
        return self._manifests[digest]

    def blob(self, digest: Digest) -> StoredBlob | None:
        """Find a config or a layer that prepare() made ready."""
        return self._blobs.get(digest)

    def close(self) -> None:
        """Give the space of compressed layers back; no read may be in progress."""
        self._press.close()

    def _write_manifest(self, image: DockerImage) -> None:
        layers = [self._ready[layer] for layer in image.layers]
        style = self._conversion.format or ("oci" if any(one.compression == "zstd" for one in layers) else "docker")
        kind, config_kind = (OCI_MANIFEST, OCI_CONFIG) if style == "oci" else (DOCKER_MANIFEST, DOCKER_CONFIG)
        config = self._stored(image.digest, image.config)
        document = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": _entry(config_kind, config),
            "layers": [_entry(LAYER_TYPES[style, one.compression], one.blob) for one in layers],
        }
        manifest = parse(json.dumps(document, separators=(",", ":")).encode(), kind)
        assert isinstance(manifest, Manifest)
        self._manifests[manifest.digest] = manifest
        self._roots[image.digest] = manifest.digest
        self._blobs.update({blob.digest: blob for blob in (config, *(one.blob for one in layers))})

    def _waiting(self, images: Iterable[ArchivedImage]) -> list[DockerLayer]:
        """List the layers that aren't ready, each once, largest first; a file with two digests will fail for one."""
        found = (layer for image in images for layer in self._archive.image(image.digest).layers)
        waiting = dict.fromkeys(layer for layer in found if layer not in self._ready)
        return sorted(waiting, key=lambda layer: layer.member.size, reverse=True)

    def _make_ready(self, advance: Callable[[int], None], layer: DockerLayer, gzip: GzipBlocks) -> None:
        member = layer.member
        kind = sniff(b"".join(map(bytes, self._members.read(member, 0, min(member.size, SNIFFED)))))
        stored = Hashed(self._press.watched(self._members.read(member, 0, member.size), advance))
        where = f"{self._members.where}: layer {member.name}"
        plain = Hashed(decompressed(kind, stored, where=where) if kind else stored, layer.diff_id.algorithm)
        if kind in _KEPT or kind == self._press.makes:
            for _ in plain:  # to hash it
                pass
            blob, compression = self._stored(stored.digest, member), kind
        else:
            blob, compression = self._press.make(plain, gzip), self._press.makes
        if plain.digest != layer.diff_id:
            raise IntegrityError(
                f"{where} is damaged: its tar has digest {plain.digest}, its image's config says {layer.diff_id}"
            )
        self._ready[layer] = _ReadyLayer(blob, compression)

    def _stored(self, digest: Digest, member: Member) -> StoredBlob:
        """Take a file as a blob just as it is."""
        return StoredBlob(digest, self._members.extent(member), partial(self._members.read, member))


def _entry(media_type: str, blob: StoredBlob) -> dict[str, object]:
    return {"mediaType": media_type, "size": blob.size, "digest": str(blob.digest)}
