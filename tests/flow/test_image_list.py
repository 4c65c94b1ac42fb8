"""The commands `image ls` and `image show` over a local ECR with every kind of image in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import pytest

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from tests import kinds
from tests.flow.everyday import Desk
from tests.localecr import ACCOUNT, REGION, Recorder, client, running
from tests.refusing import allowing, denying
from tests.schema1_images import hello_schema1, put_old_image

APP = kinds.greeter("amd64", "hello")
INDEX = kinds.buildx_index()
SIGNATURE = kinds.signature(APP)
CHART = kinds.helm_chart()
COLD = kinds.greeter("arm64", "in the archive")
OLD = hello_schema1()
ARN = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/my/app"
ELSEWHERE = "eu-west-1"


class Clock:
    """A second goes by each time that somebody looks."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def ecr(tmp_path_factory: pytest.TempPathFactory, recorder: Recorder) -> Iterator[LocalEcr]:
    """Run a local ECR with images, which come in this order, in two regions."""
    data = tmp_path_factory.mktemp("ecr")
    with running(data, Settings(region=REGION, clock_skew=10**10), recorder=recorder, clock=Clock()) as made:
        with client(made) as api:
            api.create_repository(repositoryName="my/app")
            api.create_repository(repositoryName="empty")
            kinds.put(api, "my/app", APP, "1.0", "latest")
            kinds.put(api, "my/app", SIGNATURE)
            put_old_image(api, "my/app", OLD, "old")
            kinds.put(api, "my/app", INDEX, "multi")
            kinds.put(api, "my/app", CHART, "chart")
            kinds.put(api, "my/app", COLD, "cold")
            api.update_image_storage_class(
                repositoryName="my/app", imageId={"imageTag": "cold"}, targetStorageClass="ARCHIVE"
            )
        with client(made, region=ELSEWHERE) as api:
            api.create_repository(repositoryName="my/app")
            kinds.put(api, "my/app", APP, "there")
        yield made


@pytest.fixture
def desk(
    ecr: LocalEcr, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    yield Desk(ecr, monkeypatch, capsys)
    allowing(recorder)


def cells(out: str, place: int) -> list[str]:
    return [line.split("\t")[place] for line in out.splitlines()]


def test_images_are_listed_newest_first_with_people_s_words_for_what_they_are(desk: Desk) -> None:
    out = desk.run("image", "ls", "my/app", "--tagged", "--tsv").out
    assert [line.split("\t")[:4] for line in out.splitlines()] == [
        ["chart", str(CHART.digest), str(sum(len(blob.content) for blob in CHART.blobs.values())), "helm chart"],
        ["multi", str(INDEX.digest), cells(out, 2)[1], "index"],
        ["old", cells(out, 1)[2], cells(out, 2)[2], "image (schema 1)"],
        ["1.0,latest", str(APP.digest), str(sum(len(blob.content) for blob in APP.blobs.values())), "image"],
    ]
    pushed = cells(out, 4)
    assert pushed == sorted(pushed, reverse=True)
    assert pushed[0].startswith("2023-11-14T22:")


def test_what_has_no_tag_is_listed_by_itself(desk: Desk) -> None:
    out = desk.run("image", "ls", ARN, "--untagged", "--tsv").out
    assert set(cells(out, 0)) == {""}
    children = [str(each.digest) for each in INDEX.documents[:-1]]
    assert sorted(cells(out, 1)) == sorted([str(SIGNATURE.digest), *children])


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("size", lambda row: -int(row[2])),
        ("none", lambda row: row[1]),  # the local ECR's order
        ("name", lambda row: (not row[0], row[0] != "1.0,latest", row[0] or row[1])),
    ],
)
def test_they_are_put_in_another_order_on_demand(desk: Desk, order: str, key: Callable[[list[str]], object]) -> None:
    rows = [line.split("\t") for line in desk.run("image", "ls", "my/app", "--sort", order, "--tsv").out.splitlines()]
    assert len(rows) == 9
    assert rows == sorted(rows, key=key)  # type: ignore[arg-type]


