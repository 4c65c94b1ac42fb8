"""Documents written anew: what changes, what stays byte for byte, and trees that stay whole."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.content import Descriptor, Digest
from ecrdrag.conversion.rewrite import NewLayer, compression_of, rewritten, subset, with_layers
from ecrdrag.errors import UnsupportedError
from ecrdrag.manifest import (
    ATTESTED,
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    FOREIGN_LAYER_TYPES,
    MAX_MANIFEST_SIZE,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Document,
    Index,
    Manifest,
    parse,
)
from ecrdrag.tree import Tree, grow
from tests.converting import type_of

NEW = NewLayer(Digest.of(b"new"), 77, "gzip")
OLD = Digest.of(b"old")
CONFIG = {"mediaType": OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}


def manifest_of(*layers: Mapping[str, object], kind: str = OCI_MANIFEST, **members: object) -> Manifest:
    config = {**CONFIG, "mediaType": DOCKER_CONFIG if kind == DOCKER_MANIFEST else OCI_CONFIG}
    document = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers, **members}
    found = parse(json.dumps(document, indent=3).encode(), kind)
    assert isinstance(found, Manifest)
    return found


def layer_of(digest: Digest = OLD, media_type: str = "", **members: object) -> dict[str, object]:
    return {"mediaType": media_type or type_of("zstd"), "digest": str(digest), "size": 5, **members}


def index_of(*children: Document | Mapping[str, object], kind: str = OCI_INDEX, **members: object) -> Index:
    entries = [child if isinstance(child, Mapping) else entry_of(child) for child in children]
    document = {"schemaVersion": 2, "mediaType": kind, "manifests": entries, **members}
    found = parse(json.dumps(document, indent=1).encode(), kind)
    assert isinstance(found, Index)
    return found


def entry_of(document: Document, **members: object) -> dict[str, object]:
    about = {"mediaType": document.media_type, "digest": str(document.digest), "size": len(document.raw)}
    return {**about, **members}


def image_of(name: str) -> Manifest:
    return manifest_of(layer_of(Digest.of(name.encode())), annotations={"name": name})


def tree_of(root: Document, *documents: Document) -> Tree:
    """Grow what a root leads to; documents that aren't given aren't there."""
    known = {document.digest: document for document in documents}
    return grow(root, lambda entry: known.get(entry.digest))


def read(document: Document) -> Any:
    return json.loads(document.raw)


# Manifests


@pytest.mark.parametrize("kind", [OCI_MANIFEST, DOCKER_MANIFEST])
@pytest.mark.parametrize("before", ["", "gzip", "zstd"])
@pytest.mark.parametrize("after", ["", "gzip", "zstd"])
def test_layers_get_types_of_the_manifests_own_family(kind: str, before: str, after: str) -> None:
    oci = kind == OCI_MANIFEST
    for foreign_family in (False, True):
        old = manifest_of(layer_of(media_type=type_of(before, oci=oci != foreign_family)), kind=kind)
        new = with_layers(old, {OLD: NewLayer(NEW.digest, 77, after)})
        assert new.media_type == kind
        assert [(one.media_type, one.digest, one.size) for one in new.layers] == [
            (type_of(after, oci=oci), NEW.digest, 77)
        ]


def test_all_else_stays_in_its_order_and_is_written_compactly() -> None:
    other = layer_of(Digest.of(b"other"), media_type=type_of("gzip"), zebra=1, annotations={"a": "é"})
    old = manifest_of(
        {"later": [1.5, None], **layer_of(annotations={"kept": "yes"}, platform={"os": "linux"})},
        other,
        layer_of(),
        unknown={"z": 1, "a": [2, {}]},
        subject=entry_of(image_of("subject")),
        annotations={"containerd.io/distribution.source.x": "of the manifest itself"},
    )
    new = with_layers(old, {OLD: NEW})
    expected = read(old)
    for place in (0, 2):
        expected["layers"][place] |= {"mediaType": type_of("gzip"), "digest": str(NEW.digest), "size": 77}
    assert new.raw == json.dumps(expected, separators=(",", ":")).encode()
    assert new.subject == old.subject


@pytest.mark.parametrize(
    "name",
    [
        "io.github.containers.zstd-chunked.manifest-checksum",
        "io.github.containers.zstd-chunked.manifest-position",
        "io.github.containers.zstd-chunked.tarsplit-position",
        "containerd.io/snapshot/stargz/toc.digest",
        "io.containers.estargz.uncompressed-size",
        "containerd.io/distribution.source.docker.io",
    ],
)
def test_annotations_about_the_old_bytes_are_dropped(name: str) -> None:
    kept = {"containerd.io/uncompressed": "sha256:x", "org.opencontainers.image.title": "a"}
    both = with_layers(manifest_of(layer_of(annotations={name: "1", **kept})), {OLD: NEW})
    assert read(both)["layers"][0]["annotations"] == kept
    alone = with_layers(manifest_of(layer_of(annotations={name: "1"})), {OLD: NEW})
    assert "annotations" not in read(alone)["layers"][0]


def test_places_and_copies_of_the_old_bytes_are_dropped() -> None:
    old = manifest_of(layer_of(urls=["https://mirror.example/x"], data="b2xk", artifactType="t"))
    (entry,) = read(with_layers(old, {OLD: NEW}))["layers"]
    assert list(entry) == ["mediaType", "digest", "size", "artifactType"]


def test_a_layer_that_is_only_called_wrongly_keeps_what_is_said_of_its_bytes() -> None:
    said = {"annotations": {"containerd.io/snapshot/stargz/toc.digest": "x"}, "urls": ["https://mirror.example/x"]}
    old = manifest_of({**layer_of(), **said})
    new = with_layers(old, {OLD: NewLayer(OLD, 5, "gzip")})
    assert read(new)["layers"] == [{**layer_of(media_type=type_of("gzip")), **said}]


def test_a_manifest_in_which_nothing_changes_is_the_same_object() -> None:
    old = manifest_of(layer_of(), layer_of(Digest.of(b"other"), media_type=type_of("gzip")))
    assert with_layers(old, {}) is old
    assert with_layers(old, {NEW.digest: NEW}) is old
    assert with_layers(old, {OLD: NewLayer(OLD, 5, "zstd")}) is old


@pytest.mark.parametrize("media_type", [*FOREIGN_LAYER_TYPES, f"{type_of('gzip')}+encrypted", "text/plain"])
def test_what_is_no_plain_layer_is_never_replaced(media_type: str) -> None:
    old = manifest_of(layer_of(media_type=media_type))
    assert compression_of(old.layers[0]) is None
    assert with_layers(old, {OLD: NEW}) is old


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [
        *((type_of(form, oci=oci), form) for form in ("", "gzip", "zstd") for oci in (True, False)),
        ("application/vnd.docker.image.rootfs.diff.tar+zstd", "zstd"),
        ("application/vnd.oci.image.layer.v1.tar+bzip2", None),
        ("application/vnd.oci.image.layer.v1Xtar", None),
        ("application/vnd.oci.image.layer.v1.tar+gzip\n", None),
    ],
)
def test_a_type_says_how_its_layer_is_compressed(media_type: str, compression: str | None) -> None:
    assert compression_of(Descriptor(media_type, OLD, 5)) == compression


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
def test_what_json_cannot_hold_is_refused(number: str) -> None:
    raw = manifest_of(layer_of()).raw.replace(b'"schemaVersion"', b'"odd":' + number.encode() + b',"schemaVersion"')
    old = parse(raw)
    assert isinstance(old, Manifest)
    with pytest.raises(UnsupportedError, match=r"^the manifest can't be written again: "):
        with_layers(old, {OLD: NEW})


def test_a_manifest_that_grows_too_large_is_refused() -> None:
    layers = [layer_of(), layer_of(Digest.of(b"x"), annotations={"a": "\u0101" * (MAX_MANIFEST_SIZE // 4)})]
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": layers}
    old = parse(json.dumps(document, ensure_ascii=False).encode())
    assert isinstance(old, Manifest)
    with pytest.raises(UnsupportedError, match="over the limit"):
        with_layers(old, {OLD: NEW})


def test_half_a_character_stays_what_it_is() -> None:
    old = manifest_of(layer_of(), annotations={"half": "\ud800"})
    assert read(with_layers(old, {OLD: NEW}))["annotations"] == {"half": "\ud800"}


# Indexes


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_LIST])
def test_an_index_points_at_what_replaces_its_children(kind: str) -> None:
    first, second, new = image_of("first"), image_of("second"), image_of("first, converted")
    about = {"platform": {"os": "linux", "architecture": "arm64", "odd": 1}, "unknown": 3}
    bytes_only = {"annotations": {"io.github.containers.compression.zstd": "true"}, "urls": ["https://x.example"]}
    root = index_of(entry_of(first, **about, **bytes_only), second, kind=kind, annotations={"z": "1", "a": "2"})
    after = rewritten(tree_of(root, first, second), {first.digest: new})
    assert after.documents[:2] == (new, second)
    expected = read(root)
    expected["manifests"][0] = entry_of(new, **about)
    assert after.root.raw == json.dumps(expected, separators=(",", ":")).encode()
    assert after.root.media_type == kind


def test_an_attestation_follows_its_image_wherever_it_stands() -> None:
    image, new, statement, other = map(image_of, ["image", "new", "statement", "other"])

    def attesting(about: Manifest) -> dict[str, object]:
        annotations = {"vnd.docker.reference.type": "attestation-manifest", ATTESTED: str(about.digest)}
        return entry_of(statement, annotations=annotations)

    root = index_of(attesting(image), image, attesting(other), other)
    after = rewritten(tree_of(root, image, statement, other), {image.digest: new})
    assert read(after.root)["manifests"] == [attesting(new), entry_of(new), attesting(other), entry_of(other)]
    apart = index_of(attesting(image))
    outer = index_of(apart, image)
    again = rewritten(tree_of(outer, apart, image, statement), {image.digest: new})
    assert read(again.documents[1])["manifests"] == [attesting(new)]
    assert again.documents[-1].raw != outer.raw


def test_indexes_above_are_written_anew_and_those_beside_stay() -> None:
    changed, new, other = map(image_of, ["changed", "new", "other"])
    inner, beside = index_of(changed, annotations={"n": "inner"}), index_of(other)
    middle = index_of(inner)
    root = index_of(middle, beside, inner)
    before = tree_of(root, changed, other, inner, beside, middle)
    after = rewritten(before, {changed.digest: new})
    assert len(after.documents) == len(before.documents)
    assert {id(one) for one in after.documents} & {id(one) for one in before.documents} == {id(other), id(beside)}
    check_whole(after)
    assert [len(one.manifests) for one in after.documents if isinstance(one, Index)] == [1, 1, 1, 3]


def test_a_tree_of_which_nothing_is_replaced_is_the_same() -> None:
    image = image_of("image")
    tree = tree_of(index_of(image), image)
    assert rewritten(tree, {}) is tree
    assert rewritten(tree, {image.digest: image}) is tree
    assert rewritten(tree, {OLD: image_of("x")}) is tree
    assert subset(tree) is tree


def test_a_tree_of_one_manifest_becomes_the_one_that_replaces_it() -> None:
    image, new = image_of("image"), image_of("new")
    assert rewritten(Tree((image,)), {image.digest: new}) == Tree((new,))


# Subsets


def test_a_subset_lists_what_is_there_and_nothing_else_changes() -> None:
    first, second, third = map(image_of, ["first", "second", "third"])
    about = {"platform": {"os": "linux", "architecture": "arm64"}, "annotations": {ATTESTED: str(first.digest)}}
    root = index_of(first, entry_of(second, **about), third, annotations={"a": "b"})
    after = subset(tree_of(root, second))
    expected = {**read(root), "manifests": [entry_of(second, **about)]}
    assert after.documents[0] is second
    assert after.root.raw == json.dumps(expected, separators=(",", ":")).encode()


def test_an_index_that_has_lost_everything_goes_too_but_one_that_never_had_any_stays() -> None:
    here, gone = image_of("here"), image_of("gone")
    lost, bare = index_of(gone), index_of(annotations={"never": "had any"})
    above_lost = index_of(lost)
    kept = index_of(here, annotations={"kept": "1"})
    root = index_of(above_lost, kept, bare)
    after = subset(tree_of(root, here, lost, bare, above_lost, kept))
    assert after.documents[:-1] == (here, kept, bare)
    assert read(after.root)["manifests"] == [entry_of(kept), entry_of(bare)]


def test_the_root_stays_whatever_it_has_lost() -> None:
    after = subset(tree_of(index_of(image_of("gone"))))
    assert [read(document)["manifests"] for document in after.documents] == [[]]


def check_whole(tree: Tree) -> None:
    """Hold every entry against what it names: all is there, children first, each once, and the root is named last."""
    seen: dict[Digest, Document] = {}
    for document in tree.documents:
        for entry in document.manifests if isinstance(document, Index) else ():
            child = seen[entry.digest]
            assert (entry.size, entry.media_type) == (len(child.raw), child.media_type)
        assert document.digest not in seen
        seen[document.digest] = document
    reached = {tree.root.digest}
    for document in reversed(tree.documents):
        assert document.digest in reached, "nothing is there that nobody names"
        reached |= {entry.digest for entry in document.manifests} if isinstance(document, Index) else set()


@st.composite
def trees(draw: st.DrawFn) -> tuple[Tree, tuple[Manifest, ...], dict[Digest, Document]]:
    """Draw images, and indexes over anything that came before, the last of which is the root."""
    images = [image_of(str(place)) for place in range(draw(st.integers(1, 5)))]
    documents: list[Document] = list(images)
    for place in range(draw(st.integers(1, 5))):
        children = draw(st.lists(st.sampled_from(documents), min_size=1, max_size=4))
        attested = draw(st.sampled_from([None, *images]))
        said = {"annotations": {ATTESTED: str(attested.digest)}} if attested else {}
        entries = [entry_of(child, **said) for child in children]
        documents.append(index_of(*entries, annotations={"place": str(place)}))
    known = {document.digest: document for document in documents}
    tree = tree_of(documents[-1], *documents)
    return tree, tree.manifests, known


@given(trees(), st.randoms(use_true_random=False))
def test_rewritten_trees_are_whole_and_only_what_leads_to_a_change_changes(
    drawn: tuple[Tree, tuple[Manifest, ...], dict[Digest, Document]], chance: random.Random
) -> None:
    tree, images, _ = drawn
    replaced = {one.digest: image_of(f"new {one.digest}") for one in images if chance.random() < 0.5}
    after = rewritten(tree, replaced)
    check_whole(after)
    assert len(after.documents) == len(tree.documents)
    olds = set(map(str, replaced))
    touched: set[Digest] = set(replaced)
    for old, new in zip(tree.documents, after.documents, strict=True):
        if isinstance(old, Index):
            names = {each.digest for each in old.manifests}
            attested = {each.annotations.get(ATTESTED) for each in old.manifests}
            if names & touched or attested & olds:
                touched.add(old.digest)
            assert isinstance(new, Index)
            assert len(new.manifests) == len(old.manifests)
            assert not {each.annotations.get(ATTESTED) for each in new.manifests} & olds
        assert (new is old) == (old.digest not in touched)


@given(trees(), st.randoms(use_true_random=False))
def test_subsets_are_whole_and_hold_all_that_is_there(
    drawn: tuple[Tree, tuple[Manifest, ...], dict[Digest, Document]], chance: random.Random
) -> None:
    tree, images, known = drawn
    chosen = {one.digest for one in images if chance.random() < 0.6}
    sparse = grow(
        tree.root,
        lambda entry: known[entry.digest] if entry.digest in chosen or isinstance(known[entry.digest], Index) else None,
    )
    after = subset(sparse)
    if after.manifests:
        check_whole(after)
    assert set(after.manifests) == {one for one in images if one.digest in chosen}
    assert subset(after) is after
    if chosen == {one.digest for one in images}:
        assert after is sparse
    assert all(one.manifests for one in after.documents if isinstance(one, Index) and one is not after.root)
