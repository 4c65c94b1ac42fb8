"""Lifecycle policies of the local ECR, through a real client: stored, given back, tried out."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient

from tests.later import Clock, moving
from tests.localecr import ACCOUNT, Pushed, push_image, push_index, put_manifest

POLICY = {
    "rules": [
        {
            "rulePriority": 2,
            "description": "Archive what nobody has pulled for a month",
            "selection": {"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 30},
            "action": {"type": "transition", "targetStorageClass": "archive"},
        },
        {
            "rulePriority": 1,
            "description": "Keep one release",
            "selection": {
                "tagStatus": "tagged",
                "tagPrefixList": ["v"],
                "countType": "imageCountMoreThan",
                "countNumber": 1,
            },
            "action": {"type": "expire"},
        },
    ]
}
TEXT = json.dumps(POLICY, indent=2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[ECRClient, Clock]]:
    with moving(tmp_path / "data") as (api, clock):
        api.create_repository(repositoryName="app")
        yield api, clock


@pytest.fixture
def later(server: tuple[ECRClient, Clock]) -> ECRClient:
    return server[0]


@pytest.fixture
def clock(server: tuple[ECRClient, Clock]) -> Clock:
    return server[1]


def push(api: ECRClient, name: str, *tags: str) -> Pushed:
    """Push an image of its own, under some tags or none."""
    pushed = push_image(api, "app", tag=tags[0] if tags else "", layers=[name.encode()])
    for tag in tags[1:]:
        put_manifest(api, "app", pushed.raw, tag=tag)
    return pushed


def refusal(caught: pytest.ExceptionInfo[Exception]) -> str:
    return str(caught.value.response["Error"]["Message"])  # type: ignore[attr-defined]


# The policy


def test_a_policy_is_given_back_in_ecrs_writing_until_it_is_deleted(later: ECRClient) -> None:
    compact = json.dumps({"rules": POLICY["rules"][::-1]}, separators=(",", ":"))
    put = later.put_lifecycle_policy(repositoryName="app", lifecyclePolicyText=TEXT)
    assert (put["registryId"], put["repositoryName"], put["lifecyclePolicyText"]) == (ACCOUNT, "app", compact)
    for found in (
        later.get_lifecycle_policy(repositoryName="app"),
        later.delete_lifecycle_policy(repositoryName="app"),
    ):
        assert found["lifecyclePolicyText"] == compact
        assert found["lastEvaluatedAt"].timestamp() == 0  # no policy is ever carried out here
    with pytest.raises(later.exceptions.LifecyclePolicyNotFoundException) as caught:
        later.get_lifecycle_policy(repositoryName="app")
    assert refusal(caught) == (
        f"Lifecycle policy does not exist for the repository with name 'app' in the registry with id '{ACCOUNT}'"
    )
    with pytest.raises(later.exceptions.LifecyclePolicyNotFoundException):
        later.delete_lifecycle_policy(repositoryName="app")


def test_a_policy_outlives_a_restart_and_replaces_the_one_before(tmp_path: Path) -> None:
    first = json.dumps({"rules": POLICY["rules"][:1]})
    with moving(tmp_path) as (api, _):
        api.create_repository(repositoryName="app")
        for text in (first, TEXT):
            api.put_lifecycle_policy(repositoryName="app", lifecyclePolicyText=text)
    with moving(tmp_path) as (api, _):
        found = json.loads(api.get_lifecycle_policy(repositoryName="app")["lifecyclePolicyText"])
        assert [rule["rulePriority"] for rule in found["rules"]] == [1, 2]


def test_a_bad_policy_is_refused_in_ecrs_words_and_changes_nothing(later: ECRClient) -> None:
    bad = TEXT.replace('"any"', '"untagged"').replace('"imageCountMoreThan"', '"sinceImageBuilt"')
    for operation in (later.put_lifecycle_policy, later.start_lifecycle_policy_preview):
        with pytest.raises(later.exceptions.InvalidParameterException) as caught:
            operation(repositoryName="app", lifecyclePolicyText=bad)
        assert refusal(caught) == (
            "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation "
            "failure: instance failed to match exactly one schema (matched 0 out of 4)\n'"
        )
    with pytest.raises(later.exceptions.LifecyclePolicyNotFoundException):
        later.get_lifecycle_policy(repositoryName="app")
    with pytest.raises(later.exceptions.LifecyclePolicyPreviewNotFoundException):
        later.get_lifecycle_policy_preview(repositoryName="app")


def test_every_lifecycle_operation_refuses_a_missing_repository(later: ECRClient) -> None:
    missing = later.exceptions.RepositoryNotFoundException
    with pytest.raises(missing):
        later.put_lifecycle_policy(repositoryName="gone", lifecyclePolicyText=TEXT)
    for operation in (
        later.get_lifecycle_policy,
        later.delete_lifecycle_policy,
        later.start_lifecycle_policy_preview,
        later.get_lifecycle_policy_preview,
    ):
        with pytest.raises(missing):
            operation(repositoryName="gone")


# The preview


def test_a_preview_says_what_a_policy_would_do_and_does_nothing(later: ECRClient, clock: Clock) -> None:
    old = push(later, "old", "v1", "latest-but-one")
    clock.days(31)
    new = push(later, "new", "v2")
    idle = push(later, "idle")
    clock.days(31)
    fresh = push(later, "fresh")
    started = later.start_lifecycle_policy_preview(repositoryName="app", lifecyclePolicyText=TEXT)
    assert (started["status"], started["lifecyclePolicyText"]) == ("COMPLETE", TEXT)
    preview = later.get_lifecycle_policy_preview(repositoryName="app")
    assert (preview["status"], preview["lifecyclePolicyText"]) == ("COMPLETE", TEXT)
    expired, archived = preview["previewResults"]
    pushed_at = later.describe_images(repositoryName="app", imageIds=[{"imageTag": "v1"}])["imageDetails"][0]
    assert expired == {
        "imageTags": ["latest-but-one", "v1"],
        "imageDigest": old.digest,
        "imagePushedAt": pushed_at["imagePushedAt"],
        "action": {"type": "EXPIRE"},
        "appliedRulePriority": 1,
        "storageClass": "STANDARD",
    }
    assert (archived["imageDigest"], archived["imageTags"]) == (idle.digest, [])
    assert archived["action"] == {"type": "TRANSITION", "targetStorageClass": "ARCHIVE"}
    assert preview["summary"] == {
        "expiringImageTotalCount": 1,
        "transitioningImageTotalCounts": [{"targetStorageClass": "ARCHIVE", "imageTotalCount": 1}],
    }
    images = later.describe_images(repositoryName="app")["imageDetails"]
    assert {image["imageDigest"] for image in images} == {old.digest, new.digest, idle.digest, fresh.digest}


def test_a_preview_tries_the_stored_policy_and_is_not_moved_by_what_comes_after(later: ECRClient) -> None:
    with pytest.raises(later.exceptions.LifecyclePolicyNotFoundException):
        later.start_lifecycle_policy_preview(repositoryName="app")
    later.put_lifecycle_policy(repositoryName="app", lifecyclePolicyText=TEXT)
    first = push(later, "first", "v1")
    push(later, "second", "v2")
    later.start_lifecycle_policy_preview(repositoryName="app")
    push(later, "third", "v3")
    later.delete_lifecycle_policy(repositoryName="app")
    (found,) = later.get_lifecycle_policy_preview(repositoryName="app")["previewResults"]
    assert found["imageDigest"] == first.digest


def test_a_pull_keeps_an_image_active(later: ECRClient, clock: Clock) -> None:
    push(later, "idle", "idle")
    push(later, "pulled", "pulled")
    clock.days(20)
    later.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "pulled"}])
    clock.days(20)
    later.start_lifecycle_policy_preview(repositoryName="app", lifecyclePolicyText=TEXT)
    results = later.get_lifecycle_policy_preview(repositoryName="app")["previewResults"]
    assert [result["imageTags"] for result in results] == [["idle"]]


def test_images_of_an_index_that_stays_stay(later: ECRClient) -> None:
    children = {"linux/amd64": push(later, "1", "v1"), "linux/arm64": push(later, "2", "v2")}
    free = push(later, "3", "v3")
    push_index(later, "app", children, tag="all")
    push(later, "4", "v4")
    later.start_lifecycle_policy_preview(repositoryName="app", lifecyclePolicyText=TEXT)
    results = later.get_lifecycle_policy_preview(repositoryName="app")["previewResults"]
    assert [result["imageDigest"] for result in results] == [free.digest]


@pytest.fixture
def previewed(later: ECRClient, clock: Clock) -> list[str]:
    """Push seven images, two of them tagged, that are all to be archived; return their digests, oldest first."""
    digests = [push(later, f"{number}", *(["t"] if number == 2 else [])).digest for number in range(6)]
    digests.append(push(later, "6", "u", "w").digest)
    clock.days(40)
    later.start_lifecycle_policy_preview(repositoryName="app", lifecyclePolicyText=TEXT)
    return digests


def test_results_come_in_pages_oldest_first(later: ECRClient, previewed: list[str]) -> None:
    pages = list(
        later.get_paginator("get_lifecycle_policy_preview").paginate(
            repositoryName="app", PaginationConfig={"PageSize": 3}
        )
    )
    assert [len(page["previewResults"]) for page in pages] == [3, 3, 1]
    assert [result["imageDigest"] for page in pages for result in page["previewResults"]] == previewed
    counts = [page["summary"]["transitioningImageTotalCounts"][0]["imageTotalCount"] for page in pages]
    assert counts == [7, 7, 7]


def test_results_are_filtered_also_over_pages(later: ECRClient, previewed: list[str]) -> None:
    def filtered(status: str) -> list[str]:
        pages = later.get_paginator("get_lifecycle_policy_preview").paginate(
            repositoryName="app",
            filter={"tagStatus": status},  # type: ignore[typeddict-item]
            PaginationConfig={"PageSize": 2},
        )
        return [result["imageDigest"] for page in pages for result in page["previewResults"]]

    tagged = [previewed[2], previewed[6]]
    assert filtered("TAGGED") == tagged
    assert filtered("UNTAGGED") == [digest for digest in previewed if digest not in tagged]
    assert filtered("ANY") == previewed


def test_results_of_images_that_are_named(later: ECRClient, previewed: list[str]) -> None:
    found = later.get_lifecycle_policy_preview(
        repositoryName="app",
        imageIds=[
            {"imageTag": "u"},
            {"imageDigest": previewed[0]},
            {"imageTag": "t", "imageDigest": previewed[1]},
            {"imageTag": "gone"},
            {},
        ],
    )
    assert [result["imageDigest"] for result in found["previewResults"]] == [previewed[0], previewed[6]]
    for more in ({"maxResults": 1}, {"nextToken": "x"}):
        with pytest.raises(later.exceptions.InvalidParameterException):
            later.get_lifecycle_policy_preview(
                repositoryName="app",
                imageIds=[{"imageTag": "u"}],
                **more,
            )


@pytest.mark.parametrize("words", [["-1"], ["x"], ["¹"], ["9" * 5000], [], [1]])
def test_a_token_of_ones_own_making_is_refused(later: ECRClient, previewed: list[str], words: list[object]) -> None:
    token = base64.urlsafe_b64encode(json.dumps(words).encode()).decode()
    with pytest.raises(later.exceptions.InvalidParameterException):
        later.get_lifecycle_policy_preview(repositoryName="app", nextToken=token)
