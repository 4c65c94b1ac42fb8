"""Creating and deleting repositories, through the local ECR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from tests.flow.everyday import Desk
from tests.flow.scripts import HOME, environment_of, run
from tests.localecr import ACCOUNT, REGION, Recorder, client, push_image, running
from tests.refusing import denying

HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
POLICY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}]}
)
SELECTION = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 7}
LIFECYCLE = json.dumps({"rules": [{"rulePriority": 1, "selection": SELECTION, "action": {"type": "expire"}}]})
WRITES = ("CreateRepository", "DeleteRepository", "SetRepositoryPolicy", "PutLifecyclePolicy")


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
        yield made


@pytest.fixture
def desk(ecr: LocalEcr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(ecr, monkeypatch, capsys)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A policy and a lifecycle policy."""
    (tmp_path / "policy.json").write_text(POLICY)
    (tmp_path / "lifecycle.json").write_text(LIFECYCLE)
    return str(tmp_path / "policy.json"), str(tmp_path / "lifecycle.json")


def names(api: ECRClient) -> list[str]:
    return [one["repositoryName"] for one in api.describe_repositories()["repositories"]]


def writes(recorder: Recorder) -> list[str]:
    return [one for one in recorder.requests if one in WRITES]


# Creating


def test_a_repository_is_created_and_its_uri_printed(api: ECRClient, desk: Desk) -> None:
    done = desk.run("repo", "create", "my/app")
    assert (done.code, done.out) == (0, f"{HOST}/my/app\n")
    assert done.err == f"will create my/app in {REGION}\n"
    (made,) = api.describe_repositories()["repositories"]
    assert made["imageTagMutability"] == "MUTABLE"
    assert made["imageScanningConfiguration"] == {"scanOnPush": False}
    assert made["encryptionConfiguration"] == {"encryptionType": "AES256"}
    assert api.list_tags_for_resource(resourceArn=made["repositoryArn"])["tags"] == []


