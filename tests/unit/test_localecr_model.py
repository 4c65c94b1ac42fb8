"""The local ECR's wire format: input checked and output written by botocore's model of ECR."""

from __future__ import annotations

import base64
import json
import re
import time

import pytest
from botocore.model import OperationModel
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.localecr.api.refusals import Refusal
from ecrdrag.localecr.api.services import SERVICES
from ecrdrag.localecr.api.wire import check_input, read_json, service_model, write_output

MODEL = service_model()
MUTABILITIES = ("MUTABLE", "IMMUTABLE", "IMMUTABLE_WITH_EXCLUSION", "MUTABLE_WITH_EXCLUSION")


def test_input_keeps_what_the_model_knows_and_ignores_the_rest() -> None:
    operation = MODEL.operation_model("UploadLayerPart")
    document = {
        "repositoryName": "app",
        "uploadId": "6cb64b8a-9378-0e33-2ab1-b780fab8a9e9",
        "partFirstByte": 0,
        "partLastByte": 2,
        "layerPartBlob": base64.b64encode(b"abc").decode(),
        "registryId": None,
        "unknown": {},
    }
    found = check_input(operation, document)
    assert found.blob("layerPartBlob") == b"abc"
    assert found.number("partLastByte") == 2
    assert "registryId" not in found
    assert "unknown" not in found


@pytest.mark.parametrize(
    ("operation", "document", "place", "constraint"),
    [
        (
            "ListImages",
            {},
            "repositoryName",
            "Member must not be null",
        ),
        (
            "ListImages",
            {"repositoryName": "a"},
            "repositoryName",
            "must have length greater than or equal to 2",
        ),
        (
            "ListImages",
            {"repositoryName": "app", "maxResults": 1001},
            "maxResults",
            "Member must have value less than or equal to 1000",
        ),
        (
            "BatchGetImage",
            {"repositoryName": "app", "imageIds": []},
            "imageIds",
            "Member must have length greater than or equal to 1",
        ),
        (
            "BatchGetImage",
            {"repositoryName": "app", "imageIds": [{"imageTag": "x" * 301}]},
            "imageIds.1.member.imageTag",
            "must have length less than or equal to 300",
        ),
        (
            "CreateRepository",
            {"repositoryName": "app", "imageTagMutability": "SOMETIMES"},
            "imageTagMutability",
            f"Member must satisfy enum value set: [{', '.join(MUTABILITIES)}]",
        ),
    ],
)
def test_bad_input_is_refused_in_ecrs_words(
    operation: str, document: dict[str, object], place: str, constraint: str
) -> None:
    with pytest.raises(Refusal) as caught:
        check_input(MODEL.operation_model(operation), document)
    assert caught.value.shape == "InvalidParameterException"
    assert caught.value.message == f"Invalid parameter at '{place}' failed to satisfy constraint: '{constraint}'"


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**4000])
def test_a_number_of_more_than_its_bits_is_refused(number: int) -> None:
    document = {"repositoryName": "app", "uploadId": "6cb64b8a-9378-0e33-2ab1-b780fab8a9e9", "layerPartBlob": ""}
    raw = json.dumps({**document, "partFirstByte": number, "partLastByte": 0}).encode()
    assert outcome(MODEL.operation_model("UploadLayerPart"), raw) == "SerializationException"


def scanning_filter(text: str) -> bytes:
    rule = {"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [{"filter": text, "filterType": "WILDCARD"}]}
    return json.dumps({"rules": [rule]}).encode()


@given(st.text("a0*._-/!A", max_size=12))
def test_a_filter_of_scanning_is_held_to_the_models_pattern(text: str) -> None:
    shape = MODEL.shape_for("ScanningRepositoryFilterValue")
    is_one = bool(text and re.fullmatch(shape.metadata["pattern"], text))
    found = outcome(MODEL.operation_model("PutRegistryScanningConfiguration"), scanning_filter(text))
    assert found == ("read" if is_one else "InvalidParameterException")


def test_a_filter_that_almost_fits_is_refused_at_once() -> None:
    began = time.monotonic()
    raw = scanning_filter("a" * 254 + "!")
    assert outcome(MODEL.operation_model("PutRegistryScanningConfiguration"), raw) == "InvalidParameterException"
    assert time.monotonic() - began < 1


def test_a_letter_of_another_alphabet_is_no_letter_to_a_pattern() -> None:
    raw = json.dumps({"principalArn": "arn:aws:iam::123456789012:user/\u00e4"}).encode()
    assert outcome(MODEL.operation_model("RegisterPullTimeUpdateExclusion"), raw) == "InvalidParameterException"


OUTCOMES = ("read", "SerializationException", "InvalidParameterException")


def outcome(operation: OperationModel, raw: bytes) -> str:
    try:
        check_input(operation, read_json(raw))
    except Refusal as refusal:
        return refusal.shape
    return "read"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


EMULATED = [service.operation_model(name) for service in SERVICES for name in sorted(service.operations)]


@given(st.sampled_from(EMULATED), st.data())
def test_any_json_is_read_or_refused(operation: OperationModel, data: st.DataObject) -> None:
    shape = operation.input_shape
    assert shape is not None
    names = st.sampled_from(sorted(shape.members)) if shape.members else st.just("registryId")
    document = data.draw(st.dictionaries(names, _json) | _json)
    assert outcome(operation, json.dumps(document).encode()) in OUTCOMES


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    assert outcome(MODEL.operation_model("PutImage"), raw) in OUTCOMES


def test_output_has_epoch_seconds_and_no_empty_members() -> None:
    operation = MODEL.operation_model("DescribeRepositories")
    output = {"repositories": [{"repositoryName": "app", "createdAt": 1448875853.2414}], "nextToken": None}
    assert json.loads(write_output(operation, output)) == {
        "repositories": [{"repositoryName": "app", "createdAt": 1448875853.241}]
    }


def test_a_clock_of_whole_seconds_is_a_clock() -> None:
    written = write_output(MODEL.operation_model("DescribeRepositories"), {"repositories": [{"createdAt": 1448875853}]})
    assert json.loads(written) == {"repositories": [{"createdAt": 1448875853}]}


@pytest.mark.parametrize("output", [{"unknown": 1}, {"nextToken": 1}, {"repositories": {}}])
def test_output_that_the_model_does_not_know_is_a_bug(output: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError)):
        write_output(MODEL.operation_model("DescribeRepositories"), output)
