"""The command `image rm` over a local ECR: what goes, what only loses a tag, and what ECR won't let go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient

from ecrdrag.control.removal import Removed, delete, delete_untagged, doomed, untagged
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import TransferError
from ecrdrag.localecr import LocalEcr
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from tests import kinds
from tests.flow.everyday import Desk
from tests.localecr import ACCOUNT, REGION, Recorder, client, running
from tests.planes import at_once, plane
from tests.refusing import denying, throttling

APP = kinds.greeter("amd64", "hello")
OTHER = kinds.greeter("arm64", "another")
LOOSE = kinds.greeter("amd64", "without a tag")
INDEX = kinds.buildx_index()
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ecr(tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    with running(tmp_path / "ecr", recorder=recorder) as made, client(made) as api:
        for name in ("app", "two"):
            api.create_repository(repositoryName=name)
        kinds.put(api, "app", APP, "1.0", "latest", "stable")
        kinds.put(api, "app", OTHER, "2.0")
        kinds.put(api, "two", APP, "1.0")
        recorder.requests.clear()
        yield made


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[ECRClient]:
    with client(ecr) as made:
        yield made


@pytest.fixture
def desk(ecr: LocalEcr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(ecr, monkeypatch, capsys)


def left(api: ECRClient, repository: str = "app") -> dict[str, list[str]]:
    """Give what is there: digests with their tags."""
    pages = api.get_paginator("describe_images").paginate(repositoryName=repository, filter={"imageStatus": "ANY"})
    return {one["imageDigest"]: one.get("imageTags", []) for page in pages for one in page["imageDetails"]}


def test_by_a_tag_an_image_loses_that_tag_alone(desk: Desk, api: ECRClient) -> None:
    done = desk.run("image", "rm", "app:latest", "app:1.0", "--yes")
    assert (done.code, done.out) == (0, "untagged app:latest\nuntagged app:1.0\n")
    assert f"will take the tags latest, 1.0 from app@{APP.digest} in {REGION} (image, " in done.err
    assert "which keeps stable\n" in done.err
    assert left(api)[str(APP.digest)] == ["stable"]


def test_with_its_last_tag_an_image_goes(desk: Desk, api: ECRClient) -> None:
    done = desk.run("image", "rm", "app:2.0", "--yes")
    assert done.out == f"deleted app@{OTHER.digest}\n"
    assert "which has no tag but 2.0\n" in done.err
    assert left(api).keys() == {str(APP.digest)}


def test_all_tags_together_are_the_image(desk: Desk, api: ECRClient) -> None:
    done = desk.run("image", "rm", "app:stable", "app:1.0", f"app:latest@{APP.digest}", "--yes")
    assert done.out == f"deleted app@{APP.digest}\n"
    assert f"will delete app@{APP.digest}" in done.err
    assert left(api).keys() == {str(OTHER.digest)}


def test_by_its_digest_an_image_goes_with_all_tags(desk: Desk, api: ECRClient) -> None:
    done = desk.run("image", "rm", f"{HOST}/app@{APP.digest}", f"{HOST}/app:latest", "--yes")
    assert done.out == f"deleted {HOST}/app@{APP.digest}\n"
    assert f"will delete {HOST}/app@{APP.digest} (image, " in done.err
    assert "with its tags 1.0, latest, stable\n" in done.err
    assert left(api).keys() == {str(OTHER.digest)}


def test_a_tag_that_must_stand_for_a_digest_isn_t_taken_from_another(desk: Desk, api: ECRClient) -> None:
    done = desk.run("image", "rm", f"app:2.0@{APP.digest}", "--yes")
    assert (done.code, done.out) == (4, "")
    assert left(api)[str(OTHER.digest)] == ["2.0"]


def test_images_of_several_repositories_go_at_once_and_failures_are_told_after(desk: Desk, api: ECRClient) -> None:
    done = desk.run("image", "rm", "app:2.0", "app:nope", "two:1.0", "no/where:1", "two:2.0", "app:nope", "--yes")
    assert done.code == 4
    assert done.out == f"deleted app@{OTHER.digest}\ndeleted two@{APP.digest}\n"
    for said in ("nope: Requested image not found", f"two in {REGION}: 2.0", f"no/where in {REGION}"):
        assert done.err.count(said) == 1
    assert f"`ecrdrag image ls app --region {REGION}` lists what there is" in done.err
    assert left(api, "two") == {}


def test_json_is_what_batch_delete_image_says_and_where(desk: Desk, api: ECRClient) -> None:
    document = desk.run("image", "rm", "app:2.0", "app:nope", "--yes", "--json")
    assert document.code == 4
    where = {"repositoryName": "app", "region": REGION}
    told = json.loads(document.out)
    known = api.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "1.0"}, {"imageTag": "nope"}])
    assert told == {
        "imageIds": [{"imageDigest": str(OTHER.digest), "imageTag": "2.0", **where}],
        "failures": [{**known["failures"][0], **where}],
    }


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--dry-run", "--yes"]])
def test_without_consent_nothing_goes(desk: Desk, recorder: Recorder, options: list[str]) -> None:
    done = desk.run("image", "rm", "app:2.0", f"app@{APP.digest}", *options)
    assert (done.code, done.out) == (0 if options else 2, "")
    assert ("would delete" if options else "will delete") in done.err
    assert recorder.count("BatchDeleteImage") == 0


def test_an_index_goes_before_what_it_leads_to_which_stays_unless_named(desk: Desk, api: ECRClient) -> None:
    kinds.put(api, "app", INDEX, "multi")
    child = INDEX.of("amd64").digest
    refused = desk.run("image", "rm", f"app@{child}", "--yes")
    assert refused.code == 9
    assert str(INDEX.digest) in refused.err
    assert "delete the index that it names first" in refused.err
    done = desk.run("image", "rm", f"app@{child}", "app:multi", "--yes")
    assert (done.code, set(done.out.splitlines())) == (0, {f"deleted app@{INDEX.digest}", f"deleted app@{child}"})
    assert "the 4 images that it leads to stay" in done.err
    assert len(left(api)) == 2 + 3


def test_what_is_gone_meanwhile_is_not_asked_for_again(api: ECRClient, ecr: LocalEcr, recorder: Recorder) -> None:
    kinds.put(api, "app", INDEX, "multi")
    with plane(ecr) as at:
        plans, _ = doomed(at, "app", map(EcrName.parse, ["app:multi", "app:2.0"]))
        api.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "2.0"}])
        recorder.requests.clear()
        delete(at, "app", plans, removed := Removed())
    assert [one.name for one in removed.refused] == ["2.0"]
    assert recorder.count("BatchDeleteImage") == 1


def test_indexes_in_indexes_go_together_whatever_their_order(api: ECRClient, ecr: LocalEcr) -> None:
    nested = kinds.nested_index()
    kinds.put(api, "app", nested, "nested")
    names = [EcrName.parse(f"app@{each.digest}") for each in nested.documents]
    with plane(ecr) as at:
        plans, missing = doomed(at, "app", names)
        removed = Removed()
        delete(at, "app", plans, removed)
    assert (missing, removed.refused, len(removed.image_ids)) == ([], [], len(nested.documents))
    assert left(api).keys() == {str(APP.digest), str(OTHER.digest)}


def test_of_a_child_with_several_tags_the_last_one_is_refused_once(api: ECRClient, ecr: LocalEcr) -> None:
    kinds.put(api, "app", INDEX, "multi")
    for tag in ("a", "b"):
        raw = INDEX.of("amd64").root.content.decode()
        api.put_image(repositoryName="app", imageManifest=raw, imageTag=tag)
    with plane(ecr) as at:
        plans, _ = doomed(at, "app", map(EcrName.parse, ["app:a", "app:b", "app:2.0"]))
        removed = Removed()
        delete(at, "app", plans, removed)
        (refused,) = removed.refused
        assert (refused.name, refused.is_in_index) == ("b", True)
    with plane(ecr) as at:
        plans, _ = doomed(at, "app", map(EcrName.parse, ["app:b", "app:multi"]))
        delete(at, "app", plans, removed := Removed())
        assert removed.refused == []


def test_many_are_deleted_a_hundred_at_a_time(api: ECRClient, ecr: LocalEcr, recorder: Recorder) -> None:
    tags = [f"t{number}" for number in range(201)]
    for tag in tags:
        api.put_image(repositoryName="two", imageManifest=APP.root.content.decode(), imageTag=tag)
    with plane(ecr) as at:
        plans, _ = doomed(at, "two", [EcrName.parse(f"two:{tag}") for tag in (*tags, "t1")])
        delete(at, "two", plans, removed := Removed())
    assert recorder.count("BatchDeleteImage") == 3
    assert len(removed.image_ids) == 201
    assert left(api, "two") == {str(APP.digest): ["1.0"]}


def stock_untagged(api: ECRClient) -> tuple[set[str], set[str]]:
    """Put what has no tag: what may go, and what has a use."""
    old = kinds.buildx_index(greeting="an older one")
    kinds.put(api, "app", INDEX, "multi")
    for parcel in (LOOSE, old, kinds.signature(LOOSE), kinds.signature(kinds.sbom(LOOSE)), kinds.sbom(LOOSE)):
        kinds.put(api, "app", parcel)
    used = [kinds.signature(APP), kinds.sbom(APP), kinds.signature(kinds.sbom(APP)), kinds.signature(INDEX.of("arm64"))]
    for parcel in used:
        kinds.put(api, "app", parcel)
    dangling = kinds.signature(kinds.greeter("amd64", "that was here once"))
    kinds.put(api, "app", dangling)
    loose = [LOOSE, kinds.signature(LOOSE), kinds.sbom(LOOSE), kinds.signature(kinds.sbom(LOOSE)), dangling]
    goes = {str(one.digest) for one in loose} | {str(one.digest) for one in old.documents}
    return goes, {str(one.digest) for one in used} | {str(one.digest) for one in INDEX.documents[:-1]}


def test_what_has_no_tag_goes_but_for_what_has_a_use(desk: Desk, api: ECRClient, recorder: Recorder) -> None:
    goes, stays = stock_untagged(api)
    before = left(api).keys()
    assert goes | stays < before
    recorder.requests.clear()
    done = desk.run("image", "rm", "--untagged", "app", "two", "--yes")
    assert (done.code, done.err.count("will delete what has no tag in app")) == (0, 1)
    assert set(done.out.splitlines()) == {
        *(f"deleted app@{digest}" for digest in goes),
        f"kept {len(stays)} without a tag",
    }
    assert left(api).keys() == before - goes
    assert recorder.count("BatchGetImage") == 0  # it would count as a pull
    again = desk.json("image", "rm", "--untagged", "app", "--yes")
    assert (again["imageIds"], again["failures"]) == ([], [])
    assert {one["imageDigest"] for one in again["kept"]} == stays
    assert again["kept"][0].keys() == {"imageDigest", "repositoryName", "region"}


def test_a_dry_run_says_what_may_go(desk: Desk, api: ECRClient, recorder: Recorder) -> None:
    goes, _ = stock_untagged(api)
    done = desk.run("image", "rm", "--untagged", "app", "--dry-run")
    listed = [line for line in done.err.splitlines() if line.endswith(", unless an index leads to it")]
    assert all(any(digest in line for line in listed) for digest in goes)
    assert str(kinds.signature(APP).digest) not in done.err
    assert f"at most {len(listed)} images" in done.err
    assert (done.out, recorder.count("BatchDeleteImage")) == ("", 0)


def test_where_all_have_a_tag_nothing_is_asked(desk: Desk, recorder: Recorder) -> None:
    done = desk.run("image", "rm", "--untagged", "app")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert desk.json("image", "rm", "--untagged", "app") == {"imageIds": [], "failures": [], "kept": []}
    assert recorder.count("BatchDeleteImage") == 0


def test_a_signature_of_what_stays_is_kept_without_a_question(desk: Desk, api: ECRClient) -> None:
    kinds.put(api, "app", kinds.signature(APP))
    done = desk.run("image", "rm", "--untagged", "app")
    assert (done.code, done.out, done.err) == (0, "kept 1 without a tag\n", "")


def test_the_archive_is_left_alone(api: ECRClient, ecr: LocalEcr) -> None:
    kinds.put(api, "app", LOOSE)
    api.update_image_storage_class(
        repositoryName="app", imageId={"imageDigest": str(LOOSE.digest)}, targetStorageClass="ARCHIVE"
    )
    kinds.put(api, "app", kinds.signature(LOOSE))
    with plane(ecr) as at:
        found = untagged(at, "app")
        kept = delete_untagged(at, "app", found, removed := Removed())
    assert (found.images, removed.image_ids) == ((), [])
    assert kept == [str(kinds.signature(LOOSE).digest)]


def test_what_was_deleted_before_a_failure_is_told(desk: Desk, api: ECRClient, recorder: Recorder) -> None:
    before = recorder.intercept

    def answer(request: Request, handler: Handler) -> Answer:
        if request.headers.get("X-Amz-Target", "").endswith("BatchDeleteImage") and recorder.count("BatchDelete") > 1:
            return Answer(400, {}, b'{"__type":"AccessDeniedException","message":"no"}', "denied")
        return before(request, handler)

    recorder.intercept = answer
    done = desk.run("image", "rm", "app:2.0", "two:1.0", "--yes")
    assert (done.code, done.out) == (3, f"deleted app@{OTHER.digest}\n")
    assert f"two in {REGION}: BatchDeleteImage was refused" in done.err


def test_throttled_throughout_it_gives_up_and_says_so(ecr: LocalEcr, recorder: Recorder) -> None:
    throttling(recorder, "BatchDeleteImage")
    with plane(ecr, retry=at_once(3)) as at:
        plans, _ = doomed(at, "app", [EcrName.parse("app:2.0")])
        with pytest.raises(TransferError, match=f"app in {REGION}: .*Rate exceeded"):
            delete(at, "app", plans, Removed())
    assert recorder.count("BatchDeleteImage") == 3


def test_who_may_not_look_is_told_so_and_nothing_goes(desk: Desk, recorder: Recorder) -> None:
    denying(recorder, "DescribeImages")
    done = desk.run("image", "rm", "app:2.0", "--yes")
    assert (done.code, done.out) == (3, "")
    assert "ecr:DescribeImages" in done.err
    assert recorder.count("BatchDeleteImage") == 0


def test_an_index_that_may_not_be_read_goes_all_the_same(desk: Desk, api: ECRClient, recorder: Recorder) -> None:
    kinds.put(api, "app", INDEX, "multi")
    denying(recorder, "BatchGetImage")
    assert desk.run("image", "rm", "app:multi", "--yes").out == f"deleted app@{INDEX.digest}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["app"], ["app names no image", "app:TAG or app@sha256:DIGEST"]),
        ([], ["REF"]),
        (["--untagged", "app:1.0"], ["names an image", "leave --untagged out"]),
        (["app:2.0", "app:-"], ["app:-"]),
        ([f"{HOST}/app:2.0", "--region", "eu-west-1"], ["--region says eu-west-1"]),
    ],
)
def test_bad_input_deletes_nothing(desk: Desk, recorder: Recorder, arguments: list[str], said: list[str]) -> None:
    done = desk.run("image", "rm", *arguments, "--yes")
    assert (done.code, done.out) == (2, "")
    assert all(each in done.err for each in said), done.err
    assert recorder.requests == []
