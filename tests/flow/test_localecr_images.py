"""The local ECR's operations on images, through a real client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient
from mypy_boto3_ecr.type_defs import ImageIdentifierTypeDef

from ecrdrag import manifest
from ecrdrag.localecr import Settings
from tests.localecr import (
    ACCOUNT,
    client,
    descriptor_of,
    digest_of,
    manifest_of,
    push_blob,
    push_image,
    push_index,
    put_manifest,
    running,
)

CONFIG = b'{"architecture":"arm64","os":"linux"}'


def refusal(caught: pytest.ExceptionInfo[Exception]) -> str:
    return str(caught.value.response["Error"]["Message"])  # type: ignore[attr-defined]


def names(api: ECRClient, **more: object) -> list[ImageIdentifierTypeDef]:
    return api.list_images(repositoryName="app", **more)["imageIds"]  # type: ignore[arg-type]


# PutImage


def test_an_image_comes_back_byte_for_byte(api: ECRClient) -> None:
    pushed = push_image(api, "app", tag="1")
    wanted: list[list[ImageIdentifierTypeDef]] = [
        [{"imageTag": "1"}],
        [{"imageDigest": pushed.digest}],
        [{"imageTag": "1", "imageDigest": pushed.digest}],
    ]
    for image_ids in wanted:
        answer = api.batch_get_image(repositoryName="app", imageIds=image_ids)
        (image,) = answer["images"]
        assert image["imageManifest"] == pushed.raw
        assert image["imageManifestMediaType"] == manifest.OCI_MANIFEST
        assert image["imageId"]["imageDigest"] == digest_of(pushed.raw.encode()) == pushed.digest
        assert image["imageId"].get("imageTag") == image_ids[0].get("imageTag")
        assert answer["failures"] == []


def test_an_image_whose_layers_are_missing_is_refused_and_names_them(api: ECRClient) -> None:
    push_blob(api, "app", CONFIG)
    with pytest.raises(api.exceptions.LayersNotFoundException) as caught:
        put_manifest(api, "app", manifest_of(CONFIG, [b"one", b"two"]))
    assert refusal(caught) == (
        f"Layers with digests '[{digest_of(b'one')}, {digest_of(b'two')}]' required for pushing image into "
        f"repository with name 'app' in the registry with id '{ACCOUNT}' do not exist"
    )
    assert names(api) == []


def test_layers_of_another_repository_do_not_count(api: ECRClient) -> None:
    api.create_repository(repositoryName="other")
    for blob in (CONFIG, b"layer"):
        push_blob(api, "other", blob)
    with pytest.raises(api.exceptions.LayersNotFoundException):
        put_manifest(api, "app", manifest_of(CONFIG, [b"layer"]))


def test_a_foreign_layer_need_not_be_there(api: ECRClient) -> None:
    push_blob(api, "app", CONFIG)
    document = json.loads(manifest_of(CONFIG, [b"windows"], docker=True))
    document["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    put_manifest(api, "app", json.dumps(document), tag="windows")
    assert [name.get("imageTag") for name in names(api)] == ["windows"]


def test_an_index_whose_images_are_missing_is_refused(api: ECRClient) -> None:
    entry = descriptor_of(manifest.OCI_MANIFEST, b"{}")
    raw = json.dumps({"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": [entry]})
    with pytest.raises(api.exceptions.ReferencedImagesNotFoundException) as caught:
        put_manifest(api, "app", raw)
    assert f"Images with digests '[{digest_of(b'{}')}]' required" in refusal(caught)


def test_a_digest_that_is_not_the_manifests_is_refused(api: ECRClient) -> None:
    for blob in (CONFIG, b"layer"):
        push_blob(api, "app", blob)
    wrong = digest_of(b"another")
    with pytest.raises(api.exceptions.ImageDigestDoesNotMatchException) as caught:
        api.put_image(repositoryName="app", imageManifest=manifest_of(CONFIG, [b"layer"]), imageDigest=wrong)
    assert refusal(caught) == (
        f"The image with digest '{wrong}' in repository 'app' and registry ID '{ACCOUNT}' "
        "does not match the image digest that Amazon ECR has calculated."
    )


def test_the_same_image_and_tag_again_already_exists(api: ECRClient) -> None:
    pushed = push_image(api, "app", tag="1")
    with pytest.raises(api.exceptions.ImageAlreadyExistsException) as caught:
        put_manifest(api, "app", pushed.raw, tag="1")
    assert refusal(caught) == (
        f"Image with digest '{pushed.digest}' and tag '1' already exists in the repository "
        f"with name 'app' in registry with id '{ACCOUNT}'"
    )
    put_manifest(api, "app", pushed.raw, tag="2")
    assert [name["imageTag"] for name in names(api)] == ["1", "2"]


def test_the_same_image_without_a_tag_again_already_exists(api: ECRClient) -> None:
    pushed = push_image(api, "app")
    with pytest.raises(api.exceptions.ImageAlreadyExistsException):
        put_manifest(api, "app", pushed.raw)


def test_a_mutable_tag_moves_and_leaves_the_old_image_untagged(api: ECRClient) -> None:
    old = push_image(api, "app", tag="1", layers=[b"old"])
    new = push_image(api, "app", tag="1", layers=[b"new"])
    assert sorted(names(api), key=str) == sorted(
        [{"imageDigest": old.digest}, {"imageDigest": new.digest, "imageTag": "1"}], key=str
    )


def test_an_immutable_tag_stays_where_it_is(api: ECRClient) -> None:
    api.create_repository(repositoryName="fixed", imageTagMutability="IMMUTABLE")
    first = push_image(api, "fixed", tag="1", layers=[b"old"])
    with pytest.raises(api.exceptions.ImageTagAlreadyExistsException) as caught:
        push_image(api, "fixed", tag="1", layers=[b"new"])
    assert refusal(caught) == (
        "The image tag '1' already exists in the 'fixed' repository "
        "and cannot be overwritten because the repository is immutable."
    )
    with pytest.raises(api.exceptions.ImageAlreadyExistsException):
        put_manifest(api, "fixed", first.raw, tag="1")
    found = api.list_images(repositoryName="fixed")["imageIds"]
    assert found == [{"imageDigest": first.digest, "imageTag": "1"}]


@pytest.mark.parametrize(
    ("mutability", "free", "fixed"),
    [("IMMUTABLE_WITH_EXCLUSION", "dev-1", "prod"), ("MUTABLE_WITH_EXCLUSION", "prod", "dev-1")],
)
def test_exclusion_filters_turn_the_rule_around(api: ECRClient, mutability: str, free: str, fixed: str) -> None:
    api.create_repository(
        repositoryName="mixed",
        imageTagMutability=mutability,  # type: ignore[arg-type]
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "dev-*"}],
    )
    for tag in (free, fixed):
        push_image(api, "mixed", tag=tag, layers=[b"old"])
    push_image(api, "mixed", tag=free, layers=[b"new"])
    with pytest.raises(api.exceptions.ImageTagAlreadyExistsException):
        push_image(api, "mixed", tag=fixed, layers=[b"newer"])


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        ("not json", manifest.OCI_MANIFEST),
        ("[]", manifest.OCI_MANIFEST),
        ('{"schemaVersion":2}', manifest.OCI_MANIFEST),
        ('{"schemaVersion":2,"config":{},"layers":[]}', ""),
        (f'{{"schemaVersion":2,"mediaType":"{manifest.OCI_INDEX}","manifests":[]}}', manifest.DOCKER_LIST),
        ('{"schemaVersion":2,"manifests":[]}', "application/vnd.oci.image.index.v1+json; charset=utf-8"),
        (r'{"schemaVersion":2,"manifests":[],"artifactType":"\ud800"}', manifest.OCI_INDEX),
        (r'{"schemaVersion":2,"manifests":[],"annotations":{"a":"\udfff"}}', manifest.OCI_INDEX),
        ('{"schemaVersion":2,"manifests":[],"x":NaN}', manifest.OCI_INDEX),
        (f'{{"schemaVersion":2,"manifests":[],"x":{"[" * 9999}{"]" * 9999}}}', manifest.OCI_INDEX),
        ('\ufeff{"schemaVersion":2,"manifests":[]}', manifest.OCI_INDEX),
    ],
)
def test_what_is_no_manifest_is_invalid_json_to_ecr(api: ECRClient, raw: str, media_type: str) -> None:
    more = {"imageManifestMediaType": media_type} if media_type else {}
    with pytest.raises(api.exceptions.InvalidParameterException) as caught:
        api.put_image(repositoryName="app", imageManifest=raw, **more)
    assert refusal(caught) == (
        "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'"
    )


def test_one_layer_too_many_is_over_the_limit(tmp_path: Path) -> None:
    with running(tmp_path / "data", Settings(max_layers=2)) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="app")
        push_image(api, "app", layers=[b"1", b"2"])
        with pytest.raises(api.exceptions.InvalidParameterException, match="number of layers per image exceeded"):
            push_image(api, "app", layers=[b"1", b"2", b"3"])


def test_a_bad_tag_is_refused(api: ECRClient) -> None:
    with pytest.raises(api.exceptions.InvalidParameterException, match="imageTag"):
        push_image(api, "app", tag="no/slash")


def test_an_artifact_is_an_image_like_any_other(api: ECRClient) -> None:
    pushed = push_image(api, "app", tag="1")
    push_blob(api, "app", b"{}")
    raw = manifest_of(
        b"{}",
        [b"{}"],
        artifactType="application/vnd.example.sbom",
        subject=descriptor_of(pushed.media_type, pushed.raw.encode()),
    )
    artifact = put_manifest(api, "app", raw, tag="sbom")
    (found,) = api.describe_images(repositoryName="app", imageIds=[{"imageDigest": artifact.digest}])["imageDetails"]
    assert found["artifactMediaType"] == "application/vnd.example.sbom"
    assert found["subjectManifestDigest"] == pushed.digest


# BatchGetImage


def test_images_that_are_not_there_are_failures_beside_the_others(api: ECRClient) -> None:
    one, two = (push_image(api, "app", tag=tag, layers=[tag.encode()]) for tag in ("1", "2"))
    answer = api.batch_get_image(
        repositoryName="app",
        imageIds=[
            {"imageTag": "1"},
            {"imageTag": "gone"},
            {"imageDigest": digest_of(b"gone")},
            {"imageDigest": "nonsense"},
            {"imageTag": "no/slash"},
            {},
            {"imageTag": "1", "imageDigest": two.digest},
            {"imageTag": "1", "imageDigest": digest_of(b"gone")},
        ],
    )
    assert [image["imageId"]["imageDigest"] for image in answer["images"]] == [one.digest]
    assert [failure["failureCode"] for failure in answer["failures"]] == [
        "ImageNotFound",
        "ImageNotFound",
        "InvalidImageDigest",
        "InvalidImageTag",
        "MissingDigestAndTag",
        "ImageTagDoesNotMatchDigest",
        "ImageNotFound",
    ]
    assert answer["failures"][0]["imageId"] == {"imageTag": "gone"}
    assert answer["failures"][0]["failureReason"] == "Requested image not found"


@pytest.mark.parametrize(("docker", "other"), [(True, manifest.OCI_MANIFEST), (False, manifest.DOCKER_MANIFEST)])
def test_a_tag_is_translated_to_what_is_accepted_and_a_digest_never(api: ECRClient, docker: bool, other: str) -> None:
    pushed = push_image(api, "app", tag="1", docker=docker)
    by_tag, by_digest, by_both = api.batch_get_image(
        repositoryName="app",
        imageIds=[
            {"imageTag": "1"},
            {"imageDigest": pushed.digest},
            {"imageTag": "1", "imageDigest": pushed.digest},
        ],
        acceptedMediaTypes=[other],
    )["images"]
    assert by_tag["imageManifestMediaType"] == other
    assert by_tag["imageId"]["imageDigest"] == pushed.digest != digest_of(by_tag["imageManifest"].encode())
    translated = manifest.parse(by_tag["imageManifest"].encode())
    assert isinstance(translated, manifest.Manifest)
    family = "vnd.oci." if docker else "vnd.docker."
    assert all(family in blob.media_type for blob in translated.blobs)
    assert [str(blob.digest) for blob in translated.blobs] == [pushed.config, *pushed.layers]
    assert by_digest["imageManifest"] == by_both["imageManifest"] == pushed.raw


def test_an_index_is_never_translated(api: ECRClient) -> None:
    image = push_image(api, "app")
    index = push_index(api, "app", {"linux/amd64": image}, tag="all")
    (found,) = api.batch_get_image(
        repositoryName="app", imageIds=[{"imageTag": "all"}], acceptedMediaTypes=[manifest.DOCKER_MANIFEST]
    )["images"]
    assert found["imageManifest"] == index.raw


def test_every_image_operation_refuses_a_missing_repository(api: ECRClient) -> None:
    missing = api.exceptions.RepositoryNotFoundException
    with pytest.raises(missing):
        api.put_image(repositoryName="gone", imageManifest=manifest_of(b"{}", []))
    with pytest.raises(missing):
        api.batch_get_image(repositoryName="gone", imageIds=[{"imageTag": "1"}])
    with pytest.raises(missing):
        api.list_images(repositoryName="gone")
    with pytest.raises(missing):
        api.describe_images(repositoryName="gone")
    with pytest.raises(missing):
        api.batch_delete_image(repositoryName="gone", imageIds=[{"imageTag": "1"}])


# ListImages and DescribeImages


def test_lists_and_descriptions_come_in_pages_and_by_tag_status(api: ECRClient) -> None:
    for number in range(5):
        push_image(api, "app", tag=f"t{number}" if number < 3 else "", layers=[b"%d" % number])
    pages = list(api.get_paginator("list_images").paginate(repositoryName="app", PaginationConfig={"PageSize": 2}))
    assert [len(page["imageIds"]) for page in pages] == [2, 2, 1]
    listed = [name for page in pages for name in page["imageIds"]]
    assert listed == names(api)
    assert sorted(name["imageTag"] for name in listed if "imageTag" in name) == ["t0", "t1", "t2"]
    assert len(names(api, filter={"tagStatus": "TAGGED"})) == 3
    assert len(names(api, filter={"tagStatus": "UNTAGGED"})) == 2
    assert names(api, filter={"imageStatus": "ARCHIVED"}) == []
    described = list(
        api.get_paginator("describe_images").paginate(repositoryName="app", PaginationConfig={"PageSize": 2})
    )
    assert [len(page["imageDetails"]) for page in described] == [2, 2, 1]
    tagged = api.describe_images(repositoryName="app", filter={"tagStatus": "TAGGED"})["imageDetails"]
    assert sorted(image["imageTags"][0] for image in tagged) == ["t0", "t1", "t2"]
    assert api.describe_images(repositoryName="app", filter={"imageStatus": "ARCHIVED"})["imageDetails"] == []


def test_an_image_with_two_tags_is_listed_twice_and_described_once(api: ECRClient) -> None:
    pushed = push_image(api, "app", tag="b", layers=[b"12345"], config=CONFIG)
    put_manifest(api, "app", pushed.raw, tag="a")
    assert [name["imageTag"] for name in names(api, maxResults=1)] == ["a"]
    (image,) = api.describe_images(repositoryName="app")["imageDetails"]
    assert image["imageTags"] == ["a", "b"]
    assert image["imageSizeInBytes"] == 5 + len(CONFIG)
    assert image["imageManifestMediaType"] == manifest.OCI_MANIFEST
    assert image["artifactMediaType"] == manifest.OCI_CONFIG


def test_an_index_is_as_big_as_its_largest_image(api: ECRClient) -> None:
    small, large = (push_image(api, "app", layers=[b"x" * size], config=CONFIG) for size in (1, 1000))
    push_index(api, "app", {"linux/amd64": small, "linux/arm64": large}, tag="all")
    (found,) = api.describe_images(repositoryName="app", imageIds=[{"imageTag": "all"}])["imageDetails"]
    assert found["imageSizeInBytes"] == 1000 + len(CONFIG)


def test_describing_an_image_that_is_missing_is_refused(api: ECRClient) -> None:
    with pytest.raises(api.exceptions.ImageNotFoundException) as caught:
        api.describe_images(repositoryName="app", imageIds=[{"imageTag": "gone"}])
    assert refusal(caught) == (
        "The image with imageId {imageDigest:'null', imageTag:'gone'} does not exist within the repository "
        f"with name 'app' in the registry with id '{ACCOUNT}'"
    )


# BatchDeleteImage


def test_deleting_a_tag_keeps_the_image_until_its_last_tag_goes(api: ECRClient) -> None:
    pushed = push_image(api, "app", tag="a")
    put_manifest(api, "app", pushed.raw, tag="b")
    first = api.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "a"}])
    assert first["imageIds"] == [{"imageDigest": pushed.digest, "imageTag": "a"}]
    assert names(api) == [{"imageDigest": pushed.digest, "imageTag": "b"}]
    api.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "b"}])
    assert names(api) == []


def test_deleting_a_digest_takes_all_tags_along(api: ECRClient) -> None:
    pushed = push_image(api, "app", tag="a")
    put_manifest(api, "app", pushed.raw, tag="b")
    answer = api.batch_delete_image(repositoryName="app", imageIds=[{"imageDigest": pushed.digest}, {"imageTag": "x"}])
    assert sorted(name["imageTag"] for name in answer["imageIds"]) == ["a", "b"]
    assert [failure["failureCode"] for failure in answer["failures"]] == ["ImageNotFound"]
    assert names(api) == []


def test_an_image_that_an_index_refers_to_stays(api: ECRClient) -> None:
    image = push_image(api, "app", tag="amd64")
    index = push_index(api, "app", {"linux/amd64": image}, tag="all")
    answer = api.batch_delete_image(repositoryName="app", imageIds=[{"imageDigest": image.digest}])
    assert answer["imageIds"] == []
    assert answer["failures"] == [
        {
            "imageId": {"imageDigest": image.digest},
            "failureCode": "ImageReferencedByManifestList",
            "failureReason": f"Requested image referenced by manifest list: [{index.digest}]",
        }
    ]
    gone = api.batch_delete_image(
        repositoryName="app", imageIds=[{"imageDigest": index.digest}, {"imageDigest": image.digest}]
    )
    assert gone["failures"] == []
    assert names(api) == []
