"""A copy of trees, good and bad, between two ends in memory, and what is said at which end when something fails."""

from __future__ import annotations

import json
import threading

import pytest

from ecrdrag.content import Digest
from ecrdrag.delivery import Fate
from ecrdrag.errors import (
    ConflictError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    TransferError,
    TransientError,
    UnsupportedError,
)
from ecrdrag.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Index, Manifest
from ecrdrag.registry.ends import RepositorySettings
from ecrdrag.tree import MAX_SIZE
from tests.fake_ends import HERE, THERE, MemoryDestination, MemorySource, copied
from tests.images import Blob, hello_image, index_of, noise_image

PATIENCE = 20  # seconds that a test waits for what must happen
HELLO, NOISE = hello_image(), noise_image([2500, 3500, 800])
BOTH = index_of([hello_image("arm64"), HELLO])


def document(members: dict[str, object], media_type: str = OCI_MANIFEST) -> Blob:
    return Blob(json.dumps({"schemaVersion": 2, "mediaType": media_type, **members}).encode(), media_type)


@pytest.fixture
def source() -> MemorySource:
    made = MemorySource()
    made.put(NOISE, "1")
    made.put(BOTH, "both")
    return made


@pytest.fixture
def destination() -> MemoryDestination:
    return MemoryDestination()


def test_children_are_fetched_side_by_side_and_once(source: MemorySource, destination: MemoryDestination) -> None:
    images = [noise_image([place + 1], seed=place) for place in range(24)]
    index = index_of([*images, images[0]])
    source.put(index, "many")
    waves = threading.Barrier(8)

    def meet(question: str) -> None:
        if question.startswith("manifest sha256"):
            waves.wait(PATIENCE)

    source.before_each = meet
    found = copied(source, destination, tag="many")
    assert source.count("manifest") == 1 + 24
    outer = document({"manifests": [index.manifest.json]}, OCI_INDEX)
    source.put_document(outer, "outer")
    source.before_each = lambda question: None if index.manifest.digest.hex in question else meet(question)
    copied(source, destination, tag="outer")
    assert found.tree.root.digest == index.manifest.digest
    assert [one.digest for one in found.tree.documents[:-1]] == [image.manifest.digest for image in images]


def test_indexes_in_indexes_are_put_inner_ones_first(source: MemorySource, destination: MemoryDestination) -> None:
    entries = [BOTH.manifest.json, NOISE.manifest.json, HELLO.manifest.json]  # of which the last is in the first too
    outer = document({"manifests": entries}, OCI_INDEX)
    source.put_document(outer, "outer")
    source.asked.clear()
    found = copied(source, destination, tag="outer")
    assert source.count("manifest") == 1 + 4
    assert destination.documents[outer.digest].raw == outer.content
    first = [BOTH.images[0].manifest, BOTH.images[1].manifest, BOTH.manifest, NOISE.manifest]
    assert [one.digest for one in found.tree.documents] == [*(one.digest for one in first), outer.digest]


def test_a_child_that_is_not_there_is_said_with_its_platform(
    source: MemorySource, destination: MemoryDestination
) -> None:
    del source.documents[BOTH.images[0].manifest.digest]
    with pytest.raises(NotFoundError, match=f"^{HERE.name}: .*: the image for linux/arm64 that its index") as caught:
        copied(source, destination, tag="both")
    assert "--platform" in caught.value.hint
    assert destination.asked == []


def test_a_child_of_another_size_than_its_index_says_is_an_integrity_error(
    source: MemorySource, destination: MemoryDestination
) -> None:
    source.put_document(document({"manifests": [{**HELLO.manifest.json, "size": 9}]}, OCI_INDEX), "bad")
    with pytest.raises(IntegrityError, match=f"^{HERE.name}: {HELLO.manifest.digest} has .* bytes, its index says 9"):
        copied(source, destination, tag="bad")


@pytest.mark.parametrize("kind", ["deep", "many", "sha512"])
def test_trees_beyond_the_limits_are_refused_after_few_questions(
    source: MemorySource, destination: MemoryDestination, kind: str
) -> None:
    if kind == "deep":
        entry = HELLO.manifest
        for _ in range(20):
            entry = document({"manifests": [entry.json]}, OCI_INDEX)
            source.put_document(entry, "bad")
    else:
        names = [f"{place}".encode() for place in range(1500 if kind == "many" else 3)]
        images = [document({"config": Blob(name, OCI_CONFIG).json, "layers": []}) for name in names]
        for one in images:
            source.put_document(one)
        algorithm = "sha512" if kind == "sha512" else "sha256"
        entries = [{**one.json, "digest": str(Digest.of(one.content, algorithm))} for one in images]
        source.put_document(document({"manifests": entries}, OCI_INDEX), "bad")
    with pytest.raises(UnsupportedError, match=f"^{HERE.name}: "):
        copied(source, destination, tag="bad")
    assert source.count("manifest") <= {"deep": 9, "many": 1002, "sha512": 1}[kind]
    assert destination.asked == []


