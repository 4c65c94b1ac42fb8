"""Own a registry in memory that counts what is read from it, and conversions of what is in it.

The tests of the conversion room enter.
"""

from __future__ import annotations

import bz2
import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ecrdrag.archive.compress import Compression
from ecrdrag.content import Descriptor, Digest, Platform
from ecrdrag.conversion.converter import Converted, Converter
from ecrdrag.errors import NotFoundError
from ecrdrag.manifest import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_MANIFEST,
    Document,
    Manifest,
    parse,
    parse_any,
)
from ecrdrag.reference import ImageReference
from ecrdrag.resolve import Image, Resolver, Wish
from ecrdrag.schema1 import Schema1
from ecrdrag.transfer.download import fetch
from ecrdrag.transfer.progress import Progress
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.transfer.routes import Routes
from tests.images import Blob
from tests.kinds import DOCKER_TAR, OCI_TAR, Parcel, document_of, gzipped, zstded
from tests.schema1_images import OldImage

WHERE = "registry.example/team/app"
REFERENCE = ImageReference.parse(f"{WHERE}:1")
FAST = RetryPolicy(tries=3, base=0.0)
GZIP, PLAIN = Compression.parse("gzip"), Compression.parse("none")
ALL = Wish((Platform("linux", "amd64"),), explicit=False, everything=True)
PACK: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": gzipped,
    "zstd": zstded,
    "": bytes,
    "bzip2": bz2.compress,
    "broken": lambda tar: b"\x28\xb5\x2f\xfd\xff" + tar,  # zstd with a bit that must not be (RFC 8878, 3.1.1.1.1)
}
OPEN_FILES: Final = Path("/proc/self/fd")
_PIECE: Final = 3000


class Far:
    """Give documents and blobs, count how often each is begun to be read, and how many bytes that gave."""

    def __init__(self, *parcels: Parcel | OldImage, root: Document | Schema1 | None = None) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.documents: dict[Digest, Document] = {}
        self.given: Counter[Digest] = Counter()
        self.measured: Counter[Digest] = Counter()
        self.before_each: Callable[[], object] = lambda: None
        self.aborted = threading.Event()
        self.resolver = Resolver(self, WHERE, FAST)
        self._lock = threading.Lock()
        for parcel in parcels:
            self.root = root or self._add(parcel)

    def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Document | Schema1:
        return self.documents[digest] if digest else self.root

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        view = memoryview(self._held(blob.digest))[start:stop]
        for place in range(0, len(view), _PIECE):
            self.before_each()
            piece = view[place : place + _PIECE]
            with self._lock:
                self.given[blob.digest] += len(piece)
            yield piece

    def expect(self, blob: Descriptor) -> None:
        pass

    def abort(self) -> None:
        self.aborted.set()

    def measure(self, digest: Digest) -> int:
        with self._lock:
            self.measured[digest] += 1
        return len(self._held(digest))

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        raise AssertionError("nothing that is converted has any business there")

    def check_nothing_twice(self) -> None:
        """Hold what was given against the sizes."""
        assert {digest: count for digest, count in self.given.items() if count > len(self.blobs[digest])} == {}
        assert set(self.measured.values()) <= {1}

    def _held(self, digest: Digest) -> bytes:
        if digest not in self.blobs:
            raise NotFoundError(f"there is no {digest}")
        return self.blobs[digest]

    def _add(self, parcel: Parcel | OldImage) -> Document | Schema1:
        if isinstance(parcel, OldImage):
            self.blobs.update(parcel.blobs)
            return parse_any(parcel.raw, parcel.media_type)
        self.blobs.update({digest: blob.content for digest, blob in parcel.blobs.items()})
        for document in parcel.documents:
            self.documents[document.digest] = parse(document.content, document.media_type)
        return self.documents[parcel.digest]


def temporary_files() -> dict[Path, int]:
    """Find the files that are open here and have no name, and how many bytes they have."""
    found = {}
    for file in OPEN_FILES.iterdir():
        with suppress(FileNotFoundError):  # the listing's own, which is closed by now
            if str(file.readlink()).endswith("(deleted)"):
                found[file] = file.stat().st_size
    return found


