"""The AWS CLI does with a local ECR what its manual, and people's notes on ECR, do with the real one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images import noise_image
from tests.real.cell import Cell
from tests.real.conftest import Tool
from tests.real.local import REGISTRY, Local
from tests.real.shelf import ACCOUNT, REGION, small_image
from tests.real.tools import missing, need

pytestmark = pytest.mark.real

# The first ones that read AWS_ENDPOINT_URL_ECR: the CLI's change logs, "service-specific endpoints".
OLDEST = {1: (1, 29), 2: (2, 13)}
IMAGE = small_image()
DIGEST = str(IMAGE.manifest.digest)
Ask = Callable[..., Any]
"""Runs a command of the CLI and reads the JSON that it prints."""


@pytest.fixture(scope="module")
def aws(local: Local, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """The CLI, with the environment that ``serve`` printed."""
    tool = need("aws")
    environment = {**local.environment, "AWS_PAGER": "", "PAGER": ""}
    with Cell(tmp_path_factory.mktemp("aws"), walls=False, environment=environment) as cell:
        said = cell.run(tool, "--version")
        version = tuple(map(int, re.findall(r"[0-9]+", said)[:2]))
        if version < OLDEST.get(version[0], (3, 0)):
            missing(f"{said.split()[0]} doesn't know AWS_ENDPOINT_URL_ECR")
        yield Tool(cell, (tool,))


@pytest.fixture(scope="module")
def ecr(aws: Tool) -> Ask:
    return lambda *arguments: json.loads(aws("ecr", *arguments, "--output", "json") or "null")


@pytest.fixture(scope="module")
def name(local: Local) -> str:
    """A repository with an image of two tags, as the API calls it."""
    name = local.stock("aws", IMAGE, "1")
    local.put("aws", IMAGE, "2")
    return name.removeprefix(f"{local.host}/")


def test_its_password_logs_docker_in(aws: Tool, docker: Tool, local: Local, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(aws("ecr", "get-login-password", "--region", REGION))
    login = ("login", "--username", "AWS", "--password-stdin", local.host)
    assert docker("--config", tmp_path, *login, stdin=tmp_path / "password") == "Login Succeeded\n"


def test_it_describes_the_registry(ecr: Ask) -> None:
    assert ecr("describe-registry") == {"registryId": ACCOUNT, "replicationConfiguration": {"rules": []}}


def test_it_creates_describes_and_deletes_a_repository(aws: Tool, ecr: Ask) -> None:
    created = ecr("create-repository", "--repository-name", "apprunner-test", "--region", REGION)["repository"]
    assert created["repositoryUri"] == f"{REGISTRY}/apprunner-test"
    assert created in ecr("describe-repositories")["repositories"]
    uri = ("--query", "repository.repositoryUri", "--output", "text")
    assert (
        aws("ecr", "delete-repository", "--repository-name", "apprunner-test", *uri) == f"{REGISTRY}/apprunner-test\n"
    )
    said = aws.refusal("ecr", "delete-repository", "--repository-name", "apprunner-test")
    assert "(RepositoryNotFoundException) when calling the DeleteRepository operation: The repository with" in said


def test_it_shows_images_as_json_and_as_a_table(aws: Tool, ecr: Ask, name: str) -> None:
    (image,) = ecr("describe-images", "--repository-name", name)["imageDetails"]
    assert (image["imageDigest"], image["imageTags"]) == (DIGEST, ["1", "2"])
    table = ("--output", "table", "--query", "imageDetails[]", "--image-ids", "imageTag=1")
    words = aws("ecr", "describe-images", "--repository-name", name, *table).split()
    assert {"DescribeImages", "imageDigest", DIGEST, "imageTags"} <= set(words)


def test_it_lists_and_gets_images(ecr: Ask, name: str) -> None:
    assert ecr("list-images", "--repository-name", name)["imageIds"] == [
        {"imageDigest": DIGEST, "imageTag": tag} for tag in ("1", "2")
    ]
    got = ecr("batch-get-image", "--repository-name", name, "--image-ids", "imageTag=1", "imageTag=9")
    assert [image["imageManifest"].encode() for image in got["images"]] == [IMAGE.manifest.content]
    assert [failure["failureCode"] for failure in got["failures"]] == ["ImageNotFound"]


def test_it_tags_an_image_and_deletes_the_tag(ecr: Ask, local: Local, name: str) -> None:
    manifest = IMAGE.manifest.content.decode()
    put = ecr("put-image", "--repository-name", name, "--image-tag", "3", "--image-manifest", manifest)
    assert put["image"]["imageId"] == {"imageDigest": DIGEST, "imageTag": "3"}
    assert set(local.tags("aws")) == {"1", "2", "3"}
    gone = ecr("batch-delete-image", "--repository-name", name, "--image-ids", "imageTag=3")
    assert gone == {"imageIds": [put["image"]["imageId"]], "failures": []}
    assert set(local.tags("aws")) == {"1", "2"}


def test_it_previews_a_lifecycle_policy(aws: Tool, ecr: Ask, local: Local, tmp_path: Path) -> None:
    local.stock("aws-old", noise_image([100], seed=0), "old")
    local.put("aws-old", noise_image([100], seed=1), "new")
    rule = {
        "rulePriority": 1,
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
        "action": {"type": "expire"},
    }
    (tmp_path / "policy.json").write_text(json.dumps({"rules": [rule]}))
    target = ("--repository-name", "my/app/aws-old")
    ecr("put-lifecycle-policy", *target, "--lifecycle-policy-text", f"file://{tmp_path}/policy.json")
    assert json.loads(ecr("get-lifecycle-policy", *target)["lifecyclePolicyText"]) == {"rules": [rule]}
    ecr("start-lifecycle-policy-preview", *target)
    aws("ecr", "wait", "lifecycle-policy-preview-complete", *target)
    preview = ecr("get-lifecycle-policy-preview", *target)
    assert [each["imageTags"] for each in preview["previewResults"]] == [["old"]]
    assert preview["summary"] == {"expiringImageTotalCount": 1}


def test_it_sets_a_policy_and_tags_of_a_repository(ecr: Ask, name: str) -> None:
    statement = {"Sid": "pull", "Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    ecr("set-repository-policy", "--repository-name", name, "--policy-text", policy)
    kept = ecr("get-repository-policy", "--repository-name", name)["policyText"]
    assert json.loads(kept)["Statement"][0]["Sid"] == "pull"
    arn = ("--resource-arn", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}")
    ecr("tag-resource", *arn, "--tags", "Key=team,Value=a")
    assert ecr("list-tags-for-resource", *arn) == {"tags": [{"Key": "team", "Value": "a"}]}


def test_it_keeps_a_secret(aws: Tool, tmp_path: Path) -> None:
    (tmp_path / "login.json").write_text('{"username": "me", "accessToken": "word"}')
    name, value = "ecr-pullthroughcache/dockerpullsecret", f"file://{tmp_path}/login.json"

    def secrets(*arguments: str) -> Any:
        return json.loads(aws("secretsmanager", *arguments, "--output", "json") or "null")

    created = secrets("create-secret", "--name", name, "--secret-string", value)
    described = secrets("describe-secret", "--secret-id", name)
    assert (described["ARN"], described["VersionIdsToStages"]) == (
        created["ARN"],
        {created["VersionId"]: ["AWSCURRENT"]},
    )
    assert name in [one["Name"] for one in secrets("list-secrets")["SecretList"]]
    read = secrets("get-secret-value", "--secret-id", created["ARN"])
    assert json.loads(read["SecretString"]) == {"username": "me", "accessToken": "word"}
    said = aws.refusal("secretsmanager", "create-secret", "--name", name, "--secret-string", value)
    assert "(ResourceExistsException) when calling the CreateSecret operation: The operation failed" in said
    deleted = secrets("delete-secret", "--secret-id", name, "--force-delete-without-recovery")
    assert deleted["ARN"] == created["ARN"]
    said = aws.refusal("secretsmanager", "describe-secret", "--secret-id", name)
    assert "(ResourceNotFoundException)" in said


def test_it_makes_and_deletes_a_pull_through_cache_rule(aws: Tool, ecr: Ask, tmp_path: Path) -> None:
    (tmp_path / "login.json").write_text('{"username": "me", "accessToken": "word"}')
    keep = ("create-secret", "--name", "ecr-pullthroughcache/rule", "--query", "ARN", "--output", "text")
    secret = aws("secretsmanager", *keep, "--secret-string", f"file://{tmp_path}/login.json").strip()
    prefix = ("--ecr-repository-prefix", "docker-hub")
    upstream = ("--upstream-registry-url", "registry-1.docker.io", "--credential-arn", secret)
    ecr("create-pull-through-cache-rule", *prefix, *upstream)
    (rule,) = ecr("describe-pull-through-cache-rules", "--ecr-repository-prefixes", "docker-hub")[
        "pullThroughCacheRules"
    ]
    assert (rule["upstreamRegistryUrl"], rule["credentialArn"]) == ("registry-1.docker.io", secret)
    assert ecr("delete-pull-through-cache-rule", *prefix)["ecrRepositoryPrefix"] == "docker-hub"
    said = aws.refusal("ecr", "delete-pull-through-cache-rule", *prefix)
    assert "(PullThroughCacheRuleNotFoundException)" in said


def test_it_lays_hands_on_the_public_registry(aws: Tool, local: Local) -> None:
    public = ("ecr-public", "--region", "us-east-1", "--output", "json")
    (registry,) = json.loads(aws(*public, "describe-registries"))["registries"]
    assert (registry["registryId"], registry["registryUri"].split("/")[0]) == (ACCOUNT, "public.ecr.aws")
    created = json.loads(aws(*public, "create-repository", "--repository-name", "app"))["repository"]
    assert created["repositoryUri"] == f"{registry['registryUri']}/app"
