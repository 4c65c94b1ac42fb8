"""What ECR and others refuse, in our words: which permission is missing, who answered, what to do next."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, ParamValidationError, ProxyConnectionError

from ecrdrag import errors
from ecrdrag.registry.ecr_errors import ERROR_CODES, UnansweredError, permission_hint, translated

DENIED = "AccessDeniedException"
USER = "User: arn:aws:iam::123456789012:user/dev is not authorized to perform:"


def translation_of(error: Exception, service: str = "ecr") -> errors.EcrdragError:
    with pytest.raises(errors.EcrdragError) as caught, translated("my/app in us-west-2", service):
        raise error
    return caught.value


def refused(code: str, message: str = "", *, status: int = 400, operation: str = "DescribeImages") -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        operation,
    )


@pytest.mark.parametrize(
    ("operation", "message", "action"),
    [
        ("DescribeImages", "", "ecr:DescribeImages"),
        ("DescribeImages", "no", "ecr:DescribeImages"),
        ("ListImageReferrers", "", "ecr:BatchGetImage"),
        (
            "CreateRepository",
            f"{USER} ecr:TagResource on resource: arn:x because no identity-based policy",
            "ecr:TagResource",
        ),
        ("CreateRepository", f"{USER} kms:CreateGrant on resource: arn:x", "kms:CreateGrant"),
        (
            "DescribeImages",
            "because no resource-based policy allows the ecr:DescribeImages action",
            "ecr:DescribeImages",
        ),
    ],
)
def test_the_missing_permission_is_the_one_of_the_message_or_else_the_operation_s(
    operation: str, message: str, action: str
) -> None:
    error = translation_of(refused(DENIED, message, operation=operation))
    assert (error.exit_code, error.hint) == (3, f"the identity needs the IAM action {action}")


def test_what_a_policy_forbids_expressly_is_not_to_be_had_by_another_policy() -> None:
    message = f"{USER} ecr:PutImage on resource: arn:x with an explicit deny in a service control policy"
    error = translation_of(refused(DENIED, message, operation="PutImage"))
    assert error.hint == "a policy denies the IAM action ecr:PutImage explicitly, so that no other can allow it"


def test_an_action_of_ecr_public_is_called_by_its_service() -> None:
    error = translation_of(refused(DENIED, operation="CreateRepository"), "ecr-public")
    assert "ecr-public:CreateRepository" in error.hint
    assert (
        permission_hint("secretsmanager", "CreateSecret", "")
        == "the identity needs the IAM action secretsmanager:CreateSecret"
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, errors.TransferError),
        (403, errors.TransferError),
        (407, errors.TransferError),
        (429, errors.BusyError),
        (500, UnansweredError),
        (502, UnansweredError),
    ],
)
def test_what_answers_in_the_place_of_ecr_is_told_from_it_and_its_page_is_not_shown(
    status: int, kind: type[errors.EcrdragError]
) -> None:
    error = translation_of(refused(str(status), "<html>" * 1000, status=status))
    assert type(error) is kind
    assert str(error) == (
        f"my/app in us-west-2: DescribeImages was answered with HTTP status {status} by something that isn't ECR"
    )
    assert "HTTPS_PROXY" in error.hint


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, errors.TransferError), (403, errors.AuthError), (429, errors.BusyError), (503, UnansweredError)],
)
def test_a_code_that_nobody_knows_is_judged_by_its_status(status: int, kind: type[errors.EcrdragError]) -> None:
    assert type(translation_of(refused("Odd", "why", status=status))) is kind


def test_a_proxy_is_named_without_its_password() -> None:
    error = translation_of(ProxyConnectionError(proxy_url="http://me:hunter2@proxy.test:3128/?x=hunter2"))
    assert str(error) == "the proxy http://proxy.test:3128 for the ECR API does not answer"


def test_what_botocore_does_not_send_is_a_usage_error_in_one_line() -> None:
    report = "Parameter validation failed:\nInvalid length for parameter kmsKey, value: 0, valid min length: 1"
    error = translation_of(ParamValidationError(report=report))
    assert error.exit_code == 2
    assert str(error).startswith("my/app in us-west-2: the ECR API takes no such request: ")
    assert "\n" not in str(error)


def test_too_many_calls_are_told_with_the_option_that_makes_fewer() -> None:
    for code in ("ThrottlingException", "TooManyRequestsException", "ThrottleException"):
        error = translation_of(refused(code, "Rate exceeded"))
        assert isinstance(error, errors.BusyError)
        assert "throttles" in error.hint
        assert "-j" in error.hint


def test_hints_name_our_commands_where_we_have_one() -> None:
    ours = [hint for _, hint in ERROR_CODES.values() if "aws ecr " in hint]
    assert {hint.rpartition(": ")[2] for hint in ours} <= {"aws ecr update-image-storage-class"}
