"""Secrets Manager: what is asked of it, what its refusals mean, and that no error shows a password."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone

import botocore.session
import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ParamValidationError,
)

from ecrdrag.errors import AuthError, BusyError, ConflictError, EcrdragError, TransferError, TransientError, UsageError
from ecrdrag.registry.auth import Login
from ecrdrag.registry.ecr_errors import COMMON_CODES
from ecrdrag.registry.secrets_manager import ERROR_CODES, Secret, Secrets, name_in

MODEL = botocore.session.Session().get_service_model("secretsmanager")
REQUEST = "1" * 32
ARN = "arn:aws:secretsmanager:us-west-2:123456789012:secret:ecr-pullthroughcache/hub-AbCdEf"
PASSWORD = 's3cret"word\\é'
LOGIN = Login("me", PASSWORD)


class Service:
    """Answer every operation with what a test has put in, and note what was asked."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Mapping[str, object]]] = []

    def call(self, operation: str, parameters: Mapping[str, object]) -> Mapping[str, object]:
        self.asked.append((operation, parameters))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]

    def accepts(self, operation: str, member: str) -> bool:
        return False


def refused(code: str, message: str = "no", status: int = 400, operation: str = "CreateSecret") -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        operation,
    )


def create(answer: object) -> str:
    return Secrets(Service(answer), "us-west-2").create("hub", LOGIN, description="", request=REQUEST)


def failure_of(answer: object) -> EcrdragError:
    with pytest.raises(EcrdragError) as caught:
        create(answer)
    return caught.value


def test_a_login_is_kept_in_the_form_that_ecr_reads() -> None:
    service = Service({"ARN": ARN})
    secrets = Secrets(service, "us-west-2")
    assert secrets.create("hub", LOGIN, description="for a cache", request=REQUEST) == ARN
    assert secrets.renew(Secret(ARN, "hub"), LOGIN, request=REQUEST) == ARN
    (created, made), (renewed, put) = service.asked
    assert (created, renewed) == ("CreateSecret", "PutSecretValue")
    assert (made["Name"], made["Description"], put["SecretId"]) == ("hub", "for a cache", ARN)
    for parameters in (made, put):
        assert json.loads(str(parameters["SecretString"])) == {"username": "me", "accessToken": PASSWORD}
        assert parameters["ClientRequestToken"] == REQUEST


@pytest.mark.parametrize("operation", ["CreateSecret", "PutSecretValue", "DescribeSecret"])
def test_what_is_asked_has_the_members_of_the_model(operation: str) -> None:
    service = Service({"ARN": ARN})
    secrets = Secrets(service, "us-west-2")
    secrets.create("hub", LOGIN, description="", request=REQUEST)
    secrets.renew(Secret(ARN, "hub"), LOGIN, request=REQUEST)
    secrets.find("hub")
    (parameters,) = [parameters for name, parameters in service.asked if name == operation]
    shape = MODEL.operation_model(operation).input_shape
    assert shape is not None
    assert set(parameters) <= set(shape.members)
    assert set(shape.required_members) <= set(parameters)


def test_a_secret_is_found_or_not_there_or_on_its_way_out() -> None:
    there: dict[str, object] = {"ARN": ARN, "Name": "hub"}
    assert Secrets(Service(there), "us-west-2").find("hub") == Secret(ARN, "hub")
    going = {**there, "DeletedDate": datetime(2026, 1, 1, tzinfo=timezone.utc)}
    assert Secrets(Service(going), "us-west-2").find("hub") == Secret(ARN, "hub", is_going=True)
    missing = refused("ResourceNotFoundException", operation="DescribeSecret")
    assert Secrets(Service(missing), "us-west-2").find("hub") is None
    with pytest.raises(AuthError):
        Secrets(Service(refused("AccessDeniedException")), "us-west-2").find("hub")


def test_every_modelled_error_is_mapped_and_nothing_else() -> None:
    assert set(ERROR_CODES) == {shape.name for shape in MODEL.error_shapes}
    assert not set(ERROR_CODES) & set(COMMON_CODES)


@pytest.mark.parametrize("code", [*ERROR_CODES, *COMMON_CODES])
def test_a_refusal_says_what_failed_where_and_under_which_code(code: str) -> None:
    error = failure_of(refused(code, "it can't be"))
    assert str(error) == f"hub in us-west-2: CreateSecret was refused: it can't be ({code})"
    assert error.exit_code != 70
    assert error.__suppress_context__


def test_a_missing_permission_is_named_by_its_iam_action() -> None:
    error = failure_of(refused("AccessDeniedException", ""))
    assert (type(error), error.hint) == (AuthError, "the identity needs the IAM action secretsmanager:CreateSecret")


def test_a_secret_that_is_there_says_how_to_go_on() -> None:
    error = failure_of(refused("ResourceExistsException"))
    assert type(error) is ConflictError
    assert "--secret-arn" in error.hint
    assert "--secret-name" in error.hint


@pytest.mark.parametrize(
    ("status", "kind"), [(403, AuthError), (429, BusyError), (503, TransferError), (400, TransferError)]
)
def test_an_unknown_refusal_is_judged_by_its_status(status: int, kind: type[EcrdragError]) -> None:
    error = failure_of(refused("Odd", status=status))
    assert type(error) is kind or (status == 503 and isinstance(error, kind) and not isinstance(error, TransientError))


@pytest.mark.parametrize(
    "error",
    [
        ConnectTimeoutError(endpoint_url="https://me:pw@sm.test/?x=pw"),
        EndpointConnectionError(endpoint_url="https://sm.test/"),
    ],
)
def test_no_answer_is_said_of_the_right_service(error: BotoCoreError) -> None:
    found = failure_of(error)
    assert "Secrets Manager at https://sm.test" in str(found)
    assert "ECR" not in str(found)
    assert "pw" not in str(found)
    assert "AWS_ENDPOINT_URL_ECR" not in found.hint
    assert "AWS_ENDPOINT_URL_SECRETS_MANAGER" in found.hint


@pytest.mark.parametrize(
    "answer",
    [
        refused("InvalidParameterException", f"the value {PASSWORD} is bad"),
        refused("InvalidParameterException", f"the value {json.dumps({'accessToken': PASSWORD})} is bad"),
        refused("Odd", f"{PASSWORD}{PASSWORD}"),
        ParamValidationError(report=f"Invalid length for {PASSWORD}"),
        ValueError(PASSWORD),
        {},
        {"ARN": 7},
        None,
    ],
    ids=str,
)
def test_no_error_shows_the_password_whatever_comes_back(answer: object) -> None:
    error = failure_of(answer)
    shown = f"{error} {error.hint} {error!r}"
    assert PASSWORD not in shown
    assert json.dumps(PASSWORD)[1:-1] not in shown
    assert error.exit_code in (2, 5)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


def test_what_botocore_will_not_send_is_a_usage_error() -> None:
    assert type(failure_of(ParamValidationError(report="x"))) is UsageError


def test_a_secrets_name_stands_in_its_arn() -> None:
    assert name_in(ARN) == "ecr-pullthroughcache/hub"
    assert name_in("") == ""
    assert name_in("odd") == "odd"
