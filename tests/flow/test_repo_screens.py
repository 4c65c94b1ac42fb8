"""What `repo` shows on terminals of 80 and of 200 columns, over repositories of some age and with long names."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ecrdrag.localecr import LocalEcr, Settings
from tests.flow.scripts import HOME, environment_of, run
from tests.localecr import REGION, client, push_image, running
from tests.screens import check_golden, screen

DAY = 24 * 60 * 60
LONG = f"team/{'very-' * 50}l"  # ECR takes names of 256 characters
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}]}
OLD = {"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 30}
MANY = {"tagStatus": "tagged", "tagPatternList": ["v*"], "countType": "imageCountMoreThan", "countNumber": 1}
LIFECYCLE = {
    "rules": [
        {"rulePriority": 1, "selection": MANY, "action": {"type": "expire"}},
        {"rulePriority": 2, "selection": OLD, "action": {"type": "transition", "targetStorageClass": "archive"}},
    ]
}
wide_and_narrow = pytest.mark.parametrize("columns", [80, 200])


@dataclass
class Past:
    """A clock that is so many days behind, and an hour for what a test takes."""

    days: float = 0.0

    def __call__(self) -> float:
        return time.time() - self.days * DAY - 3600


@pytest.fixture(scope="module")
def past() -> Past:
    return Past()


@pytest.fixture(scope="module")
def ecr(tmp_path_factory: pytest.TempPathFactory, past: Past) -> Iterator[LocalEcr]:
    settings = Settings(region=REGION, clock_skew=10**9)
    with running(tmp_path_factory.mktemp("ecr"), settings, clock=past) as server:
        stock(server, past)
        yield server


def stock(ecr: LocalEcr, past: Past) -> None:
    with client(ecr) as api:
        past.days = 800
        api.create_repository(repositoryName="empty")
        past.days = 40
        api.create_repository(
            repositoryName="my/app",
            imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
            imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": one} for one in ("dev-*", "tmp")],
            imageScanningConfiguration={"scanOnPush": True},
            encryptionConfiguration={"encryptionType": "KMS", "kmsKey": "alias/ours"},
            tags=[{"Key": "team", "Value": "red"}, {"Key": "cost-center", "Value": "1234"}],
        )
        push_image(api, "my/app", layers=[b"0" * 5_000_000])
        for tag in ("v1", "v2", "a-tag-that-is-rather-long-as-some-of-them-are", "tmp"):
            push_image(api, "my/app", tag=tag, layers=[b"2" * 300_000 if tag == "v2" else b"1" * 200_000])
        past.days = 3
        push_image(api, "my/app", tag="v3", layers=[b"3" * 1000])
        api.create_repository(repositoryName=LONG, encryptionConfiguration={"encryptionType": "KMS_DSSE"})
        push_image(api, LONG, tag="1")
        api.set_repository_policy(repositoryName="my/app", policyText=json.dumps(POLICY))
        past.days = 0
    with client(ecr, region="eu-west-1") as api:
        api.create_repository(repositoryName="my/app")


def shown(ecr: LocalEcr, columns: int, *arguments: str, stdin: str | None = None) -> str:
    return screen(["repo", *arguments], environment_of(ecr), columns, stdin=stdin)


@wide_and_narrow
def test_a_list_of_repositories_looks_so(ecr: LocalEcr, columns: int) -> None:
    check_golden(f"repo-ls-{columns}", shown(ecr, columns, "ls"))


@wide_and_narrow
def test_a_list_of_several_regions_looks_so(ecr: LocalEcr, columns: int) -> None:
    regions = ("--region", REGION, "--region", "eu-west-1")
    check_golden(f"repo-ls-regions-{columns}", shown(ecr, columns, "ls", "my/*", *regions))


@wide_and_narrow
def test_a_count_looks_so(ecr: LocalEcr, columns: int) -> None:
    check_golden(f"repo-ls-count-{columns}", shown(ecr, columns, "ls", "--count"))


@wide_and_narrow
def test_a_repository_looks_so(ecr: LocalEcr, columns: int) -> None:
    check_golden(f"repo-show-{columns}", shown(ecr, columns, "show", "my/app"))


@wide_and_narrow
def test_a_repository_of_a_long_name_looks_so(ecr: LocalEcr, columns: int) -> None:
    check_golden(f"repo-show-long-{columns}", shown(ecr, columns, "show", LONG))


@wide_and_narrow
def test_a_preview_of_a_lifecycle_policy_looks_so(ecr: LocalEcr, columns: int) -> None:
    preview = ("lifecycle", "my/app", "--preview", "-")
    check_golden(f"repo-preview-{columns}", shown(ecr, columns, *preview, stdin=json.dumps(LIFECYCLE)))


def test_the_line_below_a_preview_says_what_expires_and_what_goes_to_the_archive(ecr: LocalEcr, tmp_path: Path) -> None:
    env = environment_of(ecr, PYTHONPATH=str(HOME))
    preview = ("repo", "lifecycle", "my/app", "--preview", "-")
    done = run("ecrdrag", *preview, cwd=tmp_path, env=env, stdin=json.dumps(LIFECYCLE))
    assert done.err == f"my/app in {REGION}: 2 images would expire, 1 image would go to the archive\n"
