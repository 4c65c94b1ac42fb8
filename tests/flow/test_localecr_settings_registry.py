"""What the local ECR stores for a registry: replication, scanning, account settings; and what it says of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr
from tests.localecr import ACCOUNT, REGION, client, push_image, running

OTHER = "999999999999"
ALL: list[Any] = [{"filter": "*", "filterType": "WILDCARD"}]


def error_of(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return caught.value.response["Error"]["Message"]


def to(*regions: str, account: str = ACCOUNT, prefixes: tuple[str, ...] = ()) -> Any:
    rule: dict[str, object] = {"destinations": [{"region": region, "registryId": account} for region in regions]}
    if prefixes:
        rule["repositoryFilters"] = [{"filter": prefix, "filterType": "PREFIX_MATCH"} for prefix in prefixes]
    return rule


def put_rules(api: ECRClient, *rules: Any) -> Any:
    return api.put_replication_configuration(replicationConfiguration={"rules": list(rules)})


def test_a_new_registry_replicates_nothing(api: ECRClient) -> None:
    found = api.describe_registry()
    assert found["registryId"] == ACCOUNT
    assert found["replicationConfiguration"] == {"rules": []}


def test_replication_is_stored_for_one_region_and_outlives_a_restart(tmp_path: Path) -> None:
    rules = [to("eu-west-1", prefixes=("prod",)), {**to(REGION, account=OTHER), "deleteReplication": {"enabled": True}}]
    with running(tmp_path) as ecr, client(ecr) as api, client(ecr, region="eu-west-1") as elsewhere:
        assert put_rules(api, *rules)["replicationConfiguration"] == {"rules": rules}
        assert elsewhere.describe_registry()["replicationConfiguration"] == {"rules": []}
    with running(tmp_path) as ecr, client(ecr) as api:
        assert api.describe_registry()["replicationConfiguration"] == {"rules": rules}
        put_rules(api)
        assert api.describe_registry()["replicationConfiguration"] == {"rules": []}


def test_a_registry_can_not_be_replicated_to_itself(api: ECRClient) -> None:
    with pytest.raises(api.exceptions.InvalidParameterException) as caught:
        put_rules(api, to("eu-west-1"), to("eu-west-2", REGION))
    assert error_of(caught) == (
        "Invalid parameter at 'replicationConfiguration' failed to satisfy constraint: "
        "'Replication destination cannot be the same as the source registry'"
    )
    assert api.describe_registry()["replicationConfiguration"] == {"rules": []}


def regions(count: int) -> list[str]:
    return [f"region-{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("most", "too_many", "said"),
    [
        ([to("eu-west-1")] * 10, [to("eu-west-1")] * 11, "10 replication rules"),
        ([to(*regions(25)), to(*regions(25))], [to(*regions(20)), to(*regions(26))], "25 unique destinations"),
        ([to("eu-west-1", prefixes=("ab",) * 100)], [to("eu-west-1", prefixes=("ab",) * 101)], "equal to 100"),
        ([to("eu-west-1", prefixes=("a/",))], [to("eu-west-1", prefixes=("A/",))], "regular expression"),
        ([to("eu-west-1")], [to("EU")], "regular expression"),
    ],
    ids=["rules", "destinations", "filters", "a filter's form", "a region's form"],
)
def test_replication_has_limits(api: ECRClient, most: list[Any], too_many: list[Any], said: str) -> None:
    put_rules(api, *most)
    with pytest.raises(api.exceptions.InvalidParameterException, match=said):
        put_rules(api, *too_many)
    assert api.describe_registry()["replicationConfiguration"] == {"rules": most}


def test_an_image_that_should_be_elsewhere_is_not_said_to_be_there(api: ECRClient) -> None:
    pushed = push_image(api, "app", tag="1")
    asked: Any = {"repositoryName": "app", "imageId": {"imageTag": "1"}}
    assert api.describe_image_replication_status(**asked)["replicationStatuses"] == []
    put_rules(api, to("eu-west-1", prefixes=("other", "ap")), to("eu-west-1", "eu-west-2"), to("x-1", prefixes=("pp",)))
    found = api.describe_image_replication_status(**asked)
    assert found["imageId"] == {"imageDigest": pushed.digest, "imageTag": "1"}
    assert [(one["region"], one["registryId"]) for one in found["replicationStatuses"]] == [
        ("eu-west-1", ACCOUNT),
        ("eu-west-2", ACCOUNT),
    ]
    assert {(one["status"], one["failureCode"]) for one in found["replicationStatuses"]} == {("FAILED", "NotEmulated")}


def test_an_image_was_never_scanned_and_nothing_signs_it(api: ECRClient) -> None:
    digest = push_image(api, "app", tag="1").digest
    with pytest.raises(api.exceptions.ScanNotFoundException) as caught:
        api.describe_image_scan_findings(repositoryName="app", imageId={"imageDigest": digest})
    assert error_of(caught) == (
        f"Image scan does not exist for the image with '{{imageDigest:'{digest}', imageTag:'null'}}' "
        f"in the repository with name 'app' in the registry with id '{ACCOUNT}'"
    )
    signed = api.describe_image_signing_status(repositoryName="app", imageId={"imageTag": "1"})
    assert signed["signingStatuses"] == []
    assert signed["imageId"] == {"imageDigest": digest, "imageTag": "1"}
    for call in (api.get_signing_configuration, api.delete_signing_configuration):
        with pytest.raises(api.exceptions.SigningConfigurationNotFoundException):
            call()


@pytest.mark.parametrize(
    "operation", ["describe_image_scan_findings", "describe_image_replication_status", "describe_image_signing_status"]
)
def test_nothing_is_said_of_an_image_that_is_not_there(api: ECRClient, operation: str) -> None:
    digest = push_image(api, "app", tag="1").digest
    push_image(api, "app", tag="3", layers=[b"another"])
    ask = getattr(api, operation)
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        ask(repositoryName="gone", imageId={"imageTag": "1"})
    for image in (
        {"imageTag": "2"},
        {"imageDigest": f"sha256:{'0' * 64}"},
        {"imageDigest": digest, "imageTag": "2"},
        {"imageDigest": digest, "imageTag": "3"},
    ):
        with pytest.raises(api.exceptions.ImageNotFoundException):
            ask(repositoryName="app", imageId=image)
    with pytest.raises(api.exceptions.InvalidParameterException, match="cannot be null"):
        ask(repositoryName="app", imageId={})


def test_a_new_registry_scans_basically_and_by_no_rule(api: ECRClient) -> None:
    found = api.get_registry_scanning_configuration()
    assert found["registryId"] == ACCOUNT
    assert found["scanningConfiguration"] == {"scanType": "BASIC", "rules": []}


def test_scanning_rules_replace_those_before_in_one_region(ecr: LocalEcr, api: ECRClient) -> None:
    rules: list[Any] = [{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": ALL}]
    put = api.put_registry_scanning_configuration(scanType="BASIC", rules=rules)
    assert put["registryScanningConfiguration"] == {"scanType": "BASIC", "rules": rules}
    assert api.get_registry_scanning_configuration()["scanningConfiguration"] == {"scanType": "BASIC", "rules": rules}
    with client(ecr, region="eu-west-1") as elsewhere:
        assert elsewhere.get_registry_scanning_configuration()["scanningConfiguration"]["rules"] == []
    api.put_registry_scanning_configuration(scanType="ENHANCED", rules=[])
    assert api.get_registry_scanning_configuration()["scanningConfiguration"] == {"scanType": "ENHANCED", "rules": []}
    api.put_registry_scanning_configuration()
    assert api.get_registry_scanning_configuration()["scanningConfiguration"] == {"scanType": "BASIC", "rules": []}


def test_enhanced_scanning_without_rules_is_continuous_for_everything(api: ECRClient) -> None:
    api.put_registry_scanning_configuration(scanType="ENHANCED")
    found = api.get_registry_scanning_configuration()["scanningConfiguration"]
    assert found["rules"] == [{"scanFrequency": "CONTINUOUS_SCAN", "repositoryFilters": ALL}]


@pytest.mark.parametrize(
    ("kind", "rules", "said"),
    [
        ("BASIC", [{"scanFrequency": "CONTINUOUS_SCAN", "repositoryFilters": ALL}], "BASIC scanning supports"),
        ("ENHANCED", [{"scanFrequency": "MANUAL", "repositoryFilters": ALL}], "ENHANCED scanning supports"),
        ("BASIC", [{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": ALL}] * 3, "less than or equal to 2"),
        ("BASIC", [{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": ALL * 101}], "less than or equal to 100"),
        ("DEEP", [], "enum value set"),
        (
            "BASIC",
            [{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [{"filter": "A", "filterType": "WILDCARD"}]}],
            "regular expression",
        ),
    ],
)
def test_scanning_that_can_not_be_is_refused(api: ECRClient, kind: Any, rules: list[Any], said: str) -> None:
    with pytest.raises(api.exceptions.InvalidParameterException, match=said):
        api.put_registry_scanning_configuration(scanType=kind, rules=rules)


# The user guide, "Filters to choose which repositories are scanned": its table of names and filters.
NAMES = ("prod", "repo-prod", "prod-repo", "repo-prod-repo", "prodrepo")
FILTERS = {
    "prod": {*NAMES},
    "*prod": {"prod", "repo-prod"},
    "prod*": {"prod", "prod-repo", "prodrepo"},
    "*prod*": {*NAMES},
    "prod*repo": {"prod-repo", "prodrepo"},
}


@pytest.mark.parametrize("pattern", FILTERS)
def test_filters_of_scanning_match_as_in_the_user_guide(api: ECRClient, pattern: str) -> None:
    for name in NAMES:
        api.create_repository(repositoryName=name)
    wanted: Any = {"filter": pattern, "filterType": "WILDCARD"}
    api.put_registry_scanning_configuration(rules=[{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [wanted]}])
    found = api.batch_get_repository_scanning_configuration(repositoryNames=[*NAMES])["scanningConfigurations"]
    on_push = {one["repositoryName"]: one for one in found if one["scanFrequency"] == "SCAN_ON_PUSH"}
    assert set(on_push) == FILTERS[pattern]
    for one in found:
        assert one["appliedScanFilters"] == ([wanted] if one["repositoryName"] in on_push else [])
        assert one["scanOnPush"] == (one["repositoryName"] in on_push)


def frequency(api: ECRClient, name: str = "app") -> str:
    (found,) = api.batch_get_repository_scanning_configuration(repositoryNames=[name])["scanningConfigurations"]
    return found["scanFrequency"]


def test_continuous_scanning_goes_before_scanning_on_push(api: ECRClient) -> None:
    kinds = ("SCAN_ON_PUSH", "CONTINUOUS_SCAN")
    rules: list[Any] = [{"scanFrequency": kind, "repositoryFilters": ALL} for kind in kinds]
    api.put_registry_scanning_configuration(scanType="ENHANCED", rules=rules)
    assert frequency(api) == "CONTINUOUS_SCAN"


def test_a_repositorys_own_setting_counts_while_the_registry_has_no_rule(api: ECRClient) -> None:
    assert frequency(api) == "MANUAL"
    put = api.put_image_scanning_configuration(repositoryName="app", imageScanningConfiguration={"scanOnPush": True})
    assert put["imageScanningConfiguration"] == {"scanOnPush": True}
    (described,) = api.describe_repositories(repositoryNames=["app"])["repositories"]
    assert described["imageScanningConfiguration"] == {"scanOnPush": True}
    assert described["imageTagMutability"] == "MUTABLE"
    assert frequency(api) == "SCAN_ON_PUSH"
    other: list[Any] = [{"filter": "other", "filterType": "WILDCARD"}]
    api.put_registry_scanning_configuration(rules=[{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": other}])
    assert frequency(api) == "MANUAL"
    api.put_image_scanning_configuration(repositoryName="app", imageScanningConfiguration={})
    (described,) = api.describe_repositories(repositoryNames=["app"])["repositories"]
    assert described["imageScanningConfiguration"] == {"scanOnPush": False}


def test_repositories_that_are_missing_are_failures_beside_the_others(api: ECRClient) -> None:
    found = api.batch_get_repository_scanning_configuration(repositoryNames=["gone", "app"])
    assert [one["repositoryArn"] for one in found["scanningConfigurations"]] == [
        f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/app"
    ]
    (failure,) = found["failures"]
    assert (failure["repositoryName"], failure["failureCode"]) == ("gone", "REPOSITORY_NOT_FOUND")
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.put_image_scanning_configuration(repositoryName="gone", imageScanningConfiguration={})


@pytest.mark.parametrize(
    ("name", "default", "values"),
    [
        ("BASIC_SCAN_TYPE_VERSION", "AWS_NATIVE", ["AWS_NATIVE"]),
        ("REGISTRY_POLICY_SCOPE", "V2", ["V2"]),
        ("BLOB_MOUNTING", "DISABLED", ["ENABLED", "DISABLED"]),
    ],
)
def test_an_account_setting_has_its_default_until_it_is_put(
    ecr: LocalEcr, api: ECRClient, name: str, default: str, values: list[str]
) -> None:
    assert api.get_account_setting(name=name)["value"] == default
    for value in values:
        assert api.put_account_setting(name=name, value=value)["value"] == value
        found = api.get_account_setting(name=name)
        assert (found["name"], found["value"]) == (name, value)
        with client(ecr, region="eu-west-1") as elsewhere:
            assert elsewhere.get_account_setting(name=name)["value"] == default
    with pytest.raises(api.exceptions.InvalidParameterException, match="at 'value'"):
        api.put_account_setting(name=name, value="OTHER")


def test_an_account_setting_that_there_is_not_is_refused(api: ECRClient) -> None:
    with pytest.raises(api.exceptions.InvalidParameterException, match="at 'name'"):
        api.get_account_setting(name="X")
    with pytest.raises(api.exceptions.InvalidParameterException, match="at 'name'"):
        api.put_account_setting(name="X", value="V2")


def principal(number: int) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/robot-{number:03}"


def test_pull_time_exclusions_are_registered_once_and_deregistered_once(api: ECRClient) -> None:
    registered = api.register_pull_time_update_exclusion(principalArn=principal(1))
    assert registered["principalArn"] == principal(1)
    assert registered["createdAt"]
    with pytest.raises(api.exceptions.ExclusionAlreadyExistsException):
        api.register_pull_time_update_exclusion(principalArn=principal(1))
    assert api.list_pull_time_update_exclusions()["pullTimeUpdateExclusions"] == [principal(1)]
    assert api.deregister_pull_time_update_exclusion(principalArn=principal(1))["principalArn"] == principal(1)
    with pytest.raises(api.exceptions.ExclusionNotFoundException):
        api.deregister_pull_time_update_exclusion(principalArn=principal(1))
    with pytest.raises(api.exceptions.InvalidParameterException, match="regular expression"):
        api.register_pull_time_update_exclusion(principalArn=f"arn:aws:iam::{ACCOUNT}:root")


def test_pull_time_exclusions_come_in_pages_and_are_a_hundred_at_most(api: ECRClient) -> None:
    for number in reversed(range(100)):
        api.register_pull_time_update_exclusion(principalArn=principal(number))
    with pytest.raises(api.exceptions.LimitExceededException):
        api.register_pull_time_update_exclusion(principalArn=principal(100))
    assert len(api.list_pull_time_update_exclusions()["pullTimeUpdateExclusions"]) == 100
    found: list[str] = []
    page = api.list_pull_time_update_exclusions(maxResults=40)
    while True:
        found += page["pullTimeUpdateExclusions"]
        if "nextToken" not in page:
            break
        page = api.list_pull_time_update_exclusions(maxResults=40, nextToken=page["nextToken"])
    assert found == [principal(number) for number in range(100)]
    with pytest.raises(api.exceptions.InvalidParameterException, match="nextToken"):
        api.list_pull_time_update_exclusions(nextToken="made up")
