"""The command `image tag` over a local ECR: the same bytes put again, tags that move, and tags that can't."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.control.retagging import new_tags, put
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import ConflictError
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.settings import SignedDigest
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from tests import kinds
from tests.flow.everyday import Desk
from tests.flow.scripts import environment_of
from tests.localecr import ACCOUNT, REGION, Recorder, client, running
from tests.planes import plane
from tests.refusing import denying, throttling
from tests.schema1_images import hello_schema1, put_old_image
from tests.screens import HOME

APP = kinds.greeter("amd64", "hello")
DOCKER = kinds.greeter("amd64", "hello", oci=False)
INDEX = kinds.buildx_index()
OTHER = kinds.greeter("arm64", "another")
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ecr(tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    with running(tmp_path / "ecr", recorder=recorder) as made, client(made) as api:
        api.create_repository(repositoryName="app")
        kinds.put(api, "app", APP, "1.0", "latest")
        kinds.put(api, "app", OTHER, "2.0")
        recorder.requests.clear()
        yield made


@pytest.fixture
def desk(ecr: LocalEcr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(ecr, monkeypatch, capsys)


def tags_of(ecr: LocalEcr) -> dict[str, str]:
    with client(ecr) as api:
        ids = api.list_images(repositoryName="app", filter={"tagStatus": "TAGGED"})["imageIds"]
    return {one["imageTag"]: one["imageDigest"] for one in ids}


def test_a_new_tag_is_given_without_a_question_and_no_layer_moves(
    desk: Desk, ecr: LocalEcr, recorder: Recorder
) -> None:
    done = desk.run("image", "tag", "app:1.0", "stable", "1", "stable")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [f"{HOST}/app:{tag}@{APP.digest}" for tag in ("stable", "1")]
    assert f"will give app@{APP.digest} in {REGION} the tag stable" in done.err
    assert {tags_of(ecr)[tag] for tag in ("1.0", "latest", "stable", "1")} == {str(APP.digest)}
    assert set(recorder.requests) == {"BatchGetImage", "DescribeImages", "PutImage", "ListImages"}


@pytest.mark.parametrize(
    "parcel", [DOCKER, INDEX, kinds.helm_chart(), kinds.nested_index()], ids=["docker", "index", "chart", "nested"]
)
def test_every_kind_keeps_its_digest(desk: Desk, ecr: LocalEcr, parcel: kinds.Parcel) -> None:
    with client(ecr) as api:
        kinds.put(api, "app", parcel, "kind")
    for reference in ("app:kind", f"app@{parcel.digest}", f"app:kind@{parcel.digest}"):
        assert desk.run("image", "tag", reference, f"more{len(reference)}").code == 0
        assert tags_of(ecr)[f"more{len(reference)}"] == str(parcel.digest)


@pytest.mark.parametrize("signed", list(SignedDigest))
def test_a_schema_1_image_keeps_the_digest_that_the_registry_has_for_it(tmp_path: Path, signed: SignedDigest) -> None:
    image = hello_schema1()
    with running(tmp_path, Settings(region=REGION, signed_digest=signed)) as ecr, client(ecr) as api, plane(ecr) as at:
        api.create_repository(repositoryName="app")
        put_old_image(api, "app", image, "old")
        before = tags_of(ecr)["old"]
        (done,) = put(at, "app", new_tags(at, EcrName.parse("app:old"), ["older"]))
        (again,) = put(at, "app", new_tags(at, EcrName.parse(f"app@{before}"), ["oldest"]))
        assert (done.digest, done.existed, again.digest) == (before, False, before)
        assert tags_of(ecr) == dict.fromkeys(["old", "older", "oldest"], before)


def test_json_is_what_put_image_says_and_whether_it_was_there(desk: Desk, ecr: LocalEcr) -> None:
    told = desk.json("image", "tag", "app:1.0", "new")["image"]
    with client(ecr) as api:
        known = api.put_image(repositoryName="app", imageManifest=APP.root.content.decode(), imageTag="as-aws")["image"]
    assert told == {**known, "imageId": {"imageDigest": str(APP.digest), "imageTag": "new"}, "existed": False}
    both = desk.json("image", "tag", "app:1.0", "latest", "newer")["images"]
    assert [(one["imageId"]["imageTag"], one["existed"]) for one in both] == [("latest", True), ("newer", False)]
    assert both[0].keys() == both[1].keys()
    assert both[0]["imageManifest"] == APP.root.content.decode()


def test_a_tag_that_is_there_already_is_a_success_that_is_said(desk: Desk, ecr: LocalEcr, recorder: Recorder) -> None:
    done = desk.run("image", "tag", "app:1.0", "latest")
    assert (done.code, done.out) == (0, f"{HOST}/app:latest@{APP.digest}\n")
    assert f"app@{APP.digest} in {REGION} has the tag latest already" in done.err
    assert recorder.count("PutImage") == 0


def test_a_tag_of_another_image_is_moved_by_consent_alone(desk: Desk, ecr: LocalEcr, recorder: Recorder) -> None:
    refused = desk.run("image", "tag", "app:2.0", "latest")
    assert (refused.code, refused.out) == (2, "")
    assert f"will move app:latest in {REGION} from {APP.digest}, which keeps 1.0, to {OTHER.digest}" in refused.err
    assert "--yes" in refused.err
    assert tags_of(ecr)["latest"] == str(APP.digest)
    assert desk.run("image", "tag", "app:2.0", "latest", "--yes").code == 0
    assert tags_of(ecr)["latest"] == str(OTHER.digest)
    assert f"from {APP.digest}, which has no tag then" in desk.run("image", "tag", "app:2.0", "1.0", "--yes").err


def test_a_dry_run_changes_nothing(desk: Desk, ecr: LocalEcr, recorder: Recorder) -> None:
    done = desk.run("image", "tag", "app:2.0", "latest", "new", "--dry-run")
    assert (done.code, done.out) == (0, "")
    assert done.err.count("would ") == 2
    assert recorder.count("PutImage") == 0


def test_on_a_terminal_a_move_is_asked_for(ecr: LocalEcr, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ecrdrag", "image", "tag", "app:2.0", "latest"]
    with subprocess.Popen(
        command, env=environment_of(ecr, PYTHONPATH=str(HOME)), stdin=theirs, stderr=theirs, stdout=subprocess.PIPE
    ) as process:
        os.close(theirs)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(ours, 1000)
        os.write(ours, b"y\n")
        out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert out.decode() == f"{HOST}/app:latest@{OTHER.digest}\n"


def test_an_immutable_tag_stays_and_the_tags_before_it_are_told(desk: Desk, ecr: LocalEcr) -> None:
    with client(ecr) as api:
        api.put_image_tag_mutability(repositoryName="app", imageTagMutability="IMMUTABLE")
    done = desk.run("image", "tag", "app:2.0", "new", "latest", "newer", "--yes")
    assert (done.code, done.out) == (9, f"{HOST}/app:new@{OTHER.digest}\n")
    assert "ImageTagAlreadyExistsException" in done.err
    assert "immutable: choose another tag" in done.err
    assert tags_of(ecr).keys() == {"1.0", "2.0", "latest", "new"}
    assert desk.run("image", "tag", "app:1.0", "latest").code == 0


def test_a_tag_that_somebody_else_gives_meanwhile_is_there(ecr: LocalEcr) -> None:
    with client(ecr) as api, plane(ecr) as at:
        new = new_tags(at, EcrName.parse("app:1.0"), ["new"])
        api.put_image(repositoryName="app", imageManifest=APP.root.content.decode(), imageTag="new")
        (done,) = put(at, "app", new)
    assert (done.existed, done.tag, done.digest) == (True, "new", str(APP.digest))


@pytest.mark.parametrize("tag", ["new", "2.0"])
def test_a_tag_that_another_image_gets_meanwhile_isn_t_moved(ecr: LocalEcr, tag: str) -> None:
    third = kinds.greeter("amd64", "a third")
    with client(ecr) as api, plane(ecr) as at:
        new = new_tags(at, EcrName.parse("app:1.0"), [tag])
        kinds.put(api, "app", third, tag)
        with pytest.raises(ConflictError, match=f"app:{tag} in {REGION} was given to {third.digest} meanwhile"):
            list(put(at, "app", new))
    assert tags_of(ecr)[tag] == str(third.digest)


def test_a_tag_that_is_given_at_the_same_moment_is_there(ecr: LocalEcr, recorder: Recorder) -> None:
    def answer(request: Request, handler: Handler) -> Answer:
        if recorder.requests[-1] == "PutImage" and recorder.count("PutImage") == 1:
            api.put_image(repositoryName="app", imageManifest=APP.root.content.decode(), imageTag="new")
        return handler(request)

    with client(ecr) as api, plane(ecr) as at:
        new = new_tags(at, EcrName.parse("app:1.0"), ["new"])
        recorder.intercept = answer
        (done,) = put(at, "app", new)
    assert (done.existed, done.tag, done.digest) == (True, "new", str(APP.digest))


def test_it_waits_while_aws_throttles(ecr: LocalEcr, recorder: Recorder) -> None:
    throttling(recorder, "PutImage", "BatchGetImage", times=5)
    with plane(ecr) as at:
        (done,) = put(at, "app", new_tags(at, EcrName.parse("app:1.0"), ["new"]))
    assert not done.existed


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["app:nope", "x"],
            4,
            ["app in us-west-2: there is no image with tag nope", "`ecrdrag image ls app --region us-west-2`"],
        ),
        (["nope:1", "x"], 4, ["nope in us-west-2", "`ecrdrag repo ls`"]),
        (["app:1.0", "app:2"], 2, ["a new tag stands alone", "behind the colon"]),
        (["app:1.0", "a b"], 2, ["'a b' is no tag", "1 to 128"]),
        (["app:1.0", "x" * 129], 2, ["is no tag"]),
        (["app:1.0", ""], 2, ["'' is no tag"]),
        (["app:1.0", ".x"], 2, ["no dot"]),
        (["app:1.0"], 2, ["NEWTAG"]),
        (["app:2.0@" + str(APP.digest), "x"], 4, ["app in us-west-2"]),
    ],
)
def test_what_goes_wrong_is_said_before_anything_changes(
    desk: Desk, recorder: Recorder, arguments: list[str], code: int, said: list[str]
) -> None:
    done = desk.run("image", "tag", *arguments)
    assert done.code == code
    assert all(each in done.err for each in said), done.err
    assert recorder.count("PutImage") == 0


def test_who_may_not_put_is_told_so(desk: Desk, recorder: Recorder) -> None:
    denying(recorder, "PutImage")
    done = desk.run("image", "tag", "app:1.0", "new")
    assert (done.code, done.out) == (3, "")
    assert "ecr:PutImage" in done.err


def test_without_a_tag_latest_is_meant(desk: Desk, ecr: LocalEcr) -> None:
    done = desk.run("image", "tag", "app", "new")
    assert "taking :latest" in done.err
    assert tags_of(ecr)["new"] == str(APP.digest)
