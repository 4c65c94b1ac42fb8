"""A repository in ECR Public, created by its API in a local ECR."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from ecrdrag.errors import AuthError, UsageError
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ecr_public import PublicRepositoryApi, create_public_repository
from ecrdrag.registry.ends import RepositorySettings
from tests.localecr import running

REFERENCE = ImageReference.parse("public.ecr.aws/alias/team/app:1")


def client(endpoint: str, key: str, secret: str) -> PublicRepositoryApi:
    return boto3.client(  # type: ignore[no-any-return, unused-ignore]
        "ecr-public",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def test_it_is_created_with_its_tags_under_its_name_without_the_alias(tmp_path: Path) -> None:
    with running(tmp_path) as ecr:
        api = client(ecr.endpoint, *ecr.credentials)
        assert create_public_repository(api, REFERENCE, RepositorySettings(tags={"team": "blue"}))
        assert not create_public_repository(api, REFERENCE, RepositorySettings())
        found = api.describe_repositories()["repositories"]  # type: ignore[attr-defined]
        tags = api.list_tags_for_resource(resourceArn=found[0]["repositoryArn"])["tags"]  # type: ignore[attr-defined]
    assert [each["repositoryName"] for each in found] == ["team/app"]
    assert tags == [{"Key": "team", "Value": "blue"}]


@pytest.mark.parametrize(
    "settings",
    [RepositorySettings(immutable=True), RepositorySettings(scan_on_push=True), RepositorySettings(kms_key="")],
)
def test_settings_that_public_repositories_do_not_have_are_refused(
    settings: RepositorySettings, tmp_path: Path
) -> None:
    with running(tmp_path) as ecr, pytest.raises(UsageError, match="public repositories know no --immutable"):
        create_public_repository(client(ecr.endpoint, *ecr.credentials), REFERENCE, settings)


def test_a_name_without_an_alias_is_refused(tmp_path: Path) -> None:
    reference = ImageReference.parse("public.ecr.aws/app:1")
    with running(tmp_path) as ecr, pytest.raises(UsageError, match="names no repository"):
        create_public_repository(client(ecr.endpoint, *ecr.credentials), reference, RepositorySettings())


def test_a_wrong_key_is_a_matter_of_credentials(tmp_path: Path) -> None:
    with running(tmp_path) as ecr, pytest.raises(AuthError, match=r"public\.ecr\.aws/alias/team/app"):
        create_public_repository(client(ecr.endpoint, "AKIAWRONG", "wrong"), REFERENCE, RepositorySettings())
