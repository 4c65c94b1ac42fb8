"""An OCI layout of anything but one plain image: sparse indexes, artifacts, too much of all."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ecrdrag.archive.contents import MAX_REFERRERS
from ecrdrag.archive.listing import MAX_READ, Facts
from ecrdrag.archive.plan import ImageName, PlannedImage, plan_archive
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import ArchiveError, IntegrityError
from ecrdrag.manifest import OCI_INDEX, Document, Index, Manifest
from tests.archives import assemble, contents_of, documents_of, planned, read_back, reading
from tests.images import Blob
from tests.kinds import Parcel, bare_artifact, buildx_index, foreign_image, helm_chart, index, nested_index, wasm
from tests.layouts import APP, OTHER, SIGNATURE, SIGNED, entry, layout, listing, names_of
from tests.saved import Link

NAME = ImageName("registry.example.com/app", "1")


def descriptor(blob: Blob) -> Descriptor:
    return Descriptor(blob.media_type, blob.digest, len(blob.content))


# --- sparse indexes ----------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_of_a_sparse_index_the_index_and_what_was_chosen_are_read_and_the_rest_is_missing(architecture: str) -> None:
    whole = buildx_index()
    chosen = whole.of(architecture)
    (manifest,) = documents_of(chosen)
    assert isinstance(manifest, Manifest)
    plan = plan_archive([PlannedImage((NAME,), (manifest, documents_of(whole)[-1]), manifest)])
    with reading({**read_back(assemble(plan, contents_of(chosen)))}) as reader:
        (image,) = reader.images
        assert (image.names, image.digest) == ((str(NAME),), whole.digest)
        root = reader.root(image)
        assert isinstance(root, Index)
        assert root.raw == whole.root.content
        for one in root.manifests:
            assert reader.holds(one) == (one.digest == chosen.digest)
            if one.digest == chosen.digest:
                assert reader.manifest(digest=one.digest) == manifest
            else:
                with pytest.raises(ArchiveError, match=f"blobs/sha256/{one.digest.hex} is missing"):
                    reader.manifest(digest=one.digest)
        assert all(reader.holds(descriptor(blob)) for blob in chosen.blobs.values())
        lacking = [blob for digest, blob in whole.blobs.items() if digest not in chosen.blobs]
        assert lacking
        assert not any(reader.holds(descriptor(blob)) for blob in lacking)


def test_a_child_of_another_size_than_its_index_says_is_damaged() -> None:
    whole = index([APP])
    (child,) = documents_of(whole)[-1].manifests  # type: ignore[union-attr]
    with reading(layout([entry(whole, "1")], [whole])) as reader:
        assert reader.holds(child)
        with pytest.raises(IntegrityError):
            reader.holds(Descriptor(child.media_type, child.digest, child.size + 1))


def test_indexes_in_indexes_are_read_level_by_level() -> None:
    whole = nested_index()
    with reading(
        layout([entry(whole, "1"), *(entry(Parcel((one,))) for one in whole.documents[:-1])], [whole])
    ) as reader:
        assert names_of(reader) == {whole.digest: ("1",)}
        for blob in whole.documents:
            assert reader.manifest(digest=blob.digest).raw == blob.content


# --- artifacts, and layers that aren't there ---------------------------------------------------


@pytest.mark.parametrize("parcel", [helm_chart(), wasm(), bare_artifact()], ids=["chart", "wasm", "bare"])
def test_an_artifact_is_listed_as_images_are_and_is_read_as_it_is(parcel: Parcel) -> None:
    plan = plan_archive([planned(parcel, NAME)])
    with reading({**read_back(assemble(plan, contents_of(parcel)))}) as reader:
        (image,) = reader.images
        assert (image.names, image.digest, reader.is_converted) == ((str(NAME),), parcel.digest, False)
        root = reader.root(image)
        assert isinstance(root, Manifest)
        assert not root.is_image
        assert root.raw == parcel.root.content
        assert all(reader.holds(blob) for blob in root.blobs)
        assert reader.size_to_prepare([image]) == 0


def test_a_layer_that_was_left_out_is_not_held_and_the_others_are() -> None:
    parcel = foreign_image()
    plan = plan_archive([planned(parcel, NAME)], without=parcel.elsewhere)
    with reading({**read_back(assemble(plan, contents_of(parcel)))}) as reader:
        root = reader.root(reader.images[0])
        assert isinstance(root, Manifest)
        assert [reader.holds(blob) for blob in root.blobs] == [True, True, False]


# --- too much ----------------------------------------------------------------------------------


def test_no_more_is_read_to_sort_what_is_listed_than_an_archive_may_have() -> None:
    (signature,) = documents_of(SIGNATURE)
    document = replace(signature, raw=bytes(MAX_READ // 4))
    asked: list[Digest] = []

    def read(digest: Digest) -> Document:
        asked.append(digest)
        return document

    facts = Facts("app.tar", read, lambda _: True)
    digests = [Digest.of(bytes([number])) for number in range(5)]
    for digest in [*digests[:4], *digests[:4]]:
        assert facts.of(digest).subject == APP.digest
    assert asked == digests[:4], "each is read once"
    with pytest.raises(ArchiveError, match=f"app.tar: the manifests that it lists have more than {MAX_READ} bytes"):
        facts.of(digests[4])


def test_lists_of_more_referrers_than_an_archive_may_hold_are_refused() -> None:
    tags = [f"sha256-{number:064x}" for number in range(2)]
    half = {"mediaType": OCI_INDEX, "schemaVersion": 2}
    lists = [
        Blob(json.dumps({**half, "manifests": [entry(SIGNATURE)] * (MAX_REFERRERS // 2 + place)}).encode(), OCI_INDEX)
        for place in (0, 1)
    ]
    parcels = [Parcel((one,)) for one in lists]
    allowed = [entry(OTHER, "1"), *(entry(parcels[0], tag) for tag in tags)]
    with reading(layout(allowed, parcels)) as reader:
        assert (len(reader.images), reader.referrers) == (1, ()), "what isn't there is no referrer"
    refused = [entry(OTHER, "1"), *(entry(one, tag) for one, tag in zip(parcels, tags, strict=True))]
    with reading(layout(refused, parcels)) as reader, pytest.raises(ArchiveError, match="lists 5001 referrers"):
        reader.referrers  # noqa: B018 - it is read on demand


def test_lists_of_several_places_hold_no_more_referrers_together() -> None:
    tags = [f"sha256-{number:064x}.sig" for number in range(MAX_REFERRERS)]
    referrers = listing(*(entry(SIGNED, tag) for tag in tags))
    with reading(layout([entry(APP, "1"), entry(SIGNED, tags[0])], [APP, SIGNED], referrers)) as reader:
        assert len(reader.referrers) == MAX_REFERRERS
    files = layout([entry(APP, "1"), entry(SIGNED, SIGNED.tag)], [APP, SIGNED], referrers)
    with reading(files) as reader, pytest.raises(ArchiveError, match="lists 5001 referrers, more than 5000"):
        reader.referrers  # noqa: B018 - it is read on demand


def test_a_list_of_referrers_may_be_reached_by_a_link_that_stays_inside() -> None:
    files = layout([entry(APP, "1")], [APP, SIGNATURE], b"")
    files["elsewhere.json"] = listing(entry(SIGNATURE))
    with reading({**files, "referrers.json": Link("elsewhere.json")}) as reader:
        assert len(reader.referrers) == 1
    with pytest.raises(ArchiveError, match="leads"), reading({**files, "referrers.json": Link("../../x.json")}):
        pass
