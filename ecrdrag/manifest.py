"""Own manifests and indexes: parsed from raw bytes that are kept, never written again.

registry, archive, the stories and localecr may enter.

The four modern kinds: docker schema 2 and OCI manifest, docker manifest list and OCI index
(OCI image spec manifest.md and image-index.md; docker distribution's manifest-v2-2). Schema 1 has a room of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ecrdrag.content import Descriptor, Digest, Platform
from ecrdrag.errors import UnsupportedError
from ecrdrag.schema1 import SCHEMA1_TYPES, Schema1

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"

MANIFEST_TYPES: Final = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES: Final = (OCI_INDEX, DOCKER_LIST)
# Old pushers wrote these for an image config, and docker still reads them: moby distribution/registry.go.
IMAGE_CONFIG_TYPES: Final = (OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream", "application/json", "text/html", "")

# Types of layers by the family of their manifest and how they are compressed: docker distribution's manifest-v2-2, OCI
# image spec's layer.md. Docker's for zstd is in no document, but in the wild.
LAYER_TYPES: Final = {
    ("docker", ""): "application/vnd.docker.image.rootfs.diff.tar",
    ("docker", "gzip"): "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ("docker", "zstd"): "application/vnd.docker.image.rootfs.diff.tar.zstd",
    ("oci", ""): "application/vnd.oci.image.layer.v1.tar",
    ("oci", "gzip"): "application/vnd.oci.image.layer.v1.tar+gzip",
    ("oci", "zstd"): "application/vnd.oci.image.layer.v1.tar+zstd",
}

# Layers that registries need not hold: OCI image spec, layer.md; docker's schema 2.
FOREIGN_LAYER_TYPES: Final = (
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
)

# What the types of layers begin with that are a file system's: OCI image spec, layer.md; docker's schema 2, and its
# first days. An attestation has an image's config, but layers of other types.
_FILE_SYSTEM_LAYERS: Final = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
    "application/vnd.docker.container.image.rootfs.",
)

# How BuildKit names an attestation beside an image, docs/attestations/attestation-storage.md: the annotation of its
# entry that says which manifest it is about, and its platform, os and architecture alike.
ATTESTED: Final = "vnd.docker.reference.digest"
_NO_PLATFORM: Final = "unknown"

# ImageManifest's maximum length in ECR's model; podman and skopeo stop at the same size.
MAX_MANIFEST_SIZE: Final = 4 * 1024 * 1024
# A descriptor's size is an int64: OCI image spec, descriptor.md.
_MAX_BLOB_SIZE: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image, or an artifact: a config and its layers, bottom layer first.

    subject is what it is about, as a signature is about an image; artifact_type is empty where it isn't said.
    """

    raw: bytes
    media_type: str
    digest: Digest
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str = ""
    subject: Descriptor | None = None

    @property
    def descriptor(self) -> Descriptor:
        """Point at this manifest."""
        return Descriptor(self.media_type, self.digest, len(self.raw), artifact_type=self.kind)

    @property
    def is_image(self) -> bool:
        """Whether it is a container image, which has a file system; everything else is an artifact."""
        layers = (layer.media_type for layer in self.layers)
        is_said = not self.artifact_type and self.config.media_type in IMAGE_CONFIG_TYPES
        return is_said and all(not kind or kind.startswith(_FILE_SYSTEM_LAYERS) for kind in layers)

    @property
    def kind(self) -> str:
        """Say what an artifact holds, as registries list it; empty for an image (OCI image spec, manifest.md)."""
        return "" if self.is_image else self.artifact_type or self.config.media_type

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and the layers, each distinct blob once."""
        return tuple({blob.digest: blob for blob in (self.config, *self.layers)}.values())


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests or indexes under one name, usually one for each platform."""

    raw: bytes
    media_type: str
    digest: Digest
    manifests: tuple[Descriptor, ...]
    artifact_type: str = ""
    subject: Descriptor | None = None

    @property
    def descriptor(self) -> Descriptor:
        """Point at this index."""
        return Descriptor(self.media_type, self.digest, len(self.raw), artifact_type=self.artifact_type)


Document = Manifest | Index


def is_attestation(entry: Descriptor) -> bool:
    """Tell whether an entry of an index is something about an image there, not an image."""
    return entry.platform is not None and entry.platform.architecture == _NO_PLATFORM


def parse_any(raw: bytes, media_type: str = "") -> Document | Schema1:
    """Read what parse() reads, and schema 1 as well, which only registries give; raises as parse() does."""
    kind = media_type or (_kind(parse_object(raw, "manifest")) if len(raw) <= MAX_MANIFEST_SIZE else "")
    return Schema1.parse(raw, media_type) if kind in SCHEMA1_TYPES else parse(raw, media_type)


