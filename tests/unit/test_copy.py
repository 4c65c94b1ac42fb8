"""A copy between two ends in memory: what is asked for, mounted, moved and reported."""

from __future__ import annotations

import json
import threading

import pytest

from ecrdrag.content import Digest, Platform
from ecrdrag.copy import CopyOptions, copy
from ecrdrag.delivery import Fate
from ecrdrag.errors import (
    IntegrityError,
    NotFoundError,
    RepositoryNotFoundError,
    UsageError,
)
from ecrdrag.manifest import OCI_MANIFEST
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import RepositorySettings
from ecrdrag.resolve import Wish
from tests.fake_ends import BESIDE, FAST, HERE, THERE, MemoryDestination, MemorySource, Stages, copied
from tests.images import Blob, hello_image, index_of, noise_image

PATIENCE = 20  # seconds that a test waits for what must happen
HELLO, NOISE = hello_image(), noise_image([2500, 3500, 800])
BOTH = index_of([hello_image("arm64"), HELLO])


@pytest.fixture
def source() -> MemorySource:
    made = MemorySource()
    made.put(NOISE, "1")
    made.put(BOTH, "both")
    return made


@pytest.fixture
def destination() -> MemoryDestination:
    return MemoryDestination()


def test_only_what_is_missing_is_read(source: MemorySource, destination: MemoryDestination) -> None:
    there = NOISE.layers[1]
    destination.blobs[there.digest] = there.content
    found = copied(source, destination)
    assert found.fates == {
        NOISE.config.digest: Fate.UPLOADED,
        NOISE.layers[0].digest: Fate.UPLOADED,
        there.digest: Fate.EXISTED,
        NOISE.layers[2].digest: Fate.UPLOADED,
    }
    assert source.count("blob") == 3
    assert source.count(f"blob {there.digest}") == 0
    assert found.uploaded == sum(len(blob.content) for blob in NOISE.blobs.values()) - len(there.content)
    assert (destination.tags, found.existed, found.mounted) == ({"2": NOISE.manifest.digest}, False, 0)


def test_a_second_copy_finds_all_of_it_and_moves_nothing(source: MemorySource, destination: MemoryDestination) -> None:
    assert not copied(source, destination, create=RepositorySettings()).existed
    assert destination.created == []
    source.asked.clear()
    destination.asked.clear()
    again = copied(source, destination)
    assert (again.existed, again.uploaded, set(again.fates.values())) == (True, 0, {Fate.EXISTED})
    assert (source.count("blob"), destination.count("begin")) == (0, 0)
    assert destination.count("missing 4") == 1  # it has been asked for all of them
    moved = copied(source, destination, ImageReference.parse(f"{THERE.name}:3"))
    assert (moved.existed, destination.tags["3"]) == (False, NOISE.manifest.digest)


def test_what_is_in_another_repository_of_the_registry_is_mounted_and_the_rest_goes_up(
    source: MemorySource, destination: MemoryDestination
) -> None:
    known = {layer.digest: layer.content for layer in NOISE.layers[:2]}
    destination.neighbours[HERE.repository] = known
    found = copied(source, destination, BESIDE)
    assert [found.fates[layer.digest] for layer in NOISE.layers] == [Fate.MOUNTED, Fate.MOUNTED, Fate.UPLOADED]
    assert {one.split()[1] for one in source.asked if one.startswith("blob")} == {
        str(NOISE.layers[2].digest),
        str(NOISE.config.digest),
    }
    assert found.mounted == sum(map(len, known.values()))
    assert found.uploaded == len(NOISE.layers[2].content) + len(NOISE.config.content)
    assert {one.split()[2] for one in destination.asked if one.startswith("mount")} == {HERE.repository}


def test_mounts_are_asked_for_side_by_side_once_the_repository_is_there(
    source: MemorySource, destination: MemoryDestination
) -> None:
    together = threading.Barrier(4)

    def meet(question: str) -> None:
        if question.startswith("mount"):
            assert destination.exists
            together.wait(PATIENCE)

    destination.exists, destination.before_each = False, meet
    destination.neighbours[HERE.repository] = {digest: blob.content for digest, blob in NOISE.blobs.items()}
    settings = RepositorySettings(immutable=True)
    found = copied(source, destination, BESIDE, create=settings)
    assert (destination.created, found.uploaded, source.count("blob")) == ([settings], 0, 0)


def test_nothing_is_mounted_from_another_registry(source: MemorySource, destination: MemoryDestination) -> None:
    copied(source, destination)
    assert destination.count("mount") == 0


def test_one_registry_of_ecr_under_two_host_names_is_one(source: MemorySource, destination: MemoryDestination) -> None:
    here = ImageReference.parse("123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1")
    fips = ImageReference.parse("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/other:1")
    far = ImageReference.parse("123456789012.dkr.ecr.us-east-2.amazonaws.com/other:1")
    for to, mounts in ((far, 0), (fips, 4)):
        destination = MemoryDestination()
        copy(here, source, to, destination, CopyOptions(retry=FAST), Stages())
        assert destination.count("mount") == mounts
    same = ImageReference.parse("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/app:1")
    with pytest.raises(UsageError):
        copy(here, source, same, destination, CopyOptions(retry=FAST), Stages())


@pytest.mark.parametrize(
    ("reference", "to"), [("h.io/a:1", "h.io/a:1"), ("h.io/a:1", "h.io/a"), (f"h.io/a@{Digest.of(b'')}", "h.io/a")]
)
def test_a_copy_of_an_image_onto_itself_is_refused_before_anything_is_asked(
    source: MemorySource, destination: MemoryDestination, reference: str, to: str
) -> None:
    with pytest.raises(UsageError, match="are the same image"):
        copy(
            ImageReference.parse(reference),
            source,
            ImageReference.parse(to),
            destination,
            CopyOptions(),
            Stages(),
        )
    assert source.asked == destination.asked == []


