"""Secrets Manager beside the local ECR: secrets and their values, as boto3 has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from ecrdrag.localecr import LocalEcr, Settings
from tests.localecr import ACCOUNT, REGION, Recorder, running
from tests.vaults import secrets_client

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

NAME = "ecr-pullthroughcache/hub"
OTHER = "210987654321"
NOT_FOUND = "Secrets Manager can't find the specified secret."
DAY = 24 * 3600


@pytest.fixture
def ecr(tmp_path: Path) -> Iterator[LocalEcr]:
    with running(tmp_path / "ecr", Settings(region=REGION, accounts=(ACCOUNT, OTHER))) as ecr:
        yield ecr


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[SecretsManagerClient]:
    with secrets_client(ecr) as api:
        yield api


def token(number: int) -> str:
    return str(uuid4())[:-12] + f"{number:012}"


def refusal(operation: Any, **parameters: Any) -> tuple[str, str]:
    """Give the code and the text of an error that a call has, and hold its text to where boto3 looks for it."""
    with pytest.raises(ClientError) as caught:
        operation(**parameters)
    error = caught.value.response["Error"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return error["Code"], error["Message"]


def test_a_secret_is_created_described_and_read(api: SecretsManagerClient) -> None:
    tags: Any = [{"Key": "team", "Value": "a"}]
    created = api.create_secret(Name=NAME, SecretString="a text", Description="the hub's", Tags=tags)
    assert created["ARN"].startswith(f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{NAME}-")
    assert len(created["ARN"].rpartition("-")[2]) == 6
    described = api.describe_secret(SecretId=NAME)
    assert (described["ARN"], described["Name"], described["Description"]) == (created["ARN"], NAME, "the hub's")
    assert (described["Tags"], described["VersionIdsToStages"]) == (tags, {created["VersionId"]: ["AWSCURRENT"]})
    assert described["CreatedDate"] == described["LastChangedDate"]
    assert "LastAccessedDate" not in described
    assert "KmsKeyId" not in described
    read = api.get_secret_value(SecretId=NAME)
    assert (read["SecretString"], read["VersionId"], read["VersionStages"]) == (
        "a text",
        created["VersionId"],
        ["AWSCURRENT"],
    )
    assert "SecretBinary" not in read


def test_bytes_come_back_as_they_were(api: SecretsManagerClient) -> None:
    api.create_secret(Name=NAME, SecretBinary=b"\x00\xff")
    read = api.get_secret_value(SecretId=NAME)
    assert read["SecretBinary"] == b"\x00\xff"
    assert "SecretString" not in read


def test_a_secret_without_a_value_has_no_version(api: SecretsManagerClient) -> None:
    assert "VersionId" not in api.create_secret(Name=NAME)
    assert "VersionIdsToStages" not in api.describe_secret(SecretId=NAME)
    assert refusal(api.get_secret_value, SecretId=NAME) == (
        "ResourceNotFoundException",
        "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
    )
    put = api.put_secret_value(SecretId=NAME, SecretString="first", VersionStages=["MINE"])
    assert set(put["VersionStages"]) == {"AWSCURRENT", "MINE"}


@pytest.mark.parametrize("cut", [0, 7], ids=["a whole ARN", "an ARN without its end"])
def test_a_secret_is_found_by_its_arn(api: SecretsManagerClient, cut: int) -> None:
    arn = api.create_secret(Name=NAME, SecretString="x")["ARN"]
    assert api.get_secret_value(SecretId=arn[: len(arn) - cut])["ARN"] == arn


def test_a_name_that_ends_as_arns_do_is_not_found_by_a_part_of_its_arn(api: SecretsManagerClient) -> None:
    name = "mine-a1b2c3"
    arn = api.create_secret(Name=name, SecretString="x")["ARN"]
    assert api.get_secret_value(SecretId=arn)["Name"] == api.get_secret_value(SecretId=name)["Name"] == name
    assert refusal(api.get_secret_value, SecretId=arn[:-7]) == ("ResourceNotFoundException", NOT_FOUND)


def test_another_arn_of_the_name_is_another_secret(api: SecretsManagerClient) -> None:
    arn = api.create_secret(Name=NAME, SecretString="x")["ARN"]
    others = [
        f"{arn[:-6]}{'a' * 6}",
        arn.replace(ACCOUNT, OTHER),
        arn.replace(REGION, "eu-west-1"),
        arn.replace(REGION, "eu-west-1")[:-7],
    ]
    for other in others:
        assert refusal(api.get_secret_value, SecretId=other) == ("ResourceNotFoundException", NOT_FOUND)


def test_each_account_and_region_has_its_own(ecr: LocalEcr, api: SecretsManagerClient) -> None:
    api.create_secret(Name=NAME, SecretString="x")
    with (
        secrets_client(ecr, region="eu-west-1") as elsewhere,
        secrets_client(ecr, keys=ecr.credentials_of(OTHER)) as another,
    ):
        for one in (elsewhere, another):
            assert one.list_secrets()["SecretList"] == []
            assert refusal(one.describe_secret, SecretId=NAME) == ("ResourceNotFoundException", NOT_FOUND)
            one.create_secret(Name=NAME, SecretString="y")
    assert api.get_secret_value(SecretId=NAME)["SecretString"] == "x"


@pytest.mark.parametrize("name", ["with space", "a:b", "ä", "arn:aws:secretsmanager", "a*"])
def test_what_is_no_name_is_refused_wherever_it_is_one(api: SecretsManagerClient, name: str) -> None:
    wanted = (
        "ValidationException",
        "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
    )
    assert refusal(api.create_secret, Name=name, SecretString="x") == wanted
    assert refusal(api.delete_secret, SecretId=name, ForceDeleteWithoutRecovery=True) == wanted
    for operation in (api.describe_secret, api.get_secret_value, api.delete_secret, api.restore_secret):
        assert refusal(operation, SecretId=name) == wanted


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"Name": "x" * 513}, "Value at 'name' failed to satisfy constraint: Member must have length less than or"),
        ({"SecretString": "x" * 65537}, "Value at 'secretString' failed to satisfy constraint: Member must have"),
        ({"SecretString": "é" * 40_000}, "must have length less than or equal to 65536"),
        ({"ClientRequestToken": "x" * 65}, "'clientRequestToken' failed"),
        ({"Tags": [{"Key": "x" * 129, "Value": ""}]}, "'tags.1.member.key' failed"),
    ],
)
def test_a_value_that_is_too_long_is_refused_and_not_repeated(
    api: SecretsManagerClient, parameters: dict[str, Any], said: str
) -> None:
    code, message = refusal(api.create_secret, **{"Name": NAME, "SecretString": "x", **parameters})
    assert code == "ValidationException"
    assert message.startswith("1 validation error detected: ")
    assert said in message
    assert "xxx" not in message


def test_the_longest_value_is_taken(api: SecretsManagerClient) -> None:
    api.create_secret(Name="x" * 512, SecretString="y" * 65536)
    assert len(api.get_secret_value(SecretId="x" * 512)["SecretString"]) == 65536


def test_a_call_that_is_made_twice_is_one(api: SecretsManagerClient) -> None:
    call: Any = {"Name": NAME, "SecretString": "x", "ClientRequestToken": token(1)}
    assert call["ClientRequestToken"] == api.create_secret(**call)["VersionId"]
    again = api.create_secret(**call)
    assert again["VersionId"] == token_of(api)
    put: Any = {"SecretId": NAME, "SecretString": "y", "ClientRequestToken": token(2)}
    assert api.put_secret_value(**put)["VersionId"] == api.put_secret_value(**put)["VersionId"]
    update: Any = {**put, "SecretString": "z", "ClientRequestToken": token(3)}
    assert api.update_secret(**update)["VersionId"] == api.update_secret(**update)["VersionId"]
    stages = api.describe_secret(SecretId=NAME)["VersionIdsToStages"]
    assert stages == {update["ClientRequestToken"]: ["AWSCURRENT"], put["ClientRequestToken"]: ["AWSPREVIOUS"]}


def token_of(api: SecretsManagerClient) -> str:
    return api.get_secret_value(SecretId=NAME)["VersionId"]


def test_a_version_cannot_have_another_value(api: SecretsManagerClient) -> None:
    one = token(1)
    arn = api.create_secret(Name=NAME, SecretString="x", ClientRequestToken=one)["ARN"]
    said = f"You can't use ClientRequestToken {one} because that value is already in use for a version of secret {arn}."
    other: Any = {"SecretString": "other", "ClientRequestToken": one}
    for operation, name in (
        (api.create_secret, "Name"),
        (api.put_secret_value, "SecretId"),
        (api.update_secret, "SecretId"),
    ):
        assert refusal(operation, **{name: NAME}, **other) == ("ResourceExistsException", said)
    assert api.get_secret_value(SecretId=NAME)["SecretString"] == "x"


def test_a_name_has_one_secret(api: SecretsManagerClient) -> None:
    api.create_secret(Name=NAME, SecretString="x")
    said = f"The operation failed because the secret {NAME} already exists."
    for value in ({"SecretString": "x"}, {}):
        assert refusal(api.create_secret, Name=NAME, **value) == ("ResourceExistsException", said)


def test_labels_move_from_version_to_version(api: SecretsManagerClient) -> None:
    first = api.create_secret(Name=NAME, SecretString="1")["VersionId"]
    second = api.put_secret_value(SecretId=NAME, SecretString="2")["VersionId"]
    third = api.update_secret(SecretId=NAME, SecretString="3")["VersionId"]
    assert api.describe_secret(SecretId=NAME)["VersionIdsToStages"] == {third: ["AWSCURRENT"], second: ["AWSPREVIOUS"]}
    assert api.get_secret_value(SecretId=NAME, VersionStage="AWSPREVIOUS")["SecretString"] == "2"
    old = api.get_secret_value(SecretId=NAME, VersionId=first)
    assert old["SecretString"] == "1"
    assert "VersionStages" not in old
    pending = api.put_secret_value(SecretId=NAME, SecretString="4", VersionStages=["AWSPENDING", "AWSPENDING"])
    assert pending["VersionStages"] == ["AWSPENDING"]
    assert api.get_secret_value(SecretId=NAME)["SecretString"] == "3"


def test_a_version_and_a_label_must_belong_together(api: SecretsManagerClient) -> None:
    version = api.create_secret(Name=NAME, SecretString="1")["VersionId"]
    assert api.get_secret_value(SecretId=NAME, VersionId=version, VersionStage="AWSCURRENT")["SecretString"] == "1"
    assert refusal(api.get_secret_value, SecretId=NAME, VersionId=version, VersionStage="AWSPREVIOUS") == (
        "InvalidRequestException",
        "You provided a VersionStage that is not associated to the provided VersionId.",
    )
    missing = token(9)
    assert refusal(api.get_secret_value, SecretId=NAME, VersionId=missing) == (
        "ResourceNotFoundException",
        f"Secrets Manager can't find the specified secret value for VersionId: {missing}",
    )


def test_values_are_given_one_at_a_time_and_with_a_token(ecr: LocalEcr, api: SecretsManagerClient) -> None:
    both: Any = {"SecretString": "x", "SecretBinary": b"x"}
    assert refusal(api.create_secret, Name=NAME, **both)[0] == "InvalidParameterException"
    api.create_secret(Name=NAME)
    assert refusal(api.put_secret_value, SecretId=NAME) == (
        "InvalidRequestException",
        "You must provide either SecretString or SecretBinary.",
    )
    api.meta.events.register("before-sign.secrets-manager.PutSecretValue", without_token)
    assert refusal(api.put_secret_value, SecretId=NAME, SecretString="x") == (
        "InvalidRequestException",
        "You must provide a ClientRequestToken value. We recommend a UUID-type value.",
    )


def without_token(request: AWSRequest, **_: object) -> None:
    """Send what a client does that isn't AWS's."""
    document = json.loads(request.data or "")
    del document["ClientRequestToken"]
    request.data = json.dumps(document).encode()


def test_an_update_changes_what_it_names(api: SecretsManagerClient) -> None:
    api.create_secret(Name=NAME, SecretString="x", Description="old", KmsKeyId="alias/mine")
    assert "VersionId" not in api.update_secret(SecretId=NAME, Description="new")
    assert api.get_secret_value(SecretId=NAME)["SecretString"] == "x"
    api.update_secret(SecretId=NAME, SecretString="y")
    described = api.describe_secret(SecretId=NAME)
    assert (described["Description"], described["KmsKeyId"]) == ("new", "alias/mine")
    assert api.get_secret_value(SecretId=NAME)["SecretString"] == "y"


def test_tags_are_put_on_and_taken_off(api: SecretsManagerClient) -> None:
    api.create_secret(Name=NAME, Tags=[{"Key": "a", "Value": "1"}])
    api.tag_resource(SecretId=NAME, Tags=[{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "3"}])
    assert api.describe_secret(SecretId=NAME)["Tags"] == [{"Key": "a", "Value": "3"}, {"Key": "b", "Value": "2"}]
    api.untag_resource(SecretId=NAME, TagKeys=["a", "none"])
    assert api.describe_secret(SecretId=NAME)["Tags"] == [{"Key": "b", "Value": "2"}]
    many: Any = [{"Key": str(number), "Value": ""} for number in range(50)]
    for tags in (many, [many[0], many[0]], [{"Key": "aws:x", "Value": ""}], [*many, {"Key": "50", "Value": ""}]):
        assert refusal(api.tag_resource, SecretId=NAME, Tags=tags)[0] == "InvalidParameterException"


@pytest.mark.parametrize("member", ["AddReplicaRegions", "Type"])
def test_what_is_not_emulated_is_refused_rather_than_left_out(api: SecretsManagerClient, member: str) -> None:
    given: Any = {"AddReplicaRegions": [{"Region": "eu-west-1"}], "Type": "a"}[member]
    assert refusal(api.create_secret, Name=NAME, SecretString="x", **{member: given}) == (
        "InvalidParameterException",
        f"The local ECR doesn't emulate {member} of secrets",
    )


def test_a_read_only_server_gives_secrets_and_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "ecr") as ecr, secrets_client(ecr) as api:
        api.create_secret(Name=NAME, SecretString="x")
    with running(tmp_path / "ecr", Settings(region=REGION, read_only=True)) as ecr, secrets_client(ecr) as api:
        assert api.get_secret_value(SecretId=NAME)["SecretString"] == "x"
        assert "LastAccessedDate" not in api.describe_secret(SecretId=NAME)
        assert refusal(api.put_secret_value, SecretId=NAME, SecretString="y")[0] == "AccessDeniedException"


def test_the_day_of_the_last_access_is_noted(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    settings = Settings(region=REGION, clock_skew=10**10)
    with running(tmp_path / "ecr", settings, clock=lambda: now[0]) as ecr, secrets_client(ecr) as api:
        api.create_secret(Name=NAME, SecretString="x")
        for day in (0, 1):
            now[0] += day * DAY
            api.get_secret_value(SecretId=NAME)
            accessed = api.describe_secret(SecretId=NAME)["LastAccessedDate"].timestamp()
            assert (accessed % DAY, accessed // DAY) == (0, now[0] // DAY)


def test_no_secret_is_in_the_log_nor_readable_by_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    with caplog.at_level("DEBUG", "ecrdrag"), running(tmp_path / "ecr", recorder=recorder) as ecr:
        with secrets_client(ecr) as api:
            api.create_secret(Name=NAME, SecretString="s3cr3t-one")
            api.put_secret_value(SecretId=NAME, SecretString="s3cr3t-two")
            api.get_secret_value(SecretId=NAME)
            refusal(api.create_secret, Name=NAME, SecretString="s3cr3t-three")
        modes = {path.name: path.stat().st_mode & 0o077 for path in ecr.data.glob("ecr.sqlite*")}
    assert "CreateSecret" in caplog.text
    assert "s3cr3t" not in caplog.text
    assert modes == dict.fromkeys(modes, 0)
    assert "ecr.sqlite-wal" in modes
