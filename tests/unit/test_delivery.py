"""What a push and a copy share: who is asked for what, in which order, and how often."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from ecrdrag.content import Descriptor, Digest
from ecrdrag.delivery import Delivery, Fate, blobs_of, check_hollow, check_root, fates_of
from ecrdrag.errors import (
    AuthError,
    ConflictError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    RepositoryNotFoundError,
    TransferError,
    TransientError,
    UnsupportedError,
)
from ecrdrag.manifest import OCI_MANIFEST, parse
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import RepositorySettings
from ecrdrag.transfer.crew import side_by_side
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.tree import Referrer, Tree, check_child
from tests import kinds
from tests.fake_ends import MemoryDestination
from tests.images import Blob, Image, hello_image, noise_image
from tests.kinds import Parcel, parcel_of

PATIENCE = 20  # seconds that a test waits for what must happen
FAST = RetryPolicy(tries=3, base=0.0)
THERE = ImageReference.parse("two.example/other/app:2")
HELLO, NOISE = hello_image(), noise_image([2500, 3500, 800])


def tree_of(image: Image) -> Tree:
    return Tree((parse(image.manifest.content, image.manifest.media_type),))


def tree_in(parcel: Parcel) -> Tree:
    return Tree(tuple(parse(document.content, document.media_type) for document in parcel.documents))


def referrer_in(parcel: Parcel, about: Parcel) -> Referrer:
    return Referrer(tree_in(parcel), about.digest, parcel.tag or None)


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


def signed(destination: MemoryDestination) -> tuple[Parcel, list[Parcel]]:
    """Build an index with what is about it, and let their blobs be there."""
    image = kinds.buildx_index()
    about = [kinds.cosign_signature(image), kinds.sbom(image)]
    for parcel in (image, *about):
        destination.blobs.update({digest: blob.content for digest, blob in parcel.blobs.items()})
    return image, about


def test_what_is_about_an_image_is_there_before_the_image_has_a_tag(destination: MemoryDestination) -> None:
    image, (signature, sbom) = signed(destination)
    referrers = [referrer_in(signature, image), referrer_in(sbom, image)]
    assert Delivery("app", destination, FAST).put(tree_in(image), ["1", None, "2"], referrers)
    puts = [one.removeprefix("put ") for one in destination.asked]
    assert puts == [
        *(f"{document.digest} None" for document in image.documents),
        f"{signature.digest} {signature.tag}",
        f"{sbom.digest} None",
        f"{image.digest} 1",
        f"{image.digest} 2",
    ]


def test_without_anything_about_it_an_image_is_put_under_its_tags_at_once(destination: MemoryDestination) -> None:
    image, _ = signed(destination)
    assert Delivery("app", destination, FAST).put(tree_in(image), ["1", None])
    assert [one.partition(" None")[0] for one in destination.asked[-2:]] == [
        f"put {image.digest} 1",
        f"put {image.digest}",
    ]
    assert destination.count(f"put {image.digest}") == 2


@pytest.mark.parametrize("lacking", [None, "image", "signature", "tag"])
def test_an_image_is_new_when_anything_about_it_is(destination: MemoryDestination, lacking: str | None) -> None:
    image, about = signed(destination)
    referrers = [referrer_in(one, image) for one in about]
    delivery = Delivery("app", destination, FAST)
    assert delivery.put(tree_in(image), ["1"], referrers)
    gone = {"image": image, "signature": about[1]}.get(lacking or "")
    if gone:
        del destination.documents[gone.digest]
    if lacking == "tag":
        destination.tags["1"] = about[0].digest
    assert delivery.put(tree_in(image), ["1"], referrers) is (lacking is not None)


def test_an_image_has_no_tag_where_its_signature_is_refused(destination: MemoryDestination) -> None:
    image, (signature, _) = signed(destination)

    def refuse(question: str) -> None:
        if question.startswith(f"put {signature.digest}"):
            raise ConflictError("the tag is immutable", hint="choose another one")

    destination.before_each = refuse
    with pytest.raises(ConflictError) as caught:
        Delivery("app", destination, FAST).put(tree_in(image), ["1"], [referrer_in(signature, image)])
    assert f"other signatures, or the like, of {image.digest}" in caught.value.hint  # its tag can't be chosen
    assert (destination.tags, image.digest in destination.documents) == ({}, True)


@pytest.mark.parametrize("held", [None, "the same", "another"])
def test_a_signature_that_takes_the_place_of_another_is_said_to(
    destination: MemoryDestination, caplog: pytest.LogCaptureFixture, held: str | None
) -> None:
    image, (signature, sbom) = signed(destination)
    before = {"the same": signature.digest, "another": sbom.digest}.get(held or "")
    if before:
        destination.tags[signature.tag] = before
    Delivery("app", destination, FAST).put(tree_in(image), ["1"], [referrer_in(signature, image)])
    said = f"app: tag {signature.tag} was {before}, and is {signature.digest} now"
    assert (said in caplog.text) is (held == "another")
    assert ("was" in caplog.text) is (held == "another")


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (TransientError("500", hint="wait"), "wait\nthe manifest names foreign layers, which docker's registry takes"),
        (UnsupportedError("MANIFEST_INVALID"), "the manifest names foreign layers, which docker's registry takes"),
        (AuthError("denied", hint="log in"), "log in"),
    ],
)
@pytest.mark.parametrize("is_foreign", [True, False])
def test_a_refused_manifest_with_foreign_layers_is_said_to_have_them(
    destination: MemoryDestination, error: EcrdragError, hint: str, is_foreign: bool
) -> None:
    parcel = kinds.foreign_image() if is_foreign else parcel_of(HELLO)

    def refuse(_: str) -> None:
        raise type(error)(str(error), hint=error.hint)

    destination.before_each = refuse
    with pytest.raises(EcrdragError) as caught:
        Delivery("app", destination, FAST).put(tree_in(parcel), ["1"])
    assert caught.value.hint.startswith(hint if is_foreign else error.hint)
    assert ("foreign" in caught.value.hint) is ("foreign" in hint and is_foreign)


def test_the_blobs_of_what_is_about_an_image_have_fates_too() -> None:
    image = parcel_of(HELLO)
    sbom = kinds.sbom(image)
    referrer = referrer_in(sbom, image)
    (config, layer), (empty, file) = tree_in(image).blobs, referrer.tree.blobs
    assert blobs_of(tree_in(image), [referrer, referrer]) == (config, layer, empty, file)
    found = fates_of(
        tree_in(image), [config.digest, empty.digest, file.digest], [file.digest], Fate.UPLOADED, [referrer]
    )
    fates = [Fate.EXISTED, Fate.LEFT_OUT, Fate.EXISTED, Fate.UPLOADED]
    assert found == dict(zip((config.digest, layer.digest, empty.digest, file.digest), fates, strict=True))


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