def test_what_is_in_the_archive_is_listed_on_demand_with_a_status(desk: Desk) -> None:
    assert "cold" not in desk.run("image", "ls", "my/app").out
    assert "STATUS" not in desk.run("image", "ls", "my/app").out
    archived = desk.run("image", "ls", "my/app", "--status", "archived").out.splitlines()
    assert archived[0].split() == ["TAGS", "DIGEST", "SIZE", "TYPE", "PUSHED", "LAST", "PULL", "STATUS"]
    assert (archived[1].split()[0], archived[1].split()[-1]) == ("cold", "archived")
    assert len(archived) == 2
    out = desk.run("image", "ls", "my/app", "--status", "any", "--tsv").out
    assert cells(out, 6).count("active") == 9
    assert cells(out, 6).count("archived") == 1


def test_json_is_what_describe_images_says_and_the_region(desk: Desk, ecr: LocalEcr) -> None:
    told = desk.json("image", "ls", "my/app", "--tagged")["imageDetails"]
    with client(ecr) as api:
        known = api.describe_images(repositoryName="my/app", filter={"tagStatus": "TAGGED"})["imageDetails"]
    wanted = {one["imageDigest"]: one for one in known}
    assert len(told) == 4
    for entry in told:
        described = wanted[entry["imageDigest"]]
        assert entry["imagePushedAt"] == described["imagePushedAt"].astimezone(timezone.utc).isoformat()
        assert {**described, "region": REGION}.keys() == entry.keys()
        assert all(entry[name] == value for name, value in described.items() if not isinstance(value, datetime))


def test_several_regions_are_read_and_told_apart(desk: Desk) -> None:
    both = desk.run("image", "ls", "my/app", "--tagged", "--region", REGION, "--region", ELSEWHERE, "--tsv").out
    assert cells(both, 6) == [REGION] * 4 + [ELSEWHERE]
    everywhere = desk.run("image", "ls", "my/app", "--tagged", "--region", "all", "--tsv")
    assert (everywhere.code, everywhere.err) == (0, ""), everywhere.err
    assert sorted(set(cells(everywhere.out, 6))) == sorted([REGION, ELSEWHERE])


def test_a_name_that_says_where_it_is_is_read_there_alone(desk: Desk) -> None:
    there = desk.run("image", "ls", ARN.replace(REGION, ELSEWHERE), "--region", "all", "--tsv").out
    assert cells(there, 0) == ["there"]
    assert there.count("\t") == 5


def test_an_empty_repository_is_no_failure(desk: Desk) -> None:
    assert desk.json("image", "ls", "empty") == {"imageDetails": []}
    assert desk.run("image", "ls", "empty", "--tsv").out == ""


def test_an_index_is_shown_with_its_platforms_and_what_is_attested(desk: Desk) -> None:
    (entry,) = desk.json("image", "show", "my/app:multi")["imageDetails"]
    assert entry["imageDigest"] == str(INDEX.digest)
    amd64, arm64 = (str(INDEX.of(each).digest) for each in ("amd64", "arm64"))
    assert [(one["platform"], one["digest"]) for one in entry["platforms"]][:2] == [
        ("linux/amd64", amd64),
        ("linux/arm64", arm64),
    ]
    assert "layers" not in entry
    shown = desk.run("image", "show", "my/app:multi").out.splitlines()
    assert f"  linux/arm64:  {arm64}" in shown
    assert sum(line.startswith("  attestation:  sha256:") and line.count("sha256:") == 2 for line in shown) == 1


def test_an_image_is_shown_with_its_layers_and_what_is_about_it(desk: Desk) -> None:
    (entry,) = desk.json("image", "show", f"{ARN}@{APP.digest}")["imageDetails"]
    (layer,) = entry["layers"]
    assert layer["size"] == len(
        next(blob for digest, blob in APP.blobs.items() if str(digest) == layer["digest"]).content
    )
    (referrer,) = entry["referrers"]
    assert (referrer["digest"], referrer["artifactType"]) == (str(SIGNATURE.digest), kinds.SIGNATURE)
    assert entry["region"] == REGION
    shown = desk.run("image", "show", "my/app:1.0").out
    assert f"  signature:  {SIGNATURE.digest}" in shown
    assert "Tags:           1.0, latest" in shown


