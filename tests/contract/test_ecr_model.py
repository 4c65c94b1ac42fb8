"""Our tables of ECR's errors against botocore's model of ECR."""

from __future__ import annotations

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
from botocore.model import StringShape

from ecrdrag import errors
from ecrdrag.registry.ecr import ACCEPTED_TYPES
from ecrdrag.registry.ecr_errors import COMMON_CODES, ERROR_CODES, FAILURE_CODES, failure, translated

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


def test_every_failure_code_of_batch_get_image_is_mapped_and_nothing_else() -> None:
    shape = MODEL.shape_for("ImageFailureCode")
    assert isinstance(shape, StringShape)
    assert set(FAILURE_CODES) == set(shape.enum)


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


def test_the_limits_of_the_model_hold_what_we_send() -> None:
    types = MODEL.operation_model("BatchGetImage").input_shape
    assert types is not None
    assert len(ACCEPTED_TYPES) <= types.members["acceptedMediaTypes"].metadata["max"]
