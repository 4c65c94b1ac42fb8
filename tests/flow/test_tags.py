"""The command `tags`: in ECR by the API and over /v2/, and in any other registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ecrdrag.localecr import LocalEcr, Settings
from tests import kinds
from tests.flow.everyday import Desk
from tests.localecr import ACCOUNT, REGION, Recorder, client, running
from tests.refusing import allowing, denying
from tests.registry import password_of

HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
ARN = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/my/app"
NEWEST = kinds.greeter("amd64", "newest")
OLDEST = kinds.greeter("amd64", "oldest")
BY_TIME = ["0.9", "2.0", "1.10", "1.9", "latest"]
BY_VERSION = ["2.0", "1.10", "1.9", "0.9", "latest"]


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
    settings = Settings(region=REGION, clock_skew=10**10)
    with running(tmp_path_factory.mktemp("ecr"), settings, recorder=recorder, clock=Clock()) as made:
        with client(made) as api:
            for name in ("my/app", "empty", "docker.io/library/redis"):
                api.create_repository(repositoryName=name)
            kinds.put(api, "my/app", OLDEST, "1.9", "latest", "1.10", "2.0")
            kinds.put(api, "my/app", NEWEST, "0.9")
            kinds.put(api, "my/app", kinds.signature(NEWEST))
            kinds.put(api, "docker.io/library/redis", NEWEST, "cached")
        yield made


@pytest.fixture
def desk(
    ecr: LocalEcr, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    recorder.requests.clear()
    yield Desk(ecr, monkeypatch, capsys)
    allowing(recorder)


def elsewhere(ecr: LocalEcr) -> str:
    """Name the server as a registry that isn't ECR."""
    return ecr.endpoint.removeprefix("http://")


@pytest.mark.parametrize("name", ["my/app", ARN, f"ecr.aws/{ARN}", f"{HOST}/my/app", f"https://{HOST}/my/app"])
def test_in_ecr_tags_are_plain_lines_newest_image_first_and_then_as_versions(
    desk: Desk, recorder: Recorder, name: str
) -> None:
    done = desk.run("tags", name)
    assert (done.code, done.out.splitlines(), done.err) == (0, BY_TIME, "")
    assert set(recorder.requests) == {"DescribeImages"}


def test_json_and_tabs_say_which_image_and_when_it_came(desk: Desk) -> None:
    told = desk.json("tags", "my/app")["tags"]
    assert [one["tag"] for one in told] == BY_TIME
    assert told[0].keys() == {"tag", "digest", "pushedAt", "region"}
    assert (told[0]["digest"], told[0]["region"]) == (str(NEWEST.digest), REGION)
    assert {one["digest"] for one in told[1:]} == {str(OLDEST.digest)}
    assert told[0]["pushedAt"] > told[1]["pushedAt"] > "2023-11-14T22:13:20"
    lines = desk.run("tags", "my/app", "--tsv").out.splitlines()
    assert lines == ["\t".join((one["tag"], one["digest"], one["pushedAt"])) for one in told]
    assert desk.run("tags", "my/app", "--query", "tags[0].tag").out == '"0.9"\n'


@pytest.mark.parametrize("name", ["my/app", f"{HOST}/my/app"])
def test_over_v2_ecr_tells_no_times_and_versions_come_highest_first(desk: Desk, recorder: Recorder, name: str) -> None:
    done = desk.run("tags", name, "--api", "registry")
    assert (done.code, done.out.splitlines()) == (0, BY_VERSION)
    assert recorder.count("DescribeImages") == 0
    assert recorder.count("GET /v2/my/app/tags/list") >= 1


def test_at_a_registry_that_is_named_by_its_host_only_v2_is_spoken(
    desk: Desk, ecr: LocalEcr, recorder: Recorder
) -> None:
    login, password = ("-u", "AWS", "--password-stdin"), password_of(ecr)
    recorder.requests.clear()
    done = desk.run("tags", f"{elsewhere(ecr)}/my/app", *login, stdin=password)
    assert (done.code, done.out.splitlines()) == (0, BY_VERSION), done.err
    document = desk.json("tags", f"{elsewhere(ecr)}/my/app", *login, stdin=password)
    assert document == {"tags": [{"tag": tag} for tag in BY_VERSION]}
    tabs = desk.run("tags", f"{elsewhere(ecr)}/my/app", "--tsv", *login, stdin=password)
    assert tabs.out.splitlines() == BY_VERSION
    assert all(request.startswith("GET /v2/") for request in recorder.requests)


def test_a_password_that_was_typed_is_asked_about_over_v2_at_ecr_too(
    desk: Desk, ecr: LocalEcr, recorder: Recorder
) -> None:
    done = desk.run("tags", "my/app", "-u", "AWS", "--password-stdin", "--plain-http", stdin="wr0ng-password")
    assert done.code != 0
    assert "wr0ng" not in done.err
    assert recorder.count("DescribeImages") == 0


def test_a_cached_repository_that_looks_like_a_host_is_named_by_its_arn(desk: Desk) -> None:
    arn = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/docker.io/library/redis"
    assert desk.run("tags", arn).out == "cached\n"


def test_a_repository_without_a_tag_has_no_lines(desk: Desk) -> None:
    assert (desk.run("tags", "empty").out, desk.json("tags", "empty")) == ("", {"tags": []})
    assert desk.run("tags", "empty", "--api", "registry").out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nope"], 4, ["nope in us-west-2", "`ecrdrag repo ls`"]),
        (["nope", "--api", "registry"], 4, ["the tags of nope"]),
        (["my/app:1"], 2, ["names an image", "leave the tag and the digest out"]),
        ([f"{HOST}/my/app:1"], 2, ["names an image"]),
        ([f"docker.io/library/redis@{NEWEST.digest}"], 2, ["names an image"]),
        (["docker.io/library/redis", "--region", "us-east-1"], 2, ["docker.io is no private registry", "ARN"]),
        (["quay.io/a/b", "--registry-id", ACCOUNT], 2, ["--registry-id"]),
        (["quay.io/a/b", "--api", "ecr"], 2, ["quay.io is reached over /v2/ alone"]),
        (["my/app", "--api", "ecr", "-u", "me"], 2, ["takes no --username"]),
        (["my/app", "--region", "nowhere"], 2, ["no region such as"]),
        (["My/app"], 2, ["my/app"]),
        ([f"{HOST}/my/app", "--region", "eu-west-1"], 2, ["--region says eu-west-1"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_goes_wrong_is_said_with_what_to_do(desk: Desk, arguments: list[str], code: int, said: list[str]) -> None:
    done = desk.run("tags", *arguments)
    assert (done.code, done.out) == (code, "")
    assert all(each in done.err for each in said), done.err


def test_who_may_not_is_told_which_permission_is_missing(desk: Desk, recorder: Recorder) -> None:
    denying(recorder, "DescribeImages")
    done = desk.run("tags", "my/app")
    assert (done.code, "ecr:DescribeImages" in done.err) == (3, True)


def test_a_registry_that_wants_a_login_is_logged_in_to_by_another_command(desk: Desk, ecr: LocalEcr) -> None:
    done = desk.run("tags", f"{elsewhere(ecr)}/my/app")
    assert (done.code, done.out) == (3, "")
    assert f"ecrdrag login {elsewhere(ecr)}" in done.err
