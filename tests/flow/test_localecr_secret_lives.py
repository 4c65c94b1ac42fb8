"""Secrets Manager beside the local ECR: secrets marked for deletion, taken back, gone, and listed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from ecrdrag.localecr import LocalEcr, Settings
from tests.localecr import REGION, running
from tests.vaults import secrets_client

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

NAME = "ecr-pullthroughcache/hub"
DAY = 24 * 3600
MARKED = "You can't perform this operation on the secret because it was marked for deletion."


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ecr(tmp_path: Path, clock: Clock) -> Iterator[LocalEcr]:
    with running(tmp_path / "ecr", Settings(region=REGION, clock_skew=10**10), clock=clock) as ecr:
        yield ecr


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[SecretsManagerClient]:
    with secrets_client(ecr) as api:
        api.create_secret(Name=NAME, SecretString="x")
        yield api


def refusal(operation: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        operation(**parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def names(api: SecretsManagerClient, **parameters: Any) -> list[str]:
    return [one["Name"] for one in api.list_secrets(**parameters)["SecretList"]]


@pytest.mark.parametrize(("given", "days"), [({}, 30), ({"RecoveryWindowInDays": 7}, 7)], ids=["30", "7"])
def test_a_secret_is_marked_and_gone_when_its_time_has_come(
    api: SecretsManagerClient, clock: Clock, given: Any, days: int
) -> None:
    deleted = api.delete_secret(SecretId=NAME, **given)
    assert deleted["DeletionDate"].timestamp() == clock.now + days * DAY
    assert api.describe_secret(SecretId=NAME)["DeletedDate"] == deleted["DeletionDate"]
    clock.now += days * DAY - 1
    assert refusal(api.get_secret_value, SecretId=NAME) == ("InvalidRequestException", MARKED)
    clock.now += 1
    assert refusal(api.describe_secret, SecretId=NAME)[0] == "ResourceNotFoundException"
    assert names(api, IncludePlannedDeletion=True) == []
    created = api.create_secret(Name=NAME, SecretString="another")
    assert created["ARN"] != deleted["ARN"]
    assert api.describe_secret(SecretId=NAME)["CreatedDate"].timestamp() == clock.now


def test_what_is_marked_can_only_be_described_and_restored(api: SecretsManagerClient) -> None:
    api.delete_secret(SecretId=NAME)
    tag: Any = {"Tags": [{"Key": "a", "Value": ""}]}
    for operation, given in (
        (api.get_secret_value, {}),
        (api.put_secret_value, {"SecretString": "y"}),
        (api.update_secret, {"Description": "y"}),
        (api.tag_resource, tag),
        (api.untag_resource, {"TagKeys": ["a"]}),
        (api.delete_secret, {}),
    ):
        assert refusal(operation, SecretId=NAME, **given) == ("InvalidRequestException", MARKED)
    assert refusal(api.create_secret, Name=NAME, SecretString="x") == (
        "InvalidRequestException",
        "You can't create this secret because a secret with this name is already scheduled for deletion.",
    )
    restored = api.restore_secret(SecretId=NAME)
    assert restored["Name"] == NAME
    assert "DeletedDate" not in api.describe_secret(SecretId=restored["ARN"])
    assert api.get_secret_value(SecretId=NAME)["SecretString"] == "x"


def test_what_is_deleted_by_force_is_gone_at_once(api: SecretsManagerClient, clock: Clock) -> None:
    api.delete_secret(SecretId=NAME)
    arn = api.describe_secret(SecretId=NAME)["ARN"]
    deleted = api.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    assert (deleted["ARN"], deleted["Name"], deleted["DeletionDate"].timestamp()) == (arn, NAME, clock.now)
    assert refusal(api.restore_secret, SecretId=NAME)[0] == "ResourceNotFoundException"
    api.create_secret(Name=NAME, SecretString="another")


def test_what_is_not_there_can_only_be_deleted_by_force(api: SecretsManagerClient) -> None:
    assert refusal(api.delete_secret, SecretId="none")[0] == "ResourceNotFoundException"
    deleted = api.delete_secret(SecretId="none", ForceDeleteWithoutRecovery=True)
    assert deleted["Name"] == "none"
    assert ":secret:none-" in deleted["ARN"]
    again = api.delete_secret(SecretId=deleted["ARN"], ForceDeleteWithoutRecovery=True)
    assert (again["ARN"], again["Name"]) == (deleted["ARN"], "none")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"RecoveryWindowInDays": 6}, "between 7 and 30 days (inclusive)"),
        ({"RecoveryWindowInDays": 31}, "between 7 and 30 days (inclusive)"),
        ({"RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": True}, "in conjunction with RecoveryWindowInDays"),
    ],
)
def test_a_window_that_cannot_be_is_refused(api: SecretsManagerClient, given: Any, said: str) -> None:
    code, message = refusal(api.delete_secret, SecretId=NAME, **given)
    assert code == "InvalidParameterException"
    assert said in message
    assert names(api) == [NAME]


def test_whatever_changes_a_secret_changes_the_time_of_its_last_change(api: SecretsManagerClient, clock: Clock) -> None:
    tag: Any = {"Tags": [{"Key": "a", "Value": ""}]}
    for operation, given in (
        (api.put_secret_value, {"SecretString": "y"}),
        (api.update_secret, {"Description": "y"}),
        (api.tag_resource, tag),
        (api.untag_resource, {"TagKeys": ["a"]}),
        (api.delete_secret, {}),
        (api.restore_secret, {}),
    ):
        clock.now += 1
        operation(SecretId=NAME, **given)
        assert api.describe_secret(SecretId=NAME)["LastChangedDate"].timestamp() == clock.now
    token = "0" * 32
    api.put_secret_value(SecretId=NAME, SecretString="z", ClientRequestToken=token)
    clock.now += 1
    api.put_secret_value(SecretId=NAME, SecretString="z", ClientRequestToken=token)  # the same call, sent again
    api.get_secret_value(SecretId=NAME)
    described = api.describe_secret(SecretId=NAME)
    assert described["LastChangedDate"].timestamp() == clock.now - 1
    assert described["CreatedDate"].timestamp() == clock.now - 7


def test_secrets_survive_a_restart(tmp_path: Path) -> None:
    with running(tmp_path / "ecr") as ecr, secrets_client(ecr) as api:
        arn = api.create_secret(Name=NAME, SecretString="1", Tags=[{"Key": "a", "Value": "b"}])["ARN"]
        api.put_secret_value(SecretId=NAME, SecretString="2")
        before = api.describe_secret(SecretId=NAME)
    with running(tmp_path / "ecr") as ecr, secrets_client(ecr) as api:
        after = api.describe_secret(SecretId=arn)
        assert {**after, "ResponseMetadata": None} == {**before, "ResponseMetadata": None}
        assert api.get_secret_value(SecretId=NAME, VersionStage="AWSPREVIOUS")["SecretString"] == "1"


def test_metadata_that_others_could_read_is_kept_from_them(tmp_path: Path) -> None:
    with running(tmp_path / "ecr") as ecr, secrets_client(ecr) as api:
        api.create_secret(Name=NAME, SecretString="x")
    (tmp_path / "ecr/ecr.sqlite").chmod(0o644)
    with running(tmp_path / "ecr"):
        assert (tmp_path / "ecr/ecr.sqlite").stat().st_mode & 0o777 == 0o600


def test_what_a_killed_server_left_beside_the_metadata_is_kept_from_others_too(tmp_path: Path) -> None:
    with running(tmp_path / "ecr") as ecr, secrets_client(ecr) as api:
        api.create_secret(Name=NAME, SecretString="x")
        copytree(tmp_path / "ecr", tmp_path / "killed")
    names = [tmp_path / "killed" / f"ecr.sqlite{ending}" for ending in ("", "-wal", "-shm")]
    for name in names:
        name.chmod(0o644)
    with running(tmp_path / "killed") as ecr, secrets_client(ecr) as api:
        assert api.get_secret_value(SecretId=NAME)["SecretString"] == "x"
        assert [name.stat().st_mode & 0o777 for name in names] == [0o600] * 3


def test_a_fault_of_the_server_is_called_as_secrets_manager_calls_its_own(
    ecr: LocalEcr, api: SecretsManagerClient
) -> None:
    with closing(sqlite3.connect(ecr.data / "ecr.sqlite")) as database, database:
        database.execute("UPDATE registry_setting SET value = '{}' WHERE kind = 'secret'")
    with pytest.raises(ClientError) as caught:
        api.describe_secret(SecretId=NAME)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert caught.value.response["Error"] == {
        "Code": "InternalServiceError",
        "Message": "The local ECR failed in DescribeSecret; its log says why",
    }


@pytest.fixture
def several(api: SecretsManagerClient, clock: Clock) -> SecretsManagerClient:
    """Secrets that are created in the order c, a, b, after the first one."""
    for name in ("c", "a", "b"):
        clock.now += 1
        api.create_secret(Name=name, SecretString=name, Tags=[{"Key": f"key-{name}", "Value": "v"}])
    return api


def test_secrets_are_listed_in_the_order_of_their_creation_or_as_is_asked(
    several: SecretsManagerClient, clock: Clock
) -> None:
    assert names(several) == [NAME, "c", "a", "b"]
    assert names(several, SortOrder="desc") == ["b", "a", "c", NAME]
    assert names(several, SortBy="name") == ["a", "b", "c", NAME]
    clock.now += DAY
    several.update_secret(SecretId="c", Description="changed")
    several.get_secret_value(SecretId="a")
    assert names(several, SortBy="last-changed-date") == [NAME, "a", "b", "c"]
    assert names(several, SortBy="last-accessed-date")[-1] == "a"


def test_a_list_has_what_a_description_has_but_never_a_value(several: SecretsManagerClient) -> None:
    (found,) = several.list_secrets(Filters=[{"Key": "name", "Values": ["a"]}])["SecretList"]
    described = several.describe_secret(SecretId="a")
    assert found.pop("SecretVersionsToStages") == described["VersionIdsToStages"]
    assert found == {name: value for name, value in described.items() if name in found}
    assert "SecretString" not in str(found)


def test_lists_come_in_pages(several: SecretsManagerClient) -> None:
    pages = list(several.get_paginator("list_secrets").paginate(PaginationConfig={"PageSize": 2}))
    assert [[one["Name"] for one in page["SecretList"]] for page in pages] == [[NAME, "c"], ["a", "b"]]
    for token in ("nonsense", "bm9uZQ=="):
        assert refusal(several.list_secrets, NextToken=token)[0] == "InvalidNextTokenException"


def test_what_is_marked_is_listed_where_that_is_asked_for(several: SecretsManagerClient) -> None:
    several.delete_secret(SecretId="c")
    assert names(several) == [NAME, "a", "b"]
    assert names(several, IncludePlannedDeletion=True) == [NAME, "c", "a", "b"]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([("name", ["ecr-"])], [NAME]),
        ([("name", ["ECR-"])], []),
        ([("name", ["a", "b"])], ["a", "b"]),
        ([("name", ["!a"])], [NAME, "c", "b"]),
        ([("tag-key", ["key-c"])], ["c"]),
        ([("tag-value", ["v"]), ("name", ["b"])], ["b"]),
    ],
)
def test_filters_are_prefixes_that_must_all_fit(
    several: SecretsManagerClient, filters: list[tuple[str, list[str]]], found: list[str]
) -> None:
    assert names(several, Filters=[{"Key": key, "Values": values} for key, values in filters]) == found


def test_a_filter_that_is_not_emulated_is_refused(several: SecretsManagerClient) -> None:
    assert refusal(several.list_secrets, Filters=[{"Key": "all", "Values": ["a"]}])[0] == "InvalidParameterException"
