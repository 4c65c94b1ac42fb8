"""What people write down about ECR, aws CLI, jq and oras in a shell, and our line beside it: both give the same.

What is written about docker, its login above all, is in test_login.py and test_push.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.kinds import buildx_index, greeter, helm_chart, put
from tests.real.everyday import Both, both, put_file
from tests.real.local import REGISTRY, Local, open_local
from tests.real.shelf import REGION
from tests.real.tools import need, want

pytestmark = pytest.mark.real

APP, REDIS = "myimagename", "library/redis"
HUB = "registry-1.docker.io"
_PATIENCE = 30  # seconds
IMAGES = f"aws ecr describe-images --repository-name {APP} --region {REGION}"
OURS = f"ecrdrag image ls {APP} --region {REGION} --sort none"
NAMES = "aws ecr describe-repositories --query 'repositories[].repositoryName' --output text"
EACH = "aws ecr describe-images --repository-name $name"
# The line of the notes and ours, which print the same text.
LINES = {
    "the registry's account": (
        "aws ecr describe-registry | jq -r .registryId",
        "ecrdrag registry show --query registryId --tsv",
    ),
    "names of repositories": (
        "aws ecr describe-repositories | jq -r '.repositories[].repositoryName'",
        "ecrdrag repo ls --tsv | cut -f1",
    ),
    "images by their digest and tags": (
        f"{IMAGES} | jq -r '.imageDetails[] | [.imageDigest, (.imageTags // [])[]] | @tsv'",
        f"{OURS} --tsv --query 'map(&[[imageDigest], imageTags || `[]`][], imageDetails)'",
    ),
    "images by their digest and tags, from the columns": (
        f"{IMAGES} | jq -r '.imageDetails[] | [(.imageTags // [] | join(\",\")), .imageDigest] | @tsv'",
        f"{OURS} --tsv | cut -f1,2",
    ),
    "how many images there are": (
        f"for name in $({NAMES}); do echo $name $({EACH} --query 'length(imageDetails)'); done",
        "ecrdrag repo ls --count --tsv | cut -f1,2 | tr '\\t' ' '",
    ),
    "tags": (
        f"aws ecr list-images --repository-name {APP} | jq -r '.imageIds[].imageTag // empty' | sort",
        f"ecrdrag tags {APP} | sort",
    ),
    "a policy": (
        f"aws ecr get-repository-policy --repository-name {APP} | jq -r .policyText | jq --sort-keys .",
        f"ecrdrag repo policy {APP} | jq --sort-keys .",
    ),
    "rules": (
        "aws ecr describe-pull-through-cache-rules | jq -r '.pullThroughCacheRules[].ecrRepositoryPrefix'",
        "ecrdrag cache-rule ls --tsv | cut -f1",
    ),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A registry upstream, which lets in who has its password."""
    folder = tmp_path_factory.mktemp("hub")
    with open_local(folder, "--data", str(folder / "data")) as local:
        local.ecr.create_repository(repositoryName=REDIS)
        put(local.ecr, REDIS, greeter("amd64", "redis\n"), "7")
        yield local


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, hub: Local) -> Iterator[Both]:
    need("jq")
    with both(tmp_path_factory.mktemp("everyday"), "--upstream", f"{HUB}=http://{hub.host}") as pair:
        ecr = pair.local.ecr
        for name in (APP, "empty", "team/other"):
            ecr.create_repository(repositoryName=name)
        put(ecr, APP, greeter("amd64", "one\n"), "mytag", "latest")
        put(ecr, APP, buildx_index(), "multi")
        put(ecr, "team/other", helm_chart(), "chart")
        statement = {"Sid": "pull", "Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}
        ecr.set_repository_policy(
            repositoryName=APP, policyText=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        )
        ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="quay", upstreamRegistryUrl="quay.io")
        yield pair


@pytest.mark.parametrize("what", LINES)
def test_our_line_prints_what_theirs_does(pair: Both, what: str) -> None:
    theirs, ours = LINES[what]
    found = pair.shell(ours)
    assert found
    assert found == pair.shell(theirs)


def test_the_details_of_an_image_are_those_in_the_aws_cli_s_table(pair: Both) -> None:
    table = ("--output", "table", "--query", "imageDetails[]", "--image-ids", "imageTag=mytag")
    rows = [
        row.strip("|").split("|")
        for row in pair.aws("ecr", "describe-images", "--repository-name", APP, *table).split("\n")
    ]
    values = {row[-1].strip() for row in rows if "+" not in row[0]}
    shown = pair.ours("image", "show", f"{APP}:mytag")
    for value in (
        pair.told(("image", "show", f"{APP}:mytag", "--query", "imageDetails[0].imageDigest")),
        "mytag",
        "latest",
    ):
        assert value in values
        assert value in shown


def test_a_repository_comes_and_goes_and_its_uri_is_said(pair: Both) -> None:
    create = "aws ecr create-repository --repository-name apprunner-test | jq -r .repository.repositoryUri"
    delete = "aws ecr delete-repository --repository-name apprunner-test | jq -r .repository.repositoryUri"
    theirs = pair.shell(f"{create}; {delete}")
    removed = "ecrdrag repo delete apprunner-test --yes --query repository.repositoryUri --tsv"
    assert pair.shell(f"ecrdrag repo create apprunner-test; {removed}") == theirs == f"{REGISTRY}/apprunner-test\n" * 2


def test_both_passwords_open_the_registry(pair: Both) -> None:
    for password in (pair.aws("ecr", "get-login-password"), pair.ours("login", "--print", REGISTRY)):
        login = ("AWS", password.strip())
        assert requests.get(f"http://{pair.local.host}/v2/", auth=login, timeout=_PATIENCE).ok


def test_a_rule_for_docker_hub_fills_a_cache_that_both_list(pair: Both, hub: Local, tmp_path: Path) -> None:
    token = put_file(tmp_path, "token", hub.login.read_text())
    create = ("cache-rule", "create", "docker.io", "--upstream", "docker-hub", "-u", "AWS", "--password-stdin")
    pair.ours(*create, "--secret-name", "dockerpullsecret-test", stdin=token)
    pair.ours("pull", f"{REGISTRY}/docker.io/{REDIS}:7", "-o", tmp_path / "redis.tar")
    listed = f"aws ecr list-images --repository-name docker.io/{REDIS} | jq -r '.imageIds[].imageTag // empty'"
    assert pair.shell(listed) == pair.shell(f"ecrdrag tags {REGISTRY}/docker.io/{REDIS}") == "7\n"


def test_oras_lists_the_same_repositories_and_tags(pair: Both) -> None:
    oras, host = want("oras"), pair.local.host
    where = f'--plain-http --username AWS --password "$(aws ecr get-login-password)" {host}'
    assert pair.shell(f"{oras} repository ls {where}") == pair.shell("ecrdrag repo ls --tsv | cut -f1")
    tags = pair.shell(f"{oras} repository show-tags {where}/{APP}").splitlines()
    assert sorted(tags) == sorted(pair.shell(f"ecrdrag tags {APP}").splitlines())
