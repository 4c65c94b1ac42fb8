"""Own what a manifest means to the registry: what it needs, how it is described, how it is translated.

The operations on images may enter. Parsing is ecrdrag.manifest's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from ecrdrag import manifest
from ecrdrag.content import Descriptor, Digest

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

    @property
    def needed_blobs(self) -> tuple[Descriptor, ...]:
        """The blobs that must be in the repository: all but foreign layers, which stay where their urls say."""
        return tuple(blob for blob in self.blobs if blob.media_type not in manifest.FOREIGN_LAYER_TYPES)

    @property
    def blob_size(self) -> int:
        """Bytes of the config and the layers."""
        return sum(blob.size for blob in self.blobs)


def read(raw: bytes, media_type: str) -> Document:
    """Read a manifest that is pushed with a media type, or without one when it names its own.

    Raises UnsupportedError for what is no manifest, ValueError for one whose type is unknown or contradicted,
    and for one that couldn't be written again: with half a surrogate pair, NaN, or too deep.
    """
    document = manifest.parse_object(raw, "manifest")
    _write(document)
    declared = document.get("mediaType")
    if media_type and declared and media_type != declared:
        raise ValueError("the manifest's mediaType is not the one it is pushed with")
    if not (media_type or declared):
        raise ValueError("neither the manifest nor the request says which media type it has")
    parsed = manifest.parse(raw, media_type)
    artifact_type = _text(document, "artifactType")
    subject = document.get("subject")
    is_index = isinstance(parsed, manifest.Index)
    return Document(
        digest=parsed.digest,
        media_type=parsed.media_type,
        blobs=() if isinstance(parsed, manifest.Index) else parsed.blobs,
        children=parsed.manifests if isinstance(parsed, manifest.Index) else (),
        layer_count=0 if isinstance(parsed, manifest.Index) else len(parsed.layers),
        artifact_type=artifact_type or ("" if is_index else _config_type(document)),
        subject=_text(subject, "digest") if isinstance(subject, dict) else "",
    )


def translate(raw: bytes, media_type: str, accepted: Collection[str]) -> tuple[bytes, str]:
    """Return the manifest in a form that is accepted, itself when there is none.

    Schema 2 and OCI manifests become each other; indexes stay: Amazon ECR user guide, "Container image manifest
    format support". The result has another digest than the image.
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


def _write(document: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(document, indent=3, ensure_ascii=False, allow_nan=False).encode()
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