def test_a_signature_is_shown_with_what_it_is_about(desk: Desk) -> None:
    shown = desk.run("image", "show", f"my/app@{SIGNATURE.digest}").out
    assert f"Subject:        {APP.digest}" in shown
    assert "Type:           signature" in shown


def test_a_schema_1_image_is_shown_with_layers_whose_sizes_nobody_says(desk: Desk) -> None:
    (entry,) = desk.json("image", "show", "my/app:old")["imageDetails"]
    assert entry["layers"]
    assert all(one.keys() == {"digest"} for one in entry["layers"])


def test_without_a_tag_latest_is_shown_and_that_is_said(desk: Desk) -> None:
    done = desk.run("image", "show", "my/app", "--query", "imageDetails[0].imageDigest")
    assert done.out == f'"{APP.digest}"\n'
    assert "no tag and no digest given: taking :latest" in done.err


def test_what_is_in_the_archive_is_shown_without_what_it_is_made_of(desk: Desk) -> None:
    (entry,) = desk.json("image", "show", "my/app:cold")["imageDetails"]
    assert entry["imageStatus"] == "ARCHIVED"
    assert "layers" not in entry
    assert "Status:         archived" in desk.run("image", "show", "my/app:cold").out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ls", "nope"], 4, ["nope in us-west-2", "`ecrdrag repo ls`"]),
        (["ls", "my/app:1.0"], 2, ["my/app:1.0 names an image", "`ecrdrag image show my/app:1.0`"]),
        (["ls", "my/app", "--region", "us-west-2", "--region", "eu-west-3"], 4, ["my/app in eu-west-3"]),
        (["ls", "nope", "--region", "all"], 4, ["RepositoryNotFoundException", "`ecrdrag repo ls`"]),
        (["ls", "my/app", "--sort", "age"], 2, ["--sort"]),
        (["ls", "my/app", "--tagged", "--untagged"], 2, ["not allowed with"]),
        (
            ["show", "my/app:nope"],
            4,
            ["my/app in us-west-2: there is no image with tag nope", "`ecrdrag image ls my/app --region us-west-2`"],
        ),
        (["show", f"my/app:nope@{APP.digest}"], 4, [f"there is no image {APP.digest} with tag nope"]),
        (["show", f"{ARN}:nope"], 4, [".amazonaws.com/my/app` lists what there is"]),
        (["show", "nope:1"], 4, ["nope in us-west-2", "`ecrdrag repo ls`"]),
        (["show", "my/app@sha256:12"], 2, ["64 hex digits"]),
        (["show", "my/app:1.0", "--query", "imageDetails["], 2, ["--query"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0] in ("ls", "show") else None,
)
def test_what_goes_wrong_is_said_with_what_to_do(desk: Desk, arguments: list[str], code: int, said: list[str]) -> None:
    done = desk.run("image", *arguments)
    assert done.code == code
    assert all(each in done.err for each in said), done.err


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("DescribeImages", "ecr:DescribeImages"),
        ("BatchGetImage", "ecr:BatchGetImage"),
        ("ListImageReferrers", "ecr:ListImageReferrers"),  # as the message of whoever refuses has it
    ],
)
def test_who_may_not_is_told_which_permission_is_missing(
    desk: Desk, recorder: Recorder, operation: str, action: str
) -> None:
    denying(recorder, operation)
    done = desk.run("image", "show", "my/app:1.0")
    assert (done.code, done.out) == (3, "")
    assert action in done.err


def test_a_registry_without_lists_of_referrers_shows_the_rest(desk: Desk, recorder: Recorder) -> None:
    before = recorder.intercept

    def answer(request: Request, handler: Handler) -> Answer:
        if request.headers.get("X-Amz-Target", "").endswith("ListImageReferrers"):
            return Answer(400, {}, b'{"__type":"UnknownOperationException"}', "no such operation")
        return before(request, handler)

    recorder.intercept = answer
    done = desk.run("image", "show", "my/app:1.0")
    assert (done.code, "what refers to it isn't known" in done.err) == (0, True)
    assert "Referrers:      -" in done.out