def parse(raw: bytes, media_type: str = "") -> Document:
    """Read a manifest or an index of one of the four modern kinds.

    An empty media_type is taken from the document, else guessed from its members.
    Raises UnsupportedError for every other kind and for a document that breaks its format.
    """
    if len(raw) > MAX_MANIFEST_SIZE:
        raise UnsupportedError(f"a manifest of {len(raw)} bytes is over the limit of {MAX_MANIFEST_SIZE}")
    document = parse_object(raw, "manifest")
    kind = media_type or _kind(document)
    if kind in MANIFEST_TYPES:
        return _manifest(raw, kind, document)
    if kind in INDEX_TYPES:
        return _index(raw, kind, document)
    if kind in SCHEMA1_TYPES:
        raise UnsupportedError(
            "a schema 1 manifest, the format before 2016, has no place here",
            hint="pull its image from a registry, which converts it, or ask for a rebuilt image",
        )
    raise UnsupportedError(f"{f'media type {kind!r}' if kind else 'the document'} is no image manifest and no index")


def parse_object(raw: bytes, what: str) -> Mapping[str, object]:
    """Read a JSON object; raise UnsupportedError, naming what it was to be, for anything else."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UnsupportedError(f"the {what} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise UnsupportedError(f"the {what} is a JSON {type(document).__name__}, not an object")
    return document


def _kind(document: Mapping[str, object]) -> str:
    declared = document.get("mediaType")
    if isinstance(declared, str) and declared:
        return declared
    if "fsLayers" in document:
        return SCHEMA1_TYPES[0]
    if "manifests" in document:
        return OCI_INDEX
    return OCI_MANIFEST if "config" in document and "layers" in document else ""


def _manifest(raw: bytes, kind: str, document: Mapping[str, object]) -> Manifest:
    _check_form(document, without=("manifests",))
    config = _descriptor(document.get("config"), "config")
    layers = _descriptors(document, "layers")
    _check_sizes((config, *layers))
    return Manifest(raw, kind, Digest.of(raw), config, layers, _artifact_type(document), _subject(document))


def _index(raw: bytes, kind: str, document: Mapping[str, object]) -> Index:
    _check_form(document, without=("config", "layers"))
    manifests = _descriptors(document, "manifests")
    return Index(raw, kind, Digest.of(raw), manifests, _artifact_type(document), _subject(document))


def _artifact_type(document: Mapping[str, object]) -> str:
    return _text({"artifactType": document.get("artifactType") or ""}, "artifactType", "document")


def _subject(document: Mapping[str, object]) -> Descriptor | None:
    """Read what a document is about: OCI image spec, manifest.md and image-index.md."""
    subject = document.get("subject")
    return None if subject is None else _descriptor(subject, "subject")


def _check_form(document: Mapping[str, object], *, without: Sequence[str]) -> None:
    if document.get("schemaVersion") != 2:
        raise UnsupportedError(f"manifest: schemaVersion is {document.get('schemaVersion')!r}, not 2")
    for member in without:  # two readers could take it for two things: CVE-2021-41190
        if member in document:
            raise UnsupportedError(f"manifest: {member} has no place in a document of this media type")


def _check_sizes(blobs: Sequence[Descriptor]) -> None:
    sizes: dict[Digest, int] = {}
    for blob in blobs:
        if sizes.setdefault(blob.digest, blob.size) != blob.size:
            raise UnsupportedError(
                f"manifest: blob {blob.digest} is given two sizes, {sizes[blob.digest]} and {blob.size}"
            )


def _descriptors(document: Mapping[str, object], member: str) -> tuple[Descriptor, ...]:
    entries = document.get(member)
    if not isinstance(entries, list):
        raise UnsupportedError(f"manifest: {member} is not a list")
    return tuple(_descriptor(entry, f"{member}[{place}]") for place, entry in enumerate(entries))


def _descriptor(entry: object, place: str) -> Descriptor:
    if not isinstance(entry, dict):
        raise UnsupportedError(f"manifest: {place} is not an object")
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_BLOB_SIZE:
        raise UnsupportedError(f"manifest: {place}.size is not a number of bytes")
    try:
        digest = Digest.parse(_text(entry, "digest", place))
    except ValueError as error:
        raise UnsupportedError(f"manifest: {place}.digest: {error}") from None
    return Descriptor(
        media_type=_text(entry, "mediaType", place),
        digest=digest,
        size=size,
        platform=_platform(entry.get("platform"), place),
        annotations=_annotations(entry.get("annotations"), place),
        urls=_urls(entry.get("urls"), place),
        artifact_type=_text({"artifactType": entry.get("artifactType") or ""}, "artifactType", place),
    )


def _platform(value: object, place: str) -> Platform | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise UnsupportedError(f"manifest: {place}.platform is not an object")
    return Platform(
        _text(value, "os", f"{place}.platform"),
        _text(value, "architecture", f"{place}.platform"),
        _text(value, "variant", f"{place}.platform"),
    )


def _text(entry: Mapping[str, object], member: str, place: str) -> str:
    value = entry.get(member, "")
    if not isinstance(value, str):
        raise UnsupportedError(f"manifest: {place}.{member} is not a string")
    return value


def _annotations(value: object, place: str) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise UnsupportedError(f"manifest: {place}.annotations is not an object of strings")
    return value


def _urls(value: object, place: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(url, str) for url in value):
        raise UnsupportedError(f"manifest: {place}.urls is not a list of strings")
    return tuple(value)
