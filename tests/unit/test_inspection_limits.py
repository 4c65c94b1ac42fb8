"""An inspection of hostile or enormous images ends soon, and one of an image before 2016 shows what that says."""

from __future__ import annotations

from threading import Barrier

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import NotFoundError, UnsupportedError
from ecrdrag.inspection import assembly, library
from ecrdrag.manifest import OCI_INDEX, OCI_MANIFEST
from tests.images import Blob
from tests.inspected import document, image_with, looked, only, source_of
from tests.kinds import Parcel, buildx_index, document_of, greeter, index
from tests.schema1_images import hello_schema1

INDEX = buildx_index()
AMD64 = INDEX.of("amd64")


# Limits


def test_indexes_in_indexes_are_shown_to_a_depth() -> None:
    deep = greeter("amd64", "x")
    for _ in range(7):
        deep = index([deep])
    assert sum(1 for _ in only(looked(source_of(deep))).root.walk()) == 8
    with pytest.raises(UnsupportedError, match="more than 8 deep"):
        looked(source_of(index([deep])))


def test_an_index_that_comes_again_is_opened_once() -> None:
    below = index([greeter("amd64", "x")])
    for _ in range(5):
        below = index([below] * 30)
    root = only(looked(source_of(below))).root
    assert sum(1 for _ in root.walk()) == 5 * 30 + 2
    assert [part.is_repeated for part in root.parts] == [False] + [True] * 29
    found = document(looked(source_of(below)))["manifests"]
    assert [(one["repeated"], len(one["manifests"])) for one in found[:2]] == [(False, 30), (True, 0)]


def test_an_index_of_too_many_documents_is_refused_before_all_are_asked_for() -> None:
    entries = [{"mediaType": OCI_MANIFEST, "digest": f"sha256:{place:064x}", "size": 2} for place in range(1001)]
    source = source_of(Parcel((document_of(OCI_INDEX, manifests=entries),)))
    with pytest.raises(UnsupportedError, match="more than 1000 documents"):
        looked(source)
    assert source.count("manifest") == 1


def test_documents_that_claim_too_many_bytes_are_not_asked_for() -> None:
    entries = [{"mediaType": OCI_MANIFEST, "digest": f"sha256:{place:064x}", "size": 2**24} for place in range(3)]
    source = source_of(Parcel((document_of(OCI_INDEX, manifests=entries),)))
    with pytest.raises(UnsupportedError, match="or 33554432 bytes"):
        looked(source)
    assert source.count("manifest") == 1


def test_a_document_that_comes_again_and_again_is_not_shown_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    large = image_with({}, annotations={"a": "x" * 10_000})
    monkeypatch.setattr(assembly, "MAX_SHOWN", 100_000)
    assert len(only(looked(source_of(index([large] * 8)))).root.parts) == 8
    with pytest.raises(UnsupportedError, match="more than 100000 bytes"):
        looked(source_of(index([large] * 10)))


def test_configs_that_are_shown_again_and_again_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    large = image_with({"created": "x" * 10_000, "os": "linux", "architecture": "amd64"})
    monkeypatch.setattr(assembly, "MAX_SHOWN", 100_000)
    with pytest.raises(UnsupportedError, match="more than 100000 bytes"):
        looked(source_of(index([large] * 10)))


def test_indexes_that_come_again_count_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    large = index([AMD64], annotations={"a": "x" * 10_000})
    monkeypatch.setattr(assembly, "MAX_SHOWN", 100_000)
    assert len(only(looked(source_of(index([large] * 8)))).root.parts) == 8
    with pytest.raises(UnsupportedError, match="more than 100000 bytes"):
        looked(source_of(index([large] * 10)))


def test_what_is_named_by_another_hash_is_not_asked_for() -> None:
    entry = {"mediaType": OCI_MANIFEST, "digest": f"sha512:{'0' * 128}", "size": 2}
    source = source_of(Parcel((document_of(OCI_INDEX, manifests=[entry]),)))
    with pytest.raises(UnsupportedError, match="only sha256"):
        looked(source)
    assert source.count("manifest") == 1


def test_documents_and_configs_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "MAX_KEPT", 4000)
    assert len(only(looked(source_of(AMD64))).root.layers) == 1
    with pytest.raises(UnsupportedError, match="more than 4000 bytes"):
        looked(source_of(INDEX))


def test_children_are_asked_for_side_by_side() -> None:
    source, both = source_of(INDEX), Barrier(2, timeout=20)

    def wait(question: str) -> None:
        if question.startswith("manifest sha256"):
            both.wait()

    source.before_each = wait
    assert len(only(looked(source)).root.parts) == 4


# Before 2016


def test_an_image_before_2016_shows_what_it_says_and_its_layers_with_their_sizes() -> None:
    old = hello_schema1()
    source = source_of(Parcel((Blob(old.raw, old.media_type),)))
    source.blobs.update(old.blobs)
    found = document(looked(source))
    assert (found["mediaType"], found["platform"], found["size"]) == (old.media_type, "linux/amd64", len(old.raw))
    assert found["digest"] == str(Digest.of(old.payload))
    assert [layer["size"] for layer in found["layers"]] == [len(step) for step in old.steps]
    assert found["totalSize"] == sum(map(len, old.blobs.values()))
    assert found["blobs"] == len(old.blobs)
    assert (found["config"]["cmd"], found["config"]["digest"]) == (["/hello"], None)
    assert [line["emptyLayer"] for line in found["history"]].count(True) == 3
    assert source.count("blob") == 0
    assert source.count("measure") == len(old.blobs)


def test_a_layer_before_2016_that_is_gone_is_missing() -> None:
    old = hello_schema1()
    source = source_of(Parcel((Blob(old.raw, old.media_type),)))
    source.blobs.update(list(old.blobs.items())[1:])
    found = document(looked(source))["layers"]
    assert [(layer["missing"], layer["size"] is None) for layer in found[:2]] == [(True, True), (False, False)]


def test_a_platform_is_asked_of_an_image_before_2016_too() -> None:
    old = hello_schema1()
    source = source_of(Parcel((Blob(old.raw, old.media_type),)))
    assert document(looked(source, "linux/amd64"))["selected"]["platform"] == "linux/amd64"
    with pytest.raises(NotFoundError, match="it has linux/amd64"):
        looked(source, "linux/arm64")
