"""Own AWS JSON 1.1: requests read and checked, answers written, both by botocore's own model of a service.

The API and the operations may enter.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from botocore.loaders import create_loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StringShape, StructureShape

from ecrdrag.localecr.api.refusals import Refusal, invalid_parameter

CONTENT_TYPE: Final = "application/x-amz-json-1.1"

# ECR's texts print this older form of the repository pattern: aws/containers-roadmap and terraform issues.
_PRINTED_PATTERN: Final = {
    "RepositoryName": "(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*",
}
# The model's pattern written so that it fails in linear time: as it is, "a" * 40 + "!" would take Python hours.
_MATCHED_PATTERN: Final = {
    "ScanningRepositoryFilterValue": r"[a-z0-9*]+(?:[._\-/][a-z0-9*]+)*",
}
_JSON_NAMES: Final = {bool: "TRUE_VALUE", int: "NUMBER_VALUE", float: "DECIMAL_VALUE", str: "STRING_VALUE"}
_PYTHON_TYPES: Final[Mapping[str, type]] = {
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
    "structure": dict,
    "list": list,
    "map": dict,
    "blob": str,
}
_CONTAINERS: Final = ("structure", "list", "map")
# Smithy 2.0, "Simple types": integer has 32 bits, long has 64.
_LARGEST: Final[Mapping[str, int]] = {"integer": 2**31 - 1, "long": 2**63 - 1}

Refuse = Callable[[str, str], Refusal]
"""Says no to a value: where it is in the input, and what it must be."""


class _Unfit(Exception):  # noqa: N818 - a reason, which each service words in its own way
    """A value that the model doesn't allow: where it is, and what it must be."""

    def __init__(self, place: str, constraint: str) -> None:
        super().__init__(f"{place} {constraint}")
        self.place, self.constraint = place, constraint


class Parameters:
    """Give the checked members of an input structure, each by its type; what is absent is empty."""

    def __init__(self, members: Mapping[str, object]) -> None:
        self._members = members

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def text(self, name: str, default: str = "") -> str:
        """Return a string member."""
        value = self._members.get(name, default)
        return value if isinstance(value, str) else default

    def number(self, name: str, default: int = 0) -> int:
        """Return an integer member."""
        value = self._members.get(name, default)
        return value if isinstance(value, int) else default

    def flag(self, name: str) -> bool:
        """Return a boolean member."""
        return self._members.get(name) is True

    def blob(self, name: str) -> bytes:
        """Return a blob member, decoded."""
        value = self._members.get(name)
        return value if isinstance(value, bytes) else b""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""
        return tuple(text for text in self._list(name) if isinstance(text, str))

    def structure(self, name: str) -> Parameters:
        """Return a structure member, empty when absent."""
        value = self._members.get(name)
        return value if isinstance(value, Parameters) else Parameters({})

    def structures(self, name: str) -> tuple[Parameters, ...]:
        """Return a list of structures."""
        return tuple(entry for entry in self._list(name) if isinstance(entry, Parameters))

    def raw(self) -> dict[str, object]:
        """Return the members as plain JSON values."""
        return {name: _plain(value) for name, value in self._members.items()}

    def _list(self, name: str) -> list[object]:
        value = self._members.get(name)
        return value if isinstance(value, list) else []


def _plain(value: object) -> object:
    if isinstance(value, Parameters):
        return value.raw()
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


@cache
def service_model(name: str = "ecr") -> ServiceModel:
    """Load botocore's model of a service."""
    return ServiceModel(create_loader().load_service_model(name, "service-2"), name)


def read_json(raw: bytes) -> object:
    """Parse a request's body; raise SerializationException."""
    try:
        return json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        raise Refusal("SerializationException", "The request body is not valid JSON") from None


def check_input(operation: OperationModel, document: object, refuse: Refuse = invalid_parameter) -> Parameters:
    """Check the input of an operation; raise SerializationException, or what refuse makes of a bad value."""
    shape = operation.input_shape
    if shape is None:
        return Parameters({})
    try:
        return _structure(document, shape, "")
    except _Unfit as unfit:
        raise refuse(unfit.place, unfit.constraint) from None


def write_output(operation: OperationModel, output: Mapping[str, object]) -> bytes:
    """Serialise what an operation returns; a member that the model lacks is a bug and raises KeyError."""
    shape = operation.output_shape
    return json.dumps(_write(output, shape) if shape else {}, separators=(",", ":")).encode()


def write_refusal(refusal: Refusal, service: str = "ecr") -> bytes:
    """Serialise an error as AWS JSON 1.1 does, its members beside __type and the text."""
    text = {_text_member(service, refusal.shape): refusal.message}
    return json.dumps({"__type": refusal.shape, **text, **refusal.members}).encode()


