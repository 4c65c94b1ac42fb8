"""What the everyday commands say to the ECR API, and read of its answers, against botocore's model of ECR."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

from ecrdrag.cli.aws import ServiceClient
from ecrdrag.cli.main import main
from ecrdrag.control.plane import PAGE
from ecrdrag.registry.ecr_errors import ERROR_CODES, FAILURE_CODES, IAM_ACTIONS
from tests.flow.conftest import HELLO, HOST, stock
from tests.localecr import ROOT, running

MODEL = botocore.session.Session().get_service_model("ecr")
CONTROL = sorted((ROOT / "ecrdrag" / "control").glob("*.py"))
OPERATION = re.compile(r"(?:[A-Z][a-z]+){2,}")
MEMBER = re.compile(r"[a-z]+(?:[A-Z][A-Za-z0-9]*)+")
README = (ROOT / "README.md").read_text("utf-8")
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "a", "Effect": "Allow", "Principal": "*", "Action": "ecr:ListImages"}],
    }
)
RULES = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
                "action": {"type": "expire"},
            }
        ]
    }
)
# Together they make every call that there is.
COMMANDS = [
    "repo create app other --immutable --scan-on-push --tag a=b --policy policy.json --lifecycle rules.json --yes",
    "repo ls --count",
    "repo show my/app",
    "repo policy my/app --set policy.json --yes",
    "repo policy my/app",
    "repo policy my/app --remove --yes",
    "repo lifecycle my/app --set rules.json --yes",
    "repo lifecycle my/app",
    "repo lifecycle my/app --preview",
    "repo lifecycle my/app --remove --yes",
    "image ls my/app --untagged --status any",
    "image show my/app:1.2",
    f"image show my/app@{HELLO.manifest.digest}",
    "image tag my/app:1.2 new --yes",
    "image rm my/app:new my/app:noise --yes",
    "image rm my/app --untagged --yes",
    "registry show",
    "cache-rule create quay --upstream quay --yes",
    "cache-rule ls",
    "cache-rule show quay",
    "cache-rule validate quay",
    "cache-rule delete quay --yes",
    "tags my/app",
    f"tags {HOST}/my/app",
    "repo delete app other --yes",
    "repo delete my/app --force --yes",
]
ENDINGS = {"cache-rule validate quay": 5}  # nobody is upstream here

Calls = list[tuple[str, Mapping[str, object]]]


def texts(path: Path) -> Iterator[str]:
    """Give all texts of a module's code that are one word, and the names of what is handed over by name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg


def named(pattern: re.Pattern[str]) -> set[str]:
    return {text for path in CONTROL for text in texts(path) if pattern.fullmatch(text)}


def members_of(shape: Shape | None, seen: set[str]) -> Iterator[str]:
    """Walk through all that a shape is made of."""
    if shape is None or shape.name in seen:
        return
    seen.add(shape.name)
    if isinstance(shape, StructureShape):
        yield from shape.members
        for member in shape.members.values():
            yield from members_of(member, seen)
    elif isinstance(shape, ListShape):
        yield from members_of(shape.member, seen)
    elif isinstance(shape, MapShape):
        yield from members_of(shape.value, seen)


def test_every_operation_that_is_named_is_one_of_ecr_s() -> None:
    found = named(OPERATION)
    assert len(found) > 20
    assert found - {*FAILURE_CODES, *ERROR_CODES} - set(MODEL.operation_names) == set()


def test_every_member_that_is_named_is_one_of_ecr_s_or_of_ours_in_the_readme() -> None:
    seen: set[str] = set()
    known = {
        member
        for name in MODEL.operation_names
        for shape in (MODEL.operation_model(name).input_shape, MODEL.operation_model(name).output_shape)
        for member in members_of(shape, seen)
    }
    found = named(MEMBER)
    assert len(found) > 30
    ours = set(re.findall(r"`([A-Za-z]+)`", README))
    assert found - known - ours == set()


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """Make every kind of call, as commands make them, and give them."""
    folder, made = tmp_path_factory.mktemp("control"), Calls()
    honest = ServiceClient.call

    def recorded(client: ServiceClient, operation: str, parameters: Mapping[str, object]) -> Mapping[str, object]:
        made.append((operation, dict(parameters)))
        return honest(client, operation, parameters)

    (folder / "policy.json").write_text(POLICY)
    (folder / "rules.json").write_text(RULES)
    with running(folder / "data") as ecr, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServiceClient, "call", recorded)
        patch.chdir(folder)
        patch.setenv("HOME", str(folder))
        for name, value in ecr.environment.items():
            patch.setenv(name, value)
        stock(ecr)
        for command in COMMANDS:
            assert main(command.split()) == ENDINGS.get(command, 0), command
    return made


def test_commands_make_every_call_that_is_named(calls: Calls) -> None:
    assert named(OPERATION) & set(MODEL.operation_names) - {operation for operation, _ in calls} == set()


def test_every_call_is_within_the_limits_of_the_model(calls: Calls) -> None:
    for operation, parameters in calls:
        shape = MODEL.operation_model(operation).input_shape
        assert list(excesses(shape, parameters, operation)) == []


def excesses(shape: Shape | None, value: object, where: str) -> Iterator[str]:
    """Name what botocore sends though the model forbids it: it checks types and least lengths alone."""
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        for name, one in value.items():
            if name not in shape.members:
                yield f"{where}.{name} is unknown"
            else:
                yield from excesses(shape.members[name], one, f"{where}.{name}")
        return
    assert shape is not None
    if isinstance(shape, ListShape) and isinstance(value, list | tuple):
        for one in value:
            yield from excesses(shape.member, one, f"{where}[]")
    if isinstance(shape, StringShape) and shape.enum and value not in shape.enum:
        yield f"{where} can't be {value!r}"
    size = value if isinstance(value, int) else len(value) if isinstance(value, str | list | tuple) else None
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if size is not None and not (least or size) <= size <= (most or size):
        yield f"{where} is {size}, and {least} to {most} are allowed"


def test_the_walk_over_limits_finds_what_is_beyond_them() -> None:
    shape = MODEL.operation_model("DescribeImages").input_shape
    bad = {"maxResults": 1001, "nextTokens": "x", "imageIds": [{}] * 101, "filter": {"tagStatus": "SOME"}}
    assert len(list(excesses(shape, bad, "DescribeImages"))) == 4


def test_pages_are_as_large_as_they_may_be(calls: Calls) -> None:
    largest: dict[str, int] = {}
    for operation, parameters in calls:
        if isinstance(size := parameters.get("maxResults"), int):
            largest[operation] = max(size, largest.get(operation, 0))
    assert len(largest) > 4
    for operation, size in largest.items():
        shape = MODEL.operation_model(operation).input_shape
        assert isinstance(shape, StructureShape)
        assert (operation, size) == (operation, min(PAGE, shape.members["maxResults"].metadata["max"]))


def test_an_iam_action_of_another_name_is_in_the_documentation_of_its_operation() -> None:
    told = {
        name: found[1]
        for name in MODEL.operation_names
        if (found := re.search(r"must have the <code>ecr:(\w+)</code>", MODEL.operation_model(name).documentation))
    }
    assert told == IAM_ACTIONS
