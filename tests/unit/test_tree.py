"""The walk from a root document to all that an image needs, and where it stops."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from ecrdrag import tree
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import IntegrityError, UnsupportedError
from ecrdrag.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Document, Index, Manifest, parse
from ecrdrag.tree import MAX_DEPTH, Tree, grow

CONFIG = {"mediaType": OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}


class Shelf:
    """Documents by digest, and which of them were read."""

    def __init__(self) -> None:
        self.documents: dict[Digest, Document] = {}
        self.read: list[Digest] = []

    def image(self, name: str, *, size: int = 7, padding: int = 0, algorithm: str = "sha256") -> Manifest:
        layer = {"mediaType": "x", "digest": str(Digest.of(b"layer", algorithm)), "size": size}
        more = {"name": name, "padding": "x" * padding}
        found = self._add({"schemaVersion": 2, "config": CONFIG, "layers": [layer], "annotations": more}, OCI_MANIFEST)
        assert isinstance(found, Manifest)
        return found

    def index(self, children: Sequence[Document], *, algorithm: str = "sha256") -> Index:
        entries = [
            {"mediaType": one.media_type, "digest": str(Digest.of(one.raw, algorithm)), "size": len(one.raw)}
            for one in children
        ]
        found = self._add({"schemaVersion": 2, "manifests": entries}, OCI_INDEX)
        assert isinstance(found, Index)
        return found

    def grow(self, root: Document) -> Tree:
        return grow(root, self._read)

    def _add(self, document: object, media_type: str) -> Document:
        found = parse(json.dumps(document).encode(), media_type)
        self.documents[found.digest] = found
        return found

    def _read(self, entry: Descriptor) -> Document:
        self.read.append(entry.digest)
        return self.documents[entry.digest]


def nested(shelf: Shelf, depth: int) -> Document:
    """Put an image under depth - 1 indexes."""
    document: Document = shelf.image("deep")
    for _ in range(depth - 1):
        document = shelf.index([document])
    return document


def test_children_come_before_those_that_name_them_and_each_is_read_once() -> None:
    shelf = Shelf()
    one, two = shelf.image("one"), shelf.image("two")
    inner = shelf.index([one, two])
    root = shelf.index([two, inner, one])
    found = shelf.grow(root)
    assert found.documents == (two, one, inner, root)
    assert (found.root, found.manifests) == (root, (two, one))
    assert len(shelf.read) == len(set(shelf.read)) == 3
    assert [blob.digest for blob in found.blobs] == [Digest.of(b"{}"), Digest.of(b"layer")]


def test_indexes_may_lie_in_each_other_so_deep_and_no_deeper() -> None:
    shelf = Shelf()
    assert len(shelf.grow(nested(shelf, MAX_DEPTH)).documents) == MAX_DEPTH
    with pytest.raises(UnsupportedError, match=f"more than {MAX_DEPTH} deep"):
        shelf.grow(nested(shelf, MAX_DEPTH + 1))


def test_an_image_has_so_many_documents_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_DOCUMENTS", 4)
    shelf = Shelf()
    assert len(shelf.grow(shelf.index([shelf.image(name) for name in "abc"])).documents) == 4
    with pytest.raises(UnsupportedError, match="more than 4 documents"):
        shelf.grow(shelf.index([shelf.image(name) for name in "abcd"]))


def test_all_documents_together_have_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_SIZE", 25_000)
    shelf = Shelf()
    shelf.grow(shelf.index([shelf.image(name, padding=10_000) for name in "ab"]))
    with pytest.raises(UnsupportedError, match="more than 25000 bytes"):
        shelf.grow(shelf.index([shelf.image(name, padding=10_000) for name in "abc"]))


def test_a_blob_of_two_sizes_is_refused() -> None:
    shelf = Shelf()
    with pytest.raises(IntegrityError, match="is given two sizes, 7 and 8"):
        shelf.grow(shelf.index([shelf.image("a"), shelf.image("b", size=8)]))


def test_what_is_named_by_another_hash_than_ecr_s_is_refused_unread() -> None:
    shelf = Shelf()
    for root in (shelf.index([shelf.image("a")], algorithm="sha512"), shelf.image("b", algorithm="sha512")):
        with pytest.raises(UnsupportedError, match="is named by sha512: only sha256 is supported"):
            shelf.grow(root)
    assert shelf.read == []