class Shown:
    """Keep what each stage told; stages of these names tell it to others."""

    def __init__(self, **kinds: type[Told]) -> None:
        self.told: list[tuple[str, Told]] = []
        self._kinds = kinds

    @contextmanager
    def __call__(self, name: str) -> Iterator[Progress]:
        self.told.append((name, self._kinds.get(name, Told)()))
        yield self.told[-1][1]

    @property
    def sums(self) -> list[tuple[str, int, int, int, int]]:
        """Give of each stage: name, bytes and blobs that were to be moved, and that were."""
        return [(name, told.size, told.blobs, told.moved, told.done) for name, told in self.told]


class Told:
    """Add up."""

    def __init__(self) -> None:
        self.size = self.blobs = self.moved = self.done = 0
        self._lock = threading.Lock()

    def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
        assert landed == 0
        self.size, self.blobs = size or 0, blobs

    def advance(self, size: int) -> None:
        with self._lock:
            self.moved += size

    def blob_done(self, blob: Descriptor) -> None:
        with self._lock:
            self.done += 1


def found(far: Far, wish: Wish = ALL) -> Image | Schema1:
    """Resolve what is there, as the stories do; each document and config is read once."""
    return far.resolver.resolve(REFERENCE, wish)


@contextmanager
def converting(
    layers: Compression | None = GZIP, *, jobs: int = 1, shown: Shown | None = None
) -> Iterator[Callable[[Far], Converted]]:
    """Convert what several registries have, in one go."""
    with Converter(layers, jobs=jobs, retry=FAST, stage=shown or Shown()) as converter:
        yield lambda far: converter.convert(found(far), far, WHERE)


def content_of(converted: Converted, far: Far, blob: Descriptor) -> bytes:
    """Read a blob from where it is, verified."""
    return fetch(blob, Routes(far, converted.blobs), retry=FAST)


def layers_of(converted: Converted, far: Far, manifest: Manifest) -> list[bytes]:
    """Read the layers of an image, bottom first, from where they are."""
    return [content_of(converted, far, layer) for layer in manifest.layers]


def unpacked(layer: Descriptor, content: bytes) -> bytes:
    """Unpack a layer as its type says."""
    if layer.media_type.endswith("gzip"):
        return gzip.decompress(content)
    assert layer.media_type.endswith("tar"), layer.media_type
    return content


def tars_of(converted: Converted, far: Far, manifest: Manifest) -> list[bytes]:
    """Read the layers of an image and unpack them as their types say."""
    contents = layers_of(converted, far, manifest)
    return [unpacked(layer, content) for layer, content in zip(manifest.layers, contents, strict=True)]


@dataclass(frozen=True)
class Part:
    """A layer: its tar, how it is compressed, how its type says that it is, and what else its entry says."""

    tar: bytes
    form: str = "gzip"
    said_form: str | None = None
    said: Mapping[str, object] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return PACK[self.form](self.tar)

    def blob(self, oci: bool) -> Blob:
        return Blob(self.content, type_of(self.form if self.said_form is None else self.said_form, oci=oci))


def type_of(form: str, *, oci: bool = True) -> str:
    """Name the type of a layer that is compressed so; empty for plain."""
    base, joint = (OCI_TAR, "+") if oci else (DOCKER_TAR, ".")
    return f"{base}{joint}{form}" if form else base


def image_of(
    parts: Sequence[Part], *, oci: bool = True, architecture: str = "amd64", diff_ids: Sequence[str] | None = None
) -> Parcel:
    """Build an image of any layers; diff_ids are what its config says of them, if not the truth."""
    platform = {"architecture": architecture, "os": "linux"}
    told = [str(Digest.of(part.tar)) for part in parts] if diff_ids is None else list(diff_ids)
    config = {**platform, "rootfs": {"type": "layers", "diff_ids": told}}
    config_blob = Blob(json.dumps(config).encode(), OCI_CONFIG if oci else DOCKER_CONFIG)
    blobs = [part.blob(oci) for part in parts]
    layers = [{**blob.json, **part.said} for blob, part in zip(blobs, parts, strict=True)]
    root = document_of(OCI_MANIFEST if oci else DOCKER_MANIFEST, config=config_blob.json, layers=layers)
    return Parcel((root,), {blob.digest: blob for blob in (config_blob, *blobs)}, {"platform": platform})
