"""Listing repositories and counting what is in them, through the local ECR."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mypy_boto3_ecr import ECRClient
from mypy_boto3_ecr.type_defs import ImageIdentifierTypeDef

from ecrdrag.cli.repo_count import Census, look_ahead
from ecrdrag.control.repositories import NamePattern, repositories
from ecrdrag.control.usage import Usage, counted, measure
from ecrdrag.errors import TransferError
from ecrdrag.localecr import LocalEcr
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.transfer.lookahead import AHEAD
from tests.crowded import CONFIG, LAYER, crowd
from tests.flow.everyday import Desk
from tests.localecr import ACCOUNT, REGION, Recorder, client, push_image, put_manifest, running
from tests.planes import JOBS, at_once, plane
from tests.refusing import denying, throttling

NAMES = ("aa", "bb", "my/app", "my/empty")
SIZE = 10_037 + len(CONFIG)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ecr(tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    with running(tmp_path / "data", recorder=recorder) as server:
        yield server


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[ECRClient]:
    """Empty repositories, and my/app with four images: untagged, v1 and also, v2, and v3 in the archive."""
    with client(ecr) as made:
        for name in NAMES:
            made.create_repository(repositoryName=name, imageTagMutability="IMMUTABLE" if "/" in name else "MUTABLE")
        push_image(made, "my/app", layers=[b"0" * 10_037])
        for number in (1, 2, 3):
            pushed = push_image(made, "my/app", tag=f"v{number}", layers=[str(number).encode() * 10_037])
            if number == 1:
                put_manifest(made, "my/app", pushed.raw, tag="also")
        archive: ImageIdentifierTypeDef = {"imageTag": "v3"}
        made.update_image_storage_class(repositoryName="my/app", imageId=archive, targetStorageClass="ARCHIVE")
        yield made


@pytest.fixture
def desk(ecr: LocalEcr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(ecr, monkeypatch, capsys)


# The list


def test_a_list_has_what_ecr_describes_and_the_region(api: ECRClient, desk: Desk) -> None:
    found = desk.json("repo", "ls")["repositories"]
    assert [one["repositoryName"] for one in found] == list(NAMES)
    described = api.describe_repositories(repositoryNames=["my/app"])["repositories"][0]
    assert found[2].pop("region") == REGION
    assert found[2].pop("createdAt") == described.pop("createdAt").isoformat().replace("Z", "+00:00")
    assert found[2] == described


def test_a_list_for_programs_has_a_line_for_each_repository(api: ECRClient, desk: Desk) -> None:
    done = desk.run("repo", "ls", "--tsv")
    lines = [line.split("\t") for line in done.out.splitlines()]
    assert [line[:4] for line in lines] == [
        ["aa", "mutable", "manual", "AES256"],
        ["bb", "mutable", "manual", "AES256"],
        ["my/app", "immutable", "manual", "AES256"],
        ["my/empty", "immutable", "manual", "AES256"],
    ]
    assert all(line[4].endswith("+00:00") for line in lines)
    assert done.err == ""


def test_a_pattern_picks_repositories_by_name(api: ECRClient, desk: Desk) -> None:
    assert desk.json("repo", "ls", "my/*", "--query", "repositories[].repositoryName") == ["my/app", "my/empty"]
    assert desk.json("repo", "ls", "pp", "--query", "repositories[].repositoryName") == ["my/app"]
    none = desk.run("repo", "ls", "nothing", "--json")
    assert (none.code, json.loads(none.out)) == (0, {"repositories": []})


def test_a_pattern_that_no_name_fits_is_refused_without_a_call(desk: Desk, recorder: Recorder) -> None:
    done = desk.run("repo", "ls", "My/App")
    assert (done.code, done.out, recorder.requests) == (2, "", [])
    assert "no repository has 'M' in its name" in done.err


def test_each_row_says_its_region_where_several_are_read(ecr: LocalEcr, api: ECRClient, desk: Desk) -> None:
    with client(ecr, region="eu-west-1") as elsewhere:
        elsewhere.create_repository(repositoryName="bb")
    arguments = ("repo", "ls", "bb", "--tsv", "--region", "eu-west-1", "--region", REGION)
    assert [line.split("\t")[:2] for line in desk.run(*arguments).out.splitlines()] == [
        ["eu-west-1", "bb"],
        [REGION, "bb"],
    ]
    counts = desk.run(*arguments, "--count").out.splitlines()
    assert [line.split("\t")[:3] for line in counts] == [["eu-west-1", "bb", "0"], [REGION, "bb", "0"]]
    assert desk.run("repo", "ls", "bb", "--tsv", "--region", "eu-west-1").out.startswith("bb\t")
    assert desk.run("repo", "ls", "bb", "--tsv", "--region", REGION, "--region", REGION).out.startswith("bb\t")


# The count


def test_a_count_has_images_tags_and_bytes_without_the_archive(api: ECRClient, desk: Desk) -> None:
    pushed = max(one["imagePushedAt"] for one in api.describe_images(repositoryName="my/app")["imageDetails"])
    (found,) = desk.json("repo", "ls", "my/app", "--count")["repositories"]
    assert {name: found[name] for name in found if name[-5:] in ("Count", "Bytes", "hedAt")} == {
        "imageCount": 3,
        "taggedImageCount": 2,
        "untaggedImageCount": 1,
        "tagCount": 3,
        "sizeInBytes": 3 * SIZE,
        "lastPushedAt": pushed.isoformat(),
        "archivedImageCount": 1,
        "archivedSizeInBytes": SIZE,
    }
    assert (found["repositoryName"], found["region"]) == ("my/app", REGION)


def test_a_count_ends_with_a_line_for_people_alone(api: ECRClient, desk: Desk) -> None:
    done = desk.run("repo", "ls", "--count")
    assert done.err == "4 repositories, 3 images, 29.5 KiB\n"
    assert [line.split()[:3] for line in done.out.splitlines()] == [
        ["NAME", "IMAGES", "TAGS"],
        ["aa", "0", "0"],
        ["bb", "0", "0"],
        ["my/app", "3", "3"],
        ["my/empty", "0", "0"],
    ]
    assert desk.run("repo", "ls", "--count", "p").err.startswith("2 repositories, 3 images")
    for quiet in ("-q", "--tsv", "--json", "--query=repositories"):
        assert desk.run("repo", "ls", "--count", quiet).err == ""
    assert desk.run("repo", "ls", "my/empty", "--count", "--tsv").out == "my/empty\t0\t0\t0\timmutable\t\n"


def test_a_repository_that_is_deleted_meanwhile_is_left_out(
    api: ECRClient, desk: Desk, recorder: Recorder, ecr: LocalEcr
) -> None:
    def delete_first(request: Request, handler: Handler) -> Answer:
        if request.headers.get("X-Amz-Target", "").endswith(".DescribeImages"):
            recorder.intercept = lambda request, handler: handler(request)
            api.delete_repository(repositoryName="bb")
        return handler(request)

    recorder.intercept = delete_first
    done = desk.run("repo", "ls", "--count", "--tsv", "-v", "-j", "1")
    assert [line.split("\t")[0] for line in done.out.splitlines()] == ["aa", "my/app", "my/empty"]
    assert f"bb in {REGION} is left out: it was deleted meanwhile" in done.err
    assert done.code == 0


def test_what_may_not_be_counted_is_listed_without_counts_and_ends_in_an_error(
    api: ECRClient, desk: Desk, recorder: Recorder
) -> None:
    denying(recorder, "DescribeImages")
    done = desk.run("repo", "ls", "my", "--count")
    assert done.code == 3
    assert [line.split()[:4] for line in done.out.splitlines()[1:]] == [
        ["my/app", "-", "-", "-"],
        ["my/empty", "-", "-", "-"],
    ]
    assert "2 repositories, 0 images, 0 B, 2 not counted" in done.err
    assert f"2 repositories could not be counted: my/app in {REGION}: DescribeImages was refused" in done.err
    assert "not authorized to perform: ecr:DescribeImages" in done.err
    as_json = json.loads(desk.run("repo", "ls", "my/app", "--count", "--json").out)["repositories"]
    assert [as_json[0][name] for name in ("imageCount", "sizeInBytes", "lastPushedAt")] == [None, None, None]


def test_who_may_not_list_repositories_is_told_the_action(desk: Desk, recorder: Recorder) -> None:
    denying(recorder)
    done = desk.run("repo", "ls", "--count")
    assert (done.code, done.out) == (3, "")
    assert "ecr:DescribeRepositories" in done.err


# Many repositories


@pytest.fixture
def crowded(tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    crowd(tmp_path / "crowd", repositories=1200, images=2, tagged=1)
    with running(tmp_path / "crowd", recorder=recorder) as server:
        yield server


def test_many_repositories_are_listed_by_the_thousand_and_counted_as_they_are_read(
    crowded: LocalEcr, recorder: Recorder
) -> None:
    with plane(crowded) as app:
        rows = counted(app, repositories(app))
        first = next(rows)
        assert (first.repository.name, first.usage and first.usage.images) == ("crowd/app-00000", 2)
        assert recorder.count("DescribeRepositories") == 1
        assert recorder.count("DescribeImages") <= JOBS * AHEAD
        rest = list(rows)
    assert recorder.count("DescribeRepositories") == 2
    assert recorder.count("DescribeImages") == 1200
    assert [one.repository.name for one in rest] == [f"crowd/app-{number:05}" for number in range(1, 1200)]
    usages = [one.usage for one in rest if one.usage]
    assert {(one.images, one.untagged, one.tags, one.size) for one in usages} == {
        (2, 1, 1, 2 * (len(LAYER) + len(CONFIG)))
    }
    assert len({one.last_push for one in usages}) == 1199


def test_a_count_that_is_throttled_now_and_then_misses_nothing(crowded: LocalEcr, recorder: Recorder) -> None:
    throttling(recorder, "DescribeImages", times=60)
    throttling(recorder, "DescribeRepositories", times=2)
    with plane(crowded, retry=at_once(100)) as app:
        found = [one.usage.images for one in counted(app, repositories(app, NamePattern("-011"))) if one.usage]
    assert found == [2] * 100


def test_a_count_that_is_throttled_throughout_is_given_up(api: ECRClient, ecr: LocalEcr, recorder: Recorder) -> None:
    throttling(recorder, "DescribeImages")
    with plane(ecr) as app, pytest.raises(TransferError, match=f"aa in {REGION}: DescribeImages .*Rate exceeded"):
        list(counted(app, repositories(app)))


def test_the_images_of_one_repository_are_counted_by_the_thousand(tmp_path: Path, recorder: Recorder) -> None:
    (name,) = crowd(tmp_path / "one", repositories=1, images=2500, tagged=2000)
    with running(tmp_path / "one", recorder=recorder) as server, plane(server) as app:
        found = measure(app, name)
    assert (found.images, found.untagged, found.tags) == (2500, 500, 2000)
    assert recorder.count("DescribeImages") == 3


def test_nothing_is_in_an_empty_repository(ecr: LocalEcr, api: ECRClient) -> None:
    with plane(ecr) as app:
        assert measure(app, "my/empty") == Usage()
    with plane(ecr, account=ACCOUNT) as app:
        assert measure(app, "my/app").everything == 4


# Its progress


class Heard:
    """Progress that notes what it hears."""

    def __init__(self) -> None:
        self.total, self.done = 0, 0
        self.expected = threading.Event()

    def expect(self, things: int) -> None:
        self.total += things
        self.expected.set()

    def advance(self, things: int = 1) -> None:
        self.done += things


def test_the_progress_of_a_count_knows_how_many_there_will_be_and_how_many_are_done(crowded: LocalEcr) -> None:
    heard, census = Heard(), Census()
    with plane(crowded) as app:
        look_ahead(app, NamePattern("-011"), heard)
        assert heard.expected.wait(20)
        assert (heard.total, heard.done) == (100, 0)
        watched = census.watch(counted(app, repositories(app, NamePattern("-0119"))), heard)
        next(watched)
        assert heard.done == 1
        assert len(list(watched)) == 9
    assert (heard.done, census.summary()) == (10, "10 repositories, 20 images, 1.3 MiB")


def test_who_sees_no_progress_asks_for_no_list_of_their_own(api: ECRClient, desk: Desk, recorder: Recorder) -> None:
    for more in (("--progress", "none"), ("-q",)):
        recorder.requests.clear()
        assert desk.run("repo", "ls", "--count", *more).code == 0
        assert recorder.count("DescribeRepositories") == 1


def test_a_count_with_a_bar_prints_the_same_and_asks_how_many_there_are(
    api: ECRClient, desk: Desk, recorder: Recorder
) -> None:
    plain = desk.run("repo", "ls", "--count", "--tsv", "--progress", "none")
    recorder.requests.clear()
    twice = threading.Event()

    def notice(request: Request, handler: Handler) -> Answer:
        if recorder.count("DescribeRepositories") == 2:
            twice.set()
        return handler(request)

    recorder.intercept = notice
    barred = desk.run("repo", "ls", "--count", "--tsv", "--progress", "bar")
    assert (barred.code, barred.out) == (0, plain.out)
    assert twice.wait(20)