@cache
def _text_member(service: str, error: str) -> str:
    """Return what a service calls the text of an error: Secrets Manager begins it with a capital."""
    shape = next((one for one in service_model(service).error_shapes if one.name == error), None)
    return "Message" if isinstance(shape, StructureShape) and "Message" in shape.members else "message"


def _read(value: object, shape: Shape, place: str) -> object:
    if isinstance(shape, StructureShape):
        return _structure(value, shape, place)
    _check_type(value, shape)
    if isinstance(value, str):
        return _blob(value, shape, place) if shape.type_name == "blob" else _text(value, shape, place)
    if isinstance(value, list) and isinstance(shape, ListShape):
        _check_length(len(value), shape, place, "Member must")
        return [_read(entry, shape.member, f"{place}.{count}.member") for count, entry in enumerate(value, 1)]
    if isinstance(value, dict) and isinstance(shape, MapShape):
        return {key: _read(entry, shape.value, f"{place}.{key}.member") for key, entry in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        _check_value(value, shape, place)
    return value


def _structure(value: object, shape: StructureShape, place: str) -> Parameters:
    if not isinstance(value, dict):
        raise Refusal("SerializationException", f"Unexpected value for {shape.name}: an object is expected")
    prefix = f"{place}." if place else ""
    for name in shape.required_members:
        if value.get(name) is None:
            raise _Unfit(prefix + name, "Member must not be null")
    # Members that the model doesn't know are ignored, as AWS JSON servers do.
    known = {name: member for name, member in shape.members.items() if value.get(name) is not None}
    return Parameters({name: _read(value[name], member, prefix + name) for name, member in known.items()})


def _check_type(value: object, shape: Shape) -> None:
    wanted = _PYTHON_TYPES[shape.type_name]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        found = _JSON_NAMES.get(type(value), "The value")
        raise Refusal("SerializationException", f"{found} can not be converted to {shape.type_name}")
    largest = _LARGEST.get(shape.type_name)
    if largest and isinstance(value, int) and not -largest - 1 <= value <= largest:
        raise Refusal("SerializationException", f"NUMBER_VALUE is too large for {shape.type_name}")


def _text(value: str, shape: Shape, place: str) -> str:
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Refusal("SerializationException", f"{place} holds half of a surrogate pair")
    _check_length(len(value), shape, place, "must")
    pattern = shape.metadata.get("pattern")
    # AWS's servers are Java, whose \w is ASCII.
    if pattern and not re.fullmatch(_MATCHED_PATTERN.get(shape.name, pattern), value, re.ASCII):
        printed = _PRINTED_PATTERN.get(shape.name, pattern)
        raise _Unfit(place, f"must satisfy regular expression '{printed}'")
    choices = shape.enum if isinstance(shape, StringShape) else []
    if choices and value not in choices:
        raise _Unfit(place, f"Member must satisfy enum value set: [{', '.join(choices)}]")
    return value


def _blob(value: str, shape: Shape, place: str) -> bytes:
    try:
        data = base64.b64decode(value, validate=True)
    except ValueError:
        raise Refusal("SerializationException", f"{place} is not valid base64") from None
    _check_length(len(data), shape, place, "must")
    return data


def _check_length(length: int, shape: Shape, place: str, verb: str) -> None:
    smallest, largest = shape.metadata.get("min"), shape.metadata.get("max")
    if smallest is not None and length < smallest:
        raise _Unfit(place, f"{verb} have length greater than or equal to {smallest}")
    if largest is not None and length > largest:
        raise _Unfit(place, f"{verb} have length less than or equal to {largest}")


def _check_value(value: int, shape: Shape, place: str) -> None:
    smallest, largest = shape.metadata.get("min"), shape.metadata.get("max")
    if smallest is not None and value < smallest:
        raise _Unfit(place, f"Member must have value greater than or equal to {smallest}")
    if largest is not None and value > largest:
        raise _Unfit(place, f"Member must have value less than or equal to {largest}")


def _write(value: object, shape: Shape) -> object:
    """Hold a value to its shape; what is no structure, list or map comes first, as most of a long answer is."""
    kind = shape.type_name
    if _PYTHON_TYPES.get(kind) is type(value) and kind not in _CONTAINERS:
        return value
    if kind == "timestamp" and isinstance(value, int | float):
        return round(value, 3)
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        members = shape.members
        return {name: _write(member, members[name]) for name, member in value.items() if member is not None}
    if isinstance(shape, ListShape) and isinstance(value, list | tuple):
        entry_shape = shape.member
        return [_write(entry, entry_shape) for entry in value]
    if isinstance(shape, MapShape) and isinstance(value, Mapping):
        return {key: _write(entry, shape.value) for key, entry in value.items()}
    raise TypeError(f"{type(value).__name__} is no {kind} for {shape.name}")
