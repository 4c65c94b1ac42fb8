"""Storage classes of the local ECR, through a real client: what the archive keeps from whom, and when it happened."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient
from mypy_boto3_ecr.type_defs import ImageDetailTypeDef, ImageIdentifierTypeDef

from ecrdrag.localecr.storage.records import Records
from tests.later import Clock, moving
from tests.localecr import ACCOUNT, digest_of, push_image, push_index, put_manifest

CONFIG = b'{"architecture":"amd64","os":"linux"}'
ACTIVATION = 20 * 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[ECRClient, Clock]]:
    with moving(tmp_path / "data", activation=ACTIVATION) as (api, clock):
        api.create_repository(repositoryName="app")
        yield api, clock


@pytest.fixture
def later(server: tuple[ECRClient, Clock]) -> ECRClient:
    return server[0]


@pytest.fixture
def clock(server: tuple[ECRClient, Clock]) -> Clock:
    return server[1]


def move(api: ECRClient, target: str, **image: str) -> str:
    """Change an image's storage class; return its status."""
    answer = api.update_image_storage_class(
        repositoryName="app",
        imageId=image,  # type: ignore[arg-type]
        targetStorageClass=target,  # type: ignore[arg-type]
    )
    assert (answer["registryId"], answer["repositoryName"]) == (ACCOUNT, "app")
    return answer["imageStatus"]


def details(api: ECRClient, digest: str) -> ImageDetailTypeDef:
    (found,) = api.describe_images(repositoryName="app", imageIds=[{"imageDigest": digest}])["imageDetails"]
    return found


def pull(api: ECRClient, **image: str) -> str:
    """Ask for a manifest; return the failure's code, or nothing."""
    wanted: list[ImageIdentifierTypeDef] = [image]  # type: ignore[list-item]
    answer = api.batch_get_image(repositoryName="app", imageIds=wanted)
    return "".join(failure["failureCode"] for failure in answer["failures"])


def availability(api: ECRClient, digest: str) -> str:
    answer = api.batch_check_layer_availability(repositoryName="app", layerDigests=[digest])
    return answer["layers"][0]["layerAvailability"]


def is_downloadable(api: ECRClient, digest: str) -> bool:
    try:
        api.get_download_url_for_layer(repositoryName="app", layerDigest=digest)
    except api.exceptions.LayerInaccessibleException:
        return False
    return True


def test_an_archived_image_cannot_be_pulled_until_its_restoration_is_through(later: ECRClient, clock: Clock) -> None:
    pushed = push_image(later, "app", tag="1")
    assert pull(later, imageTag="1") == ""
    assert move(later, "ARCHIVE", imageTag="1") == "ARCHIVED"
    assert pull(later, imageTag="1") == pull(later, imageDigest=pushed.digest) == "ImageInaccessible"
    assert availability(later, pushed.layers[0]) == "ARCHIVED"
    assert not is_downloadable(later, pushed.layers[0])
    assert move(later, "STANDARD", imageDigest=pushed.digest) == "ACTIVATING"
    assert pull(later, imageTag="1") == "ImageInaccessible"
    assert not is_downloadable(later, pushed.config)
    clock.ahead += ACTIVATION + 1
    assert pull(later, imageTag="1") == ""
    assert availability(later, pushed.layers[0]) == "AVAILABLE"
    assert is_downloadable(later, pushed.config)


