"""A list from several regions: in order, whole as far as regions answer, and what is said of those that don't."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecrdrag import errors
from ecrdrag.cli.main import Parser
from ecrdrag.cli.planes import Planes, add_plane_arguments
from ecrdrag.control.plane import Plane
from ecrdrag.ecr_name import EcrName
from ecrdrag.localecr import LocalEcr
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from tests.localecr import ACCOUNT, Recorder, client, running

REGIONS = ("us-west-2", "eu-west-1", "ap-south-1")
SCOPE = re.compile(r"Credential=[^/]+/[0-9]+/(?P<region>[a-z0-9-]+)/")
NOT_ENABLED = ("UnrecognizedClientException", "The security token included in the request is invalid.")
DENIED = ("AccessDeniedException", "no permission")


class There:
    """A local ECR with repositories in three regions, which refuses calls of regions as a test wishes."""

    def __init__(self, ecr: LocalEcr, recorder: Recorder) -> None:
        self.ecr, self.asked = ecr, list[str]()
        self.refusal: Callable[[str], tuple[str, str] | None] = lambda region: None
        recorder.intercept = self._answer

    def _answer(self, request: Request, handler: Handler) -> Answer:
        scope = SCOPE.search(request.headers.get("Authorization", ""))
        region = scope["region"] if scope else ""
        self.asked.append(region)
        if refusal := self.refusal(region):
            request.body.read_all(10_000)
            headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": "1"}
            return Answer(400, headers, json.dumps({"__type": refusal[0], "message": refusal[1]}).encode(), "refused")
        return handler(request)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalEcr, Recorder]]:
    recorder = Recorder()
    with running(tmp_path_factory.mktemp("ecr"), recorder=recorder) as ecr:
        for region in REGIONS:
            with client(ecr, region=region) as api:
                for name in ("aa", "bb"):
                    api.create_repository(repositoryName=f"{region}/{name}")
        with client(ecr, region="eu-west-1") as api:
            api.create_repository(repositoryName="app")
        yield ecr, recorder


@pytest.fixture
def there(stock: tuple[LocalEcr, Recorder], monkeypatch: pytest.MonkeyPatch) -> There:
    for name, value in stock[0].environment.items():
        monkeypatch.setenv(name, value)
    return There(*stock)


def planes(*given: str) -> Planes:
    parser = Parser(prog="ecrdrag any")
    add_plane_arguments(parser, several=True)
    return Planes(parser.parse_args([one for each in given for one in ("--region", each)]))


def names(plane: Plane) -> Iterator[str]:
    for one in plane.pages("DescribeRepositories", "repositories", page=1):
        yield f"{plane.region}: {one['repositoryName']}"


def images(plane: Plane) -> Iterator[str]:
    for one in plane.pages("DescribeImages", "imageDetails", repositoryName="app"):
        yield str(one["imageDigest"])
    yield f"{plane.region}: all"


def in_all(*regions: str) -> list[str]:
    return [f"{region}: {name}" for region in regions for name in _names_in(region)]


def _names_in(region: str) -> list[str]:
    return [*(["app"] if region == "eu-west-1" else []), f"{region}/aa", f"{region}/bb"]


def test_rows_come_region_by_region_as_they_were_named(there: There) -> None:
    assert list(planes("ap-south-1", "us-west-2", "eu-west-1").across(names)) == in_all(
        "ap-south-1", "us-west-2", "eu-west-1"
    )


def test_all_reads_every_region_of_the_partition(there: There) -> None:
    found = list(planes("all").across(names))
    assert sorted(found) == sorted(in_all(*REGIONS))
    assert len(set(there.asked)) > 20


def test_first_pages_of_regions_are_fetched_at_once(there: There) -> None:
    together = threading.Barrier(3)

    def read(plane: Plane) -> Iterator[str]:
        together.wait(10)
        yield from names(plane)

    assert len(list(planes(*REGIONS).across(read))) == 7


def test_a_region_that_fails_is_told_and_costs_the_others_nothing(
    there: There, caplog: pytest.LogCaptureFixture
) -> None:
    there.refusal = lambda region: DENIED if region in ("us-west-2", "ap-south-1") else None
    with pytest.raises(errors.AuthError) as caught:
        list(planes(*REGIONS).across(names))
    assert str(caught.value) == "what is in us-west-2, ap-south-1 could not be read"
    assert "ecr:DescribeRepositories" in caught.value.hint
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [line.partition(":")[0] for line in told] == ["ECR in us-west-2", "ECR in ap-south-1"]


def test_rows_of_other_regions_come_before_the_failure_is_raised(there: There) -> None:
    there.refusal = lambda region: DENIED if region == "us-west-2" else None
    rows = planes("us-west-2", "eu-west-1").across(names)
    assert [next(rows) for _ in range(3)] == in_all("eu-west-1")
    with pytest.raises(errors.AuthError):
        next(rows)


def test_a_region_that_fails_in_the_middle_keeps_its_first_rows(there: There) -> None:
    def read(plane: Plane) -> Iterator[str]:
        yield plane.region
        if plane.region == "us-west-2":
            raise errors.TransferError("cut")

    rows = planes("us-west-2", "eu-west-1").across(read)
    assert [next(rows), next(rows)] == ["us-west-2", "eu-west-1"]
    with pytest.raises(errors.TransferError, match=r"^what is in us-west-2 could not be read$"):
        next(rows)


def test_with_all_regions_that_are_not_enabled_are_left_out(there: There, caplog: pytest.LogCaptureFixture) -> None:
    there.refusal = lambda region: None if region in REGIONS else NOT_ENABLED
    assert sorted(planes("all").across(names)) == sorted(in_all(*REGIONS))
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_with_all_and_keys_that_are_wrong_everywhere_that_is_the_failure(there: There) -> None:
    there.refusal = lambda region: NOT_ENABLED
    with pytest.raises(errors.AuthError, match="security token included in the request is invalid"):
        list(planes("all").across(names))


def test_a_region_that_was_named_and_is_not_enabled_is_a_failure(there: There) -> None:
    there.refusal = lambda region: NOT_ENABLED if region == "ap-south-1" else None
    with pytest.raises(errors.AuthError, match="what is in ap-south-1 could not be read"):
        list(planes(*REGIONS).across(names))


def test_with_all_regions_without_the_repository_are_left_out_and_named_ones_are_not(there: There) -> None:
    assert list(planes("all").across(images)) == ["eu-west-1: all"]
    with pytest.raises(errors.RepositoryNotFoundError, match=r"^what is in us-west-2, ap-south-1 could not be read$"):
        list(planes(*REGIONS).across(images))


def test_a_repository_that_no_region_has_is_not_found(there: There) -> None:
    def read(plane: Plane) -> Iterator[object]:
        yield plane.call("ListImages", repositoryName="no/such")

    with pytest.raises(errors.RepositoryNotFoundError, match="no/such"):
        list(planes("all").across(read))


def test_a_name_with_a_region_is_read_in_that_alone(there: There) -> None:
    name = EcrName.parse(f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/app")
    assert list(planes("all").across(images, name)) == ["eu-west-1: all"]
    assert list(planes("eu-west-1").across(images, EcrName.parse("app"))) == ["eu-west-1: all"]
    assert set(there.asked) == {"eu-west-1"}


def test_who_reads_no_further_asks_no_further(there: There) -> None:
    rows = planes(*REGIONS).across(names)
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    asked = len(there.asked)
    assert asked <= len(REGIONS)


def test_a_bug_in_reading_is_no_failure_of_a_region(there: There) -> None:
    def read(plane: Plane) -> Iterator[str]:
        yield str(1 // (plane.region != "eu-west-1"))

    with pytest.raises(ZeroDivisionError):
        list(planes(*REGIONS).across(read))


def test_the_endpoint_comes_from_the_environment_or_the_option(
    there: There, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert list(planes("eu-west-1").across(names)) == in_all("eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", "http://127.0.0.1:1")
    parser = Parser(prog="ecrdrag any")
    add_plane_arguments(parser)
    by_option = parser.parse_args(["--endpoint-url", there.ecr.endpoint, "--region", "eu-west-1"])
    assert list(names(Planes(by_option).of())) == in_all("eu-west-1")
