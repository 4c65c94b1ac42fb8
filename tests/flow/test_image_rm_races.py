"""The command `image rm` while others push and delete: nothing goes but what was said, and what is gone is told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient
from mypy_boto3_ecr.type_defs import ImageIdentifierTypeDef

from ecrdrag.control.removal import Removed, delete, delete_untagged, doomed, untagged
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import AuthError
from ecrdrag.localecr import LocalEcr
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from tests import kinds
from tests.flow.everyday import Desk
from tests.flow.scripts import environment_of
from tests.localecr import ACCOUNT, REGION, Recorder, client, running
from tests.planes import plane
from tests.screens import HOME

APP = kinds.greeter("amd64", "hello")
OTHER = kinds.greeter("arm64", "another")
LOOSE = kinds.greeter("amd64", "without a tag")
INDEX = kinds.buildx_index()
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
DENIED = Answer(400, {}, b'{"__type":"AccessDeniedException","message":"no"}', "denied")
BROKEN = Answer(500, {}, b'{"__type":"ServerException","message":"out of order"}', "broken")
SECONDS = 20


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ecr(tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    with running(tmp_path / "ecr", recorder=recorder) as made, client(made) as api:
        api.create_repository(repositoryName="app")
        kinds.put(api, "app", APP, "1.0", "latest")
        kinds.put(api, "app", OTHER, "2.0")
        kinds.put(api, "app", LOOSE)
        recorder.requests.clear()
        yield made


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[ECRClient]:
    with client(ecr) as made:
        yield made


@pytest.fixture
def desk(ecr: LocalEcr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(ecr, monkeypatch, capsys)


def left(api: ECRClient) -> dict[str, list[str]]:
    """Give what is there: digests with their tags."""
    pages = api.get_paginator("describe_images").paginate(repositoryName="app")
    return {one["imageDigest"]: one.get("imageTags", []) for page in pages for one in page["imageDetails"]}


def tag(api: ECRClient, parcel: kinds.Parcel, name: str) -> None:
    api.put_image(repositoryName="app", imageManifest=parcel.root.content.decode(), imageTag=name)


def remove(api: ECRClient, image_id: ImageIdentifierTypeDef) -> None:
    api.batch_delete_image(repositoryName="app", imageIds=[image_id])


def meanwhile(recorder: Recorder, act: Callable[[], object]) -> None:
    """Let somebody do something once, when images are described that are named, as they are right before they go."""
    before, todo = recorder.intercept, [act]

    def answer(request: Request, handler: Handler) -> Answer:
        if operation_of(request) == "DescribeImages" and recorder.count("DescribeImages") == 2 and todo:
            todo.pop()()
        return before(request, handler)

    recorder.intercept = answer


def operation_of(request: Request) -> str:
    return request.headers.get("X-Amz-Target", "").rpartition(".")[2]


def test_what_gets_a_tag_before_it_is_deleted_stays_and_what_is_about_it(
    desk: Desk, api: ECRClient, recorder: Recorder
) -> None:
    signature, gone = kinds.signature(LOOSE), kinds.greeter("amd64", "nobody wants this")
    kinds.put(api, "app", signature)
    kinds.put(api, "app", gone)
    recorder.requests.clear()
    meanwhile(recorder, lambda: tag(api, LOOSE, "found"))
    told = desk.json("image", "rm", "--untagged", "app", "--yes")
    assert [one["imageDigest"] for one in told["imageIds"]] == [str(gone.digest)]
    assert {one["imageDigest"] for one in told["kept"]} == {str(LOOSE.digest), str(signature.digest)}
    assert told["failures"] == []
    assert left(api)[str(LOOSE.digest)] == ["found"]


def test_each_batch_is_looked_at_again_right_before_it_goes(api: ECRClient, ecr: LocalEcr, recorder: Recorder) -> None:
    document = json.loads(LOOSE.root.content)
    for number in range(120):
        raw = json.dumps({**document, "annotations": {"number": str(number)}})
        api.put_image(repositoryName="app", imageManifest=raw)
    with plane(ecr, jobs=1) as at:
        found = untagged(at, "app")
        last = found.images[-1].digest
        recorder.requests.clear()
        raw = api.batch_get_image(repositoryName="app", imageIds=[{"imageDigest": last}])["images"][0]["imageManifest"]
        meanwhile(recorder, lambda: api.put_image(repositoryName="app", imageManifest=raw, imageTag="late"))
        kept = delete_untagged(at, "app", found, removed := Removed())
    assert (kept, len(removed.image_ids), removed.refused) == ([last], 120, [])
    assert [one for one in recorder.requests if one in ("DescribeImages", "BatchDeleteImage")] == [
        "DescribeImages",
        "BatchDeleteImage",
    ] * 2


def test_what_has_no_tag_and_is_gone_meanwhile_is_no_failure_and_what_is_about_it_goes(
    desk: Desk, api: ECRClient, recorder: Recorder
) -> None:
    more = [kinds.signature(LOOSE), *(kinds.greeter("amd64", f"more {number}") for number in range(3))]
    for each in more:
        kinds.put(api, "app", each)
    recorder.requests.clear()
    meanwhile(recorder, lambda: remove(api, {"imageDigest": str(LOOSE.digest)}))
    told = desk.json("image", "rm", "--untagged", "app", "--yes")
    assert {one["imageDigest"] for one in told["imageIds"]} == {str(each.digest) for each in more}
    assert (told["kept"], told["failures"]) == ([], [])
    assert left(api).keys() == {str(APP.digest), str(OTHER.digest)}


@pytest.mark.parametrize("to", [APP, LOOSE], ids=["another tag's image", "an image without a tag"])
def test_a_tag_that_was_moved_meanwhile_stays_where_it_is(
    desk: Desk, api: ECRClient, recorder: Recorder, to: kinds.Parcel
) -> None:
    meanwhile(recorder, lambda: tag(api, to, "2.0"))
    done = desk.run("image", "rm", "app:2.0", "--yes")
    assert (done.code, done.out) == (4, "")
    assert f"app in {REGION}: 2.0" in done.err
    assert "2.0" in left(api)[str(to.digest)]
    assert recorder.count("BatchDeleteImage") == 0


def test_an_image_stays_whose_other_tags_were_taken_away_meanwhile(
    desk: Desk, api: ECRClient, recorder: Recorder
) -> None:
    meanwhile(recorder, lambda: remove(api, {"imageTag": "latest"}))
    done = desk.run("image", "rm", "app:1.0", "--yes")
    assert (done.code, done.out) == (4, "")
    assert "which keeps latest" in done.err
    assert f"app in {REGION}: 1.0: its tags were changed meanwhile, to 1.0" in done.err
    assert f"`ecrdrag image ls app --region {REGION}`" in done.err
    assert left(api)[str(APP.digest)] == ["1.0"]


@pytest.mark.parametrize("name", ["app:2.0", f"app@{OTHER.digest}"])
def test_an_image_stays_with_a_tag_of_which_nothing_was_said(
    desk: Desk, api: ECRClient, recorder: Recorder, name: str
) -> None:
    meanwhile(recorder, lambda: tag(api, OTHER, "new"))
    done = desk.run("image", "rm", name, "--yes")
    assert (done.code, done.out) == (4, "")
    assert "its tags were changed meanwhile, to 2.0, new" in done.err
    assert left(api)[str(OTHER.digest)] == ["2.0", "new"]


def test_by_its_digest_an_image_goes_that_has_fewer_tags_by_now(desk: Desk, api: ECRClient, recorder: Recorder) -> None:
    meanwhile(recorder, lambda: remove(api, {"imageTag": "latest"}))
    assert desk.run("image", "rm", f"app@{APP.digest}", "--yes").out == f"deleted app@{APP.digest}\n"


def test_a_repository_that_is_called_by_two_names_loses_nothing_that_was_said_to_stay(
    desk: Desk, api: ECRClient
) -> None:
    done = desk.run("image", "rm", "app:1.0", f"{HOST}/app:latest", "--yes")
    assert (done.code, done.out) == (4, "untagged app:1.0\n")
    assert left(api)[str(APP.digest)] == ["latest"]


def test_what_an_index_keeps_isn_t_said_to_be_deleted_where_it_lost_a_tag(desk: Desk, api: ECRClient) -> None:
    kinds.put(api, "app", INDEX, "multi")
    tag(api, INDEX.of("amd64"), "a")
    tag(api, INDEX.of("amd64"), "b")
    done = desk.run("image", "rm", "app:a", "app:b", "--yes")
    assert (done.code, done.out) == (9, "untagged app:a\n")
    assert left(api)[str(INDEX.of("amd64").digest)] == ["b"]


def test_what_went_beside_a_call_that_failed_is_known(api: ECRClient, ecr: LocalEcr, recorder: Recorder) -> None:
    names = [f"t{number}" for number in range(150)]
    for name in names:
        tag(api, APP, name)
    second = threading.Event()

    def answer(request: Request, handler: Handler) -> Answer:
        if operation_of(request) != "BatchDeleteImage":
            return handler(request)
        if int(request.headers["Content-Length"]) < 2000:  # the fifty of the second call
            found = handler(request)
            second.set()
            return found
        assert second.wait(SECONDS)
        return DENIED

    with plane(ecr) as at:
        plans, _ = doomed(at, "app", [EcrName.parse(f"app:{name}") for name in names])
        recorder.intercept = answer
        removed = Removed()
        with pytest.raises(AuthError):
            delete(at, "app", plans, removed)
    assert {str(one["imageTag"]) for one in removed.image_ids} == set(names[100:])
    assert removed.unanswered == set()


def test_what_no_answer_came_about_may_be_gone(desk: Desk, api: ECRClient, recorder: Recorder) -> None:
    def answer(request: Request, handler: Handler) -> Answer:
        return BROKEN if operation_of(request) == "BatchDeleteImage" else handler(request)

    recorder.intercept = answer
    done = desk.run("image", "rm", "app:2.0", "--yes")
    assert (done.code, done.out) == (5, "")
    assert f"app in {REGION}: no answer came about 2.0, which may be gone: `ecrdrag image ls app" in done.err


def test_after_an_interrupt_it_is_told_what_is_gone_and_what_may_be(
    api: ECRClient, ecr: LocalEcr, recorder: Recorder
) -> None:
    kinds.put(api, "app", INDEX, "multi")
    recorder.requests.clear()
    asked, over = threading.Event(), threading.Event()

    def answer(request: Request, handler: Handler) -> Answer:
        if operation_of(request) == "BatchDeleteImage" and recorder.count("BatchDeleteImage") == 2:
            asked.set()
            over.wait(SECONDS)
        return handler(request)

    recorder.intercept = answer
    command = [sys.executable, "-m", "ecrdrag", "image", "rm", "app:multi", "app:2.0", "--yes"]
    with subprocess.Popen(
        command,
        env=environment_of(ecr, PYTHONPATH=str(HOME)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert asked.wait(SECONDS)
            process.send_signal(signal.SIGINT)
            out, said = process.communicate(timeout=SECONDS)
        finally:
            over.set()
    assert (process.returncode, out) == (130, f"deleted app@{INDEX.digest}\n")
    assert "no answer came about 2.0, which may be gone" in said