def test_the_times_of_an_image_tell_its_way(later: ECRClient, clock: Clock) -> None:
    pushed = push_image(later, "app", tag="1")
    found = details(later, pushed.digest)
    assert found["imageStatus"] == "ACTIVE"
    assert not {"lastArchivedAt", "lastActivatedAt", "lastRecordedPullTime"} & set(found)
    clock.days(1)
    archived = clock()
    move(later, "ARCHIVE", imageTag="1")
    clock.days(1)
    restored = clock()
    move(later, "STANDARD", imageTag="1")
    found = details(later, pushed.digest)
    assert found["imageStatus"] == "ACTIVATING"
    assert found["lastArchivedAt"].timestamp() == pytest.approx(archived, abs=60)
    assert "lastActivatedAt" not in found
    clock.ahead += ACTIVATION + 1
    found = details(later, pushed.digest)
    assert found["imageStatus"] == "ACTIVE"
    assert found["lastActivatedAt"].timestamp() == pytest.approx(restored + ACTIVATION, abs=60)
    assert found["lastArchivedAt"].timestamp() == pytest.approx(archived, abs=60)
    assert found["imagePushedAt"].timestamp() == pytest.approx(time.time(), abs=60)


def test_a_layer_that_an_active_image_has_too_stays_available(later: ECRClient) -> None:
    one = push_image(later, "app", tag="1", layers=[b"shared", b"own"], config=CONFIG)
    push_image(later, "app", tag="2", layers=[b"shared"], config=CONFIG)
    move(later, "ARCHIVE", imageTag="1")
    shared, own = one.layers
    assert [availability(later, digest) for digest in (shared, own)] == ["AVAILABLE", "ARCHIVED"]
    assert is_downloadable(later, shared)
    assert not is_downloadable(later, own)


def test_pushing_an_archived_image_restores_it_at_once(later: ECRClient) -> None:
    pushed = push_image(later, "app", tag="1")
    for again in range(2):
        move(later, "ARCHIVE", imageTag="1")
        if again:
            assert move(later, "STANDARD", imageTag="1") == "ACTIVATING"
        put_manifest(later, "app", pushed.raw, tag="1")
        assert details(later, pushed.digest)["imageStatus"] == "ACTIVE"
        assert "lastActivatedAt" in details(later, pushed.digest)
        assert pull(later, imageTag="1") == ""
    with pytest.raises(later.exceptions.ImageAlreadyExistsException):
        put_manifest(later, "app", pushed.raw, tag="1")


@pytest.mark.parametrize("mutability", ["MUTABLE", "IMMUTABLE"])
def test_pushing_an_archived_image_moves_tags_as_any_push_does(later: ECRClient, mutability: str) -> None:
    later.create_repository(repositoryName="tags", imageTagMutability=mutability)  # type: ignore[arg-type]
    first = push_image(later, "tags", tag="1", layers=[b"1"])
    push_image(later, "tags", tag="2", layers=[b"2"])
    later.update_image_storage_class(repositoryName="tags", imageId={"imageTag": "1"}, targetStorageClass="ARCHIVE")
    if mutability == "IMMUTABLE":
        with pytest.raises(later.exceptions.ImageTagAlreadyExistsException):
            put_manifest(later, "tags", first.raw, tag="2")
        active = later.describe_images(repositoryName="tags")["imageDetails"]
        assert first.digest not in [image["imageDigest"] for image in active]
        put_manifest(later, "tags", first.raw, tag="1")
    put_manifest(later, "tags", first.raw, tag="3")
    found = later.describe_images(repositoryName="tags", imageIds=[{"imageTag": "3"}])["imageDetails"]
    assert (found[0]["imageTags"], found[0]["imageStatus"]) == (["1", "3"], "ACTIVE")


def test_an_image_without_a_tag_comes_back_by_a_push_without_one(later: ECRClient) -> None:
    pushed = push_image(later, "app")
    move(later, "ARCHIVE", imageDigest=pushed.digest)
    put_manifest(later, "app", pushed.raw)
    assert details(later, pushed.digest)["imageStatus"] == "ACTIVE"


