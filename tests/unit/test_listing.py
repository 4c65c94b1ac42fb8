"""What an OCI layout lists: images, their parts, and what is about them, as docker_pull.py and oras write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ecrdrag.archive.contents import MAX_REFERRERS
from ecrdrag.archive.plan import ImageName, plan_archive
from ecrdrag.errors import ArchiveError, EcrdragError, IntegrityError, UnsupportedError
from tests.archives import assemble, contents_of, planned, planned_referrer, read_back, reading
from tests.kinds import (
    Parcel,
    all_about,
    cosign_signature,
    document_of,
    in_toto,
    index,
    sbom,
    signature,
)
from tests.layouts import (
    ABOVE,
    APP,
    FULL_NAME,
    MATERIALS,
    OTHER,
    SIGNATURE,
    SIGNED,
    about,
    entry,
    layout,
    listing,
    names_of,
)

# --- our own archives --------------------------------------------------------------------------


def test_what_was_pulled_with_an_image_is_about_it_and_the_image_is_alone_among_images() -> None:
    found = all_about(APP)
    plan = plan_archive([planned(APP)], map(planned_referrer, found))
    with reading({**read_back(assemble(plan, contents_of(APP, *found)))}) as reader:
        assert [image.digest for image in reader.images] == [APP.digest]
        materials = sbom(APP)
        expected = {about(one, APP) for one in found[:-1]} | {about(signature(materials), materials)}
        assert set(reader.referrers) == expected
        assert len(reader.referrers) == len(found)
        for one in reader.referrers:
            assert reader.manifest(digest=one.digest).digest == one.digest


def test_a_referrer_by_tag_is_told_by_its_tag_though_its_document_says_nothing() -> None:
    referrers = listing(entry(SIGNED, SIGNED.tag))
    with reading(layout([entry(APP, "1")], [APP, SIGNED], referrers)) as reader:
        assert reader.referrers == (about(SIGNED, APP, f"sha256-{APP.digest.hex}.sig"),)


def test_a_referrer_whose_subject_is_not_there_is_one_all_the_same() -> None:
    referrers = listing(entry(signature(OTHER)), entry(cosign_signature(OTHER), cosign_signature(OTHER).tag))
    with reading(layout([entry(APP, "1")], [APP, signature(OTHER)], referrers)) as reader:
        assert reader.referrers == (about(signature(OTHER), OTHER), about(cosign_signature(OTHER), OTHER))
        with pytest.raises(ArchiveError, match="is missing"):
            reader.manifest(digest=cosign_signature(OTHER).digest)


def test_without_referrers_there_are_none() -> None:
    with reading(layout([entry(APP, "1")], [APP])) as reader:
        assert reader.referrers == ()


def test_a_signature_that_was_pulled_alone_is_an_image_with_what_is_about_it() -> None:
    name = f"registry.example.com/app:{SIGNED.tag}"
    referrers = listing(entry(signature(SIGNED)))
    entries = [entry(SIGNED, SIGNED.tag, **{FULL_NAME: name})]
    with reading(layout(entries, [SIGNED, signature(SIGNED)], referrers)) as reader:
        assert names_of(reader) == {SIGNED.digest: (name,)}
        assert reader.referrers == (about(signature(SIGNED), SIGNED),)


def test_a_signature_that_is_both_pulled_by_name_and_found_beside_its_image_is_one_referrer() -> None:
    names = [ImageName("registry.example.com/app", tag) for tag in ("1", SIGNED.tag)]
    plan = plan_archive(
        [planned(APP, names[0]), replace(planned(SIGNED, names[1]), loadable=None)], [planned_referrer(SIGNED)]
    )
    with reading({**read_back(assemble(plan, contents_of(APP, SIGNED)))}) as reader:
        assert [image.digest for image in reader.images] == [APP.digest]
        assert reader.referrers == (about(SIGNED, APP),)


@pytest.mark.parametrize(
    ("referrers", "kind", "said"),
    [
        (b"{", UnsupportedError, "referrers.json: the manifest is not JSON"),
        (b"[]", UnsupportedError, "referrers.json: the manifest is a JSON list"),
        (b'{"schemaVersion":2}', UnsupportedError, "referrers.json: manifest: manifests is not a list"),
        (listing(), ArchiveError, "referrers.json lists 0 referrers, not 1 to 5000"),
        (listing(*[entry(SIGNATURE)] * (MAX_REFERRERS + 1)), ArchiveError, "lists 5001 referrers, not 1 to 5000"),
        (b" " * (4 * 1024 * 1024 + 1), ArchiveError, "over the limit of 4194304 for JSON"),
        (listing(entry(APP)), ArchiveError, f"referrers.json: nothing says what {APP.digest} is about"),
        (listing(entry(SIGNATURE, "latest")), ArchiveError, f"nothing says what {SIGNATURE.digest} is about"),
        (listing(entry(SIGNED, SIGNED.tag[:-4])), ArchiveError, f"nothing says what {SIGNED.digest} is about"),
        (listing(entry(SIGNED, f"app:{SIGNED.tag}")), ArchiveError, f"nothing says what {SIGNED.digest} is about"),
        (listing(entry(ABOVE)), ArchiveError, f"blobs/sha256/{ABOVE.digest.hex} is missing"),
        (listing({**entry(SIGNATURE), "size": 7}), IntegrityError, "bytes, referrers.json says 7"),
        (listing(entry(Parcel((APP.root, document_of("x/y"))))), UnsupportedError, "'x/y' is no image manifest"),
    ],
)
def test_what_is_wrong_with_our_list_of_referrers_is_said(
    referrers: bytes, kind: type[EcrdragError], said: str
) -> None:
    unknown = Parcel((document_of("x/y"),))
    files = layout([entry(APP, "1")], [APP, SIGNATURE, SIGNED, unknown], referrers)
    with pytest.raises(EcrdragError) as caught, reading(files) as reader:
        reader.referrers  # noqa: B018 - it is read on demand
    assert type(caught.value) is kind
    assert str(caught.value).startswith("app.tar")
    assert said in str(caught.value)


def test_what_index_json_lists_comes_before_what_our_own_list_adds_and_is_sorted_once() -> None:
    files = layout([entry(APP, "1"), entry(SIGNATURE)], [APP, SIGNATURE, MATERIALS], listing(entry(MATERIALS)))
    with reading(files) as reader:
        assert reader.referrers == (about(SIGNATURE, APP), about(MATERIALS, APP))
        assert reader.referrers is reader.referrers
        assert reader.images is reader.images


# --- as oras writes it: everything is listed, and only what was asked for has a name -----------


def test_what_has_no_name_but_a_subject_is_about_an_image() -> None:
    whole = index([APP, OTHER])
    everything = [SIGNATURE, signature(whole), MATERIALS, ABOVE]
    entries = [entry(whole, "1"), *map(entry, [SIGNATURE, APP, *everything[1:], OTHER])]
    with reading(layout(entries, [whole, *everything])) as reader:
        assert names_of(reader) == {whole.digest: ("1",)}
        assert reader.referrers == (
            about(SIGNATURE, APP),
            about(signature(whole), whole),
            about(MATERIALS, APP),
            about(ABOVE, MATERIALS),
        )


def test_an_image_without_a_name_is_told_from_its_signature() -> None:
    with reading(layout([entry(APP), entry(SIGNATURE)], [APP, SIGNATURE])) as reader:
        assert names_of(reader) == {APP.digest: ()}
        assert reader.referrers == (about(SIGNATURE, APP),)


def test_what_has_a_name_is_an_image_whatever_it_is_about() -> None:
    entries = [entry(APP, "1"), entry(SIGNATURE), entry(SIGNATURE, "signature"), entry(SIGNATURE)]
    with reading(layout(entries, [APP, SIGNATURE])) as reader:
        assert names_of(reader) == {APP.digest: ("1",), SIGNATURE.digest: ("signature",)}
        assert reader.referrers == ()


def test_a_part_of_an_index_is_one_though_it_has_a_subject() -> None:
    part = in_toto(APP)
    whole = index([APP, part])
    with reading(layout([entry(whole, "1"), entry(APP), entry(part)], [whole])) as reader:
        assert names_of(reader) == {whole.digest: ("1",)}
        assert reader.referrers == ()


def test_parts_of_an_index_that_is_about_an_image_are_no_images() -> None:
    bundle = index([in_toto(OTHER), MATERIALS], subject=APP.root.json)
    entries = [entry(APP, "1"), entry(MATERIALS), entry(bundle), entry(in_toto(OTHER))]
    with reading(layout(entries, [APP, bundle])) as reader:
        assert names_of(reader) == {APP.digest: ("1",)}
        assert reader.referrers == (about(bundle, APP),)


@pytest.mark.parametrize("parcel", [SIGNATURE, index([MATERIALS], subject=APP.root.json)], ids=["one", "index"])
def test_what_is_there_alone_is_an_image_though_it_is_about_another(parcel: Parcel) -> None:
    parts = [Parcel((one,)) for one in parcel.documents[:-1]]
    with reading(layout([*map(entry, parts), entry(parcel)], [parcel])) as reader:
        assert names_of(reader) == {parcel.digest: ()}
        assert reader.referrers == ()


def test_where_all_would_be_referrers_all_are_images() -> None:
    entries = [entry(SIGNATURE), entry(SIGNED, SIGNED.tag), entry(MATERIALS)]
    with reading(layout(entries, [SIGNATURE, SIGNED, MATERIALS])) as reader:
        assert names_of(reader) == {SIGNATURE.digest: (), SIGNED.digest: (SIGNED.tag,), MATERIALS.digest: ()}
        assert reader.referrers == ()


def test_a_damaged_document_without_a_name_is_said() -> None:
    files = layout([entry(APP, "1"), entry(SIGNATURE)], [APP])
    files.update({f"blobs/sha256/{SIGNATURE.digest.hex}": SIGNATURE.root.content[:-1]})
    with reading(files) as reader, pytest.raises(IntegrityError, match="is damaged"):
        reader.images  # noqa: B018 - it is read on demand


@pytest.mark.parametrize("beside", [entry(OTHER, "2"), entry(OTHER)], ids=["named", "nameless"])
def test_what_has_a_name_and_is_no_index_is_not_read_to_be_listed(beside: Mapping[str, object]) -> None:
    files = layout([entry(APP, "1"), beside], [APP, OTHER])
    files.update({f"blobs/sha256/{APP.digest.hex}": b"damaged"})
    with reading(files) as reader:
        assert [image.digest for image in reader.images] == [APP.digest, OTHER.digest]


def test_an_index_is_not_read_where_everything_has_a_name() -> None:
    whole = index([APP])
    files = layout([entry(whole, "1"), entry(APP, "2")], [whole])
    files.update({f"blobs/sha256/{whole.digest.hex}": b"damaged"})
    with reading(files) as reader:
        assert [image.digest for image in reader.images] == [whole.digest, APP.digest]


def test_what_is_missing_or_of_an_unknown_kind_is_an_image_until_somebody_wants_it() -> None:
    unknown = Parcel((document_of("application/vnd.oci.artifact.manifest.v1+json", subject=APP.root.json),))
    with reading(layout([entry(APP, "1"), entry(unknown), entry(SIGNATURE)], [APP, unknown])) as reader:
        assert names_of(reader) == {APP.digest: ("1",), unknown.digest: (), SIGNATURE.digest: ()}
        with pytest.raises(UnsupportedError, match="is no image manifest"):
            reader.root(reader.images[1])
        with pytest.raises(ArchiveError, match="is missing"):
            reader.root(reader.images[2])
