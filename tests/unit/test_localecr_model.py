"""The local ECR against botocore's model of ECR: operations, errors, input, output."""

from __future__ import annotations

import ast
import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.model import OperationModel, StructureShape
from hypothesis import given
from hypothesis import strategies as st

import ecrdrag.localecr
from ecrdrag.localecr.api import refusals
from ecrdrag.localecr.api.refusals import Refusal
from ecrdrag.localecr.api.services import ECR
from ecrdrag.localecr.api.wire import check_input, read_json, service_model, write_output, write_refusal
from ecrdrag.localecr.names import ImageName, RepositoryKey

MODEL = service_model()
ROOM = Path(ecrdrag.localecr.__file__).parent / "api"
# Where operations live; the wire format and the signature raise errors that every AWS service has, outside the model.
OPERATION_ROOMS = ("call", "layers", "repositories", "images", "pushing", "tokens")
EMULATED = {
    "GetAuthorizationToken",
    "CreateRepository",
    "DeleteRepository",
    "DescribeRepositories",
    "BatchCheckLayerAvailability",
    "InitiateLayerUpload",
    "UploadLayerPart",
    "CompleteLayerUpload",
    "PutImage",
    "BatchGetImage",
    "GetDownloadUrlForLayer",
    "ListImages",
    "DescribeImages",
    "BatchDeleteImage",
}
MUTABILITIES = ("MUTABLE", "IMMUTABLE", "IMMUTABLE_WITH_EXCLUSION", "MUTABLE_WITH_EXCLUSION")
KEY = RepositoryKey("1" * 12, "us-west-2", "app")
EVERY_REFUSAL = [
    refusals.invalid_parameter("place", "constraint"),
    refusals.repository_not_found(KEY),
    refusals.repository_exists(KEY),
    refusals.repository_not_empty(KEY),
    refusals.upload_not_found(KEY, "u"),
    refusals.wrong_first_byte(KEY, "u", first=1, wanted=2),
    refusals.too_many_parts(1),
    refusals.empty_upload(KEY, "u"),
    refusals.part_too_small(),
    refusals.wrong_layer_digest(),
    refusals.layer_exists(KEY, "d"),
    refusals.layer_not_found(KEY, "d"),
    refusals.layer_inaccessible(),
    refusals.layers_missing(KEY, ["d"]),
    refusals.images_missing(KEY, ["d"]),
    refusals.wrong_image_digest(KEY, "d"),
    refusals.image_exists(KEY, "d", "t"),
    refusals.tag_is_immutable(KEY, "t"),
    refusals.image_not_found(KEY, ImageName("d", "t")),
]


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node


def shape_of_each_refusal() -> dict[str, str]:
    """Map each function of refusals.py to the error's name."""
    made = {function.name: spelled_out(function) for function in functions(ROOM / "refusals.py")}
    return {name: shapes.pop() for name, shapes in made.items() if shapes}


def errors_within_reach(start: str) -> set[str]:
    """Follow the names from an operation through its room, and what it asks its Call, to the errors at their ends."""
    rooms = {room: {one.name: one for one in functions(ROOM / f"{room}.py")} for room in OPERATION_ROOMS}
    home = next(room for room in OPERATION_ROOMS if start in rooms[room])
    shapes = shape_of_each_refusal()
    seen: set[tuple[str, str]] = set()
    waiting = {(home, start)}
    errors: set[str] = set()
    while waiting:
        room, name = waiting.pop()
        seen.add((room, name))
        errors |= {shapes[name]} if name in shapes else set()
        if function := rooms[room].get(name):
            errors |= spelled_out(function)
            waiting |= names_in(function, room) - seen
    return errors


def names_in(function: ast.FunctionDef, room: str) -> set[tuple[str, str]]:
    """List what a function refers to: names of its room, and members of the Call."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            found.add((room, node.id))
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in ("call", "self"):
            found.add(("call", node.attr))
    return found


def spelled_out(function: ast.FunctionDef) -> set[str]:
    """List the errors that a function makes itself."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal":
            assert isinstance(node.args[0], ast.Constant)
            found.add(str(node.args[0].value))
    return found


def test_exactly_the_promised_operations_are_emulated_and_all_are_ecrs() -> None:
    assert set(ECR.operations) == EMULATED
    assert set(ECR.operations) <= set(MODEL.operation_names)


@pytest.mark.parametrize("name", sorted(ECR.operations))
def test_an_operation_raises_only_what_the_model_lets_it(name: str) -> None:
    modelled = {shape.name for shape in MODEL.operation_model(name).error_shapes}
    reached = errors_within_reach(ECR.operations[name].__name__)
    assert reached <= modelled
    if name != "GetAuthorizationToken":
        assert reached, "the walk has lost its way"


@pytest.mark.parametrize("refusal", EVERY_REFUSAL, ids=lambda refusal: refusal.shape)
def test_an_error_has_the_name_and_members_of_its_shape(refusal: Refusal) -> None:
    shape = next(shape for shape in MODEL.error_shapes if shape.name == refusal.shape)
    assert isinstance(shape, StructureShape)
    assert set(json.loads(write_refusal(refusal))) - {"__type"} == set(shape.members)
    assert refusal.status == 400


def test_every_refusal_is_in_the_table_above() -> None:
    assert {refusal.shape for refusal in EVERY_REFUSAL} == set(shape_of_each_refusal().values())


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


@given(st.sampled_from(sorted(ECR.operations)), st.data())
def test_any_json_is_read_or_refused(name: str, data: st.DataObject) -> None:
    operation = MODEL.operation_model(name)
    shape = operation.input_shape
    assert shape is not None
    document = data.draw(st.dictionaries(st.sampled_from(sorted(shape.members)), _json) | _json)
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