def test_a_repository_is_as_it_was_asked_for(api: ECRClient, desk: Desk, files: tuple[str, str]) -> None:
    settings = ("--immutable", "--scan-on-push", "--kms-key", "alias/ours", "--tag", "team=red", "--tag", "eq=a=b")
    made = desk.json("repo", "create", "my/app", *settings, "--policy", files[0], "--lifecycle", "-", stdin=LIFECYCLE)
    (described,) = api.describe_repositories()["repositories"]
    assert made == {"repository": {**described, "createdAt": described["createdAt"].isoformat()}}
    assert described["imageTagMutability"] == "IMMUTABLE"
    assert described["imageScanningConfiguration"] == {"scanOnPush": True}
    assert described["encryptionConfiguration"] == {"encryptionType": "KMS", "kmsKey": "alias/ours"}
    tags = api.list_tags_for_resource(resourceArn=described["repositoryArn"])["tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "red", "eq": "a=b"}
    assert json.loads(api.get_repository_policy(repositoryName="my/app")["policyText"]) == json.loads(POLICY)
    text = api.get_lifecycle_policy(repositoryName="my/app")["lifecyclePolicyText"]
    assert json.loads(text) == json.loads(LIFECYCLE)


def test_what_will_be_created_is_said_and_a_dry_run_leaves_it_at_that(
    desk: Desk, recorder: Recorder, files: tuple[str, str]
) -> None:
    settings = ("--immutable", "--scan-on-push", "--kms-key", "K", "--tag", "a=1", "--tag", "b=", "--policy", files[0])
    done = desk.run("repo", "create", "aa", "bb", *settings, "--dry-run")
    assert (done.code, done.out, writes(recorder)) == (0, "", [])
    quality = "with immutable tags, scanned on push, encrypted by K, tagged a=1, b=, with a policy"
    assert done.err.splitlines() == [f"would create {name} in {REGION}, {quality}" for name in ("aa", "bb")]


def test_several_repositories_are_created_each_once_in_their_order(api: ECRClient, desk: Desk) -> None:
    done = desk.run("repo", "create", "cc", "aa", "cc", "bb", "-q")
    assert done.out.splitlines() == [f"{HOST}/{name}" for name in ("cc", "aa", "bb")]
    assert done.err == ""
    made = desk.json("repo", "create", "dd", "ee")["repositories"]
    assert [(one["repositoryName"], one["region"]) for one in made] == [("dd", REGION), ("ee", REGION)]


def test_a_name_says_in_which_registry_it_is_created(ecr: LocalEcr, desk: Desk) -> None:
    elsewhere = HOST.replace(REGION, "eu-west-1")
    done = desk.run("repo", "create", f"{elsewhere}/my/app", "my/app")
    assert done.out.splitlines() == [f"{elsewhere}/my/app", f"{HOST}/my/app"]
    for region in (REGION, "eu-west-1"):
        with client(ecr, region=region) as api:
            assert names(api) == ["my/app"]


def test_a_repository_that_is_there_is_a_conflict_and_stays_as_it_is(api: ECRClient, desk: Desk) -> None:
    api.create_repository(repositoryName="bb")
    done = desk.run("repo", "create", "aa", "bb", "cc", "dd", "--immutable")
    assert (done.code, done.out) == (9, f"{HOST}/aa\n")
    assert f"bb in {REGION}: CreateRepository was refused: The repository with name 'bb' already exists" in done.err
    assert f"`ecrdrag repo show bb --region {REGION}`" in done.err
    assert f"left alone: cc in {REGION}, dd in {REGION}\n" in done.err
    assert names(api) == ["aa", "bb"]
    assert api.describe_repositories(repositoryNames=["bb"])["repositories"][0]["imageTagMutability"] == "MUTABLE"
    alone = desk.run("repo", "create", "bb", "--json")
    assert (alone.code, alone.out) == (9, "")
    assert "left alone" not in alone.err


def test_what_was_created_before_an_error_is_in_the_json(desk: Desk) -> None:
    desk.run("repo", "create", "bb")
    done = desk.run("repo", "create", "aa", "bb", "--json")
    assert done.code == 9
    assert [one["repositoryName"] for one in json.loads(done.out)["repositories"]] == ["aa"]


def test_a_query_that_finds_the_wrong_thing_hides_neither_what_was_done_nor_why_it_ended(desk: Desk) -> None:
    done = desk.run("repo", "create", "bb", "--query", "sort(repository)")
    assert (done.code, done.out) == (2, "")
    assert "--query: sort() takes" in done.err
    assert "the command itself is done" in done.err
    failed = desk.run("repo", "create", "aa", "bb", "cc", "--query", "sort(repositories[0])")
    assert (failed.code, failed.out) == (9, "")
    assert "The repository with name 'bb' already exists" in failed.err
    assert f"left alone: cc in {REGION}" in failed.err


@pytest.mark.parametrize(
    ("refused", "missing", "again"),
    [
        ("SetRepositoryPolicy", "policy and its lifecycle policy", ["policy", "lifecycle"]),
        ("PutLifecyclePolicy", "lifecycle policy", ["lifecycle"]),
    ],
)
def test_a_policy_that_can_not_be_set_leaves_a_repository_and_the_error_says_so(
    api: ECRClient, desk: Desk, recorder: Recorder, files: tuple[str, str], refused: str, missing: str, again: list[str]
) -> None:
    denying(recorder, refused)
    done = desk.run("repo", "create", "aa", "bb", "--policy", files[0], "--lifecycle", files[1])
    assert (done.code, done.out) == (3, "")
    assert f"aa in {REGION} was created, but without its {missing}: aa in {REGION}: {refused} was refused" in done.err
    for one in ("policy", "lifecycle"):
        assert (f"`ecrdrag repo {one} aa --region {REGION} --set FILE`" in done.err) == (one in again)
    assert f"left alone: bb in {REGION}" in done.err
    assert names(api) == ["aa"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--policy", "{bad}"), 2, "bad.json: this is no JSON: line 1, column 2"),
        (("--policy", "{tmp}"), 7, "Is a directory"),
        (("--lifecycle", "{tmp}/none.json"), 7, "none.json: No such file or directory"),
        (("--lifecycle", "-", "--policy", "-"), 2, "can't both be standard input"),
        (("--policy", "-"), 2, "standard input: this is no JSON: line 1, column 1"),
        (("--tag", "team"), 2, "'team' is not KEY=VALUE"),
        (("--tag", "a=1", "--tag", "a=2"), 2, "--tag gives a two values: 1 and 2"),
        (("--query", "repository."), 2, "repository."),
        (("--policy", ""), 7, "can't read"),
    ],
)
def test_nothing_is_created_when_something_is_wrong_beforehand(
    tmp_path: Path, desk: Desk, recorder: Recorder, options: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "bad.json").write_text("{nonsense}")
    given = [one.replace("{bad}", str(tmp_path / "bad.json")).replace("{tmp}", str(tmp_path)) for one in options]
    done = desk.run("repo", "create", "aa", *given)
    assert (done.code, done.out, recorder.requests) == (code, "", [])
    assert said in done.err


