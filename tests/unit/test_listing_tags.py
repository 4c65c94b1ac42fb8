"""What tags and annotations say to be about an image: as regctl, skopeo and cosign save write it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ecrdrag.content import Digest
from tests.archives import reading
from tests.kinds import (
    Parcel,
    attestation,
    buildx_index,
    cosign_signature,
    in_toto,
    signature,
)
from tests.layouts import (
    ABOVE,
    APP,
    FULL_NAME,
    MATERIALS,
    NAMES,
    OTHER,
    SIGNATURE,
    SIGNED,
    about,
    entry,
    layout,
    listing,
    names_of,
    referrers_of,
)

# --- by tags: as a registry has them, and as regctl and skopeo copy them -----------------------


@pytest.mark.parametrize("suffix", ["sig", "att", "sbom"])
@pytest.mark.parametrize("write", ["{}", "registry.example.com:5000/app:{}", "app:{}"])
def test_a_tag_of_cosign_s_says_what_it_is_about(suffix: str, write: str) -> None:
    parcel = cosign_signature(APP, suffix=suffix)
    entries = [entry(parcel, write.format(parcel.tag)), entry(APP, "1")]
    with reading(layout(entries, [APP, parcel])) as reader:
        assert names_of(reader) == {APP.digest: ("1",)}
        assert reader.referrers == (about(parcel, APP, f"sha256-{APP.digest.hex}.{suffix}"),)


@pytest.mark.parametrize(
    "name",
    [
        f"{SIGNED.tag}n",
        f"{SIGNED.tag}.sig",
        f"x{SIGNED.tag}",
        f"app/{SIGNED.tag}",
        SIGNED.tag.replace("sha256-", "sha512-"),
        SIGNED.tag.replace("-", ":"),
        SIGNED.tag.replace(".sig", ".tar"),
        SIGNED.tag.upper(),
        f"sha256-{APP.digest.hex[1:]}.sig",
    ],
)
def test_other_tags_are_names_of_images(name: str) -> None:
    with reading(layout([entry(APP, "1"), entry(SIGNED, name)], [APP, SIGNED])) as reader:
        assert names_of(reader) == {APP.digest: ("1",), SIGNED.digest: (name,)}
        assert reader.referrers == ()


def test_the_full_name_decides_where_there_are_two() -> None:
    entries = [entry(APP, SIGNED.tag, **{FULL_NAME: NAMES[0]}), entry(SIGNED, "2", **{FULL_NAME: f"app:{SIGNED.tag}"})]
    with reading(layout(entries, [APP, SIGNED])) as reader:
        assert names_of(reader) == {APP.digest: (NAMES[0],)}
        assert reader.referrers == (about(SIGNED, APP),)


def test_one_document_may_be_about_two_images_and_be_an_image_too() -> None:
    tags = [cosign_signature(one).tag for one in (APP, OTHER)]
    entries = [entry(APP, "1"), *(entry(SIGNED, name) for name in (*tags, tags[0], "signature"))]
    with reading(layout(entries, [APP, SIGNED])) as reader:
        assert names_of(reader) == {APP.digest: ("1",), SIGNED.digest: ("signature",)}
        assert reader.referrers == (about(SIGNED, APP, tags[0]), about(SIGNED, OTHER, tags[1]))


def test_a_list_of_referrers_is_no_image_and_its_members_are_referrers() -> None:
    lists = [referrers_of(APP, [SIGNATURE, MATERIALS, in_toto(APP)]), referrers_of(MATERIALS, [ABOVE])]
    held = [APP, SIGNATURE, MATERIALS, ABOVE, *lists]
    entries = [entry(lists[1], f"app:{lists[1].tag}"), entry(lists[0], lists[0].tag), entry(APP, "1")]
    with reading(layout(entries, held)) as reader:
        assert names_of(reader) == {APP.digest: ("1",)}
        expected = (about(ABOVE, MATERIALS), about(SIGNATURE, APP), about(MATERIALS, APP))
        assert reader.referrers == expected, "what isn't there is left out"


def test_members_of_a_list_that_are_listed_themselves_are_referrers_once() -> None:
    found = referrers_of(APP, [SIGNATURE])
    entries = [entry(SIGNATURE), entry(found, found.tag), entry(APP, "1")]
    with reading(layout(entries, [APP, SIGNATURE, found], listing(entry(SIGNATURE)))) as reader:
        assert names_of(reader) == {APP.digest: ("1",)}
        assert reader.referrers == (about(SIGNATURE, APP),)


def test_an_empty_list_of_referrers_is_nothing() -> None:
    found = referrers_of(APP, [])
    with reading(layout([entry(found, found.tag), entry(APP, "1")], [APP, found])) as reader:
        assert (names_of(reader), reader.referrers) == ({APP.digest: ("1",)}, ())


@pytest.mark.parametrize("other", [OTHER, signature(OTHER)], ids=["image", "about another"])
def test_an_index_by_such_a_tag_that_lists_anything_else_is_an_image(other: Parcel) -> None:
    found = referrers_of(APP, [SIGNATURE, other])
    with reading(layout([entry(found, found.tag), entry(APP, "1")], [APP, SIGNATURE, other, found])) as reader:
        assert names_of(reader) == {found.digest: (found.tag,), APP.digest: ("1",)}
        assert reader.referrers == ()


def test_an_image_by_such_a_tag_and_a_list_that_is_there_alone_are_images() -> None:
    found = referrers_of(OTHER, [signature(OTHER)])
    with reading(layout([entry(APP, found.tag)], [APP])) as reader:
        assert names_of(reader) == {APP.digest: (found.tag,)}
    entries = [entry(found, found.tag), entry(signature(OTHER))]
    with reading(layout(entries, [found, signature(OTHER)])) as reader:
        assert (names_of(reader), reader.referrers) == ({found.digest: (found.tag,)}, ())


# --- as cosign save writes it: without tags, told apart by an annotation ------------------------


def kind(word: str) -> dict[str, str]:
    return {"kind": f"dev.cosignproject.cosign/{word}"}


@pytest.mark.parametrize("name", ["", NAMES[0]])
@pytest.mark.parametrize(("word", "whole"), [("image", APP), ("imageIndex", buildx_index())], ids=["one", "index"])
def test_signatures_that_cosign_saved_are_about_the_image_that_it_saved(word: str, whole: Parcel, name: str) -> None:
    signed, attested = (cosign_signature(whole, suffix=suffix) for suffix in ("sig", "att"))
    attested = replace(attestation(whole), tag=attested.tag)
    entries = [
        entry(signed, name, **kind("sigs")),
        entry(whole, name, **kind(word)),
        entry(attested, name, **kind("atts")),
    ]
    with reading(layout(entries, [whole, signed, attested])) as reader:
        assert names_of(reader) == {whole.digest: (name,) if name else ()}
        assert reader.referrers == (about(signed, whole), about(attested, whole))


def test_where_several_images_were_saved_the_name_says_which_one_a_signature_is_about() -> None:
    other = cosign_signature(OTHER, suffix="sbom")
    entries = [
        entry(APP, NAMES[0], **kind("image")),
        entry(OTHER, NAMES[1], **kind("image")),
        entry(SIGNED, NAMES[0], **kind("sigs")),
        entry(other, NAMES[1], **kind("sboms")),
    ]
    with reading(layout(entries, [APP, OTHER, SIGNED, other])) as reader:
        assert names_of(reader) == {APP.digest: (NAMES[0],), OTHER.digest: (NAMES[1],)}
        assert reader.referrers == (about(SIGNED, APP), about(other, OTHER))


def test_a_signature_of_nobody_knows_which_image_is_an_image() -> None:
    entries = [entry(APP, **kind("image")), entry(OTHER, **kind("image")), entry(SIGNED, **kind("sigs"))]
    with reading(layout(entries, [APP, OTHER, SIGNED])) as reader:
        assert [image.digest for image in reader.images] == [APP.digest, OTHER.digest, SIGNED.digest]
    entries = [entry(APP, "1"), entry(SIGNED, **kind("sigs"))]
    with reading(layout(entries, [APP, SIGNED])) as reader:
        assert len(reader.images) == 2
    longer = {**entry(APP, **kind("image")), "digest": str(Digest.of(APP.root.content, "sha512"))}
    with reading(layout([longer, entry(SIGNED, **kind("sigs"))], [APP, SIGNED])) as reader:
        assert len(reader.images) == 2, "no tag of cosign's is of sha512"
