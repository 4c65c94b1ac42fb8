"""Own the writing of documents anew: manifests with other layers, indexes with other images, or with fewer.

The conversion room and the stories may enter. What isn't changed stays as it was: every other member, known here or
not, a subject too, in its order; and a document in which nothing changes, byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar, cast

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import UnsupportedError
from ecrdrag.manifest import ATTESTED, DOCKER_MANIFEST, LAYER_TYPES, Document, Index, Manifest, parse, parse_object
from ecrdrag.tree import Tree

# OCI image spec, layer.md; docker distribution, manifest-v2-2. Docker's for zstd is in no document, but in the wild.
_LAYER_TYPE: Final = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.v1|docker\.image\.rootfs\.diff)\.tar(?:[+.](?P<compression>gzip|zstd))?"
)
# What annotations begin with that are about bytes, not about what these hold: zstd:chunked, and entries of indexes
# (containers/storage and containers/image); eStargz; where a registry has them to be mounted (containerd).
_ABOUT_BYTES: Final = (
    "io.github.containers.zstd-chunked.",
    "io.github.containers.compression.",
    "containerd.io/snapshot/stargz/",
    "io.containers.estargz.",
    "containerd.io/distribution.source.",
)
_IN_PLACE: Final = ("urls", "data")  # where the bytes are, and they themselves: OCI image spec, descriptor.md

_Kind = TypeVar("_Kind", Manifest, Index)


@dataclass(frozen=True, slots=True)
class NewLayer:
    """What a layer has become; compression is what decompress.sniff calls it, empty for a plain tar."""

    digest: Digest
    size: int
    compression: str


def compression_of(layer: Descriptor) -> str | None:
    """Read in its type how a layer is compressed; None for what is foreign, encrypted, or otherwise more than that."""
    found = _LAYER_TYPE.fullmatch(layer.media_type)
    return (found["compression"] or "") if found else None


def with_layers(manifest: Manifest, layers: Mapping[Digest, NewLayer]) -> Manifest:
    """Put other layers in the places of those that have these digests, under types of the manifest's own family.

    Raises UnsupportedError for a manifest that can't be written again, or grows too large.
    """
    style = "docker" if manifest.media_type == DOCKER_MANIFEST else "oci"

    def changed(layer: Descriptor) -> Descriptor:
        new = layers.get(layer.digest)
        if new is None or compression_of(layer) is None:
            return layer
        return _moved(layer, LAYER_TYPES[style, new.compression], new.digest, new.size)

    return _rewritten(manifest, "layers", manifest.layers, changed)


def rewritten(tree: Tree, replaced: Mapping[Digest, Manifest]) -> Tree:
    """Put other manifests in the places of those that have these digests, and let the indexes above name them."""
    return _grown_anew(tree, replaced, frozenset())


def subset(tree: Tree) -> Tree:
    """Let indexes of which only some children are in the tree name those alone; one that has lost all goes as well."""
    here = {document.digest for document in tree.documents}
    named = {entry.digest for one in tree.documents if isinstance(one, Index) for entry in one.manifests}
    return _grown_anew(tree, {}, named - here)


def _grown_anew(tree: Tree, replaced: Mapping[Digest, Manifest], gone: Collection[Digest]) -> Tree:
    """Write anew what has to be, children first; the root stays, whatever it has lost."""
    now: dict[Digest, Document] = {}
    names: dict[Digest, Digest] = {old: new.digest for old, new in replaced.items()}
    lost = set(gone)
    for old in tree.documents:
        new = _with_children(old, now, names, lost) if isinstance(old, Index) else replaced.get(old.digest, old)
        names[old.digest] = new.digest
        if isinstance(new, Index) and new is not old and not new.manifests and old is not tree.root:
            lost.add(old.digest)
        else:
            now[old.digest] = new
    if all(now.get(old.digest) is old for old in tree.documents):
        return tree
    # Each once: images that differed in their compression alone may have become one.
    return Tree(tuple({new.digest: new for new in now.values()}.values()))


def _with_children(
    index: Index, now: Mapping[Digest, Document], names: Mapping[Digest, Digest], lost: Collection[Digest]
) -> Index:
    attested = {str(old): str(new) for old, new in names.items()}

    def changed(entry: Descriptor) -> Descriptor | None:
        if entry.digest in lost:
            return None
        about = entry.annotations.get(ATTESTED, "")
        if attested.get(about, about) != about:
            entry = replace(entry, annotations={**entry.annotations, ATTESTED: attested[about]})
        new = now.get(entry.digest)
        return _moved(entry, new.media_type, new.digest, len(new.raw)) if new else entry

    return _rewritten(index, "manifests", index.manifests, changed)


def _moved(entry: Descriptor, media_type: str, digest: Digest, size: int) -> Descriptor:
    """Point at other bytes, of which not all holds that was said of the old ones."""
    if digest == entry.digest:
        return replace(entry, media_type=media_type)
    kept = {name: text for name, text in entry.annotations.items() if not name.startswith(_ABOUT_BYTES)}
    return replace(entry, media_type=media_type, digest=digest, size=size, annotations=kept)


def _rewritten(
    document: _Kind, member: str, entries: Sequence[Descriptor], changed: Callable[[Descriptor], Descriptor | None]
) -> _Kind:
    """Write a document with changed entries, without those that change to None."""
    pairs = [(entry, changed(entry)) for entry in entries]
    if all(old == new for old, new in pairs):
        return document
    found = parse_object(document.raw, "manifest")
    written = cast(Iterable[Mapping[str, object]], found[member])  # as parse() has seen
    kept = [_entry(raw, old, new) for raw, (old, new) in zip(written, pairs, strict=True) if new is not None]
    parsed = parse(_json({**found, member: kept}), document.media_type)
    assert isinstance(parsed, type(document))
    return parsed


def _entry(raw: Mapping[str, object], old: Descriptor, new: Descriptor) -> Mapping[str, object]:
    """Write what has changed into an entry, and nothing else."""
    entry = dict(raw)
    if new.media_type != old.media_type:
        entry["mediaType"] = new.media_type
    if new.digest != old.digest:
        entry.update(digest=str(new.digest), size=new.size)
        for member in _IN_PLACE:
            entry.pop(member, None)
    if new.annotations != old.annotations:
        entry["annotations"] = dict(new.annotations)
        if not new.annotations:
            del entry["annotations"]
    return entry


def _json(value: object) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError) as error:  # Python reads more than JSON: NaN, and numbers beyond its floats
        raise UnsupportedError(f"the manifest can't be written again: {error}") from error
