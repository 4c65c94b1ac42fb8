"""What a push and a copy share: who is asked for what, in which order, and how often."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from ecrdrag.content import Descriptor, Digest
from ecrdrag.delivery import Delivery, Fate, check_child, check_hollow, check_root, fates_of, side_by_side
from ecrdrag.errors import (
    IntegrityError,
    NotFoundError,
    RepositoryNotFoundError,
    TransferError,
    TransientError,
)
from ecrdrag.manifest import OCI_MANIFEST, parse
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import RepositorySettings
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.tree import Tree
from tests.fake_ends import MemoryDestination
from tests.images import Blob, Image, hello_image, noise_image

PATIENCE = 20  # seconds that a test waits for what must happen
FAST = RetryPolicy(tries=3, base=0.0)
THERE = ImageReference.parse("two.example/other/app:2")
HELLO, NOISE = hello_image(), noise_image([2500, 3500, 800])


def tree_of(image: Image) -> Tree:
    return Tree((parse(image.manifest.content, image.manifest.media_type),))


def descriptors_of(image: Image) -> list[Descriptor]:
    return list(tree_of(image).blobs)


def document(members: dict[str, object], media_type: str = OCI_MANIFEST) -> Blob:
    return Blob(json.dumps({"schemaVersion": 2, "mediaType": media_type, **members}).encode(), media_type)


@pytest.fixture
def destination() -> MemoryDestination:
    return MemoryDestination()


def test_a_missing_repository_is_an_error_unless_it_is_to_be_created(destination: MemoryDestination) -> None:
    delivery = Delivery("app", destination, FAST)
    assert delivery.has_repository(Digest.of(b""), None)
    destination.exists = False
    assert not delivery.has_repository(Digest.of(b""), RepositorySettings())
    with pytest.raises(RepositoryNotFoundError):
        delivery.has_repository(Digest.of(b""), None)


def test_every_call_is_tried_again_and_named_when_that_does_not_help(destination: MemoryDestination) -> None:
    def fail(question: str) -> None:
        raise TransientError("slow down")

    destination.before_each = fail
    delivery, (blob, *_) = Delivery("app", destination, FAST), descriptors_of(NOISE)
    calls: dict[str, Callable[[], object]] = {
        "app": lambda: delivery.lacking([blob]),
        f"mounting blob {blob.digest}": lambda: delivery.mount([blob], "x"),
        f"the manifest {NOISE.manifest.digest}": lambda: delivery.put(tree_of(NOISE), [None]),
    }
    for what, call in calls.items():
        destination.asked.clear()
        with pytest.raises(TransferError, match=f"gave up on {what} after 3 tries: slow down"):
            call()
        assert len(destination.asked) == 3


def test_a_manifest_that_names_a_blob_without_bytes_is_tried_as_often_as_any_other() -> None:
    destination, hollow = MemoryDestination(), Blob(b"", "application/x")

    def refuse_at_first(question: str) -> None:
        if destination.count("put") == 1:
            raise TransientError("slow down")

    destination.before_each = refuse_at_first
    destination.blobs = {hollow.digest: b"", HELLO.config.digest: HELLO.config.content}
    image = Image(document({"config": HELLO.config.json, "layers": [hollow.json]}), HELLO.config, (), HELLO.platform)
    assert Delivery("app", destination, FAST).put(tree_of(image), ["1"])


def test_what_says_that_it_has_no_bytes_and_has_is_found_out() -> None:
    check_hollow(tree_of(HELLO))
    lie = {**HELLO.config.json, "size": 0}
    image = Image(document({"config": lie, "layers": []}), HELLO.config, (), HELLO.platform)
    with pytest.raises(IntegrityError, match=str(HELLO.config.digest)):
        check_hollow(tree_of(image))


def test_a_root_is_held_against_the_digest_and_a_child_against_its_size() -> None:
    tree, other = tree_of(HELLO), Digest.of(b"other")
    check_root("app", tree, THERE)
    check_root("app", tree, ImageReference.parse(f"two.example/a@{tree.root.digest}"))
    with pytest.raises(IntegrityError, match=f"^app: the image has digest {tree.root.digest}, not {other} as two"):
        check_root("app", tree, ImageReference.parse(f"two.example/a@{other}"))
    check_child("app", tree.root, tree.root.descriptor)
    with pytest.raises(IntegrityError, match=r"^app: sha256:.* bytes, its index says 7$"):
        check_child("app", tree.root, Descriptor("", tree.root.digest, 7))


def test_a_root_is_new_when_any_of_its_tags_is(destination: MemoryDestination) -> None:
    delivery = Delivery("app", destination, FAST)
    destination.blobs.update({digest: blob.content for digest, blob in HELLO.blobs.items()})
    assert delivery.put(tree_of(HELLO), ["1"])
    assert not delivery.put(tree_of(HELLO), ["1"])
    assert delivery.put(tree_of(HELLO), ["2", "1", "3"])
    assert destination.tags == dict.fromkeys(("1", "2", "3"), HELLO.manifest.digest)


def test_fates_say_what_is_left_out_what_was_there_and_what_comes() -> None:
    config, one, two, three = (blob.digest for blob in descriptors_of(NOISE))
    found = fates_of(tree_of(NOISE), [config, one, two], [one], Fate.MISSING)
    assert found == {config: Fate.EXISTED, one: Fate.MISSING, two: Fate.EXISTED, three: Fate.LEFT_OUT}


def test_tasks_run_side_by_side_and_the_first_failure_ends_them() -> None:
    together = threading.Barrier(4)
    done: list[int] = []
    aborted = threading.Event()

    def meet(task: int) -> None:
        together.wait(PATIENCE)
        done.append(task)

    side_by_side("test", range(4), meet)
    assert sorted(done) == [0, 1, 2, 3]
    done.clear()

    def fail(task: int) -> None:
        done.append(task)
        if task == 0:
            raise NotFoundError("gone")
        assert aborted.wait(PATIENCE)

    with pytest.raises(NotFoundError):
        side_by_side("test", range(100), fail, aborted.set)
    assert len(done) < 10
    assert aborted.is_set()
