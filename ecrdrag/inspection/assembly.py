"""Own the putting together of an image's parts: out of its documents, of one before 2016, or as docker's format has it.

The rest of this room enters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final

from ecrdrag.archive.docker import SavedImage
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import UnsupportedError
from ecrdrag.inspection.anatomy import Config, Kind, Layer, Part
from ecrdrag.inspection.configs import facts_of, facts_of_schema1
from ecrdrag.inspection.library import ONE_BY_ONE, Library, attests, told_of
from ecrdrag.manifest import ATTESTED, DOCKER_CONFIG, INDEX_TYPES, Document, Index, Manifest, parse_object
from ecrdrag.schema1 import Schema1

# Bytes of documents and configs that one inspection shows, those that come again too; real images have some KiB.
MAX_SHOWN: Final = 64 * 1024 * 1024


@dataclass(slots=True)
class Assembly:
    """Put the parts of one image after another together; configs are read of the documents in detailed alone."""

    library: Library
    detailed: Set[Digest] = frozenset()
    lacking: Set[Digest] = frozenset()
    _shown: int = 0
    _seen: set[Digest] = field(default_factory=set)

    def image(self, root: Document, detailed: Set[Digest], lacking: Set[Digest]) -> Part:
        """Put an image together."""
        self.detailed, self.lacking, self._seen = detailed, lacking, set()
        return self._part(root, None, "")

    def _part(self, document: Document, entry: Descriptor | None, os_version: str) -> Part:
        if isinstance(document, Index):
            return self._index(document, entry)
        self._add(len(document.raw))
        kind = _kind(document, entry)
        config = self._config(document)
        told = config.facts.os_version if config.facts else None
        platform = (entry.platform if entry else None) or self.library.platform(document)
        return replace(
            _bare(document, kind),
            platform=platform if kind is Kind.IMAGE else None,
            os_version=os_version or told or "",
            attests=_attested(entry),
            total=sum(blob.size for blob in document.blobs),
            layers=tuple(self._layer(layer) for layer in document.layers),
            config=config,
        )

    def _index(self, index: Index, entry: Descriptor | None) -> Part:
        self._add(len(index.raw))
        part = replace(_bare(index, Kind.INDEX), platform=entry.platform if entry else None)
        if index.digest in self._seen:
            return replace(part, is_repeated=True)
        self._seen.add(index.digest)
        told = zip(index.manifests, _os_versions(index), strict=True)
        return replace(part, parts=tuple(self._child(child, version) for child, version in told))

    def _child(self, entry: Descriptor, os_version: str) -> Part:
        document = self.library.child(entry)
        if document is not None:
            return self._part(document, entry, os_version)
        gap = self.library.gap(entry.digest)
        return Part(
            kind=_promised(entry),
            digest=entry.digest,
            media_type=entry.media_type,
            size=entry.size,
            artifact_type=entry.artifact_type,
            platform=None if attests(entry) else entry.platform,
            os_version=os_version,
            attests=_attested(entry),
            missing=gap.missing,
            problem=gap.text,
        )

    def _config(self, manifest: Manifest) -> Config:
        wanted = manifest.digest in self.detailed
        config = self.library.config(manifest) if wanted else told_of(manifest.config)
        self._add(manifest.config.size if config.facts else 0)
        return replace(config, missing=config.missing or manifest.config.digest in self.lacking)

    def _layer(self, layer: Descriptor) -> Layer:
        return Layer(
            layer.digest, layer.size, layer.media_type, layer.annotations, layer.urls, layer.digest in self.lacking
        )

    def _add(self, size: int) -> None:
        self._shown += size
        if self._shown > MAX_SHOWN:
            where = self.library.origin.where
            raise UnsupportedError(f"{where}: what it names has more than {MAX_SHOWN} bytes", hint=ONE_BY_ONE)


def of_schema1(schema1: Schema1, sizes: Mapping[Digest, int]) -> Part:
    """Show what an image before 2016 says of itself, and how large its layers are."""
    layers = tuple(Layer(digest, sizes.get(digest), missing=digest not in sizes) for digest in schema1.layers)
    return Part(
        kind=Kind.IMAGE,
        digest=schema1.digest,
        media_type=schema1.media_type,
        size=len(schema1.raw),
        platform=schema1.platform,
        total=sum(sizes.values()),
        layers=layers,
        config=Config(None, None, "", facts_of_schema1(schema1)),
    )


def of_saved(image_id: Digest, saved: SavedImage) -> Part:
    """Show an image as docker's format has it: layers are plain tars, mostly, and a manifest isn't made yet."""
    facts = facts_of(saved.config, len(saved.sizes))
    distinct = dict(zip(facts.diff_ids or (), saved.sizes, strict=False))
    return Part(
        kind=Kind.IMAGE,
        digest=None,
        media_type="",
        size=None,
        platform=facts.platform,
        os_version=facts.os_version or "",
        total=len(saved.config) + sum(distinct.values()),
        layers=tuple(Layer(None, size) for size in saved.sizes),
        config=Config(image_id, len(saved.config), DOCKER_CONFIG, facts),
    )


def _bare(document: Document, kind: Kind) -> Part:
    return Part(
        kind=kind,
        digest=document.digest,
        media_type=document.media_type,
        size=len(document.raw),
        artifact_type=document.descriptor.artifact_type,
        annotations=_annotations(document),
        about=document.subject.digest if document.subject else None,
    )


def _kind(manifest: Manifest, entry: Descriptor | None) -> Kind:
    if entry is not None and attests(entry):
        return Kind.ATTESTATION
    return Kind.IMAGE if manifest.is_image else Kind.ARTIFACT


def _promised(entry: Descriptor) -> Kind:
    """Guess what something is whose document can't be had."""
    if attests(entry):
        return Kind.ATTESTATION
    if entry.media_type in INDEX_TYPES:
        return Kind.INDEX
    return Kind.IMAGE if entry.platform else Kind.UNKNOWN


def _attested(entry: Descriptor | None) -> str:
    return entry.annotations.get(ATTESTED, "") if entry else ""


def _annotations(document: Document) -> Mapping[str, str]:
    found = parse_object(document.raw, "manifest").get("annotations")
    return {name: text for name, text in found.items() if isinstance(text, str)} if isinstance(found, dict) else {}


def _os_versions(index: Index) -> Sequence[str]:
    """Read what tells the Windows images of an index apart: OCI image spec, image-index.md, os.version."""
    entries = parse_object(index.raw, "index").get("manifests")
    assert isinstance(entries, list), "it has been parsed"
    return [_os_version(entry) for entry in entries]


def _os_version(entry: object) -> str:
    platform = entry.get("platform") if isinstance(entry, dict) else None
    found = platform.get("os.version") if isinstance(platform, dict) else None
    return found if isinstance(found, str) else ""
