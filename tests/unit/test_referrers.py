"""What is about images and not in them, from a source in memory: what is found and chosen, and in which order."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from ecrdrag.errors import TransientError
from ecrdrag.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from ecrdrag.referrers import referrers_of
from tests.about import APP, WHERE, documents_of, found, offer, roots
from tests.fake_ends import FAST, MemorySource
from tests.images import Blob
from tests.kinds import (
    EMPTY,
    IN_TOTO,
    SIGNATURE,
    SIMPLE_SIGNING,
    SPDX,
    all_about,
    artifact,
    buildx_index,
    cosign_signature,
    document_of,
    greeter,
    in_toto,
    index,
    sbom,
    signature,
)


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_image_that_nothing_is_about_has_no_referrers(source: MemorySource) -> None:
    offer(source, APP)
    assert found(source) == ()


def test_what_names_an_image_and_what_is_tagged_for_it_is_found_and_what_is_about_that(source: MemorySource) -> None:
    everything = all_about(APP)
    offer(source, APP, *everything)
    by_digest = {one.digest: one for one in everything}
    made = found(source)
    assert sorted(roots(made), key=str) == sorted(by_digest, key=str)
    for one in made:
        parcel = by_digest[one.tree.root.digest]
        assert one.tag == (parcel.tag or None)
        assert one.tree.root.raw == parcel.root.content
    subjects = {one.tree.root.digest: one.subject for one in made}
    materials = sbom(APP)
    assert subjects.pop(signature(materials).digest) == materials.digest
    assert set(subjects.values()) == {APP.digest}


@pytest.mark.parametrize("suffix", ["sig", "att", "sbom"])
def test_each_tag_of_cosigns_is_tried(source: MemorySource, suffix: str) -> None:
    tagged = cosign_signature(APP, suffix=suffix)
    offer(source, APP, tagged)
    (one,) = found(source)
    assert (one.tag, one.subject) == (f"sha256-{APP.digest.hex}.{suffix}", APP.digest)
    assert one.tree.root.raw == tagged.root.content
    assert source.count(f"manifest {tagged.digest}") == 0


def test_every_document_that_is_given_is_asked_about_and_no_other(source: MemorySource) -> None:
    both = buildx_index()
    image = both.of("arm64")
    about_all, about_one = signature(both), signature(image)
    offer(source, both, about_all, about_one)
    assert set(roots(found(source, both))) == {about_all.digest, about_one.digest}
    assert roots(found(source, image)) == [about_one.digest]
    root_alone = [documents_of(both)[-1]]
    assert roots(referrers_of(root_alone, source, WHERE, (), FAST)) == [about_all.digest]


def test_the_order_is_that_of_the_documents_then_of_digests_then_of_tags_and_no_lists(source: MemorySource) -> None:
    both = buildx_index()
    first, last = documents_of(both)[0], documents_of(both)[-1]
    image = replace(both.of("amd64"))
    made = [in_toto(image), sbom(image), signature(image)]
    tagged = [cosign_signature(image, suffix=suffix) for suffix in ("sig", "att", "sbom")]
    about_made, about_root = signature(made[0]), sbom(both)
    offer(source, both, *made, *tagged, about_made, about_root)
    assert first.digest == image.digest
    expected = [
        *sorted((one.digest for one in made), key=str),
        *(one.digest for one in tagged),
        about_root.digest,
        about_made.digest,
    ]
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(5):
        for subject, listed in source.listed.items():
            source.listed[subject] = tuple(chance.sample(listed, len(listed)))
        assert roots(found(source, both)) == expected
    assert found(source, both)[-2].subject == last.digest


def test_an_index_that_refers_comes_with_all_that_is_in_it(source: MemorySource) -> None:
    inside = artifact([(Blob(b"scan", "text/plain"), {})], artifact_type="application/scan")
    reports = index([inside], artifactType="application/scans", subject=APP.root.json)
    about_inside = signature(inside)
    offer(source, APP, reports, about_inside)
    one, other = found(source)
    assert [document.raw for document in one.tree.documents] == [blob.content for blob in reports.documents]
    assert (other.subject, other.tree.root.digest) == (inside.digest, about_inside.digest)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ((), ["cosign", "signature", "in-toto", "sbom"]),
        ([SIGNATURE], ["cosign", "signature"]),
        ([IN_TOTO], ["in-toto"]),
        ([SPDX, IN_TOTO], ["in-toto", "sbom"]),
        ([SIMPLE_SIGNING], ["cosign", "signature"]),
        (["application/other"], []),
        ([EMPTY.media_type], []),
    ],
)
def test_types_choose_by_artifact_type_and_by_layer(
    source: MemorySource, types: Collection[str], expected: Sequence[str]
) -> None:
    made = {"cosign": cosign_signature(APP), "signature": signature(APP), "in-toto": in_toto(APP), "sbom": sbom(APP)}
    offer(source, APP, *made.values())
    assert set(roots(found(source, types=types))) == {made[name].digest for name in expected}


def test_a_tag_of_cosigns_has_the_type_that_it_would_have_without_one(source: MemorySource) -> None:
    offer(source, APP, cosign_signature(APP), cosign_signature(APP, suffix="att"))
    (one,) = found(source, types=["application/vnd.dev.cosign.artifact.att.v1+json"])
    assert one.tag is not None
    assert one.tag.endswith(".att")


def test_without_an_artifact_type_that_of_the_config_counts(source: MemorySource) -> None:
    config = Blob(b"{}", "application/vnd.cncf.notary.signature")
    old = artifact([(Blob(b"x", "application/jose+json"), {})], config=config, subject=APP)
    offer(source, APP, old)
    assert roots(found(source, types=[config.media_type])) == [old.digest]
    assert roots(found(source, types=["application/jose+json"])) == [old.digest]
    assert found(source, types=[OCI_CONFIG]) == ()


def test_nothing_is_asked_about_what_is_not_wanted(source: MemorySource) -> None:
    materials = sbom(APP)
    about_it = signature(materials)
    offer(source, APP, materials, about_it)
    assert found(source, types=[SIGNATURE]) == ()
    assert source.count(f"referrers {materials.digest}") == 0


def test_an_index_under_the_fallback_tag_lists_too_and_nothing_comes_twice(source: MemorySource) -> None:
    listed, tagged = signature(APP), sbom(APP)
    offer(source, APP, listed, tagged)
    source.listed[APP.digest] = tuple(one for one in source.listed[APP.digest] if one.digest == listed.digest)
    both = document_of(OCI_INDEX, manifests=[tagged.root.json, listed.root.json])
    source.put_document(both, f"sha256-{APP.digest.hex}")
    assert set(roots(found(source))) == {listed.digest, tagged.digest}
    assert len(found(source)) == 2
    assert all(one.tag is None for one in found(source))


def test_an_image_under_the_fallback_tag_says_nothing(source: MemorySource, caplog: pytest.LogCaptureFixture) -> None:
    offer(source, APP)
    source.put_document(greeter("amd64", "a tag like any other\n").root, f"sha256-{APP.digest.hex}")
    assert found(source) == ()
    assert warnings(caplog) == []


def test_what_is_listed_and_tagged_is_what_is_tagged(source: MemorySource) -> None:
    both = replace(signature(APP), tag=f"sha256-{APP.digest.hex}.sig")
    offer(source, APP, both)
    (one,) = found(source)
    assert one.tag == both.tag


def test_what_travels_anyway_is_no_referrer(source: MemorySource) -> None:
    image, other = greeter("amd64", "one\n"), signature(APP)
    whole = index([image, APP, other])
    offer(source, whole)
    assert found(source, whole) == ()


def test_tags_in_a_circle_come_to_an_end(source: MemorySource) -> None:
    mark = signature(APP)
    offer(source, APP, mark)
    source.put_document(APP.root, f"sha256-{mark.digest.hex}.sig")
    source.put_document(mark.root, f"sha256-{APP.digest.hex}.att")
    assert [(one.tag or "")[-4:] for one in found(source)] == [".att", ".sig"]


def test_each_question_is_tried_again(source: MemorySource) -> None:
    asked: set[str] = set()

    def fail_once(question: str) -> None:
        if question not in asked:
            asked.add(question)
            raise TransientError("not now")

    everything = all_about(APP)
    offer(source, APP, *everything)
    source.before_each = fail_once
    assert len(found(source)) == len(everything)
    assert all(source.asked.count(question) == 2 for question in asked)


def test_each_question_is_asked_once(source: MemorySource) -> None:
    both = buildx_index()
    offer(source, both, *all_about(both))
    found(source, both)
    assert len(source.asked) == len(set(source.asked))


def test_bytes_stay_as_they_are(source: MemorySource) -> None:
    raw = json.dumps({"schemaVersion": 2, "config": EMPTY.json, "layers": [], "subject": APP.root.json}, indent=7)
    source.put_document(Blob(raw.encode(), OCI_MANIFEST))
    (one,) = found(source)
    assert one.tree.root.raw == raw.encode()
