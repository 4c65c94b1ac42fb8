"""Manifests and indexes: the four kinds are read and kept, everything else is refused."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag import manifest
from ecrdrag.content import Descriptor, Digest, Platform
from ecrdrag.errors import UnsupportedError
from ecrdrag.manifest import Index, Manifest
from ecrdrag.schema1 import SCHEMA1_TYPES

CONFIG = Digest.of(b"config")
LAYERS = (Digest.of(b"bottom"), Digest.of(b"top", "sha512"))
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
KINDS = [*manifest.MANIFEST_TYPES, *manifest.INDEX_TYPES]


def image_document(kind: str = manifest.OCI_MANIFEST) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": manifest.OCI_CONFIG, "digest": str(CONFIG), "size": 6},
        "layers": [
            {"mediaType": LAYER_TYPE, "digest": str(LAYERS[0]), "size": 6},
            {
                "mediaType": LAYER_TYPE,
                "digest": str(LAYERS[1]),
                "size": 3,
                "annotations": {"a": "b"},
                "urls": ["https://example.com/layer"],
            },
        ],
    }


def index_document(kind: str = manifest.OCI_INDEX) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": kind,
        "manifests": [
            {
                "mediaType": manifest.OCI_MANIFEST,
                "digest": str(Digest.of(b"arm")),
                "size": 7,
                "platform": {"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1"},
            },
            {"mediaType": manifest.OCI_INDEX, "digest": str(Digest.of(b"nested")), "size": 8},
        ],
    }


def document_of(kind: str) -> dict[str, Any]:
    return image_document(kind) if kind in manifest.MANIFEST_TYPES else index_document(kind)


def encode(document: object) -> bytes:
    return json.dumps(document, indent=3).encode()


# What is read


@pytest.mark.parametrize("kind", manifest.MANIFEST_TYPES)
def test_an_image_is_read_with_its_config_and_its_layers_bottom_first(kind: str) -> None:
    found = manifest.parse(encode(image_document(kind)), kind)
    assert isinstance(found, Manifest)
    assert found.media_type == kind
    assert found.config == Descriptor(manifest.OCI_CONFIG, CONFIG, 6)
    assert found.layers == (
        Descriptor(LAYER_TYPE, LAYERS[0], 6),
        Descriptor(LAYER_TYPE, LAYERS[1], 3, annotations={"a": "b"}, urls=("https://example.com/layer",)),
    )


@pytest.mark.parametrize("kind", manifest.INDEX_TYPES)
def test_an_index_is_read_with_platforms_and_nested_indexes(kind: str) -> None:
    found = manifest.parse(encode(index_document(kind)), kind)
    assert isinstance(found, Index)
    assert found.media_type == kind
    arm, nested = found.manifests
    assert arm.platform == Platform("linux", "arm", "v7")
    assert (nested.platform, nested.media_type) == (None, manifest.OCI_INDEX)


@pytest.mark.parametrize("kind", KINDS)
def test_the_raw_bytes_are_kept_and_named_by_their_hash(kind: str) -> None:
    raw = b"\n  " + encode(document_of(kind)) + b"\r\n"
    found = manifest.parse(raw, kind)
    assert found.raw is raw
    assert str(found.digest) == "sha256:" + hashlib.sha256(raw).hexdigest()
    assert found.descriptor == Descriptor(kind, found.digest, len(raw))


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_is_taken_from_the_document_when_nobody_says(kind: str) -> None:
    assert manifest.parse(encode(document_of(kind))).media_type == kind


@pytest.mark.parametrize("kind", [manifest.OCI_MANIFEST, manifest.OCI_INDEX])
def test_an_oci_document_without_a_media_type_is_known_by_its_members(kind: str) -> None:
    document = document_of(kind)
    del document["mediaType"]
    assert manifest.parse(encode(document)).media_type == kind


def test_what_the_registry_says_wins_over_the_document() -> None:
    raw = encode(image_document(manifest.OCI_MANIFEST))
    assert manifest.parse(raw, manifest.DOCKER_MANIFEST).media_type == manifest.DOCKER_MANIFEST


def test_a_blob_used_twice_is_listed_once() -> None:
    document = image_document()
    document["layers"] *= 2
    document["layers"].append(document["config"])
    found = manifest.parse(encode(document))
    assert isinstance(found, Manifest)
    assert len(found.layers) == 5
    assert [blob.digest for blob in found.blobs] == [CONFIG, *LAYERS]


def test_an_image_may_have_no_layers_and_an_index_no_manifests() -> None:
    image = manifest.parse(encode(image_document() | {"layers": []}))
    assert isinstance(image, Manifest)
    assert image.blobs == (image.config,)
    index = manifest.parse(encode(index_document() | {"manifests": []}))
    assert isinstance(index, Index)
    assert index.manifests == ()


def test_members_we_don_t_know_are_no_reason_to_refuse() -> None:
    document = image_document() | {"artifactType": "x", "annotations": {"a": 1}}
    assert isinstance(manifest.parse(encode(document)), Manifest)


def test_the_largest_manifest_is_read_and_a_larger_one_is_not() -> None:
    raw = encode(image_document()).ljust(manifest.MAX_MANIFEST_SIZE)
    assert len(manifest.parse(raw).raw) == manifest.MAX_MANIFEST_SIZE
    with pytest.raises(UnsupportedError, match="a manifest of 4194305 bytes is over the limit of 4194304"):
        manifest.parse(raw + b" ")


# What is refused


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("kind", SCHEMA1_TYPES)
def test_a_schema_1_manifest_is_refused_with_what_to_do(kind: str, declared: bool) -> None:
    raw = encode({"schemaVersion": 1, "name": "app", "fsLayers": [], "history": [], "signatures": []})
    with pytest.raises(UnsupportedError, match="schema 1") as caught:
        manifest.parse(raw, kind if declared else "")
    assert caught.value.hint


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_whoever_reads_schema_1_too_reads_the_rest_as_ever(kind: str, declared: bool) -> None:
    raw = encode(document_of(kind))
    assert manifest.parse_any(raw, kind if declared else "") == manifest.parse(raw, kind)


@pytest.mark.parametrize("kind", ["", *SCHEMA1_TYPES])
def test_schema_1_is_held_to_the_same_limit(kind: str) -> None:
    raw = b"{".ljust(manifest.MAX_MANIFEST_SIZE + 1)  # not even read
    with pytest.raises(UnsupportedError, match="a manifest of 4194305 bytes is over the limit of 4194304"):
        manifest.parse_any(raw, kind)


@pytest.mark.parametrize("document", [{}, {"schemaVersion": 2}, {"schemaVersion": 2, "layers": []}, {"mediaType": 1}])
def test_a_document_of_no_kind_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(UnsupportedError, match="no image manifest and no index"):
        manifest.parse(encode(document))


def test_another_media_type_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"media type 'application/vnd\.example' is no image manifest"):
        manifest.parse(encode(image_document()), "application/vnd.example")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the manifest is not JSON"),
        (b"{", "the manifest is not JSON"),
        (b"\xff\xfe\xff", "the manifest is not JSON"),
        (b"{} {}", "the manifest is not JSON"),
        (b"[" * 100_000, "the manifest is not JSON"),
        (b'{"a":' * 100_000, "the manifest is not JSON"),
        (b"[]", "the manifest is a JSON list, not an object"),
        (b"null", "the manifest is a JSON NoneType, not an object"),
        (b'"text"', "the manifest is a JSON str, not an object"),
        (b"2", "the manifest is a JSON int, not an object"),
    ],
)
@pytest.mark.parametrize("kind", ["", *KINDS])
def test_what_is_no_json_object_is_refused(kind: str, raw: bytes, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        manifest.parse(raw, kind)


def test_an_object_of_another_room_is_refused_under_its_own_name() -> None:
    assert manifest.parse_object(b'{"a": 1}', "config") == {"a": 1}
    with pytest.raises(UnsupportedError, match="the config is a JSON list"):
        manifest.parse_object(b"[]", "config")


MISSING = object()
SIZE = "is not a number of bytes"
DIGEST = "a digest is sha256: and 64 lower-case hex digits"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["schemaVersion"], MISSING, "schemaVersion is None, not 2"),
        (["schemaVersion"], 1, "schemaVersion is 1, not 2"),
        (["schemaVersion"], "2", "schemaVersion is '2', not 2"),
        (["config"], MISSING, "config is not an object"),
        (["config"], [], "config is not an object"),
        (["layers"], MISSING, "layers is not a list"),
        (["layers"], {}, "layers is not a list"),
        (["layers"], None, "layers is not a list"),
        (["layers", 1], None, "layers[1] is not an object"),
        (["layers", 1], "sha256:abc", "layers[1] is not an object"),
        (["config", "size"], MISSING, f"config.size {SIZE}"),
        (["layers", 0, "size"], -1, f"layers[0].size {SIZE}"),
        (["layers", 0, "size"], "6", f"layers[0].size {SIZE}"),
        (["layers", 0, "size"], 6.0, f"layers[0].size {SIZE}"),
        (["layers", 0, "size"], True, f"layers[0].size {SIZE}"),
        (["layers", 0, "size"], 2**63, f"layers[0].size {SIZE}"),
        (["layers", 0, "size"], float("nan"), f"layers[0].size {SIZE}"),
        (["config", "digest"], MISSING, f"config.digest: {DIGEST}, not ''"),
        (["config", "digest"], 1, "config.digest is not a string"),
        (["layers", 0, "digest"], "../../etc/passwd", f"layers[0].digest: {DIGEST}, not '../../etc/passwd'"),
        (["layers", 0, "digest"], "sha256:abc", "layers[0].digest: a sha256 digest has 64 hex digits, not 3"),
        (["layers", 0, "digest"], "md5:abc", "layers[0].digest: digest algorithm 'md5' is not one of sha256, sha512"),
        (["layers", 0, "mediaType"], 1, "layers[0].mediaType is not a string"),
        (["layers", 0, "annotations"], [], "layers[0].annotations is not an object of strings"),
        (["layers", 0, "annotations"], {"a": 1}, "layers[0].annotations is not an object of strings"),
        (["layers", 0, "urls"], "https://example.com", "layers[0].urls is not a list of strings"),
        (["layers", 0, "urls"], [1], "layers[0].urls is not a list of strings"),
        (["layers", 0, "platform"], "linux/amd64", "layers[0].platform is not an object"),
        (["layers", 0, "digest"], str(CONFIG), f"blob {CONFIG} is given two sizes, 6 and 7"),
        (["manifests"], MISSING, "manifests is not a list"),
        (["manifests", 0], 1, "manifests[0] is not an object"),
        (["manifests", 0, "size"], None, f"manifests[0].size {SIZE}"),
        (["manifests", 0, "platform"], [], "manifests[0].platform is not an object"),
        (["manifests", 0, "platform", "os"], 1, "manifests[0].platform.os is not a string"),
        (["manifests", 0, "platform", "architecture"], [], "manifests[0].platform.architecture is not a string"),
        (["manifests", 0, "platform", "variant"], {}, "manifests[0].platform.variant is not a string"),
    ],
)
def test_a_malformed_member_is_refused_by_its_place(path: list[str | int], value: object, message: str) -> None:
    document = index_document() if path[0] == "manifests" else image_document()
    if "two sizes" in message:
        document["layers"][0]["size"] = 7
    with pytest.raises(UnsupportedError) as caught:
        manifest.parse(encode(changed(document, path, value)), document["mediaType"])
    assert str(caught.value) == f"manifest: {message}"


def changed(document: dict[str, Any], path: list[str | int], value: object) -> dict[str, Any]:
    document = copy.deepcopy(document)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    if value is MISSING:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


# Properties

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*KINDS, str(CONFIG)]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    [*image_document(), *index_document(), *image_document()["layers"][1], "platform", "os", "fsLayers"]
)
DOCUMENTS = st.recursive(
    JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=6),
    max_leaves=12,
)
ANY_KIND = st.sampled_from(["", *KINDS, *SCHEMA1_TYPES, "application/json"])


def paths(document: object) -> list[list[str | int]]:
    """Every place in a JSON document, but for the top."""
    steps: list[tuple[str | int, object]] = []
    if isinstance(document, dict):
        steps = list(document.items())
    if isinstance(document, list):
        steps = list(enumerate(document))
    return [[step, *rest] for step, inner in steps for rest in ([], *paths(inner))]


def reads_or_refuses(raw: bytes, kind: str) -> None:
    try:
        found = manifest.parse(raw, kind)
    except UnsupportedError as error:
        refusal = error
    else:
        assert found.raw == raw
        assert found.digest == Digest.of(raw)
        return
    assert str(refusal)


@given(st.binary(), ANY_KIND)
def test_any_bytes_are_read_or_refused(raw: bytes, kind: str) -> None:
    reads_or_refuses(raw, kind)


@given(DOCUMENTS, ANY_KIND)
def test_any_json_is_read_or_refused(document: object, kind: str) -> None:
    reads_or_refuses(encode(document), kind)


@given(st.sampled_from(KINDS), st.booleans(), st.data())
def test_a_good_document_with_one_member_changed_is_read_or_refused(kind: str, told: bool, data: st.DataObject) -> None:
    document = document_of(kind)
    path = data.draw(st.sampled_from(paths(document)))
    value = data.draw(DOCUMENTS | st.just(MISSING))
    reads_or_refuses(encode(changed(document, path, value)), kind if told else "")


@given(st.lists(st.tuples(st.binary(max_size=2), st.integers(0, 2**63 - 1)), max_size=6))
def test_blobs_are_distinct_and_hold_every_layer(contents: list[tuple[bytes, int]]) -> None:
    sizes = dict(contents)
    layers = [
        {"mediaType": LAYER_TYPE, "digest": str(Digest.of(data)), "size": sizes[data]} for data, _ignored in contents
    ]
    found = manifest.parse(encode(image_document() | {"layers": layers}))
    assert isinstance(found, Manifest)
    assert len({blob.digest for blob in found.blobs}) == len(found.blobs)
    assert {found.config, *found.layers} == set(found.blobs)


@pytest.mark.parametrize("kind", [*manifest.MANIFEST_TYPES, *manifest.INDEX_TYPES])
def test_a_document_that_is_an_image_and_an_index_at_once_is_refused(kind: str) -> None:
    both = document_of(manifest.OCI_INDEX) | document_of(manifest.OCI_MANIFEST) | {"mediaType": kind}
    with pytest.raises(UnsupportedError, match="has no place"):
        manifest.parse(encode(both))
