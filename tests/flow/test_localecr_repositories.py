"""The local ECR's operations on repositories, through a real client."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr
from tests.localecr import ACCOUNT, REGION, client, push_blob, push_image


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[ECRClient]:
    with client(ecr) as made:
        yield made


def test_a_repository_is_described_as_it_was_created(api: ECRClient) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    created = api.create_repository(
        repositoryName="team/app",
        imageTagMutability="IMMUTABLE",
        imageScanningConfiguration={"scanOnPush": True},
        encryptionConfiguration={"encryptionType": "KMS", "kmsKey": "alias/ours"},
        tags=[{"Key": "team", "Value": "red"}],
    )["repository"]
    assert created["repositoryArn"] == f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/team/app"
    assert created["repositoryUri"] == f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/team/app"
    assert before < created["createdAt"] < datetime.now(timezone.utc) + timedelta(seconds=1)
    assert created["imageTagMutability"] == "IMMUTABLE"
    assert created["imageScanningConfiguration"] == {"scanOnPush": True}
    assert created["encryptionConfiguration"] == {"encryptionType": "KMS", "kmsKey": "alias/ours"}
    assert api.describe_repositories(repositoryNames=["team/app"])["repositories"] == [created]


def test_a_region_of_another_partition_names_its_own_partition(ecr: LocalEcr) -> None:
    with client(ecr, region="cn-north-1") as api:
        created = api.create_repository(repositoryName="app")["repository"]
    assert created["repositoryArn"].startswith("arn:aws-cn:ecr:cn-north-1:")
    assert created["repositoryUri"] == f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn/app"


def test_accounts_and_regions_have_repositories_of_their_own(ecr: LocalEcr, api: ECRClient) -> None:
    api.create_repository(repositoryName="app")
    api.create_repository(repositoryName="app", registryId="999999999999")
    with client(ecr, region="eu-west-1") as elsewhere:
        assert elsewhere.describe_repositories()["repositories"] == []
    assert [one["registryId"] for one in api.describe_repositories()["repositories"]] == [ACCOUNT]
    other = api.describe_repositories(registryId="999999999999")["repositories"]
    assert [one["registryId"] for one in other] == ["999999999999"]


def test_creating_a_repository_twice_is_refused_in_ecrs_words(api: ECRClient) -> None:
    api.create_repository(repositoryName="app")
    with pytest.raises(ClientError) as caught:
        api.create_repository(repositoryName="app")
    assert caught.value.response["Error"] == {
        "Code": "RepositoryAlreadyExistsException",
        "Message": f"The repository with name 'app' already exists in the registry with id '{ACCOUNT}'",
    }
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert caught.value.response["ResponseMetadata"]["RequestId"]


def test_repositories_come_in_pages(api: ECRClient) -> None:
    names = [f"app-{number}" for number in range(7)]
    for name in reversed(names):
        api.create_repository(repositoryName=name)
    pages = list(api.get_paginator("describe_repositories").paginate(PaginationConfig={"PageSize": 3}))
    assert [len(page["repositories"]) for page in pages] == [3, 3, 1]
    assert [one["repositoryName"] for page in pages for one in page["repositories"]] == names


@pytest.mark.parametrize(
    "token",
    ["nonsense!", *(base64.b64encode(raw).decode() for raw in (b"[1]", b"[]", b"{}", b"[" * 9999, b'["\\ud800"]'))],
    ids=["no base64", "a number", "empty", "an object", "too deep", "half a surrogate pair"],
)
def test_a_made_up_page_token_is_refused(api: ECRClient, token: str) -> None:
    with pytest.raises(api.exceptions.InvalidParameterException, match="nextToken"):
        api.describe_repositories(nextToken=token)


def test_paging_together_with_names_is_refused(api: ECRClient) -> None:
    api.create_repository(repositoryName="app")
    with pytest.raises(api.exceptions.InvalidParameterException, match="maxResults"):
        api.describe_repositories(repositoryNames=["app"], maxResults=1)


def test_describing_a_repository_that_is_missing_is_refused(api: ECRClient) -> None:
    api.create_repository(repositoryName="app")
    with pytest.raises(api.exceptions.RepositoryNotFoundException) as caught:
        api.describe_repositories(repositoryNames=["app", "gone"])
    assert caught.value.response["Error"]["Message"] == (
        f"The repository with name 'gone' does not exist in the registry with id '{ACCOUNT}'"
    )


def test_a_repository_with_images_is_deleted_only_by_force(api: ECRClient) -> None:
    api.create_repository(repositoryName="app")
    push_image(api, "app", tag="1")
    with pytest.raises(api.exceptions.RepositoryNotEmptyException, match="cannot be deleted because it still"):
        api.delete_repository(repositoryName="app")
    assert api.delete_repository(repositoryName="app", force=True)["repository"]["repositoryName"] == "app"
    assert api.describe_repositories()["repositories"] == []


def test_a_repository_made_again_knows_nothing_of_the_old_one(api: ECRClient) -> None:
    api.create_repository(repositoryName="app")
    digest = push_blob(api, "app", b"old")
    upload = api.initiate_layer_upload(repositoryName="app")["uploadId"]
    api.delete_repository(repositoryName="app")
    api.create_repository(repositoryName="app")
    found = api.batch_check_layer_availability(repositoryName="app", layerDigests=[digest])["layers"]
    assert found == [{"layerDigest": digest, "layerAvailability": "UNAVAILABLE"}]
    with pytest.raises(api.exceptions.UploadNotFoundException):
        api.complete_layer_upload(repositoryName="app", uploadId=upload, layerDigests=[digest])


def test_deleting_a_repository_that_is_missing_is_refused(api: ECRClient) -> None:
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.delete_repository(repositoryName="gone")


@pytest.mark.parametrize(
    ("name", "constraint"),
    [
        ("Upper", "must satisfy regular expression '(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*'"),
        ("a" * 257, "must have length less than or equal to 256"),
        ("../../etc", "must satisfy regular expression"),
    ],
)
def test_a_bad_repository_name_is_refused_in_ecrs_words(api: ECRClient, name: str, constraint: str) -> None:
    with pytest.raises(api.exceptions.InvalidParameterException) as caught:
        api.create_repository(repositoryName=name)
    message = caught.value.response["Error"]["Message"]
    assert message.startswith(f"Invalid parameter at 'repositoryName' failed to satisfy constraint: '{constraint}")


def test_exclusion_filters_and_mutability_must_fit(api: ECRClient) -> None:
    with pytest.raises(api.exceptions.InvalidParameterException, match="ExclusionFilters"):
        api.create_repository(repositoryName="app", imageTagMutability="IMMUTABLE_WITH_EXCLUSION")


def test_too_many_and_malformed_resource_tags_are_refused(api: ECRClient) -> None:
    with pytest.raises(api.exceptions.TooManyTagsException):
        api.create_repository(repositoryName="app", tags=[{"Key": str(n), "Value": ""} for n in range(51)])
    with pytest.raises(api.exceptions.InvalidTagParameterException):
        api.create_repository(repositoryName="app", tags=[{"Key": "", "Value": "x"}])


def test_a_token_is_for_user_aws_and_lives_twelve_hours(ecr: LocalEcr, api: ECRClient) -> None:
    (found,) = api.get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(found["authorizationToken"]).decode().partition(":")
    assert user == "AWS"
    assert len(password) > 40
    lifetime = found["expiresAt"] - datetime.now(timezone.utc)
    assert timedelta(hours=11, minutes=59) < lifetime <= timedelta(hours=12)
    assert found["proxyEndpoint"] == ecr.endpoint
    assert len(api.get_authorization_token(registryIds=[ACCOUNT, "9" * 12])["authorizationData"]) == 2