def test_where_an_image_is_in_the_class_nothing_changes(later: ECRClient, clock: Clock) -> None:
    pushed = push_image(later, "app", tag="1")
    assert move(later, "STANDARD", imageTag="1") == "ACTIVE"
    assert "lastActivatedAt" not in details(later, pushed.digest)
    move(later, "ARCHIVE", imageTag="1")
    before = details(later, pushed.digest)["lastArchivedAt"]
    clock.days(3)
    assert move(later, "ARCHIVE", imageTag="1") == "ARCHIVED"
    assert details(later, pushed.digest)["lastArchivedAt"] == before
    assert move(later, "STANDARD", imageTag="1") == "ACTIVATING"
    clock.ahead += ACTIVATION / 2
    assert move(later, "STANDARD", imageTag="1") == "ACTIVATING"
    clock.ahead += ACTIVATION / 2 + 1
    assert details(later, pushed.digest)["imageStatus"] == "ACTIVE"


def test_an_image_that_is_being_restored_cannot_be_archived(later: ECRClient) -> None:
    push_image(later, "app", tag="1")
    move(later, "ARCHIVE", imageTag="1")
    move(later, "STANDARD", imageTag="1")
    with pytest.raises(later.exceptions.ImageStorageClassUpdateNotSupportedException, match="it is being restored"):
        move(later, "ARCHIVE", imageTag="1")


def test_an_image_in_an_index_is_archived_after_it(later: ECRClient) -> None:
    image = push_image(later, "app")
    index = push_index(later, "app", {"linux/amd64": image}, tag="all")
    with pytest.raises(later.exceptions.ImageStorageClassUpdateNotSupportedException, match=index.digest):
        move(later, "ARCHIVE", imageDigest=image.digest)
    assert move(later, "ARCHIVE", imageTag="all") == "ARCHIVED"
    assert pull(later, imageDigest=image.digest) == ""
    assert move(later, "ARCHIVE", imageDigest=image.digest) == "ARCHIVED"


def test_an_archived_image_can_be_deleted_and_untagged(later: ECRClient) -> None:
    pushed = push_image(later, "app", tag="1")
    put_manifest(later, "app", pushed.raw, tag="2")
    move(later, "ARCHIVE", imageTag="1")
    assert later.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "1"}])["failures"] == []
    gone = later.batch_delete_image(repositoryName="app", imageIds=[{"imageDigest": pushed.digest}])
    assert gone["imageIds"] == [{"imageDigest": pushed.digest, "imageTag": "2"}]


def test_an_image_that_is_not_there_or_not_named_is_refused(later: ECRClient) -> None:
    pushed = push_image(later, "app", tag="1", layers=[b"1"])
    push_image(later, "app", tag="2", layers=[b"2"])
    for image in (
        {"imageTag": "gone"},
        {"imageDigest": digest_of(b"x")},
        {"imageTag": "2", "imageDigest": pushed.digest},
    ):
        with pytest.raises(later.exceptions.ImageNotFoundException):
            move(later, "ARCHIVE", **image)
    for image in ({}, {"imageDigest": "nonsense"}, {"imageTag": "no/slash"}):
        with pytest.raises(later.exceptions.InvalidParameterException, match="imageId"):
            move(later, "ARCHIVE", **image)
    with pytest.raises(later.exceptions.InvalidParameterException, match="targetStorageClass"):
        move(later, "GLACIER", imageTag="1")
    with pytest.raises(later.exceptions.RepositoryNotFoundException):
        later.update_image_storage_class(repositoryName="gone", imageId={"imageTag": "1"}, targetStorageClass="ARCHIVE")


# Lists and descriptions


@pytest.fixture
def stocked(later: ECRClient) -> dict[str, list[str]]:
    """Push four images of each status, half of them tagged; return their digests by status."""
    digests: dict[str, list[str]] = {"ACTIVE": [], "ARCHIVED": [], "ACTIVATING": []}
    for status, found in digests.items():
        for number in range(4):
            tag = f"{status}-{number}" if number < 2 else ""
            found.append(push_image(later, "app", tag=tag, layers=[f"{status}{number}".encode()]).digest)
            for target in {"ACTIVE": [], "ARCHIVED": ["ARCHIVE"], "ACTIVATING": ["ARCHIVE", "STANDARD"]}[status]:
                assert move(later, target, imageDigest=found[-1]) in ("ARCHIVED", status)
    return digests


