"""Policies and lifecycle policies of repositories: printed, set, tried out, removed, through the local ECR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr
from tests.crowded import crowd
from tests.flow.everyday import Desk
from tests.localecr import ACCOUNT, REGION, Recorder, client, push_image, running
from tests.refusing import denying

STATEMENT = {"Sid": "é", "Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}
POLICY = {"Version": "2012-10-17", "Statement": [STATEMENT]}
OTHER = {"Version": "2012-10-17", "Statement": [{**STATEMENT, "Effect": "Deny"}]}
LIFECYCLE = {
    "rules": [
        {
            "rulePriority": 4,
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
            "action": {"type": "expire"},
        }
    ]
}
FEWER = {"rules": [{**LIFECYCLE["rules"][0], "rulePriority": 2}]}
POLICIES = {"policy": (POLICY, OTHER), "lifecycle": (LIFECYCLE, FEWER)}
NAMES = {"policy": "policy", "lifecycle": "lifecycle policy"}
EXPIRY = "; what it expires is deleted within 24 hours, and --preview lists it"
EFFECT = {"policy": "", "lifecycle": EXPIRY}
WRITES = ("SetRepositoryPolicy", "DeleteRepositoryPolicy", "PutLifecyclePolicy", "DeleteLifecyclePolicy")
both = pytest.mark.parametrize("kind", ["policy", "lifecycle"])


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ecr(tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    with running(tmp_path / "data", recorder=recorder) as server:
        yield server


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[ECRClient]:
    """A repository app, which has no policy, and my/app, which has both."""
    with client(ecr) as made:
        for name in ("app", "my/app"):
            made.create_repository(repositoryName=name)
        made.set_repository_policy(repositoryName="my/app", policyText=json.dumps(POLICY))
        made.put_lifecycle_policy(repositoryName="my/app", lifecyclePolicyText=json.dumps(LIFECYCLE))
        yield made


@pytest.fixture
def desk(
    ecr: LocalEcr,
    api: ECRClient,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Desk:
    recorder.requests.clear()
    return Desk(ecr, monkeypatch, capsys)


def writes(recorder: Recorder) -> list[str]:
    return [one for one in recorder.requests if one in WRITES]


def present(api: ECRClient, kind: str, name: str) -> object:
    if kind == "policy":
        return json.loads(api.get_repository_policy(repositoryName=name)["policyText"])
    return json.loads(api.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"])


# Printing


@both
def test_a_policy_is_printed_alone_and_pretty(desk: Desk, kind: str) -> None:
    done = desk.run("repo", kind, "my/app")
    assert (done.code, done.err) == (0, "")
    assert done.out == json.dumps(POLICIES[kind][0], indent=4, ensure_ascii=False) + "\n"


def test_a_policy_as_json_is_what_the_aws_cli_prints(api: ECRClient, desk: Desk) -> None:
    found = api.get_repository_policy(repositoryName="my/app")
    assert desk.json("repo", "policy", "my/app") == {
        name: found[name] for name in ("registryId", "repositoryName", "policyText")
    }
    lifecycle = desk.json("repo", "lifecycle", "my/app")
    assert set(lifecycle) == {"registryId", "repositoryName", "lifecyclePolicyText", "lastEvaluatedAt"}
    assert json.loads(lifecycle["lifecyclePolicyText"]) == LIFECYCLE
    text = desk.run("repo", "policy", "my/app", "--query", "policyText", "--tsv").out
    assert json.loads(text) == POLICY


@both
def test_what_is_printed_can_be_set_again(
    api: ECRClient, desk: Desk, tmp_path: Path, recorder: Recorder, kind: str
) -> None:
    file = tmp_path / "kept.json"
    file.write_text(desk.run("repo", kind, "my/app").out, encoding="utf-8")
    same = desk.run("repo", kind, "my/app", "--set", str(file))
    assert (same.code, same.out, writes(recorder)) == (0, "my/app\n", [])
    assert same.err == f"my/app in {REGION} has this {NAMES[kind]} already: nothing is changed\n"
    new = desk.run("repo", kind, "app", "--set", str(file))
    assert (new.code, new.out) == (0, "app\n")
    assert new.err == f"will give app in {REGION} a {NAMES[kind]}, as it has none{EFFECT[kind]}\n"
    assert present(api, kind, "app") == POLICIES[kind][0]


@both
def test_where_there_is_no_policy_the_error_says_how_to_set_one(desk: Desk, kind: str) -> None:
    for more in ((), ("--json",), ("--remove", "--yes"), ("--remove", "--dry-run")):
        done = desk.run("repo", kind, "app", *more)
        assert (done.code, done.out) == (4, "")
        assert f"app in {REGION} has no {NAMES[kind]}\n" in done.err
        assert f"`ecrdrag repo {kind} app --region {REGION} --set FILE`" in done.err


@both
def test_a_repository_that_is_not_there_is_no_repository_without_a_policy(desk: Desk, kind: str) -> None:
    for more in ((), ("--remove", "--yes"), ("--set", "-")):
        done = desk.run("repo", kind, "none", *more, stdin=json.dumps(POLICIES[kind][0]))
        assert (done.code, done.out) == (4, "")
        assert "The repository with name 'none' does not exist" in done.err
        assert "`ecrdrag repo ls`" in done.err


# Setting and removing


@both
def test_replacing_a_policy_needs_consent(api: ECRClient, desk: Desk, recorder: Recorder, kind: str) -> None:
    before, after = POLICIES[kind]
    will = f"replace the {NAMES[kind]} of my/app in {REGION}{EFFECT[kind]}"
    refused = desk.run("repo", kind, "my/app", "--set", "-", stdin=json.dumps(after))
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"will {will}\n")
    dry = desk.run("repo", kind, "my/app", "--set", "-", "--dry-run", stdin=json.dumps(after))
    assert (dry.code, dry.out, dry.err) == (0, "", f"would {will}\n")
    assert (present(api, kind, "my/app"), writes(recorder)) == (before, [])
    done = desk.run("repo", kind, "my/app", "--set", "-", "--yes", stdin=json.dumps(after))
    assert (done.code, done.out) == (0, "my/app\n")
    assert present(api, kind, "my/app") == after


@pytest.mark.parametrize("denied", ["nothing", "DescribeImages"])
def test_a_first_lifecycle_policy_needs_consent_where_it_may_delete_images(
    stocked: ECRClient, desk: Desk, recorder: Recorder, denied: str
) -> None:
    recorder.requests.clear()
    denying(recorder, denied)
    text = json.dumps(LIFECYCLE)
    refused = desk.run("repo", "lifecycle", "app", "--set", "-", stdin=text)
    assert (refused.code, refused.out, writes(recorder)) == (2, "", [])
    assert refused.err.startswith(f"will give app in {REGION} a lifecycle policy, as it has none{EXPIRY}\n")
    assert "--yes" in refused.err
    assert desk.run("repo", "policy", "app", "--set", "-", stdin=json.dumps(POLICY)).code == 0
    assert desk.run("repo", "lifecycle", "app", "--set", "-", "--yes", stdin=text).code == 0
    assert present(stocked, "lifecycle", "app") == LIFECYCLE


@both
def test_a_policy_that_is_set_is_the_aws_clis_json(desk: Desk, kind: str) -> None:
    member = {"policy": "policyText", "lifecycle": "lifecyclePolicyText"}[kind]
    made = desk.json("repo", kind, "app", "--set", "-", stdin=json.dumps(POLICIES[kind][1]))
    assert set(made) == {"registryId", "repositoryName", member}
    assert json.loads(made[member]) == POLICIES[kind][1]


@both
def test_removing_a_policy_needs_consent_and_gives_it_once_more(
    api: ECRClient, desk: Desk, recorder: Recorder, kind: str
) -> None:
    refused = desk.run("repo", kind, "my/app", "--remove")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"will remove the {NAMES[kind]} of my/app in {REGION}\n")
    assert desk.run("repo", kind, "my/app", "--remove", "--dry-run").code == 0
    assert writes(recorder) == []
    text = desk.json("repo", kind, "my/app", "--remove", "--yes")[
        f"{kind}Text" if kind == "policy" else "lifecyclePolicyText"
    ]
    assert json.loads(text) == POLICIES[kind][0]
    assert desk.run("repo", kind, "my/app").code == 4
    desk.run("repo", kind, "app", "--set", "-", stdin=json.dumps(POLICIES[kind][1]))
    assert desk.run("repo", kind, "app", "--remove", "--yes").out == "app\n"


@both
def test_who_may_write_a_policy_but_not_read_it_is_asked_as_if_there_were_one(
    api: ECRClient, desk: Desk, recorder: Recorder, kind: str
) -> None:
    denying(recorder, "GetRepositoryPolicy", "GetLifecyclePolicy")
    text = json.dumps(POLICIES[kind][1])
    refused = desk.run("repo", kind, "app", "--set", "-", stdin=text)
    assert refused.code == 2
    assert f"will replace the {NAMES[kind]} of app in {REGION}, if it has one" in refused.err
    assert desk.run("repo", kind, "app", "--set", "-", "--yes", stdin=text).code == 0
    assert desk.run("repo", kind, "app", "--remove", "--yes").code == 0
    assert desk.run("repo", kind, "app").code == 3


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (b'{"a": 1,\n  "b" 2}', 2, "line 2, column 7: Expecting ':' delimiter"),
        (b"", 2, "line 1, column 1"),
        (b"[]", 2, "no policy: that is an object"),
        (b"\xff\xfe{", 2, "no text in UTF-8"),
        (b" " * 1_048_577, 2, "more than 1,048,576 bytes: that is no policy"),
        (b'{"a": "%s"}' % (b"x" * 10_240), 2, "it has 10,248 characters, blanks aside, and ECR takes up to 10,240"),
        (None, 7, "No such file or directory"),
    ],
)
def test_a_file_that_is_no_policy_is_refused_without_a_call(
    desk: Desk, tmp_path: Path, recorder: Recorder, text: bytes | None, code: int, said: str
) -> None:
    file = tmp_path / "policy.json"
    if text is not None:
        file.write_bytes(text)
    done = desk.run("repo", "policy", "app", "--set", str(file), "--yes")
    assert (done.code, done.out, recorder.requests) == (code, "", [])
    assert str(file) in done.err
    assert said in done.err


def test_a_file_with_a_byte_order_mark_is_a_policy(api: ECRClient, desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(POLICY).encode())
    assert desk.run("repo", "policy", "app", "--set", str(file)).code == 0
    assert present(api, "policy", "app") == POLICY


def test_a_policy_that_ecr_refuses_is_an_error_of_its_own_words(desk: Desk) -> None:
    done = desk.run("repo", "policy", "app", "--set", "-", stdin="{}")
    assert (done.code, done.out) == (2, "")
    assert f"app in {REGION}: SetRepositoryPolicy was refused: Invalid parameter at 'PolicyText'" in done.err


# Trying out


@pytest.fixture
def stocked(api: ECRClient) -> ECRClient:
    """Three images in app: untagged, then with the tags one and uno, then two."""
    push_image(api, "app", layers=[b"0"])
    for tag in ("one", "uno", "two"):
        push_image(api, "app", tag=tag, layers=[b"2" if tag == "two" else b"1"])
    return api


def test_a_preview_lists_what_would_expire_and_how_many(stocked: ECRClient, desk: Desk) -> None:
    done = desk.run("repo", "lifecycle", "app", "--preview", "-", stdin=json.dumps(LIFECYCLE))
    assert (done.code, done.err) == (0, f"app in {REGION}: 2 images would expire\n")
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["DIGEST", "TAGS", "ACTION", "RULE", "PUSHED"]
    assert [line[1:-2] for line in lines[1:]] == [["-", "expire", "4"], ["one,", "uno", "expire", "4"]]
    rows = desk.run("repo", "lifecycle", "app", "--preview", "-", "--tsv", stdin=json.dumps(LIFECYCLE))
    assert [line.split("\t")[1:4] for line in rows.out.splitlines()] == [
        ["", "expire", "4"],
        ["one,uno", "expire", "4"],
    ]
    assert rows.err == ""
    assert desk.run("repo", "lifecycle", "app").code == 4


def test_a_preview_as_json_is_what_the_aws_cli_prints(stocked: ECRClient, desk: Desk) -> None:
    found = desk.json("repo", "lifecycle", "app", "--preview", "-", stdin=json.dumps(LIFECYCLE))
    answer = stocked.get_lifecycle_policy_preview(repositoryName="app")
    assert [one["imageDigest"] for one in found["previewResults"]] == [
        one["imageDigest"] for one in answer["previewResults"]
    ]
    assert {name: found[name] for name in found if name != "previewResults"} == {
        "registryId": ACCOUNT,
        "repositoryName": "app",
        "lifecyclePolicyText": json.dumps(LIFECYCLE),
        "status": "COMPLETE",
        "summary": {"expiringImageTotalCount": 2},
    }
    assert set(found) == set(answer) - {"ResponseMetadata"}


def test_a_preview_without_a_file_tries_the_repositorys_own_policy(stocked: ECRClient, desk: Desk) -> None:
    none = desk.run("repo", "lifecycle", "app", "--preview")
    assert (none.code, none.out) == (4, "")
    assert f"`ecrdrag repo lifecycle app --region {REGION} --set FILE`" in none.err
    desk.run("repo", "lifecycle", "app", "--set", "-", "--yes", stdin=json.dumps(FEWER))
    own = desk.run("repo", "lifecycle", "app", "--preview")
    assert [line.split()[-3] for line in own.out.splitlines()[1:]] == ["2", "2"]


def test_a_preview_of_many_images_is_read_to_its_last_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (name,) = crowd(tmp_path / "crowd", repositories=1, images=220)
    with running(tmp_path / "crowd") as server:
        desk = Desk(server, monkeypatch, capsys)
        done = desk.run("repo", "lifecycle", name, "--preview", "-", stdin=json.dumps(LIFECYCLE))
    assert len(done.out.splitlines()) == 220
    assert "219 images would expire" in done.err


@pytest.mark.parametrize(
    "pair", [("--set", "x", "--remove"), ("--preview", "x", "--set", "x"), ("--remove", "--preview")]
)
def test_one_thing_is_done_at_a_time(desk: Desk, recorder: Recorder, pair: tuple[str, ...]) -> None:
    done = desk.run("repo", "lifecycle", "app", *pair)
    assert (done.code, recorder.requests) == (2, [])
    assert "not allowed with" in done.err
