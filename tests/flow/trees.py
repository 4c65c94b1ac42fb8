"""Own random trees of documents and the source that offers them: shared, nested, incomplete, wrong, in circles.

test_trees.py enters. A tree has one flaw at most, and it is known which: all others have to be pulled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import strategies as st

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import IntegrityError, NotFoundError
from ecrdrag.manifest import INDEX_TYPES, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Document, parse
from ecrdrag.tree import MAX_DEPTH
from tests import kinds
from tests.images import Blob
from tests.kinds import Parcel

ARCHITECTURES: Final = ("amd64", "arm64", "s390x")
# What can be wrong with one descriptor, and the exit codes with which a pull may say so.
FLAWS: Final[Mapping[str, set[int]]] = {
    "": set(),
    "the size is missing": {8},
    "the size is no number": {8},
    "the size is too small": {6, 8},
    "the size is too large": {5, 6, 8},
    "it is gone": {4},
    "it is damaged": {6},
    "it is named by sha512": {8},
    "it leads back to the root": {6, 8},
    "it has another type": {8},
}
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_ROOT_SIZE: Final = 20_000  # bytes of a root that something leads back to: its size is known before its content
_POOL: Final = tuple(b"layer %d " % number * number * 60 for number in range(5))  # the first has no bytes


class World:
    """A root and all that it leads to; flaw is what is wrong, empty for nothing, depth how many levels there are."""

    def __init__(self, root: Parcel, source: TreeSource, flaw: str, depth: int, referrers: tuple[Parcel, ...]) -> None:
        self.root, self.source, self.flaw, self.depth, self.referrers = root, source, flaw, depth, referrers

    def __repr__(self) -> str:
        return f"{self.flaw or 'no flaw'}, {self.depth} levels: {self._drawn(self.root.root)}"

    @property
    def is_too_deep(self) -> bool:
        """Whether it has to be refused: not where what lies too deep may be met further up as well."""
        indexes = [read for each in self.root.documents if "manifests" in (read := json.loads(each.content))]
        named = [entry["digest"] for index in indexes for entry in index["manifests"]]
        return self.depth > MAX_DEPTH and len(named) == len(set(named))

    def _drawn(self, document: Blob) -> str:
        read = json.loads(document.content)
        if "manifests" not in read:
            return f"{self.source.architecture_of(document) or 'artifact'}({len(read['layers'])})"
        children = (self.source.documents.get(Digest.parse(entry["digest"])) for entry in read["manifests"])
        return f"[{', '.join(self._drawn(child) if child else '?' for child in children)}]"

    @property
    def platforms(self) -> set[str]:
        """The architectures of the images in it."""
        return {architecture for architecture in map(self.source.architecture_of, self.root.documents) if architecture}


@dataclass
class TreeSource:
    """Give documents and blobs as a registry does, which checks digests, but for what it was told to do wrongly."""

    documents: dict[Digest, Blob] = field(default_factory=dict)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    about: dict[Digest, list[Blob]] = field(default_factory=dict)
    root: Digest | None = None
    gone: set[Digest] = field(default_factory=set)
    damaged: set[Digest] = field(default_factory=set)
    circles: set[Digest] = field(default_factory=set)

    def add(self, parcel: Parcel) -> None:
        self.documents.update({document.digest: document for document in parcel.documents})
        self.blobs.update({digest: blob.content for digest, blob in parcel.blobs.items()})

    def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Document:
        is_root = digest in self.circles or (digest is None and tag == "1")
        wanted = self.root if is_root else digest
        if wanted is None or wanted in self.gone or wanted not in self.documents:
            raise NotFoundError(f"there is no {digest or tag}")
        if wanted in self.damaged:
            raise IntegrityError(f"{digest or tag} came damaged")
        return parse(self.documents[wanted].content, self.documents[wanted].media_type)

    def measure(self, digest: Digest) -> int:
        return len(self._content(digest))

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        return tuple(parse(blob.content, blob.media_type).descriptor for blob in self.about.get(digest, ()))

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        yield memoryview(self._content(blob.digest))[start:stop]

    def expect(self, blob: Descriptor) -> None:
        pass

    def abort(self) -> None:
        pass

    def architecture_of(self, document: Blob) -> str:
        """Say what an image runs on; empty for what is none."""
        read = json.loads(document.content)
        if read.get("config", {}).get("mediaType") != OCI_CONFIG:
            return ""
        config = self.blobs.get(Digest.parse(read["config"]["digest"]), b'{"architecture": ""}')
        return str(json.loads(config)["architecture"])

    def _content(self, digest: Digest) -> bytes:
        if digest in self.gone or digest not in self.blobs:
            raise NotFoundError(f"there is no blob {digest}")
        content = self.blobs[digest]
        return bytes(byte ^ 1 for byte in content) if digest in self.damaged else content


class _Gardener:
    """Grow a tree by what draw says, with a flaw in the descriptor whose turn it is."""

    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int], flaw: str, turn: int) -> None:
        self._draw, self._flaw, self._turn = draw, flaw, turn
        self.source = TreeSource()
        self.applied = ""
        self._known: list[tuple[Parcel, int]] = []

    def below(self, most: int) -> int:
        return self._draw(st.integers(0, most - 1))

    def node(self, levels: int) -> tuple[Parcel, int]:
        """Give an image, an artifact, an index, or what is there already; and how many levels it has."""
        choice = self.below(6)
        if choice == 0 and self._known:
            return self._known[self.below(len(self._known))]
        made = self.tree(levels) if levels and choice >= 3 else (self._leaf(choice), 1)
        self._known.append(made)
        return made

    def tree(self, levels: int, *, wraps: int = 0) -> tuple[Parcel, int]:
        """Give an index over up to three nodes, the same one twice perhaps, inside so many other indexes."""
        nodes = [self.node(levels - 1) for _ in range(self.below(4))]
        made = self._index([parcel for parcel, _ in nodes], is_root=not wraps and levels == 4)
        depth = 1 + max((depth for _, depth in nodes), default=0)
        for left in reversed(range(wraps)):
            made, depth = self._index([made], is_root=not left), depth + 1
        return made, depth

    def _leaf(self, choice: int) -> Parcel:
        layers = [Blob(_POOL[self.below(len(_POOL))], _LAYER) for _ in range(self.below(4))]
        architecture = ARCHITECTURES[self.below(len(ARCHITECTURES))]
        config, said = kinds.EMPTY, {}
        if choice:
            text = {"os": "linux", "architecture": architecture, "number": self.below(3)}
            config = Blob(json.dumps(text).encode(), OCI_CONFIG)
            said = {"platform": {"os": "linux", "architecture": architecture}} if choice % 2 else {}
        entries = [self._named(layer) for layer in layers]
        root = kinds.document_of(OCI_MANIFEST, config=self._named(config), layers=entries)
        return self._kept(Parcel((root,), {blob.digest: blob for blob in (config, *layers)}, said))

    def _index(self, parcels: list[Parcel], *, is_root: bool) -> Parcel:
        entries = [{**self._named(parcel.root), **parcel.said} for parcel in parcels]
        root = kinds.document_of(OCI_INDEX, manifests=entries)
        if is_root and self._flaw == "it leads back to the root":
            root = Blob(root.content.ljust(_ROOT_SIZE), root.media_type)
        documents = {document.digest: document for parcel in parcels for document in parcel.documents}
        blobs = {digest: blob for parcel in parcels for digest, blob in parcel.blobs.items()}
        return self._kept(Parcel((*documents.values(), root), blobs))

    def _kept(self, parcel: Parcel) -> Parcel:
        self.source.add(parcel)
        return parcel

    def _named(self, blob: Blob) -> dict[str, object]:
        """Write a descriptor, with the flaw where that is possible, once it's its turn."""
        entry, is_document = dict(blob.json), blob.media_type in (OCI_MANIFEST, *INDEX_TYPES)
        self._turn -= 1
        if self._turn > 0 or self.applied or not self._flaw:
            return entry
        if self._flaw in ("it leads back to the root", "it has another type") and not is_document:
            return entry
        if self._flaw in ("it is gone", "it is damaged") and not blob.content:
            return entry  # nobody asks for no bytes
        self.applied = self._flaw
        entry.update(self._spoiled(blob))
        return {name: value for name, value in entry.items() if value is not None}

    def _spoiled(self, blob: Blob) -> dict[str, object]:
        marks = {
            "it is gone": self.source.gone,
            "it is damaged": self.source.damaged,
            "it leads back to the root": self.source.circles,
        }
        if self._flaw in marks:
            marks[self._flaw].add(blob.digest)
        other = OCI_MANIFEST if blob.media_type in INDEX_TYPES else OCI_INDEX
        spoiled: dict[str, dict[str, object]] = {
            "the size is missing": {"size": None},
            "the size is no number": {"size": str(len(blob.content))},
            "the size is too small": {"size": len(blob.content) - 1},
            "the size is too large": {"size": len(blob.content) + 1},
            "it is named by sha512": {"digest": str(Digest.of(blob.content, "sha512"))},
            "it leads back to the root": {"size": _ROOT_SIZE},
            "it has another type": {"mediaType": other},
        }
        return spoiled.get(self._flaw, {})


