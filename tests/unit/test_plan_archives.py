"""The layout of archives of several images, whole indexes, artifacts, and what is about images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ecrdrag.archive.contents import MAX_IMAGES, MAX_REFERRERS
from ecrdrag.archive.plan import (
    ArchivePlan,
    ImageName,
    PlannedImage,
    PlannedReferrer,
    blob_path,
    plan_archive,
)
from ecrdrag.content import Digest
from ecrdrag.errors import IntegrityError, UnsupportedError
from ecrdrag.manifest import OCI_INDEX, Manifest
from tests.archives import (
    HEX,
    HOST_NAME,
    NAME,
    assemble,
    contents_of,
    documents_of,
    planned,
    planned_referrer,
    read_back,
    sample_of,
)
from tests.kinds import (
    SIGNATURE,
    Parcel,
    all_about,
    artifact,
    attestation,
    buildx_index,
    cosign_signature,
    document_of,
    foreign_image,
    greeter,
    helm_chart,
    index,
    nested_index,
    sbom,
    signature,
    wasm,
)
from tests.planned import plan_image

A, B, C = (ImageName(f"registry.example.com/{name}", tag) for name, tag in (("a", "1"), ("b", "1"), ("c", "2")))
SHARED = b"shared by several images " * 40
ONE, TWO = (greeter("amd64", f"hello from {number}\n", shared=SHARED) for number in ("one", "two"))


def read(plan: ArchivePlan, name: str) -> Any:
    (content,) = [slot.content for slot in plan.slots if slot.name == name]
    assert isinstance(content, bytes)
    return json.loads(content)


def names_of(plan: ArchivePlan) -> list[str]:
    return [slot.name for slot in plan.slots]


def blobs_of(plan: ArchivePlan) -> list[str]:
    """Give the hex digits of all blobs, in the order of the file."""
    return [slot.name.rpartition("/")[2] for slot in plan.slots if slot.name.startswith("blobs/sha256/")][1:]


def named(plan: ArchivePlan) -> dict[str, str]:
    """What index.json calls what: full names by ref.name."""
    annotations = [entry["annotations"] for entry in read(plan, "index.json")["manifests"]]
    return {one["org.opencontainers.image.ref.name"]: one["io.containerd.image.name"] for one in annotations}


# --- one image: the bytes that archives have always had ----------------------------------------

GOLDEN = {
    "layers": ([b"bottom", b"middle", b"top"], b"config", "71c4a972fbe0e6c6", "99e1f69660e4d352"),
    "none": ([], b"{}", "bd11eddecd143e6e", "83a913cc73054082"),
    "twice": ([b"a", b"b", b"a"], b"{}", "71cf80e0ea4969e1", "0143feaf85609791"),
    "config as layer": ([b"{}", b"b"], b"{}", "9f0d6581be64f24c", "d49c3558495c7144"),
}


@pytest.mark.parametrize(("layers", "config", "tagged", "by_digest"), GOLDEN.values(), ids=GOLDEN)
def test_one_image_of_one_platform_has_the_bytes_that_it_had_before_there_could_be_more(
    layers: Sequence[bytes], config: bytes, tagged: str, by_digest: str
) -> None:
    sample = sample_of(layers, config)
    for name, digest in ((NAME, tagged), (ImageName(HOST_NAME, HEX), by_digest)):
        archive = assemble(plan_image(sample.manifest, config, name), sample.contents)
        assert Digest.of(archive).hex.startswith(digest)


def test_names_of_another_digest_algorithm_have_the_bytes_that_they_had() -> None:
    sample = sample_of([b"x" * 1000, b""], algorithm="sha512")
    assert Digest.of(sample.archive).hex.startswith("a7fa38c83704d3dc")


# --- several images ----------------------------------------------------------------------------


def test_a_layer_that_images_share_is_there_once() -> None:
    plan = plan_archive([planned(ONE, A), planned(TWO, C)])
    distinct = {*contents_of(ONE, TWO), ONE.digest, TWO.digest}
    assert sorted(blobs_of(plan)) == sorted(digest.hex for digest in distinct)
    assert len(distinct) == len(contents_of(ONE)) + len(contents_of(TWO)) + 2 - 1


def test_documents_come_first_then_configs_then_layers() -> None:
    first, second = documents_of(ONE)[0], documents_of(TWO)[0]
    assert isinstance(first, Manifest)
    assert isinstance(second, Manifest)
    expected = [first.digest, second.digest, first.config.digest, second.config.digest]
    expected += [layer.digest for layer in first.layers] + [second.layers[1].digest]
    assert blobs_of(plan_archive([planned(ONE, A), planned(TWO, C)])) == [digest.hex for digest in expected]


def test_index_and_docker_manifest_list_every_image_in_the_order_of_the_names() -> None:
    plan = plan_archive([planned(TWO, C), planned(ONE, B, A)])
    entries = read(plan, "index.json")["manifests"]
    assert [(one["digest"], one["annotations"]["io.containerd.image.name"]) for one in entries] == [
        (str(ONE.digest), str(A)),
        (str(ONE.digest), str(B)),
        (str(TWO.digest), str(C)),
    ]
    one, two = read(plan, "manifest.json")
    assert (one["RepoTags"], two["RepoTags"]) == ([str(A), str(B)], [str(C)])
    for entry, parcel in ((one, ONE), (two, TWO)):
        (manifest,) = documents_of(parcel)
        assert isinstance(manifest, Manifest)
        assert entry["Config"] == blob_path(manifest.config.digest)
        assert entry["Layers"] == [blob_path(layer.digest) for layer in manifest.layers]


def test_an_image_is_picked_by_its_tag_or_by_its_full_name_where_several_have_that_tag() -> None:
    assert named(plan_archive([planned(ONE, A), planned(TWO, C)])) == {"1": str(A), "2": str(C)}
    assert named(plan_archive([planned(ONE, A), planned(TWO, B, C)])) == {str(A): str(A), str(B): str(B), "2": str(C)}
    assert named(plan_archive([planned(ONE, A, B)])) == {str(A): str(A), str(B): str(B)}


def test_two_names_of_one_loadable_image_in_two_shapes_are_both_loaded() -> None:
    whole = index([ONE, greeter("arm64", "hello\n")])
    plan = plan_archive([planned(whole, A, loadable=ONE), planned(ONE, C)])
    one, two = read(plan, "manifest.json")
    assert one == {**two, "RepoTags": [str(A)]}
    assert two["RepoTags"] == [str(C)]
    assert len(blobs_of(plan)) == len(set(blobs_of(plan)))


# --- indexes and artifacts ---------------------------------------------------------------------


@pytest.mark.parametrize("parcel", [buildx_index(), nested_index()], ids=["buildx", "nested"])
def test_an_index_keeps_its_bytes_and_all_that_it_leads_to(parcel: Parcel) -> None:
    loadable = greeter("amd64", "hello from buildx\n")
    plan = plan_archive([planned(parcel, loadable=loadable)])
    (entry,) = read(plan, "index.json")["manifests"]
    assert (entry["digest"], entry["mediaType"], entry["size"]) == (
        str(parcel.digest),
        OCI_INDEX,
        len(parcel.root.content),
    )
    members = read_back(assemble(plan, contents_of(parcel)))
    assert {name: content for name, content in members.items() if name.startswith("blobs/")} == parcel.contents
    (loaded,) = read(plan, "manifest.json")
    assert loaded["Config"] == blob_path(next(iter(loadable.blobs)))


def test_of_a_sparse_index_the_bytes_stay_though_children_are_missing() -> None:
    whole = buildx_index()
    chosen = whole.of("arm64")
    documents = (*documents_of(chosen), documents_of(whole)[-1])
    plan = plan_archive([PlannedImage((A,), documents, None)])
    assert sorted(blobs_of(plan)) == sorted(digest.hex for digest in (chosen.digest, whole.digest, *chosen.blobs))


@pytest.mark.parametrize("parcel", [helm_chart(), wasm(), index([helm_chart()])], ids=["chart", "wasm", "index"])
def test_where_nothing_is_an_image_docker_gets_no_manifest(parcel: Parcel) -> None:
    assert "manifest.json" not in names_of(plan_archive([planned(parcel)]))
    both = plan_archive([planned(parcel, A), planned(ONE, C)])
    assert [entry["RepoTags"] for entry in read(both, "manifest.json")] == [[str(C)]]


def test_the_index_says_what_an_artifact_is_behind_the_images_of_which_it_says_nothing() -> None:
    plain, chart = read(plan_archive([planned(helm_chart(), A), planned(ONE, C)]), "index.json")["manifests"]
    assert chart["artifactType"] == "application/vnd.cncf.helm.config.v1+json"
    assert "artifactType" not in plain


# --- what is about images ----------------------------------------------------------------------


def test_without_referrers_there_is_no_list_of_them() -> None:
    assert "referrers.json" not in names_of(plan_archive([planned(ONE)]))


def test_referrers_are_listed_apart_with_their_tags_and_types_and_leave_the_index_as_it_is() -> None:
    about = all_about(ONE)
    plan = plan_archive([planned(ONE, A)], map(planned_referrer, about))
    assert read(plan, "index.json") == read(plan_archive([planned(ONE, A)]), "index.json")
    assert read(plan, "manifest.json") == read(plan_archive([planned(ONE, A)]), "manifest.json")
    assert names_of(plan)[:4] == ["oci-layout", "index.json", "referrers.json", "manifest.json"]
    listed = read(plan, "referrers.json")
    assert (listed["schemaVersion"], listed["mediaType"]) == (2, OCI_INDEX)
    entries = {entry["digest"]: entry for entry in listed["manifests"]}
    assert entries.keys() == {str(one.digest) for one in about}
    for one in about:
        annotations = entries[str(one.digest)].get("annotations")
        assert annotations == ({"org.opencontainers.image.ref.name": one.tag} if one.tag else None)
    assert entries[str(signature(ONE).digest)]["artifactType"] == SIGNATURE
    assert set(blobs_of(plan)) >= {digest.hex for one in about for digest in (one.digest, *one.blobs)}


def test_a_referrer_that_comes_twice_is_listed_once() -> None:
    about = planned_referrer(signature(ONE))
    plan = plan_archive([planned(ONE, A)], [about, planned_referrer(sbom(ONE)), about])
    assert len(read(plan, "referrers.json")["manifests"]) == 2
    assert plan == plan_archive([planned(ONE, A)], [planned_referrer(sbom(ONE)), about])


def test_one_document_by_two_tags_is_listed_twice_and_is_there_once() -> None:
    bare = replace(cosign_signature(ONE), tag="")
    tags = (cosign_signature(ONE).tag, cosign_signature(TWO).tag)
    plan = plan_archive([planned(ONE, A)], [PlannedReferrer(documents_of(bare), tag) for tag in tags])
    assert len(read(plan, "referrers.json")["manifests"]) == 2
    assert blobs_of(plan).count(bare.digest.hex) == 1


def test_a_referrer_that_is_a_part_of_the_image_too_is_there_once() -> None:
    about = attestation(ONE, is_artifact=True)
    whole = index([ONE, about])
    plan = plan_archive([planned(whole, A, loadable=ONE)], [planned_referrer(about)])
    assert blobs_of(plan) == blobs_of(plan_archive([planned(whole, A, loadable=ONE)]))
    assert [entry["digest"] for entry in read(plan, "referrers.json")["manifests"]] == [str(about.digest)]


def test_a_document_that_is_a_layer_somewhere_else_is_there_once() -> None:
    packed = artifact([(ONE.root, {})], artifact_type="application/vnd.example+type")
    plan = plan_archive([planned(ONE, A), planned(packed, C)])
    assert blobs_of(plan).count(ONE.digest.hex) == 1
    assert ONE.digest not in {blob.digest for blob, _ in plan.blobs}, "it is known already"


# --- what is known, and what is left out -------------------------------------------------------


def test_what_is_known_need_not_be_downloaded() -> None:
    contents = contents_of(ONE)
    plan = plan_archive([planned(ONE)], known=contents)
    assert plan.blobs == ()
    assert assemble(plan, {}) == assemble(plan_archive([planned(ONE)]), contents)


def test_a_layer_that_is_left_out_is_still_named_for_docker() -> None:
    parcel = foreign_image()
    (missing,) = parcel.elsewhere
    plan = plan_archive([planned(parcel)], without={missing})
    assert missing.hex not in blobs_of(plan)
    assert read(plan, "manifest.json")[0]["Layers"][1] == blob_path(missing)
    assert missing.hex in blobs_of(plan_archive([planned(parcel)]))


def resized(parcel: Parcel, place: int, size: int) -> Parcel:
    """Give a layer another size in the manifest."""
    document = json.loads(parcel.root.content)
    document["layers"][place]["size"] = size
    document.pop("schemaVersion")
    kind = document.pop("mediaType")
    return Parcel((document_of(kind, **document),), parcel.blobs)


def test_images_that_disagree_about_the_size_of_a_layer_are_refused() -> None:
    (layer, *_) = json.loads(ONE.root.content)["layers"]
    other = planned(resized(TWO, 0, layer["size"] + 1), C)
    for images in ([planned(ONE, A), other], [other, planned(ONE, A)]):
        with pytest.raises(IntegrityError, match=f"{layer['digest']} is given two sizes"):
            plan_archive(images)
    plan_archive([planned(ONE, A), other], without={Digest.parse(layer["digest"])})


def test_what_is_known_or_a_document_has_the_size_that_others_say() -> None:
    packed = resized(artifact([(ONE.root, {})]), 0, 7)
    with pytest.raises(IntegrityError, match=f"{ONE.digest} is given two sizes"):
        plan_archive([planned(ONE, A), planned(packed, C)])
    wrong = resized(TWO, 1, 7)
    with pytest.raises(IntegrityError, match="two sizes"):
        plan_archive([planned(wrong, C)], known=contents_of(TWO))


def test_more_names_than_the_reader_takes_are_refused() -> None:
    many = [ImageName("registry.example.com/a", f"v{number}") for number in range(MAX_IMAGES + 1)]
    assert len(read(plan_archive([planned(ONE, *many[1:])]), "index.json")["manifests"]) == MAX_IMAGES
    with pytest.raises(UnsupportedError, match="up to 1000 names of images, not 1001"):
        plan_archive([planned(ONE, *many)])


def test_more_referrers_than_the_reader_takes_are_refused() -> None:
    documents = documents_of(cosign_signature(ONE))
    many = [PlannedReferrer(documents, f"sha256-{number:064x}.sig") for number in range(MAX_REFERRERS + 1)]
    plan_archive([planned(ONE)], many[1:])
    with pytest.raises(UnsupportedError, match="up to 5000 referrers, not 5001"):
        plan_archive([planned(ONE)], many)