def test_more_bytes_of_documents_than_a_tree_may_have_are_not_fetched_side_by_side(
    source: MemorySource, destination: MemoryDestination
) -> None:
    large = [{**one.manifest.json, "size": MAX_SIZE // 2} for one in (*BOTH.images, NOISE)]
    source.put_document(document({"manifests": large}, OCI_INDEX), "bad")
    threads: set[threading.Thread] = set()
    source.before_each = lambda question: threads.add(threading.current_thread())
    with pytest.raises(IntegrityError, match=f"its index says {MAX_SIZE // 2}"):
        copied(source, destination, tag="bad")
    assert (source.count("manifest"), threads) == (2, {threading.current_thread()})


def test_documents_that_disagree_about_a_blob_are_refused_with_a_hint_that_speaks_of_no_archive(
    source: MemorySource, destination: MemoryDestination
) -> None:
    liar = document({"config": {**HELLO.config.json, "size": 1}, "layers": []})
    source.put_document(liar)
    source.put_document(document({"manifests": [HELLO.manifest.json, liar.json]}, OCI_INDEX), "bad")
    with pytest.raises(IntegrityError, match=f"^{HERE.name}: blob {HELLO.config.digest} is given two") as caught:
        copied(source, destination, tag="bad")
    assert "archive" not in caught.value.hint


def test_foreign_layers_are_left_out(source: MemorySource, destination: MemoryDestination) -> None:
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    foreign = {**Blob(b"far", kind).json, "urls": ["https://example.com/far"]}
    source.put_document(document({"config": HELLO.config.json, "layers": [foreign]}), "foreign")
    found = copied(source, destination, tag="foreign")
    assert found.fates == {HELLO.config.digest: Fate.UPLOADED, Digest.of(b"far"): Fate.LEFT_OUT}


@pytest.mark.parametrize(
    ("end", "question", "error"),
    [
        ("source", "manifest", NotFoundError("gone")),
        ("source", "piece", NotFoundError("gone")),
        ("source", "piece", TransientError("cut")),
        ("destination", "missing", TransferError("gone")),
        ("destination", "begin", TransferError("gone")),
        ("destination", "send", TransientError("cut")),
        ("destination", "complete", IntegrityError("another digest")),
        ("destination", "put", ConflictError("immutable")),
    ],
)
def test_an_error_names_the_end_that_it_comes_from_and_stays_what_it_is(
    source: MemorySource, destination: MemoryDestination, end: str, question: str, error: EcrdragError
) -> None:
    def fail(asked: str) -> None:
        if asked.startswith(question):
            raise type(error)(str(error))

    if end == "source":
        source.before_each = fail
    else:
        destination.before_each = fail
    with pytest.raises(EcrdragError) as caught:
        copied(source, destination)
    names = (HERE.name, THERE.name) if end == "source" else (THERE.name, HERE.name)
    assert [name in str(caught.value) for name in names] == [True, False]
    assert str(caught.value).count(names[0]) == 1
    assert caught.value.exit_code == error.exit_code


def test_bytes_that_are_not_what_they_should_be_are_the_source_s_and_nothing_is_tagged(
    source: MemorySource, destination: MemoryDestination
) -> None:
    layer = NOISE.layers[1]
    source.blobs[layer.digest] = bytes(len(layer.content))
    with pytest.raises(IntegrityError, match=f"^{HERE.name}: blob {layer.digest} is damaged") as caught:
        copied(source, destination)
    assert "archive" not in caught.value.hint
    assert source.aborted.is_set()
    assert (destination.tags, destination.documents, layer.digest in destination.blobs) == ({}, {}, False)


def test_the_first_failure_ends_the_copy_and_sets_no_tag(source: MemorySource, destination: MemoryDestination) -> None:
    def fail(asked: str) -> None:
        if asked == f"send {NOISE.layers[0].digest} 1000":
            raise TransferError("no more")

    destination.before_each = fail
    with pytest.raises(TransferError, match="no more"):
        copied(source, destination, jobs=1)
    assert (destination.tags, destination.count("put"), destination.count("complete")) == ({}, 0, 0)


def test_a_source_that_fails_now_and_then_is_asked_again_everywhere(
    source: MemorySource, destination: MemoryDestination
) -> None:
    seen: set[str] = set()

    def fail_once(asked: str) -> None:
        if asked not in seen:
            seen.add(asked)
            raise TransientError("once more, please")

    source.before_each = destination.before_each = fail_once
    destination.exists = False
    copied(source, destination, tag="both", create=RepositorySettings())
    root = destination.documents[destination.tags["2"]]
    assert isinstance(root, Index)
    children = [destination.documents[entry.digest] for entry in root.manifests]
    assert all(isinstance(child, Manifest) for child in children)
    assert destination.blobs == {digest: blob.content for one in BOTH.images for digest, blob in one.blobs.items()}
