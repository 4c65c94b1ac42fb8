"""What tests have of AWS's refusals: AccessDeniedException in AWS's words, and "Rate exceeded" as often as is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import LocalEcr
from tests.localecr import ACCOUNT, REGION, Recorder, client, public_client, running
from tests.refusing import USER, allowing, denying, throttling
from tests.vaults import secrets_client

HERE = f"arn:aws:ecr:{REGION}:{ACCOUNT}"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ecr(tmp_path: Path, recorder: Recorder) -> Iterator[LocalEcr]:
    with running(tmp_path / "ecr", recorder=recorder) as ecr:
        yield ecr


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[ECRClient]:
    with client(ecr) as api:
        yield api


def said(caught: pytest.ExceptionInfo[ClientError], code: str) -> str:
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Message"]


@pytest.mark.parametrize(
    ("operation", "parameters", "resource"),
    [
        ("DescribeImages", {"repositoryName": "my/app"}, f"{HERE}:repository/my/app"),
        ("DescribeRepositories", {}, f"{HERE}:repository/*"),
        ("DescribeRepositories", {"repositoryNames": ["my/app"]}, f"{HERE}:repository/my/app"),
        ("TagResource", {"resourceArn": f"{HERE}:repository/x", "tags": []}, f"{HERE}:repository/x"),
        ("DescribeRegistry", {}, "*"),
    ],
)
def test_a_denied_call_names_the_user_the_action_and_the_resource(
    recorder: Recorder, api: ECRClient, operation: str, parameters: dict[str, object], resource: str
) -> None:
    denying(recorder, operation)
    with pytest.raises(ClientError) as caught:
        api._make_api_call(operation, parameters)  # type: ignore[attr-defined]
    assert said(caught, "AccessDeniedException") == (
        f"User: {USER} is not authorized to perform: ecr:{operation} on resource: {resource} "
        f"because no identity-based policy allows the ecr:{operation} action"
    )


def test_only_what_is_named_is_denied_and_nothing_once_all_is_allowed(recorder: Recorder, api: ECRClient) -> None:
    denying(recorder, "DescribeRegistry")
    denying(recorder, "CreateRepository")
    assert api.describe_repositories()["repositories"] == []
    for operation, parameters in (("describe_registry", {}), ("create_repository", {"repositoryName": "my/app"})):
        with pytest.raises(ClientError):
            getattr(api, operation)(**parameters)
    allowing(recorder)
    api.create_repository(repositoryName="my/app")


def test_the_actions_of_other_services_are_named_as_theirs(recorder: Recorder, ecr: LocalEcr) -> None:
    denying(recorder)
    with secrets_client(ecr) as secrets, pytest.raises(ClientError) as caught:
        secrets.create_secret(Name="mine", SecretString="s3cret")
    text = said(caught, "AccessDeniedException")
    assert "perform: secretsmanager:CreateSecret on resource: mine because" in text
    assert "s3cret" not in text
    with public_client(ecr) as public, pytest.raises(ClientError) as caught:
        public.describe_images(repositoryName="app")
    assert f"ecr-public:DescribeImages on resource: arn:aws:ecr-public::{ACCOUNT}:repository/app" in said(
        caught, "AccessDeniedException"
    )


def test_calls_are_throttled_so_often_and_no_oftener(recorder: Recorder, api: ECRClient) -> None:
    throttling(recorder, "DescribeRegistry", times=2)
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            api.describe_registry()
        assert said(caught, "ThrottlingException") == "Rate exceeded"
    assert api.describe_registry()["registryId"] == ACCOUNT
    throttling(recorder)
    for _ in range(3):
        with pytest.raises(ClientError):
            api.describe_repositories()