def test_a_name_that_ecr_does_not_take_is_refused_at_its_character(desk: Desk, recorder: Recorder) -> None:
    done = desk.run("repo", "create", "my/App")
    assert (done.code, recorder.requests) == (2, [])
    assert "character 4" in done.err


# Deleting


@pytest.fixture
def full(api: ECRClient) -> ECRClient:
    """Empty repositories aa and bb, one and two with as many images, and three whose image is in the archive."""
    for count, name in enumerate(("aa", "one", "two", "bb", "three")):
        api.create_repository(repositoryName=name)
        for number in range(count if count < 3 else count - 3):
            push_image(api, name, tag=str(number), layers=[bytes([number]) * 1000])
    api.update_image_storage_class(repositoryName="three", imageId={"imageTag": "0"}, targetStorageClass="ARCHIVE")
    return api


def test_an_empty_repository_is_deleted_with_consent(full: ECRClient, desk: Desk) -> None:
    described = full.describe_repositories(repositoryNames=["aa"])["repositories"][0]
    done = desk.run("repo", "delete", "aa", "--yes")
    assert (done.code, done.out) == (0, "aa\n")
    assert done.err == f"will delete aa in {REGION}, which is empty\n"
    assert names(full) == ["bb", "one", "three", "two"]
    gone = desk.json("repo", "delete", "bb", "--yes")["repository"]
    assert gone == {
        **full.create_repository(repositoryName="bb")["repository"],
        "createdAt": gone["createdAt"],
    }
    assert set(gone) == set(described)


def test_nothing_is_deleted_where_nobody_can_be_asked(full: ECRClient, desk: Desk, recorder: Recorder) -> None:
    done = desk.run("repo", "delete", "aa")
    assert (done.code, done.out, writes(recorder)[5:]) == (2, "", [])
    assert "--yes" in done.err


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("one", "1 image of 1.0 KiB"),
        ("two", "2 images of 2.0 KiB"),
        ("three", "1 image of 1.0 KiB, 1 of them in the archive"),
    ],
)
def test_images_need_force_and_are_counted_in_the_refusal(full: ECRClient, desk: Desk, name: str, images: str) -> None:
    for dry in ((), ("--dry-run",)):
        done = desk.run("repo", "delete", name, "--yes", *dry)
        assert (done.code, done.out) == (9, "")
        assert f"{name} in {REGION} is not empty: {images} would go with it" in done.err
        assert "--force" in done.err
    assert name in names(full)
    forced = desk.run("repo", "delete", name, "--yes", "--force")
    assert (forced.code, forced.out) == (0, f"{name}\n")
    assert f"will delete {name} in {REGION}, with {images}\n" in forced.err
    assert name not in names(full)


def test_one_that_is_full_or_missing_keeps_all_from_being_deleted(full: ECRClient, desk: Desk) -> None:
    before = names(full)
    missing = desk.run("repo", "delete", "aa", "one", "none", "bb", "--yes", "--force")
    assert (missing.code, missing.out) == (4, "")
    assert f"none in {REGION}: there is no such repository" in missing.err
    filled = desk.run("repo", "delete", "aa", "one", "bb", "two", "--yes")
    assert (filled.code, filled.out) == (9, "")
    assert f"one in {REGION} is not empty" in filled.err
    assert f"two in {REGION} is not empty" in filled.err
    assert names(full) == before


def test_several_are_deleted_each_once_however_they_are_named(full: ECRClient, desk: Desk, recorder: Recorder) -> None:
    arn = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/aa"
    recorder.requests.clear()
    done = desk.run("repo", "delete", "bb", "aa", arn, "two", "bb", "--force", "-y", "-q")
    assert (done.code, done.out.splitlines(), done.err) == (0, ["bb", "aa", "two"], "")
    assert writes(recorder) == ["DeleteRepository"] * 3
    gone = desk.json("repo", "delete", "one", "three", "--force", "-y")["repositories"]
    assert [(one["repositoryName"], one["region"]) for one in gone] == [("one", REGION), ("three", REGION)]
    assert names(full) == []


