"""Own the making of a registry's image out of docker's archive format: layers compressed, a manifest written.

archive/reader.py enters. The same archive and options give the same bytes, whatever runs side by side.
A layer that is compressed already is kept as it is; every layer is held against the digest that the
config gives its plain tar.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ecrdrag.archive.compress import Compression, GzipBlocks
from ecrdrag.archive.contents import ArchivedImage, StoredBlob
from ecrdrag.archive.decompress import SNIFFED, decompressed, sniff
from ecrdrag.archive.docker import DockerArchive, DockerImage, DockerLayer
from ecrdrag.archive.members import Member, Members
from ecrdrag.archive.spool import Spool
from ecrdrag.content import Digest
from ecrdrag.errors import ArchiveError, IntegrityError, TransferError
from ecrdrag.manifest import DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, OCI_MANIFEST, Manifest, parse

_LAYERS_AT_ONCE: Final = 8
FORMATS: Final = ("docker", "oci")
# Layer types by format and compression: docker distribution's manifest-v2-2, OCI image spec's layer.md; docker
# has no word of its own for zstd, so an image with such a layer becomes an OCI one.
_LAYER_TYPES: Final = {
    ("docker", ""): "application/vnd.docker.image.rootfs.diff.tar",
    ("docker", "gzip"): "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ("docker", "zstd"): "application/vnd.docker.image.rootfs.diff.tar.zstd",
    ("oci", ""): "application/vnd.oci.image.layer.v1.tar",
    ("oci", "gzip"): "application/vnd.oci.image.layer.v1.tar+gzip",
    ("oci", "zstd"): "application/vnd.oci.image.layer.v1.tar+zstd",
}
_KEPT: Final = ("gzip", "zstd")  # what registries take; bzip2 and xz are compressed anew


@dataclass(frozen=True, slots=True)
class Conversion:
    """Say how docker's archives become images: format None is docker's, but OCI's where a layer is zstd."""

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
        self._archive = DockerArchive(members)
        self._ready: dict[DockerLayer, _ReadyLayer] = {}
        self._manifests: dict[Digest, Manifest] = {}
        self._roots: dict[Digest, Digest] = {}
        self._blobs: dict[Digest, StoredBlob] = {}
        self._spools: list[Spool] = []
        self._idle: list[Spool] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()

    @property
    def images(self) -> tuple[ArchivedImage, ...]:
        """List the images in the order of manifest.json."""
        return self._archive.images

    def size_to_prepare(self, images: Sequence[ArchivedImage]) -> int:
        """Count the bytes of the distinct layer files."""
        return sum(layer.member.size for layer in self._waiting(images))

    def prepare(self, images: Sequence[ArchivedImage], advance: Callable[[int], None]) -> None:
        """Make layers ready, side by side, and write manifests.

        Raises IntegrityError for a layer that isn't what its config says, ArchiveError for what can't be read.
        """
        workers = os.cpu_count() or 1
        at_once = min(workers, _LAYERS_AT_ONCE)  # each keeps blocks for every worker in memory
        wish = self._conversion.compression
        compression = Compression() if wish.plain else wish  # unused where layers stay plain
        with GzipBlocks(compression, workers) as gzip, ThreadPoolExecutor(at_once, "convert") as pool:
            try:
                jobs = [pool.submit(self._make_ready, layer, gzip, advance) for layer in self._waiting(images)]
                wait(jobs, return_when=FIRST_EXCEPTION)
                _raise_first(jobs)
            except BaseException:  # Ctrl-C too: the layers that are being read would take minutes
                self._stop.set()
                gzip.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
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
        for spool in self._spools:
            spool.close()

    def _write_manifest(self, image: DockerImage) -> None:
        layers = [self._ready[layer] for layer in image.layers]
        style = self._conversion.format or ("oci" if any(one.compression == "zstd" for one in layers) else "docker")
        kind, config_kind = (OCI_MANIFEST, OCI_CONFIG) if style == "oci" else (DOCKER_MANIFEST, DOCKER_CONFIG)
        config = self._stored(image.digest, image.config)
        document = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": _entry(config_kind, config),
            "layers": [_entry(_LAYER_TYPES[style, one.compression], one.blob) for one in layers],
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

    def _make_ready(self, layer: DockerLayer, gzip: GzipBlocks, advance: Callable[[int], None]) -> None:
        member = layer.member
        kind = sniff(b"".join(map(bytes, self._members.read(member, 0, min(member.size, SNIFFED)))))
        stored = _Hashed(self._pieces(member, advance), "sha256")
        where = f"{self._members.where}: layer {member.name}"
        plain = _Hashed(decompressed(kind, stored, where=where) if kind else stored, layer.diff_id.algorithm)
        if kind in _KEPT or (not kind and self._conversion.compression.plain):
            for _ in plain:  # to hash it
                pass
            blob, compression = self._stored(stored.digest, member), kind
        else:
            blob, compression = self._compress(plain, gzip)
        if plain.digest != layer.diff_id:
            raise IntegrityError(
                f"{where} is damaged: its tar has digest {plain.digest}, its image's config says {layer.diff_id}"
            )
        self._ready[layer] = _ReadyLayer(blob, compression)

    def _compress(self, plain: _Hashed, gzip: GzipBlocks) -> tuple[StoredBlob, str]:
        """Write a layer into a temporary file: compressed, or plain where that was asked for."""
        spool = self._take_spool()
        start, written = spool.size, hashlib.sha256()

        def write(data: bytes | memoryview) -> None:
            written.update(data)
            spool.write(data)

        if self._conversion.compression.plain:
            for piece in plain:
                write(piece)
        else:
            gzip.compress(plain, write)
        extent = spool.extent(start, spool.size)
        blob = StoredBlob(Digest("sha256", written.hexdigest()), extent, partial(_section, spool, start))
        self._idle.append(spool)
        return blob, "" if self._conversion.compression.plain else "gzip"

    def _stored(self, digest: Digest, member: Member) -> StoredBlob:
        """Take a file as a blob just as it is."""
        return StoredBlob(digest, self._members.extent(member), partial(self._members.read, member))

    def _take_spool(self) -> Spool:
        """Give a temporary file that nobody writes to: many layers may share one, but not at once."""
        with self._lock:
            if not self._idle:
                self._spools.append(Spool(self._members.where))
                self._idle.append(self._spools[-1])
            return self._idle.pop()

    def _pieces(self, member: Member, advance: Callable[[int], None]) -> Iterator[memoryview]:
        for view in self._members.read(member, 0, member.size):
            if self._stop.is_set():
                raise TransferError(f"{self._members.where}: stopped")
            advance(len(view))
            yield view


class _Hashed:
    """Pass pieces on and hash them."""

    def __init__(self, pieces: Iterable[bytes | memoryview], algorithm: str) -> None:
        self._pieces = pieces
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for piece in self._pieces:
            self._hash.update(piece)
            yield piece

    @property
    def digest(self) -> Digest:
        return Digest(self._algorithm, self._hash.hexdigest())


def _section(spool: Spool, offset: int, start: int, stop: int) -> Iterator[memoryview]:
    return spool.read(offset + start, offset + stop)


def _entry(media_type: str, blob: StoredBlob) -> dict[str, object]:
    return {"mediaType": media_type, "size": blob.size, "digest": str(blob.digest)}


def _raise_first(jobs: Iterable[Future[None]]) -> None:
    for job in jobs:
        if job.done() and not job.cancelled():
            job.result()