def test_another_tag_in_the_same_repository_takes_no_blob(source: MemorySource, destination: MemoryDestination) -> None:
    destination.blobs.update(source.blobs)
    found = copied(source, destination, ImageReference.parse(f"{HERE.name}:2"))
    assert (destination.tags, found.uploaded) == ({"2": NOISE.manifest.digest}, 0)
    assert (source.count("blob"), destination.count("mount")) == (0, 0)
    del destination.blobs[NOISE.config.digest]  # as ECR does when it archives an image
    again = copied(source, destination, ImageReference.parse(f"{HERE.name}:2"))
    assert (again.existed, again.uploaded) == (False, len(NOISE.config.content))
    assert destination.count("mount") == 0  # from itself


def test_blobs_go_up_beside_each_other_as_many_as_the_jobs_are(
    source: MemorySource, destination: MemoryDestination
) -> None:
    together = threading.Barrier(4)

    def meet(question: str) -> None:
        if question.startswith("begin"):
            together.wait(PATIENCE)

    destination.before_each = meet
    assert copied(source, destination, jobs=4).uploaded


def test_a_blob_without_bytes_is_neither_mounted_nor_sent_and_its_digest_is_checked(
    source: MemorySource, destination: MemoryDestination
) -> None:
    empty, lie = Blob(b"", "application/x"), {**Blob(b"x", "application/x").json, "size": 0}
    for tag, layer in (("hollow", empty.json), ("lie", lie)):
        members = {"config": HELLO.config.json, "layers": [layer]}
        source.put_document(Blob(json.dumps({"schemaVersion": 2, **members}).encode(), OCI_MANIFEST), tag)
    destination.exists = False
    destination.blobs[empty.digest] = b""  # it takes such a manifest
    copied(source, destination, BESIDE, tag="hollow", create=RepositorySettings())
    config = str(HELLO.config.digest)
    assert [one for one in destination.asked if one.startswith("mount")] == [f"mount {config} {HERE.repository}"]
    assert destination.count("begin") == 1
    with pytest.raises(IntegrityError, match=f"^{HERE.name}: blob {Blob(b'x', '').digest} is damaged") as caught:
        copied(source, destination, BESIDE, tag="lie")
    assert "archive" not in caught.value.hint


def test_a_dry_run_says_what_is_missing_and_changes_nothing(
    source: MemorySource, destination: MemoryDestination
) -> None:
    destination.blobs[NOISE.config.digest] = NOISE.config.content
    found = copied(source, destination, BESIDE, dry_run=True)
    assert [found.fates[blob.digest] for blob in (NOISE.config, *NOISE.layers)] == [Fate.EXISTED, *[Fate.MISSING] * 3]
    assert found.uploaded == sum(len(layer.content) for layer in NOISE.layers)
    assert (found.dry_run, found.existed, source.count("blob")) == (True, False, 0)
    assert {one.split()[0] for one in destination.asked} == {"missing"}
    absent = MemoryDestination(exists=False)
    assert set(copied(source, absent, dry_run=True, create=RepositorySettings()).fates.values()) == {Fate.MISSING}
    assert absent.created == []


def test_a_repository_that_is_missing_and_not_to_be_created_ends_it_before_a_blob_is_read(source: MemorySource) -> None:
    with pytest.raises(RepositoryNotFoundError, match=f"^{THERE.name}: there is no such repository"):
        copied(source, MemoryDestination(exists=False))
    assert source.count("blob") == 0


def test_a_digest_at_the_destination_holds_the_image_to_it(
    source: MemorySource, destination: MemoryDestination
) -> None:
    wrong = ImageReference.parse(f"{THERE}@{HELLO.manifest.digest}")
    with pytest.raises(IntegrityError, match=f"has digest {NOISE.manifest.digest}, not {HELLO.manifest.digest} as"):
        copied(source, destination, wrong)
    assert destination.asked == []
    right = ImageReference.parse(f"{THERE.name}@{NOISE.manifest.digest}")
    copied(source, destination, right)
    assert (destination.tags, set(destination.documents)) == ({}, {NOISE.manifest.digest})


def test_a_wish_takes_one_platform_and_its_manifest_gets_the_tag(
    source: MemorySource, destination: MemoryDestination
) -> None:
    arm = BOTH.images[0]
    found = copied(source, destination, tag="both", wish=Wish((Platform("linux", "arm64"),)))
    assert source.count(f"blob {BOTH.images[0].config.digest}") == 1  # to choose it, and not once more to send it
    assert destination.tags == {"2": arm.manifest.digest}
    assert (found.tree.root.digest, set(destination.blobs)) == (arm.manifest.digest, set(arm.blobs))
    assert set(destination.documents) == {arm.manifest.digest}
    with pytest.raises(NotFoundError, match=f"^{HERE.name}:both has no image for linux/s390x; it has linux/amd64"):
        copied(source, destination, tag="both", wish=Wish((Platform("linux", "s390x"),)))


def test_an_image_is_found_by_its_digest(source: MemorySource, destination: MemoryDestination) -> None:
    copied(source, destination, digest=BOTH.images[0].manifest.digest)
    assert destination.tags == {"2": BOTH.images[0].manifest.digest}


def test_the_stage_upload_is_shown_where_something_goes_up(
    source: MemorySource, destination: MemoryDestination
) -> None:
    for shown in (["upload"], []):
        stages = Stages()
        copied(source, destination, stages=stages)
        assert stages.names == shown