@st.composite
def worlds(draw: Callable[[st.SearchStrategy[int]], int], *, flawed: bool) -> World:
    """Grow a tree of two to five levels and more, with a flaw or without."""
    flaw = [*FLAWS][draw(st.integers(1, len(FLAWS) - 1))] if flawed else ""
    gardener = _Gardener(draw, flaw, draw(st.integers(1, 6)))
    wraps = max(0, gardener.below(16) - 8)  # mostly none
    root, depth = gardener.tree(4, wraps=wraps)
    gardener.source.root = root.digest
    return World(root, gardener.source, gardener.applied, depth, _referrers(gardener, root))


@st.composite
def wishes(draw: Callable[[st.SearchStrategy[Any]], Any], *, flawed: bool) -> tuple[World, list[str]]:
    """Grow a tree, and choose some architectures, mostly of those that it has."""
    world = draw(worlds(flawed=flawed))
    known = sorted(world.platforms) if draw(st.integers(0, 3)) else []
    offered = draw(st.permutations(known or ARCHITECTURES))
    return world, list(offered)[: draw(st.integers(1, len(offered)))]


def _referrers(gardener: _Gardener, root: Parcel) -> tuple[Parcel, ...]:
    """Sign some of the documents, and some of the signatures."""
    signed = [Parcel((document,)) for document in root.documents]
    made: list[Parcel] = []
    for _ in range(gardener.below(4)):
        subject = signed[gardener.below(len(signed))]
        signature = kinds.signature(subject)
        if signature.digest not in gardener.source.documents:
            gardener.source.add(signature)
            gardener.source.about.setdefault(subject.digest, []).append(signature.root)
            signed.append(signature)
            made.append(signature)
    return tuple(made)
