"""Own what a manifest means to the registry: what it needs, how it is described, how it is translated.

The operations on images may enter. Parsing is ecrdrag.manifest's.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ecrdrag import manifest
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import UnsupportedError
from ecrdrag.localecr.settings import SignedDigest
from ecrdrag.schema1 import SCHEMA1_TYPES, Schema1

# The two spellings of one thing: OCI image spec, "Compatibility Matrix" (media-types.md).
_DOCKER_TO_OCI: Final[Mapping[str, str]] = {
    manifest.DOCKER_MANIFEST: manifest.OCI_MANIFEST,
    manifest.DOCKER_CONFIG: manifest.OCI_CONFIG,
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    ),
}
_OCI_TO_DOCKER: Final = {oci: docker for docker, oci in _DOCKER_TO_OCI.items()}
_TRANSLATIONS: Final = {
    manifest.DOCKER_MANIFEST: (manifest.OCI_MANIFEST, _DOCKER_TO_OCI),
    manifest.OCI_MANIFEST: (manifest.DOCKER_MANIFEST, _OCI_TO_DOCKER),
}
# What a layer of schema 1, which has no types, counts as: containerd, core/remotes/docker/schema1/converter.go.
_SCHEMA1_LAYER: Final = manifest.LAYER_TYPES["docker", "gzip"]
_MAX_SIZE: Final = 2**63 - 1  # ImageSizeInBytes is a long in ECR's model


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index as the registry sees it."""

    digest: Digest
    media_type: str
    blobs: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    layer_count: int
    artifact_type: str
    subject: str
    is_measured: bool = True
    """Whether the sizes of the blobs are said; those of schema 1 are 0 here."""

    @property
    def needed_blobs(self) -> tuple[Descriptor, ...]:
        """The blobs that must be in the repository: all but foreign layers, which stay where their urls say."""
        return tuple(blob for blob in self.blobs if blob.media_type not in manifest.FOREIGN_LAYER_TYPES)

    @property
    def blob_size(self) -> int:
        """Bytes of the config and the layers."""
        return sum(blob.size for blob in self.blobs)


def read(raw: bytes, media_type: str, signed_digest: SignedDigest = SignedDigest.RAW) -> Document:
    """Read a manifest that is pushed with a media type, or without one when it names its own.

    Schema 1 is among them; signed_digest says what its digest is of where it is signed.

    Raises UnsupportedError for what is no manifest, ValueError for one whose type is unknown or contradicted, whose
    blobs are too large, and for one that couldn't be written again: with half a surrogate pair, NaN, or too deep.
    """
    _check_encoding(raw)
    document = manifest.parse_object(raw, "manifest")
    _write(document)
    declared = document.get("mediaType")
    if media_type and declared and media_type != declared:
        raise ValueError("the manifest's mediaType is not the one it is pushed with")
    if not (media_type or declared):
        raise ValueError("neither the manifest nor the request says which media type it has")
    if (media_type or declared) in SCHEMA1_TYPES:
        return _schema1(Schema1.parse(raw, media_type), signed_digest)
    parsed = manifest.parse(raw, media_type)
    artifact_type = _text(document, "artifactType")
    subject = document.get("subject")
    is_index = isinstance(parsed, manifest.Index)
    read = Document(
        digest=parsed.digest,
        media_type=parsed.media_type,
        blobs=() if isinstance(parsed, manifest.Index) else parsed.blobs,
        children=_distinct(parsed.manifests) if isinstance(parsed, manifest.Index) else (),
        layer_count=0 if isinstance(parsed, manifest.Index) else len(parsed.layers),
        artifact_type=artifact_type or ("" if is_index else _config_type(document)),
        subject=_text(subject, "digest") if isinstance(subject, dict) else "",
    )
    if read.blob_size > _MAX_SIZE:
        raise ValueError(f"the manifest's blobs are said to have {read.blob_size} bytes")
    return read


def unsaid_type(raw: bytes) -> str:
    """Name the media type of what is pushed under none: schema 1's, which can't say its own; else empty.

    Docker before 1.10 pushed so: docker distribution, docs/spec/manifest-v2-1.md, has "application/json" for it, too.
    """
    try:
        return Schema1.parse(raw).media_type
    except UnsupportedError:
        return ""


def translate(raw: bytes, media_type: str, accepted: Collection[str]) -> tuple[bytes, str]:
    """Return the manifest in a form that is accepted, itself when there is none.

    Schema 2 and OCI manifests become each other; indexes and schema 1 stay: Amazon ECR user guide, "Container image
    manifest format support". The result has another digest than the image.
    """
    target, words = _TRANSLATIONS.get(media_type, ("", {}))
    if not accepted or media_type in accepted or target not in accepted:
        return raw, media_type
    document = dict(manifest.parse_object(raw, "manifest"))
    document["mediaType"] = target
    document["config"] = _spell(document["config"], words)
    layers = document["layers"]
    document["layers"] = [_spell(layer, words) for layer in layers] if isinstance(layers, list) else layers
    return _write(document), target


def _schema1(parsed: Schema1, signed_digest: SignedDigest) -> Document:
    return Document(
        digest=Digest.of(parsed.raw) if signed_digest is SignedDigest.RAW else parsed.digest,
        media_type=parsed.media_type,
        blobs=_distinct(Descriptor(_SCHEMA1_LAYER, layer, 0) for layer in parsed.layers),
        children=(),
        layer_count=len(parsed.layers),
        artifact_type="",
        subject="",
        is_measured=False,
    )


def _check_encoding(raw: bytes) -> None:
    """Refuse what Python's parser would take for UTF-16 or without its first character, and no other one takes."""
    if raw.startswith(BOM_UTF8) or b"\0" in raw:
        raise ValueError("JSON is UTF-8 without a byte order mark: RFC 8259, section 8.1")


def _distinct(descriptors: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    return tuple({one.digest: one for one in descriptors}.values())


def _write(document: Mapping[str, object]) -> bytes:
    """Write without a margin: that of a deep document would be many times its size."""
    try:
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("the manifest is nested too deeply") from None


def _spell(descriptor: object, words: Mapping[str, str]) -> object:
    if not isinstance(descriptor, dict):
        return descriptor
    kind = descriptor.get("mediaType", "")
    return {**descriptor, "mediaType": words.get(kind, kind)}


def _config_type(document: Mapping[str, object]) -> str:
    config = document.get("config")
    return _text(config, "mediaType") if isinstance(config, dict) else ""


def _text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""
