"""Own what ECR's JSON schema says of a lifecycle policy's text: which members, of which types, within which bounds.

The reading of lifecycle policies enters. The texts are those of java-json-tools/json-schema-validator, with which ECR
checks: simple-container-com/api#34, cloudposse/terraform-aws-ecr#158, hashicorp/terraform-provider-aws#45909, moto.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

RULE: Final = ("rulePriority", "description", "selection", "action")
SELECTION: Final = (
    "tagStatus",
    "tagPatternList",
    "tagPrefixList",
    "storageClass",
    "countType",
    "countUnit",
    "countNumber",
)
ACTION: Final = ("type", "targetStorageClass")
"""The members of each object, in the order in which they are written."""

_MAX_RULES: Final = 50
_MAX_DESCRIPTION: Final = 256  # what the issue that brought policies here asks for; no AWS document
# User guide, "Lifecycle policy properties": days are counted by all but the first, and the last is of the archive.
_COUNT_TYPES: Final = ("imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned")
_ACTIONS: Final = ({"type": "expire"}, {"type": "transition", "targetStorageClass": "archive"})
_KINDS: Final = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}

_Object = Mapping[str, object]


def complaints(policy: _Object) -> Iterator[str]:
    """Say what is wrong with a policy's form."""
    yield from _members(policy, ("rules",), ("rules",))
    rules = policy.get("rules", [{}])
    if not isinstance(rules, list):
        yield _wrong_type(rules, "array")
    elif not rules:
        yield "array is too short: must have at least 1 elements but instance has 0 elements"
    elif len(rules) > _MAX_RULES:
        yield f"array is too long: must have at most {_MAX_RULES} elements but instance has {len(rules)} elements"
    elif "rules" in policy:
        for rule in rules:
            yield from _rule(rule)


def _rule(rule: object) -> Iterator[str]:
    if not isinstance(rule, dict):
        yield _wrong_type(rule, "object")
        return
    yield from _members(rule, RULE, ("rulePriority", "selection", "action"))
    yield from _number(rule, "rulePriority")
    yield from _description(rule)
    for name, check in (("selection", _selection), ("action", _action)):
        if isinstance(rule.get(name), dict):
            yield from check(rule[name])
        elif name in rule:
            yield _wrong_type(rule[name], "object")


def _description(rule: _Object) -> Iterator[str]:
    text = rule.get("description", "")
    if not isinstance(text, str):
        yield _wrong_type(text, "string")
    elif len(text) > _MAX_DESCRIPTION:
        yield f"string {json.dumps(text)} is too long (length: {len(text)}, maximum allowed: {_MAX_DESCRIPTION})"


def _selection(selection: _Object) -> Iterator[str]:
    yield from _members(selection, SELECTION, ("tagStatus", "countType", "countNumber"))
    yield from _choice(selection, "tagStatus", ("any", "tagged", "untagged"))
    yield from _choice(selection, "storageClass", ("archive", "standard"))
    yield from _choice(selection, "countUnit", ("days",))
    yield from _number(selection, "countNumber")
    yield from _texts(selection, "tagPatternList")
    yield from _texts(selection, "tagPrefixList")
    if "countType" in selection and not _is_counted(selection):
        yield f"instance failed to match exactly one schema (matched 0 out of {len(_COUNT_TYPES)})"


def _is_counted(selection: _Object) -> bool:
    """Tell whether a count type is one, and has what it needs beside it."""
    kind = selection["countType"]
    if kind not in _COUNT_TYPES or (kind != _COUNT_TYPES[0]) != ("countUnit" in selection):
        return False
    return kind != _COUNT_TYPES[-1] or selection.get("storageClass") == "archive"


def _action(action: _Object) -> Iterator[str]:
    if action not in _ACTIONS:
        yield f"instance failed to match exactly one schema (matched 0 out of {len(_ACTIONS)})"


def _members(value: _Object, allowed: Collection[str], required: Collection[str]) -> Iterator[str]:
    if missing := set(required) - set(value):
        yield f"object has missing required properties ({_listed(missing)})"
    if unknown := set(value) - set(allowed):
        yield f"object instance has properties which are not allowed by the schema: {_listed(unknown)}"


def _choice(value: _Object, name: str, allowed: Collection[str]) -> Iterator[str]:
    if name in value and value[name] not in allowed:
        yield f"instance value ({json.dumps(value[name])}) not found in enum (possible values: {_listed(allowed)})"


def _number(value: _Object, name: str) -> Iterator[str]:
    number = value.get(name, 1)
    if not isinstance(number, int) or isinstance(number, bool):
        yield _wrong_type(number, "integer")
    elif number < 1:
        yield f"numeric instance is lower than the required minimum (minimum: 1, found: {number})"


def _texts(value: _Object, name: str) -> Iterator[str]:
    texts = value.get(name, [])
    if isinstance(texts, list):
        yield from (_wrong_type(text, "string") for text in texts if not isinstance(text, str))
    else:
        yield _wrong_type(texts, "array")


def _wrong_type(value: object, allowed: str) -> str:
    found = _KINDS.get(type(value), "null")
    return f'instance type ({found}) does not match any allowed primitive type (allowed: ["{allowed}"])'


def _listed(names: Iterable[str]) -> str:
    return json.dumps(sorted(names), separators=(",", ":"))
