"""Our tables of ECR's errors against botocore's model of ECR."""

from __future__ import annotations

import json
from collections.abc import Mapping

import botocore.session
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ProfileNotFound,
    SSLError,
    UnauthorizedSSOTokenError,
)
from botocore.model import Shape, StringShape, StructureShape
from botocore.retries.standard import RetryContext, ThrottledRetryableChecker

from ecrdrag import errors
from ecrdrag.registry.ecr import MAX_REFERRERS
from ecrdrag.registry.ecr_api import PULLED_TYPES
from ecrdrag.registry.ecr_destination import MAX_DIGESTS, MAX_PART
from ecrdrag.registry.ecr_errors import COMMON_CODES, ERROR_CODES, FAILURE_CODES, failure, translated
from ecrdrag.registry.ecr_parts import write_part

MODEL = botocore.session.Session().get_service_model("ecr")
WHERE = "123456789012.dkr.ecr.us-west-2.amazonaws.com/my/app"
URL = "https://me:SECRET@api.ecr.us-west-2.amazonaws.com/?token=SECRET"
SHOWN = "https://api.ecr.us-west-2.amazonaws.com"


def refused(code: str, message: str = "no", status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "BatchGetImage",
    )


def translation_of(error: Exception) -> errors.EcrdragError:
    with pytest.raises(errors.EcrdragError) as caught, translated(WHERE):
        raise error
    return caught.value


def test_every_modelled_error_of_ecr_is_mapped_and_nothing_else() -> None:
    assert set(ERROR_CODES) == {shape.name for shape in MODEL.error_shapes}


def codes_of(name: str) -> set[str]:
    shape = MODEL.shape_for(name)
    assert isinstance(shape, StringShape)
    return set(shape.enum)


def test_every_failure_code_inside_an_answer_is_mapped_and_nothing_else() -> None:
    assert set(FAILURE_CODES) == codes_of("ImageFailureCode") | codes_of("LayerFailureCode")


def is_throttling(code: str) -> bool:
    """Ask botocore whether it takes a code for "too many requests"."""
    context = RetryContext(attempt_number=1, parsed_response={"Error": {"Code": code}})
    return bool(ThrottledRetryableChecker().is_retryable(context))


def test_too_many_requests_are_worth_another_try_also_where_botocore_makes_none() -> None:
    codes = {code for code, (kind, _) in COMMON_CODES.items() if issubclass(kind, errors.TransientError)}
    assert "ThrottlingException" in codes
    assert {code for code in codes if not is_throttling(code)} == {"ThrottleException"}


def test_a_quota_that_is_used_up_is_not_worth_another_try_whatever_botocore_thinks() -> None:
    throttled = {code for code in ERROR_CODES if is_throttling(code)}
    assert throttled == {"LimitExceededException"}
    assert not isinstance(translation_of(refused("LimitExceededException")), errors.TransientError)


def test_no_code_stands_in_two_tables() -> None:
    assert not set(ERROR_CODES) & set(COMMON_CODES)


@pytest.mark.parametrize("code", [*ERROR_CODES, *COMMON_CODES])
def test_a_refusal_says_what_failed_where_and_under_which_code(code: str) -> None:
    error = translation_of(refused(code, "it can't be"))
    assert str(error) == f"{WHERE}: BatchGetImage was refused: it can't be ({code})"
    assert error.exit_code != 70
    assert error.__suppress_context__


@pytest.mark.parametrize("code", FAILURE_CODES)
def test_a_failure_inside_an_answer_is_an_error(code: str) -> None:
    error = failure(code, "it can't be", WHERE)
    assert str(error) == f"{WHERE}: it can't be ({code})"
    assert error.exit_code != 70


def test_an_unknown_refusal_is_judged_by_its_status() -> None:
    assert translation_of(refused("Odd", status=403)).exit_code == 3
    assert translation_of(refused("Odd", status=500)).exit_code == 5
    assert isinstance(translation_of(refused("Odd", status=429)), errors.TransientError)
    assert failure("Odd", "", WHERE).exit_code == 5


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NoCredentialsError(), 3, "no AWS credentials found"),
        (UnauthorizedSSOTokenError(), 3, "the AWS sign-in has expired"),
        (ProfileNotFound(profile="x"), 2, "profile (x) could not be found"),
        (ConnectTimeoutError(endpoint_url=URL), 5, f"connecting to the ECR API at {SHOWN} timed out"),
        (EndpointConnectionError(endpoint_url=URL), 5, f"no connection to the ECR API at {SHOWN}"),
        (SSLError(endpoint_url=URL, error=OSError("bad")), 5, f"no TLS connection to the ECR API at {SHOWN}"),
    ],
)
def test_what_botocore_raises_itself_is_translated(error: Exception, code: int, said: str) -> None:
    found = translation_of(error)
    assert (found.exit_code, said in str(found), "SECRET" in str(found)) == (code, True, False)


@pytest.mark.parametrize("error", [AttributeError("x"), RecursionError(), UnicodeDecodeError("utf-8", b"", 0, 1, "x")])
def test_an_answer_that_botocore_stumbles_over_is_a_transfer_error(error: Exception) -> None:
    assert str(translation_of(error)).startswith(f"{WHERE}: the answer of the ECR API can't be read: ")


def members_of(operation: str) -> Mapping[str, Shape]:
    shape = MODEL.operation_model(operation).input_shape
    assert isinstance(shape, StructureShape)
    return shape.members


def test_the_limits_of_the_model_hold_what_we_send() -> None:
    assert len(PULLED_TYPES) <= members_of("BatchGetImage")["acceptedMediaTypes"].metadata["max"]
    assert members_of("ListImageReferrers")["maxResults"].metadata["max"] == MAX_REFERRERS
    assert members_of("BatchCheckLayerAvailability")["layerDigests"].metadata["max"] == MAX_DIGESTS
    assert members_of("UploadLayerPart")["layerPartBlob"].metadata["max"] == MAX_PART


def test_the_request_of_a_part_has_the_members_of_the_model() -> None:
    names = {"registryId": "1", "repositoryName": "app", "uploadId": "2"}
    assert json.loads(write_part(names, 0, 3, [memoryview(b"abc")])).keys() == members_of("UploadLayerPart").keys()


def test_parts_travel_in_the_protocol_that_they_are_written_for() -> None:
    assert MODEL.resolved_protocol == "json"  # else the hooks hand over plain bytes, and the gain is gone