@pytest.mark.parametrize("tag_status", ["", "TAGGED", "UNTAGGED", "ANY"])
@pytest.mark.parametrize("status", ["", "ACTIVE", "ARCHIVED", "ACTIVATING", "ANY"])
def test_images_are_listed_and_described_by_status_and_by_tags_in_pages(
    later: ECRClient, stocked: dict[str, list[str]], status: str, tag_status: str
) -> None:
    halves = {"TAGGED": slice(0, 2), "UNTAGGED": slice(2, 4)}
    statuses = stocked if status == "ANY" else [status or "ACTIVE"]  # the model: "only images with ACTIVE status"
    expected = sorted(digest for one in statuses for digest in stocked[one][halves.get(tag_status, slice(0, 4))])
    given = {"imageStatus": status, "tagStatus": tag_status}
    arguments = {
        "repositoryName": "app",
        "filter": {name: value for name, value in given.items() if value},
        "PaginationConfig": {"PageSize": 3},
    }
    lists = list(later.get_paginator("list_images").paginate(**arguments))  # type: ignore[arg-type]
    assert [name["imageDigest"] for page in lists for name in page["imageIds"]] == expected
    described = list(later.get_paginator("describe_images").paginate(**arguments))  # type: ignore[arg-type]
    assert [image["imageDigest"] for page in described for image in page["imageDetails"]] == expected
    full = [3] * (len(expected) // 3) + [len(expected) % 3] * bool(len(expected) % 3)
    assert [len(page["imageIds"]) for page in lists] == [len(page["imageDetails"]) for page in described] == full


def test_an_image_that_is_named_is_described_in_the_archive_too(
    later: ECRClient, stocked: dict[str, list[str]]
) -> None:
    names: list[ImageIdentifierTypeDef] = [{"imageDigest": found[0]} for found in stocked.values()]
    found = later.describe_images(repositoryName="app", imageIds=names)["imageDetails"]
    assert [image["imageStatus"] for image in found] == list(stocked)
    filtered = later.describe_images(repositoryName="app", imageIds=names, filter={"imageStatus": "ARCHIVED"})
    assert [image["imageDigest"] for image in filtered["imageDetails"]] == stocked["ARCHIVED"][:1]
    untagged = later.describe_images(repositoryName="app", imageIds=names, filter={"tagStatus": "UNTAGGED"})
    assert untagged["imageDetails"] == []


# When an image was pulled


def test_a_pull_is_recorded_once_in_24_hours(later: ECRClient, clock: Clock) -> None:
    pushed = push_image(later, "app", tag="1")
    other = push_image(later, "app", tag="2", layers=[b"other"])
    clock.days(1)
    first = clock()
    pull(later, imageTag="1")
    recorded = details(later, pushed.digest)["lastRecordedPullTime"]
    assert recorded.timestamp() == pytest.approx(first, abs=60)
    clock.days(0.9)
    pull(later, imageTag="1")
    assert details(later, pushed.digest)["lastRecordedPullTime"] == recorded
    clock.days(0.2)
    pull(later, imageDigest=pushed.digest)
    assert details(later, pushed.digest)["lastRecordedPullTime"].timestamp() == pytest.approx(clock(), abs=60)
    assert "lastRecordedPullTime" not in details(later, other.digest)


def test_a_read_only_registry_records_no_pull(tmp_path: Path) -> None:
    with moving(tmp_path) as (api, _):
        api.create_repository(repositoryName="app")
        pushed = push_image(api, "app", tag="1")
    with moving(tmp_path, read_only=True) as (api, _):
        assert pull(api, imageTag="1") == ""
        assert "lastRecordedPullTime" not in details(api, pushed.digest)


def test_a_pull_that_cannot_be_recorded_is_served_all_the_same(
    later: ECRClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_image(later, "app", tag="1")

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Records, "record_pulls", full)
    assert pull(later, imageTag="1") == ""
    assert "a pull of app isn't noted: database or disk is full" in caplog.text
