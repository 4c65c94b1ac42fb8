"""All about one repository, through the local ECR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient

from ecrdrag.control.overview import overview
from ecrdrag.errors import RepositoryNotFoundError, TransferError
from ecrdrag.localecr import LocalEcr
from tests.flow.everyday import Desk
from tests.localecr import ACCOUNT, REGION, Recorder, client, push_image, running
from tests.planes import plane
from tests.refusing import denying, throttling

POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}]}
SELECTION = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 7}
LIFECYCLE = {"rules": [{"rulePriority": 1, "selection": SELECTION, "action": {"type": "expire"}}]}
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
ARN = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/my/app"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ecr(tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    with running(tmp_path / "data", recorder=recorder) as server:
        yield server


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[ECRClient]:
    with client(ecr) as made:
        made.create_repository(repositoryName="bare")
        made.create_repository(
            repositoryName="my/app",
            imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
            imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": one} for one in ("dev-*", "tmp")],
            encryptionConfiguration={"encryptionType": "KMS"},
            tags=[{"Key": "team", "Value": "red"}],
        )
        made.set_repository_policy(repositoryName="my/app", policyText=json.dumps(POLICY))
        made.put_lifecycle_policy(repositoryName="my/app", lifecyclePolicyText=json.dumps(LIFECYCLE))
        push_image(made, "my/app", tag="1", layers=[b"x" * 1000])
        push_image(made, "my/app", layers=[b"y" * 1000])
        yield made


@pytest.fixture
def desk(ecr: LocalEcr, api: ECRClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(ecr, monkeypatch, capsys)


def test_a_repository_is_shown_as_ecr_describes_it_with_counts_tags_and_policies(api: ECRClient, desk: Desk) -> None:
    (described,) = api.describe_repositories(repositoryNames=["my/app"])["repositories"]
    pushed = max(one["imagePushedAt"] for one in api.describe_images(repositoryName="my/app")["imageDetails"])
    assert desk.json("repo", "show", "my/app") == {
        "repository": {
            **described,
            "createdAt": described["createdAt"].isoformat(),
            "imageCount": 2,
            "taggedImageCount": 1,
            "untaggedImageCount": 1,
            "tagCount": 1,
            "sizeInBytes": 2074,
            "lastPushedAt": pushed.isoformat(),
            "archivedImageCount": 0,
            "archivedSizeInBytes": 0,
            "tags": [{"Key": "team", "Value": "red"}],
            "policy": POLICY,
            "lifecyclePolicy": LIFECYCLE,
        }
    }


def test_what_a_repository_has_not_is_null_or_empty(desk: Desk) -> None:
    found = desk.json("repo", "show", "bare")["repository"]
    assert (found["tags"], found["policy"], found["lifecyclePolicy"], found["lastPushedAt"]) == ([], None, None, None)
    assert found["imageCount"] == 0


@pytest.mark.parametrize("form", ["my/app", f"{HOST}/my/app", f"https://{HOST}/my/app", ARN])
def test_a_repository_is_named_in_any_form(desk: Desk, form: str) -> None:
    assert desk.json("repo", "show", form, "--query", "repository.repositoryArn") == ARN


def test_people_see_mutability_key_and_policies(api: ECRClient, desk: Desk) -> None:
    api.update_image_storage_class(repositoryName="my/app", imageId={"imageTag": "1"}, targetStorageClass="ARCHIVE")
    shown = desk.run("repo", "show", "my/app").out
    lines = dict(line.split(":", 1) for line in shown.splitlines() if not line.startswith(" "))
    assert {name: lines[name].strip() for name in lines} == {
        **{name: lines[name].strip() for name in ("Created", "Last push", "KMS key")},
        "Name": "my/app",
        "URI": f"{HOST}/my/app",
        "ARN": ARN,
        "Tag mutability": "immutable with exclusion",
        "Excluded tags": "dev-*, tmp",
        "Scanning": "manual",
        "Encryption": "KMS",
        "Images": "1",
        "Untagged images": "1",
        "Archived images": "1",
        "Tags": "0",
        "Size": "1.0 KiB (1037 bytes)",
        "Resource tags": "",
        "Policy": "",
        "Lifecycle policy": "",
    }
    assert lines["KMS key"].strip().startswith("arn:aws:kms:")
    assert "  team:  red\n" in shown
    assert '"countNumber": 7' in shown
    plain = desk.run("repo", "show", "bare").out
    assert not {"Untagged", "Archived", "Excluded", "KMS"} & set(plain.split())
    assert "\nPolicy:            -\n" in plain


@pytest.mark.parametrize(
    ("denied", "without"),
    [
        ("DescribeImages", ("imageCount", "tagCount", "sizeInBytes", "archivedImageCount", "lastPushedAt")),
        ("ListTagsForResource", ("tags",)),
        ("GetRepositoryPolicy", ("policy",)),
        ("GetLifecyclePolicy", ("lifecyclePolicy",)),
    ],
)
def test_what_may_not_be_read_is_null_and_said_and_the_rest_is_shown(
    desk: Desk, recorder: Recorder, denied: str, without: tuple[str, ...]
) -> None:
    denying(recorder, denied)
    done = desk.run("repo", "show", "my/app", "--json")
    assert done.code == 0
    found = json.loads(done.out)["repository"]
    counts = ("imageCount", "tagCount", "sizeInBytes", "archivedImageCount", "lastPushedAt")
    optional = (*counts, "tags", "policy", "lifecyclePolicy")
    assert tuple(name for name in optional if found[name] is None) == without
    assert done.err.count("\n") == 1
    assert f"not authorized to perform: ecr:{denied}" in done.err
    assert desk.run("repo", "show", "my/app").code == 0
    assert desk.run("repo", "show", "my/app", "-q").err == ""


def test_who_may_not_describe_a_repository_is_told_the_action(desk: Desk, recorder: Recorder) -> None:
    denying(recorder, "DescribeRepositories")
    done = desk.run("repo", "show", "my/app")
    assert (done.code, done.out) == (3, "")
    assert "ecr:DescribeRepositories" in done.err


def test_a_part_that_fails_for_another_reason_is_an_error(api: ECRClient, ecr: LocalEcr, recorder: Recorder) -> None:
    throttling(recorder, "ListTagsForResource")
    with plane(ecr) as app, pytest.raises(TransferError, match="Rate exceeded"):
        overview(app, "my/app")


def test_a_repository_that_is_not_there_says_where_it_was_looked_for(ecr: LocalEcr, desk: Desk) -> None:
    done = desk.run("repo", "show", "my/ap")
    assert (done.code, done.out) == (4, "")
    assert f"my/ap in {REGION}: there is no such repository" in done.err
    assert "`ecrdrag repo ls`" in done.err
    there = desk.run("repo", "show", f"{HOST}/my/ap").err
    assert f"{HOST}/my/ap: there is no such repository" in there
    with plane(ecr) as app, pytest.raises(RepositoryNotFoundError):
        overview(app, "my/ap")


def test_the_registry_of_another_account_says_whose_credentials_were_used(desk: Desk) -> None:
    done = desk.run("repo", "show", f"210987654321.dkr.ecr.{REGION}.amazonaws.com/my/app")
    assert done.code == 4
    assert f"these credentials are of account {ACCOUNT}, and 210987654321 was named" in done.err


@pytest.mark.parametrize("image", ["my/app:1", f"my/app@sha256:{'0' * 64}", f"{HOST}/my/app:1"])
def test_an_image_is_no_repository(desk: Desk, recorder: Recorder, image: str) -> None:
    recorder.requests.clear()
    done = desk.run("repo", "show", image)
    assert (done.code, recorder.requests) == (2, [])
    assert f"{image} names an image, and a repository is wanted" in done.err
