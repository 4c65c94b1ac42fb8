"""Repository creation templates: what is stored, and the repositories that a push makes by them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr
from tests.localecr import ACCOUNT, REGION, client, manifest_of, push_image, running

ROLE = f"arn:aws:iam::{ACCOUNT}:role/templates"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/a1b2c3d4-5678-90ab-cdef-example11111"
POLICY = json.dumps({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}]})
LIFECYCLE = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 5},
                "action": {"type": "expire"},
            }
        ]
    }
)
FULL: dict[str, Any] = {
    "appliedFor": ["CREATE_ON_PUSH", "PULL_THROUGH_CACHE"],
    "description": "for tests",
    "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": KEY},
    "resourceTags": [{"Key": "team", "Value": "a"}],
    "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
    "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "dev*"}],
    "repositoryPolicy": POLICY,
    "lifecyclePolicy": LIFECYCLE,
    "customRoleArn": ROLE,
}


@pytest.fixture
def ecr(tmp_path: Path) -> Iterator[LocalEcr]:
    with running(tmp_path / "ecr") as ecr:
        yield ecr


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[ECRClient]:
    with client(ecr) as api:
        yield api


def create(api: ECRClient, prefix: str, *applied_for: str, **more: Any) -> None:
    reasons: list[Any] = list(applied_for or ["CREATE_ON_PUSH"])
    api.create_repository_creation_template(prefix=prefix, appliedFor=reasons, **more)


def settings_of(api: ECRClient, name: str) -> dict[str, Any]:
    (found,) = api.describe_repositories(repositoryNames=[name])["repositories"]
    return dict(found)


def test_a_template_is_described_as_it_was_created(api: ECRClient) -> None:
    created = api.create_repository_creation_template(prefix="team/a", **FULL)
    assert created["registryId"] == ACCOUNT
    template = created["repositoryCreationTemplate"]
    assert {name: value for name, value in template.items() if name in FULL} == FULL
    assert template["createdAt"] == template["updatedAt"]
    found = api.describe_repository_creation_templates()
    assert (found["registryId"], found["repositoryCreationTemplates"]) == (ACCOUNT, [template])


def test_a_template_of_nothing_has_ecrs_defaults(api: ECRClient) -> None:
    create(api, "ROOT", "REPLICATION")
    (template,) = api.describe_repository_creation_templates(prefixes=["ROOT"])["repositoryCreationTemplates"]
    assert template["encryptionConfiguration"] == {"encryptionType": "AES256"}
    assert (template["imageTagMutability"], template["resourceTags"]) == ("MUTABLE", [])


def test_an_update_changes_what_it_names(api: ECRClient) -> None:
    api.create_repository_creation_template(prefix="app", **FULL)
    api.update_repository_creation_template(prefix="app/", imageTagMutability="MUTABLE", description="other")
    (template,) = api.describe_repository_creation_templates()["repositoryCreationTemplates"]
    assert (template["imageTagMutability"], template["description"]) == ("MUTABLE", "other")
    assert "imageTagMutabilityExclusionFilters" not in template
    assert template["lifecyclePolicy"] == LIFECYCLE
    assert template["createdAt"] < template["updatedAt"]


def test_templates_come_in_pages_and_by_prefix(api: ECRClient) -> None:
    for prefix in ("a", "b", "c"):
        create(api, prefix)
    pages = api.get_paginator("describe_repository_creation_templates").paginate(PaginationConfig={"PageSize": 2})
    found = [[one["prefix"] for one in page["repositoryCreationTemplates"]] for page in pages]
    assert found == [["a", "b"], ["c"]]
    named = api.describe_repository_creation_templates(prefixes=["c", "gone", "a"])["repositoryCreationTemplates"]
    assert [one["prefix"] for one in named] == ["c", "a"]


def test_a_prefix_has_one_template_and_a_deleted_one_is_gone(api: ECRClient) -> None:
    create(api, "app")
    with pytest.raises(api.exceptions.TemplateAlreadyExistsException, match="'app'"):
        create(api, "app/")
    deleted = api.delete_repository_creation_template(prefix="app")["repositoryCreationTemplate"]
    assert deleted["appliedFor"] == ["CREATE_ON_PUSH"]
    for operation in ("delete", "update"):
        with pytest.raises(api.exceptions.TemplateNotFoundException, match="'app'"):
            getattr(api, f"{operation}_repository_creation_template")(prefix="app")


@pytest.mark.parametrize(
    "arguments",
    [
        {"prefix": "Upper"},
        {"prefix": "a" * 257},
        {"appliedFor": ["NOBODY"]},
        {"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"},
        {"imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "a*"}]},
        {"resourceTags": [{"Key": str(number), "Value": ""} for number in range(51)]},
        {"resourceTags": [{"Key": "k" * 129, "Value": ""}]},
        {"resourceTags": [{"Key": "k", "Value": "v" * 257}]},
        {"resourceTags": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]},
        {"repositoryPolicy": "{}"},
        {"lifecyclePolicy": "{}"},
        {"encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "alias/ours"}},
    ],
    ids=str,
)
def test_a_template_that_no_repository_could_have_is_refused(api: ECRClient, arguments: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="InvalidParameterException"):
        api.create_repository_creation_template(**{"prefix": "app", "appliedFor": ["CREATE_ON_PUSH"], **arguments})
    assert api.describe_repository_creation_templates()["repositoryCreationTemplates"] == []


def test_a_push_makes_its_repository_with_all_that_the_template_says(api: ECRClient) -> None:
    api.create_repository_creation_template(prefix="team", **FULL)
    api.initiate_layer_upload(repositoryName="team/app")
    made = settings_of(api, "team/app")
    assert made["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert made["imageTagMutabilityExclusionFilters"] == FULL["imageTagMutabilityExclusionFilters"]
    assert made["encryptionConfiguration"] == FULL["encryptionConfiguration"]
    assert made["imageScanningConfiguration"] == {"scanOnPush": False}
    assert api.list_tags_for_resource(resourceArn=made["repositoryArn"])["tags"] == FULL["resourceTags"]
    policy = api.get_repository_policy(repositoryName="team/app")["policyText"]
    assert json.loads(policy) == json.loads(POLICY)
    lifecycle = api.get_lifecycle_policy(repositoryName="team/app")["lifecyclePolicyText"]
    assert json.loads(lifecycle) == json.loads(LIFECYCLE)


@pytest.mark.parametrize("operation", ["initiate_layer_upload", "put_image"])
def test_either_way_to_begin_a_push_makes_the_repository(api: ECRClient, operation: str) -> None:
    create(api, "app")
    if operation == "put_image":
        with pytest.raises(api.exceptions.LayersNotFoundException):
            api.put_image(repositoryName="app/one", imageManifest=manifest_of(b"{}", [b"layer"]))
    else:
        assert api.initiate_layer_upload(repositoryName="app/one")["uploadId"]
    assert settings_of(api, "app/one")["encryptionConfiguration"] == {"encryptionType": "AES256"}


@pytest.mark.parametrize("applied_for", [["PULL_THROUGH_CACHE", "REPLICATION"], []], ids=["another reason", "none"])
def test_without_a_template_for_pushes_a_missing_repository_stays_missing(
    api: ECRClient, applied_for: list[str]
) -> None:
    if applied_for:
        create(api, "ROOT", *applied_for)
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.initiate_layer_upload(repositoryName="app/one")
    assert api.describe_repositories()["repositories"] == []


def test_what_does_not_push_makes_nothing(api: ECRClient) -> None:
    create(api, "ROOT")
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.batch_check_layer_availability(repositoryName="app/one", layerDigests=["sha256:" + "0" * 64])
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.list_images(repositoryName="app/one")


def test_the_prefix_that_says_most_wins_and_root_is_for_the_rest(api: ECRClient) -> None:
    create(api, "ROOT", imageTagMutability="IMMUTABLE")
    create(api, "team", encryptionConfiguration={"encryptionType": "AES256"})
    create(api, "team/deep", imageTagMutability="IMMUTABLE")
    create(api, "team/deep/er", "REPLICATION")
    found = {}
    for name in ("team/app", "team/deep/app", "team/deep/er/app", "team", "teamwork/app", "solo"):
        api.initiate_layer_upload(repositoryName=name)
        found[name] = settings_of(api, name)["imageTagMutability"]
    assert found == {
        "team/app": "MUTABLE",
        "team/deep/app": "IMMUTABLE",
        "team/deep/er/app": "IMMUTABLE",
        "team": "IMMUTABLE",
        "teamwork/app": "IMMUTABLE",
        "solo": "IMMUTABLE",
    }


@pytest.mark.parametrize("wish", ["resourceTags", "encryptionConfiguration"])
def test_a_template_that_lacks_the_role_it_needs_makes_no_repository(api: ECRClient, wish: str) -> None:
    create(api, "app", **{wish: FULL[wish]})
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.initiate_layer_upload(repositoryName="app/one")
    assert api.describe_repositories()["repositories"] == []


def test_a_template_does_nothing_to_a_repository_that_is_there(api: ECRClient) -> None:
    api.create_repository(repositoryName="app/one")
    create(api, "app", imageTagMutability="IMMUTABLE")
    push_image(api, "app/one", tag="1")
    assert settings_of(api, "app/one")["imageTagMutability"] == "MUTABLE"


def test_many_pushes_at_once_make_one_repository(api: ECRClient) -> None:
    create(api, "app")
    with ThreadPoolExecutor(16) as pool:
        uploads = list(pool.map(lambda _: api.initiate_layer_upload(repositoryName="app/one")["uploadId"], range(32)))
    assert len(set(uploads)) == 32
    assert len(api.describe_repositories()["repositories"]) == 1