def test_a_dry_run_says_what_would_go(full: ECRClient, desk: Desk) -> None:
    done = desk.run("repo", "delete", "aa", "two", "--force", "--dry-run")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        f"would delete aa in {REGION}, which is empty",
        f"would delete two in {REGION}, with 2 images of 2.0 KiB",
    ]
    assert len(names(full)) == 5


def test_an_image_that_comes_meanwhile_does_not_go_by_a_force_that_was_meant_for_none(
    full: ECRClient, desk: Desk, recorder: Recorder
) -> None:
    def push_first(request: Request, handler: Handler) -> Answer:
        if request.headers.get("X-Amz-Target", "").endswith(".DeleteRepository"):
            recorder.intercept = lambda request, handler: handler(request)
            push_image(full, "aa", tag="late")
        return handler(request)

    recorder.intercept = push_first
    done = desk.run("repo", "delete", "aa", "bb", "--force", "--yes")
    assert (done.code, done.out) == (9, "")
    assert f"aa in {REGION}: DeleteRepository was refused" in done.err
    assert "run the same command again to see what would go now" in done.err
    assert "--force" not in done.err
    assert f"left alone: bb in {REGION}" in done.err
    assert {"aa", "bb"} <= set(names(full))


@pytest.mark.parametrize("replaced", [(), ("0",)], ids=["one more", "one for another"])
def test_images_that_come_after_the_yes_do_not_go_with_those_that_were_seen(
    full: ECRClient, desk: Desk, recorder: Recorder, replaced: tuple[str, ...]
) -> None:
    def push_meanwhile(request: Request, handler: Handler) -> Answer:
        if request.headers.get("X-Amz-Target", "").endswith(".DeleteRepository"):
            recorder.intercept = lambda request, handler: handler(request)
            push_image(full, "one", tag="late")
            for tag in replaced:
                full.batch_delete_image(repositoryName="one", imageIds=[{"imageTag": tag}])
        return handler(request)

    recorder.intercept = push_meanwhile
    done = desk.run("repo", "delete", "aa", "one", "bb", "--force", "--yes")
    assert (done.code, done.out) == (9, "aa\n")
    assert f"one in {REGION}: images came into it meanwhile" in done.err
    assert f"left alone: bb in {REGION}" in done.err
    assert names(full) == ["bb", "one", "three", "two"]


def test_a_repository_named_by_its_host_is_so_in_the_commands_that_hints_name(api: ECRClient, desk: Desk) -> None:
    elsewhere = HOST.replace(REGION, "eu-west-1")
    for _ in range(2):
        done = desk.run("repo", "create", f"{elsewhere}/my/app")
    assert f"`ecrdrag repo show {elsewhere}/my/app`" in done.err


def test_who_may_not_count_images_may_delete_and_is_told_so(full: ECRClient, desk: Desk, recorder: Recorder) -> None:
    denying(recorder, "DescribeImages")
    refused = desk.run("repo", "delete", "one", "--yes")
    assert refused.code == 9
    assert "whatever is in it: these credentials may not count its images" in refused.err
    assert "one" in names(full)
    assert desk.run("repo", "delete", "one", "aa", "--yes", "--force").out == "one\naa\n"


def test_the_command_itself_creates_counts_and_deletes(ecr: LocalEcr, tmp_path: Path) -> None:
    env = environment_of(ecr, PYTHONPATH=str(HOME))
    made = run("ecrdrag", "repo", "create", "my/app", "--policy", "-", cwd=tmp_path, env=env, stdin=POLICY)
    assert (made.code, made.out) == (0, f"{HOST}/my/app\n"), made.err
    listed = run("ecrdrag", "repo", "ls", "--count", "--tsv", cwd=tmp_path, env=env)
    assert (listed.code, listed.out, listed.err) == (0, "my/app\t0\t0\t0\tmutable\t\n", "")
    gone = run("ecrdrag", "repo", "delete", "my/app", "--yes", "-q", cwd=tmp_path, env=env)
    assert (gone.code, gone.out, gone.err) == (0, "my/app\n", "")
