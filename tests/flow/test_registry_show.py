"""`ecrdrag registry show`: all that is to be known of a registry, whatever of it may be read."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest

from ecrdrag.cli.main import main
from ecrdrag.control.registry import SETTINGS, registry
from ecrdrag.errors import AuthError, TransferError
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from tests.flow.ruled import HOST, OTHER, Ruled, ruled
from tests.flow.scripts import Run, environment_of
from tests.localecr import ACCOUNT, REGION
from tests.planes import at_once, plane
from tests.refusing import denying, throttling
from tests.screens import check_golden, screen

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "replicate",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"},
            "Action": ["ecr:CreateRepository", "ecr:ReplicateImage"],
            "Resource": [f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/*"],
        }
    ],
}
PARTS = {
    "DescribeRegistry": "replicationConfiguration",
    "GetRegistryScanningConfiguration": "scanningConfiguration",
    "GetRegistryPolicy": "policy",
    "DescribePullThroughCacheRules": "pullThroughCacheRuleCount",
    "DescribeRepositoryCreationTemplates": "repositoryCreationTemplateCount",
}


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Ruled]:
    with ruled(tmp_path / "ecr") as there:
        yield there


@pytest.fixture
def here(there: Ruled, monkeypatch: pytest.MonkeyPatch) -> Ruled:
    """Let commands of this process speak to it."""
    for name, value in there.ecr.environment.items():
        monkeypatch.setenv(name, value)
    return there


def show(capsys: pytest.CaptureFixture[str], *arguments: str) -> Run:
    code = main(["registry", "show", *arguments])
    said = capsys.readouterr()
    return Run(code, said.out, said.err)


def furnish(there: Ruled) -> None:
    """Give the registry one of everything."""
    api = there.api
    destinations = [{"region": "eu-west-1", "registryId": ACCOUNT}, {"region": "us-east-1", "registryId": OTHER}]
    api.put_replication_configuration(replicationConfiguration={"rules": [{"destinations": destinations}] * 2})  # type: ignore[arg-type,misc]
    rules = [{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [{"filter": "*", "filterType": "WILDCARD"}]}]
    api.put_registry_scanning_configuration(scanType="BASIC", rules=rules)  # type: ignore[arg-type]
    api.put_registry_policy(policyText=json.dumps(POLICY))
    api.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    for name in ("quay", "team"):
        api.create_pull_through_cache_rule(ecrRepositoryPrefix=name, upstreamRegistryUrl="quay.io")
    api.create_repository_creation_template(prefix="team", appliedFor=["PULL_THROUGH_CACHE"])


def test_a_bare_registry_has_nothing_but_its_defaults(there: Ruled) -> None:
    found = registry(there.plane)
    assert (found.account, found.region, found.host) == (ACCOUNT, REGION, HOST)
    assert found.document["policy"] is None
    assert (found.destinations, found.scanning) == ([], "BASIC")
    assert (found.document["pullThroughCacheRuleCount"], found.document["repositoryCreationTemplateCount"]) == (0, 0)
    assert found.refusals == {}


def test_a_registry_is_described_as_the_api_has_it_and_more(there: Ruled) -> None:
    furnish(there)
    found = registry(there.plane).document
    described = there.api.describe_registry()
    assert found["registryId"] == described["registryId"]
    assert found["replicationConfiguration"] == described["replicationConfiguration"]
    scanning = there.api.get_registry_scanning_configuration()["scanningConfiguration"]
    assert found["scanningConfiguration"] == scanning
    assert found["policy"] == json.loads(there.api.get_registry_policy()["policyText"])
    settings = {name: there.api.get_account_setting(name=name)["value"] for name in SETTINGS}
    assert found["accountSettings"] == settings
    assert settings["BLOB_MOUNTING"] == "ENABLED"
    assert (found["pullThroughCacheRuleCount"], found["repositoryCreationTemplateCount"]) == (2, 1)
    assert registry(there.plane).destinations == ["eu-west-1", f"{OTHER} in us-east-1"]


def test_the_account_settings_are_those_of_the_model() -> None:
    shape = botocore.session.Session().get_service_model("ecr").operation_model("GetAccountSetting").input_shape
    assert shape is not None
    assert set(re.findall(r"[A-Z]+(?:_[A-Z]+)+", shape.members["name"].documentation)) == set(SETTINGS)


@pytest.mark.parametrize(("operation", "part"), PARTS.items())
def test_a_part_that_may_not_be_read_is_null_and_the_rest_is_there(there: Ruled, operation: str, part: str) -> None:
    furnish(there)
    whole = registry(there.plane)
    denying(there.recorder, operation)
    found = registry(there.plane)
    assert list(found.refusals) == [part]
    assert f"ecr:{operation}" in found.refusals[part].hint
    lost = {part} if operation != "DescribeRegistry" else {part, "registryId", "registryUri", "endpoints"}
    assert {name for name, value in found.document.items() if value != whole.document[name]} == lost
    assert found.document[part] is None


def test_settings_that_may_not_be_read_are_null_one_by_one(there: Ruled) -> None:
    denying(there.recorder, "GetAccountSetting")
    found = registry(there.plane)
    assert found.document["accountSettings"] == dict.fromkeys(SETTINGS)
    assert set(found.refusals) == set(SETTINGS)


def test_who_may_read_nothing_is_told_so(there: Ruled) -> None:
    denying(there.recorder)
    with pytest.raises(AuthError) as caught:
        registry(there.plane)
    assert "ecr:DescribeRegistry" in caught.value.hint


def test_keys_that_do_not_hold_are_no_matter_of_single_parts(there: Ruled) -> None:
    with plane(there.ecr, keys=("AKIAUNKNOWN", "s3cret")) as stranger, pytest.raises(AuthError, match="Unrecognized"):
        registry(stranger)


def test_throttling_throughout_is_given_up(there: Ruled) -> None:
    throttling(there.recorder, "GetRegistryPolicy")
    with plane(there.ecr, retry=at_once(3)) as busy, pytest.raises(TransferError, match="GetRegistryPolicy"):
        registry(busy)


def answering(there: Ruled, operation: str, status: int, document: dict[str, object]) -> None:
    """Let the server answer an operation otherwise."""

    def answer(request: Request, handler: Handler) -> Answer:
        if not request.headers.get("X-Amz-Target", "").endswith(f".{operation}"):
            return handler(request)
        request.body.read_all(10_000)
        headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": "1"}
        return Answer(status, headers, json.dumps(document).encode())

    there.recorder.intercept = answer


def test_a_policy_that_is_no_json_is_given_as_it_is(there: Ruled) -> None:
    answering(there, "GetRegistryPolicy", 200, {"registryId": ACCOUNT, "policyText": "no {json"})
    assert registry(there.plane).document["policy"] == "no {json"


def test_a_setting_that_a_region_does_not_know_is_null(there: Ruled) -> None:
    answering(there, "GetAccountSetting", 400, {"__type": "ValidationException", "message": "no such setting"})
    found = registry(there.plane)
    assert found.document["accountSettings"] == dict.fromkeys(SETTINGS)
    assert found.refusals == {}


def test_another_accounts_registry_is_refused(here: Ruled, capsys: pytest.CaptureFixture[str]) -> None:
    done = show(capsys, "--registry-id", OTHER)
    assert (done.code, done.out) == (3, "")
    assert f"{OTHER} in {REGION}: ECR describes one's own registry alone" in done.err
    assert f"of account {ACCOUNT}" in done.err
    assert show(capsys, "--registry-id", ACCOUNT).code == 0
    denying(here.recorder, "DescribeRegistry")
    done = show(capsys, "--registry-id", ACCOUNT)
    assert (done.code, "ecr:DescribeRegistry" in done.err) == (3, True)


def test_json_of_one_region_has_the_members_of_describe_registry(
    here: Ruled, capsys: pytest.CaptureFixture[str]
) -> None:
    furnish(here)
    found = json.loads(show(capsys, "--json").out)
    described = here.api.describe_registry()
    assert {name: found[name] for name in ("registryId", "replicationConfiguration")} == {
        name: value for name, value in described.items() if name != "ResponseMetadata"
    }
    assert found["registryUri"] == found["endpoints"]["registry"] == HOST
    assert show(capsys, "--query", "policy.Statement[0].Sid", "--tsv").out == "replicate\n"


def test_json_of_several_regions_is_a_list(here: Ruled, capsys: pytest.CaptureFixture[str]) -> None:
    furnish(here)
    found = json.loads(show(capsys, "--json", "--region", REGION, "--region", "eu-west-1").out)["registries"]
    assert [(one["region"], one["pullThroughCacheRuleCount"]) for one in found] == [(REGION, 2), ("eu-west-1", 0)]
    once = json.loads(show(capsys, "--json", "--region", REGION, "--region", REGION).out)
    assert once["region"] == REGION
    every = json.loads(show(capsys, "--json", "--region", "all").out)["registries"]
    assert len(every) > 20
    assert [one["pullThroughCacheRuleCount"] for one in every if one["region"] == REGION] == [2]


def test_what_may_not_be_read_is_said_beside_what_may(here: Ruled, capsys: pytest.CaptureFixture[str]) -> None:
    denying(here.recorder, "GetRegistryPolicy", "GetRegistryScanningConfiguration")
    done = show(capsys)
    assert done.code == 0
    assert re.search(r"^Policy: +not allowed$", done.out, re.MULTILINE)
    assert re.search(r"^Scanning: +not allowed$", done.out, re.MULTILINE)
    assert "GetRegistryPolicy was refused" in done.err
    assert json.loads(show(capsys, "--json").out)["policy"] is None


def test_the_calls_go_side_by_side(there: Ruled) -> None:
    together = threading.Barrier(len(PARTS), timeout=20)

    def answer(request: Request, handler: Handler) -> Answer:
        if not request.headers.get("X-Amz-Target", "").endswith(".GetAccountSetting"):
            together.wait()
        return handler(request)

    there.recorder.requests.clear()
    there.recorder.intercept = answer
    registry(there.plane)
    assert sorted(there.recorder.requests) == sorted([*PARTS, *["GetAccountSetting"] * len(SETTINGS)])


@pytest.mark.parametrize("columns", [80, 200])
def test_screens(there: Ruled, columns: int) -> None:
    furnish(there)
    environment = environment_of(there.ecr)
    check_golden(f"registry-show-{columns}", screen(["registry", "show"], environment, columns))
    regions = ["--region", REGION, "--region", "eu-west-1"]
    check_golden(f"registry-show-regions-{columns}", screen(["registry", "show", *regions], environment, columns))
