"""ECR Public's API on the local ECR, with a real boto3 client: registries in public beside the private ones."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.names import PUBLIC, RegistryKey
from ecrdrag.localecr.storage.store import Store
from tests.localecr import (
    ACCOUNT,
    client,
    digest_of,
    manifest_of,
    public_client,
    push_blob,
    push_image,
    push_index,
    put_manifest,
    running,
)
from tests.putting import put_part

if TYPE_CHECKING:
    from mypy_boto3_ecr_public import ECRPublicClient

ALIAS = RegistryKey(ACCOUNT, PUBLIC).alias
OTHER = "210987654321"
MEBIBYTE = 1024 * 1024
BIG = "x" * 205
POLICY = '{"Statement":[{"Effect":"Allow","Principal":"*","Action":"ecr-public:PutImage"}]}'
LOGO = b"\x89PNG\r\n\x1a\n\x00\xff"


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[ECRPublicClient]:
    """Give a client of ECR Public, and a repository app in its registry."""
    with public_client(ecr) as made:
        made.create_repository(repositoryName="app")
        yield made


def refusal(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.mark.parametrize("region", ["us-west-2", "eu-west-1", "cn-north-1"])
def test_the_api_answers_in_one_region_only(ecr: LocalEcr, region: str) -> None:
    with public_client(ecr, region=region) as api:
        with pytest.raises(api.exceptions.UnsupportedCommandException) as caught:
            api.get_authorization_token()
        text = "GetAuthorizationToken command is only supported in us-east-1."
        assert refusal(caught) == ("UnsupportedCommandException", text)
        with pytest.raises(api.exceptions.UnsupportedCommandException, match="CreateRepository command is only"):
            api.create_repository(repositoryName="app")
    with public_client(ecr) as api:
        assert api.describe_repositories()["repositories"] == []


def test_a_password_is_for_public_registries_alone(ecr: LocalEcr, api: ECRPublicClient) -> None:
    given = api.get_authorization_token()["authorizationData"]
    assert set(given) == {"authorizationToken", "expiresAt"}
    with client(ecr, region="us-east-1") as private:
        other = private.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    assert claims(given["authorizationToken"])["region"] == PUBLIC
    assert claims(other)["region"] == "us-east-1"
    assert claims(other)["account"] == claims(given["authorizationToken"])["account"] == ACCOUNT


def claims(token: str) -> dict[str, object]:
    user, _, password = base64.b64decode(token).decode().partition(":")
    assert user == "AWS"
    found, _ = json.JSONDecoder().raw_decode(base64.b64decode(password).decode("latin-1"))
    return dict(found)


def test_a_repository_is_named_by_its_alias(api: ECRPublicClient) -> None:
    created = api.create_repository(repositoryName="some/app")
    repository = created["repository"]
    assert repository.pop("createdAt")
    assert repository == {
        "repositoryArn": f"arn:aws:ecr-public::{ACCOUNT}:repository/some/app",
        "registryId": ACCOUNT,
        "repositoryName": "some/app",
        "repositoryUri": f"public.ecr.aws/{ALIAS}/some/app",
    }
    assert created["catalogData"] == {}
    (described,) = api.describe_repositories(repositoryNames=["some/app"])["repositories"]
    assert described["repositoryUri"] == repository["repositoryUri"]
    assert set(described) == {*repository, "createdAt"}


def test_names_may_have_205_letters(api: ECRPublicClient) -> None:
    assert api.create_repository(repositoryName=BIG)["repository"]["repositoryName"] == BIG
    with pytest.raises(api.exceptions.InvalidParameterException, match="less than or equal to 205"):
        api.create_repository(repositoryName=f"{BIG}x")


def test_a_repository_is_created_once_and_deleted_by_force_when_it_holds_images(api: ECRPublicClient) -> None:
    with pytest.raises(api.exceptions.RepositoryAlreadyExistsException):
        api.create_repository(repositoryName="app", catalogData={"description": "another"})
    assert api.get_repository_catalog_data(repositoryName="app")["catalogData"] == {}
    push_image(api, "app", tag="1")
    with pytest.raises(api.exceptions.RepositoryNotEmptyException):
        api.delete_repository(repositoryName="app")
    deleted = api.delete_repository(repositoryName="app", force=True)["repository"]
    assert deleted["repositoryUri"] == f"public.ecr.aws/{ALIAS}/app"
    assert api.describe_repositories()["repositories"] == []


def test_repositories_come_in_pages(api: ECRPublicClient) -> None:
    for number in range(4):
        api.create_repository(repositoryName=f"page/{number}")
    pages = list(api.get_paginator("describe_repositories").paginate(PaginationConfig={"PageSize": 2}))
    assert [[one["repositoryName"] for one in page["repositories"]] for page in pages] == [
        ["app", "page/0"],
        ["page/1", "page/2"],
        ["page/3"],
    ]


def test_private_and_public_repositories_of_a_name_are_two(ecr: LocalEcr, api: ECRPublicClient) -> None:
    with client(ecr, region="us-east-1") as private:
        assert private.describe_repositories()["repositories"] == []
        private.create_repository(repositoryName="app")
        push_image(private, "app", tag="1")
        assert api.describe_images(repositoryName="app")["imageDetails"] == []
        api.delete_repository(repositoryName="app")
        assert len(private.describe_images(repositoryName="app")["imageDetails"]) == 1


def test_a_pushed_image_is_described_by_what_public_knows_of_it(api: ECRPublicClient) -> None:
    pushed = push_image(api, "app", tag="1")
    (details,) = api.describe_images(repositoryName="app")["imageDetails"]
    assert details.pop("imagePushedAt")
    assert details == {
        "registryId": ACCOUNT,
        "repositoryName": "app",
        "imageDigest": pushed.digest,
        "imageTags": ["1"],
        "imageSizeInBytes": len(b"a layer") + len(b'{"architecture":"amd64","os":"linux"}'),
        "imageManifestMediaType": pushed.media_type,
        "artifactMediaType": "application/vnd.oci.image.config.v1+json",
    }


def test_a_push_must_be_whole_and_is_acknowledged_once(api: ECRPublicClient) -> None:
    with pytest.raises(api.exceptions.LayersNotFoundException):
        put_manifest(api, "app", manifest_of(b"{}", [b"missing"]))
    pushed = push_image(api, "app", tag="1")
    with pytest.raises(api.exceptions.ImageAlreadyExistsException):
        put_manifest(api, "app", pushed.raw, tag="1")
    found = api.batch_check_layer_availability(repositoryName="app", layerDigests=[*pushed.layers, "nonsense"])
    assert [layer["layerAvailability"] for layer in found["layers"]] == ["AVAILABLE"]
    assert [failure["failureCode"] for failure in found["failures"]] == ["InvalidLayerDigest"]


def test_tags_are_described_by_name_with_their_own_times(tmp_path: Path) -> None:
    ahead = [0]
    with running(tmp_path, clock=lambda: time.time() + ahead[0]) as ecr, public_client(ecr) as api:
        api.create_repository(repositoryName="app")
        pushed = push_image(api, "app", tag="b")
        ahead[0] = 60
        for tag in ("a", "c"):
            put_manifest(api, "app", pushed.raw, tag=tag)
        paginator = api.get_paginator("describe_image_tags")
        pages = [
            page["imageTagDetails"]
            for page in paginator.paginate(repositoryName="app", PaginationConfig={"PageSize": 2})
        ]
    assert [[one["imageTag"] for one in page] for page in pages] == [["a", "b"], ["c"]]
    (late, early), (last,) = pages
    assert all(one["imageDetail"] == early["imageDetail"] for one in (late, last))
    assert early["imageDetail"]["imageDigest"] == pushed.digest
    assert set(early["imageDetail"]) == {
        "imageDigest",
        "imageSizeInBytes",
        "imagePushedAt",
        "imageManifestMediaType",
        "artifactMediaType",
    }
    assert early["createdAt"] == early["imageDetail"]["imagePushedAt"]
    assert (late["createdAt"] - early["createdAt"]).total_seconds() >= 60


def test_images_are_deleted_by_tag_and_digest_but_not_from_under_an_index(api: ECRPublicClient) -> None:
    pushed = push_image(api, "app", tag="1")
    index = push_index(api, "app", {"linux/amd64": pushed}, tag="multi")
    answer = api.batch_delete_image(
        repositoryName="app", imageIds=[{"imageTag": "gone"}, {"imageDigest": pushed.digest}, {"imageTag": "multi"}]
    )
    assert [one["failureCode"] for one in answer["failures"]] == ["ImageNotFound", "ImageReferencedByManifestList"]
    assert answer["imageIds"] == [{"imageDigest": index.digest, "imageTag": "multi"}]


@pytest.mark.parametrize("registry", [ALIAS, ACCOUNT])
def test_a_push_may_name_the_registry_by_its_alias(api: ECRPublicClient, registry: str) -> None:
    upload = api.initiate_layer_upload(registryId=registry, repositoryName="app")["uploadId"]
    taken = api.upload_layer_part(
        registryId=registry,
        repositoryName="app",
        uploadId=upload,
        partFirstByte=0,
        partLastByte=2,
        layerPartBlob=b"abc",
    )
    assert (taken["registryId"], taken["lastByteReceived"]) == (ACCOUNT, 2)
    done = api.complete_layer_upload(
        registryId=registry, repositoryName="app", uploadId=upload, layerDigests=[digest_of(b"abc")]
    )
    assert (done["registryId"], done["layerDigest"]) == (ACCOUNT, digest_of(b"abc"))
    push_blob(api, "app", b"{}")
    image = api.put_image(registryId=registry, repositoryName="app", imageManifest=manifest_of(b"{}", [b"abc"]))
    assert image["image"]["registryId"] == ACCOUNT
    (layer,) = api.batch_check_layer_availability(
        registryId=registry, repositoryName="app", layerDigests=[digest_of(b"abc")]
    )["layers"]
    assert layer["layerAvailability"] == "AVAILABLE"


@pytest.mark.parametrize("registry", ["nobody", "999999999999"])
def test_a_push_to_a_registry_that_is_not_there_is_refused(api: ECRPublicClient, registry: str) -> None:
    with pytest.raises(api.exceptions.RegistryNotFoundException) as caught:
        api.initiate_layer_upload(registryId=registry, repositoryName="app")
    assert refusal(caught) == ("RegistryNotFoundException", f"The registry with id '{registry}' does not exist")
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.batch_delete_image(registryId=registry, repositoryName="app", imageIds=[{"imageTag": "1"}])


def test_an_error_names_the_registry_as_the_call_did(api: ECRPublicClient) -> None:
    with pytest.raises(api.exceptions.RepositoryNotFoundException) as caught:
        api.initiate_layer_upload(registryId=ALIAS, repositoryName="gone")
    assert refusal(caught)[1] == f"The repository with name 'gone' does not exist in the registry with id '{ALIAS}'"


def test_a_layer_has_a_thousand_parts_at_most(tmp_path: Path) -> None:
    with running(tmp_path) as ecr, public_client(ecr) as api:
        api.create_repository(repositoryName="app")
        upload = api.initiate_layer_upload(repositoryName="app")
        assert upload["partSize"] == 10 * MEBIBYTE
        put_part(api, "app", upload["uploadId"], 0, b"0")
    with Store(tmp_path) as store, store.metadata.write() as records:
        repository = records.repository(RegistryKey(ACCOUNT, PUBLIC).repository("app"))
        assert repository
        state = records.upload(repository.id, upload["uploadId"])
        assert state
        records.advance_upload(replace(state, parts=999), time.time())
    with running(tmp_path) as ecr, public_client(ecr) as api:
        assert put_part(api, "app", upload["uploadId"], 1, b"1") == 1
        with pytest.raises(api.exceptions.LimitExceededException, match="1000"):
            put_part(api, "app", upload["uploadId"], 2, b"2")


def test_a_part_has_ten_mebibytes_at_most(api: ECRPublicClient) -> None:
    upload = api.initiate_layer_upload(repositoryName="app")["uploadId"]
    with pytest.raises(api.exceptions.LimitExceededException, match=str(10 * MEBIBYTE)):
        put_part(api, "app", upload, 0, bytes(10 * MEBIBYTE + 1))
    assert put_part(api, "app", upload, 0, bytes(10 * MEBIBYTE)) == 10 * MEBIBYTE - 1


def test_there_is_one_registry_with_its_alias(api: ECRPublicClient) -> None:
    assert api.describe_registries()["registries"] == [
        {
            "registryId": ACCOUNT,
            "registryArn": f"arn:aws:ecr-public::{ACCOUNT}:registry/{ACCOUNT}",
            "registryUri": f"public.ecr.aws/{ALIAS}",
            "verified": False,
            "aliases": [
                {"name": ALIAS, "status": "ACTIVE", "primaryRegistryAlias": True, "defaultRegistryAlias": True}
            ],
        }
    ]


def test_catalog_data_is_kept_and_changed_member_by_member(tmp_path: Path) -> None:
    with running(tmp_path) as ecr, public_client(ecr) as api:
        created = api.create_repository(
            repositoryName="app",
            catalogData={"description": "first", "operatingSystems": ["Linux"], "logoImageBlob": LOGO},
        )
        assert created["catalogData"] == {"description": "first", "operatingSystems": ["Linux"]}
        changed = api.put_repository_catalog_data(
            repositoryName="app", catalogData={"description": "second", "architectures": ["ARM 64"]}
        )
    kept = {"description": "second", "operatingSystems": ["Linux"], "architectures": ["ARM 64"]}
    assert changed["catalogData"] == kept
    with running(tmp_path) as ecr, public_client(ecr) as api:
        assert api.get_repository_catalog_data(repositoryName="app")["catalogData"] == kept
        with pytest.raises(api.exceptions.RepositoryNotFoundException):
            api.get_repository_catalog_data(repositoryName="gone")
        with pytest.raises(api.exceptions.RepositoryNotFoundException):
            api.put_repository_catalog_data(repositoryName="gone", catalogData={})


def test_a_registry_has_a_display_name_of_its_own(tmp_path: Path) -> None:
    with (
        running(tmp_path, Settings(accounts=(ACCOUNT, OTHER))) as ecr,
        public_client(ecr) as api,
        public_client(ecr, keys=ecr.credentials_of(OTHER)) as other,
    ):
        assert api.get_registry_catalog_data()["registryCatalogData"] == {}
        assert api.put_registry_catalog_data(displayName="we")["registryCatalogData"] == {"displayName": "we"}
        assert api.get_registry_catalog_data()["registryCatalogData"] == {"displayName": "we"}
        assert other.get_registry_catalog_data()["registryCatalogData"] == {}


def test_a_repository_has_a_policy_and_tags_of_its_own(ecr: LocalEcr, api: ECRPublicClient) -> None:
    arn = api.create_repository(repositoryName="tagged", tags=[{"Key": "a", "Value": "1"}])["repository"][
        "repositoryArn"
    ]
    api.tag_resource(resourceArn=arn, tags=[{"Key": "b", "Value": "2"}])
    api.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert api.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "b", "Value": "2"}]
    with client(ecr, region="us-east-1") as private, pytest.raises(private.exceptions.InvalidParameterException):
        private.list_tags_for_resource(resourceArn=arn)
    with pytest.raises(api.exceptions.RepositoryPolicyNotFoundException):
        api.get_repository_policy(repositoryName="tagged")
    api.set_repository_policy(repositoryName="tagged", policyText=POLICY)
    found = api.get_repository_policy(repositoryName="tagged")
    assert (found["registryId"], json.loads(found["policyText"])) == (ACCOUNT, json.loads(POLICY))
    assert api.delete_repository_policy(repositoryName="tagged")["policyText"] == found["policyText"]


def test_another_accounts_public_registry_has_another_alias(tmp_path: Path) -> None:
    with (
        running(tmp_path, Settings(accounts=(ACCOUNT, OTHER))) as ecr,
        public_client(ecr) as api,
        public_client(ecr, keys=ecr.credentials_of(OTHER)) as other,
    ):
        uri = other.create_repository(repositoryName="app")["repository"]["repositoryUri"]
        alias = uri.split("/")[1]
        assert alias == other.describe_registries()["registries"][0]["aliases"][0]["name"] != ALIAS
        assert api.describe_repositories()["repositories"] == []
        assert api.describe_repositories(registryId=OTHER)["repositories"][0]["repositoryUri"] == uri
        assert api.initiate_layer_upload(registryId=alias, repositoryName="app")["uploadId"]
        with pytest.raises(api.exceptions.RepositoryNotFoundException):
            api.initiate_layer_upload(repositoryName="app")
