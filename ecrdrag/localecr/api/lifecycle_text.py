"""Own the text of a lifecycle policy: read, checked, and written as ECR gives it back.

The operations that take such a text enter. What a policy may say is the Amazon ECR user guide's "Lifecycle policy
properties" and "Lifecycle policy evaluation rules".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ecrdrag.localecr.api import lifecycle_schema as schema
from ecrdrag.localecr.api.expiry import Rule

_MAX_WILDCARDS: Final = 4
# User guide, "Archiving an image": no policy deletes what has been in the archive for less than 90 days.
_MIN_ARCHIVE_DAYS: Final = 90
_LARGEST: Final = 2**31 - 1  # appliedRulePriority is an integer of the model, and so has 32 bits
_NOT_A_POLICY: Final = "Could not map policyString into LifecyclePolicy."  # moto

_Object = Mapping[str, object]


class PolicyError(ValueError):
    """What is wrong with a policy, in ECR's words."""


def read(text: str) -> tuple[Rule, ...]:
    """Read a policy's rules, by priority; raise PolicyError."""
    return tuple(rule.meaning() for rule in _written(text))


def normal(text: str) -> str:
    """Write a policy as GetLifecyclePolicy gives it back: compact, its rules by priority; raise PolicyError.

    So PutLifecyclePolicy's sample in the AWS CLI documentation, and "the AWS ECR API seems to reorder rules" in that
    of hashicorp/terraform-provider-aws.
    """
    rules = [rule.in_order() for rule in _written(text)]
    return json.dumps({"rules": rules}, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _Written:
    """A rule as it was written, its form checked."""

    rule: _Object

    @property
    def selection(self) -> _Object:
        return _object(self.rule, "selection")

    @property
    def priority(self) -> int:
        return _number(self.rule, "rulePriority")

    @property
    def prefixes(self) -> tuple[str, ...]:
        return _texts(self.selection, "tagPrefixList")

    def meaning(self) -> Rule:
        """Return what the rule says."""
        return Rule(
            priority=self.priority,
            tag_status=_text(self.selection, "tagStatus"),
            patterns=_texts(self.selection, "tagPatternList") or tuple(f"{prefix}*" for prefix in self.prefixes),
            is_archive=_text(self.selection, "storageClass") == "archive",
            count_type=_text(self.selection, "countType"),
            count=_number(self.selection, "countNumber"),
            is_transition=_text(_object(self.rule, "action"), "type") == "transition",
        )

    def in_order(self) -> _Object:
        """Return the rule with its members in their order."""
        orders = {"selection": schema.SELECTION, "action": schema.ACTION}
        inner = {name: _in_order(_object(self.rule, name), order) for name, order in orders.items()}
        return _in_order({**self.rule, **inner}, schema.RULE)


def _written(text: str) -> list[_Written]:
    policy = _parsed(text)
    if complaints := list(schema.complaints(policy)):
        # Each on a line of its own, also the last: simple-container-com/api#34, terraform-provider-aws#45909.
        raise PolicyError("".join(f"{complaint}\n" for complaint in complaints))
    rules = policy["rules"]
    assert isinstance(rules, list)
    found = sorted((_Written(rule) for rule in rules), key=lambda rule: rule.priority)
    for complaint in _complaints(found):
        raise PolicyError(complaint)
    return found


def _parsed(text: str) -> _Object:
    try:
        policy = json.loads(text)
        json.dumps(policy, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise PolicyError(_NOT_A_POLICY) from None
    if not isinstance(policy, dict):
        raise PolicyError(_NOT_A_POLICY)
    return policy


def _complaints(rules: Sequence[_Written]) -> Iterator[str]:
    """Say what is wrong with the sense of rules.

    badmintoncryer/cdk-preflight quotes most of the texts from ECR; others are named.
    """
    if any(max(rule.priority, rule.meaning().count) > _LARGEST for rule in rules):
        yield _NOT_A_POLICY
    if len({rule.priority for rule in rules}) < len(rules):
        yield "Duplicate priority in multiple rules."
    for rule in rules:
        yield from _tag_complaints(rule)
        yield from _class_complaints(rule.meaning())
    for is_archive in (False, True):
        yield from _set_complaints([rule for rule in rules if rule.meaning().is_archive == is_archive])


def _tag_complaints(rule: _Written) -> Iterator[str]:
    status = _text(rule.selection, "tagStatus")
    given = [name for name in ("tagPrefixList", "tagPatternList") if _texts(rule.selection, name)]
    if status == "tagged" and not given:
        yield "Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED."
    elif status != "tagged" and given:
        yield f"Cannot specify {given[0]} with tagStatus {status}."
    elif len(given) > 1:
        yield "If policy has a tagged rule, it must specify only one of tagPrefixList or tagPatternList."
    if any(not pattern or pattern.count("*") > _MAX_WILDCARDS for pattern in _texts(rule.selection, "tagPatternList")):
        yield "Invalid tag pattern provided."


def _class_complaints(rule: Rule) -> Iterator[str]:
    """Hold count types to their storage classes and actions; the last three texts are the user guide's sense only."""
    if rule.is_archive and rule.count_type != "sinceImageTransitioned":
        yield (
            "SINCE_IMAGE_PUSHED, SINCE_IMAGE_PULLED and IMAGE_COUNT_MORE_THAN support the STANDARD storage class only."
        )
    if rule.count_type == "sinceImagePulled" and not rule.is_transition:
        yield "SINCE_IMAGE_PULLED must be used with the TRANSITION action."
    if rule.count_type == "sinceImageTransitioned" and rule.is_transition:
        yield "SINCE_IMAGE_TRANSITIONED must be used with the EXPIRE action."
    if rule.count_type == "sinceImageTransitioned" and rule.count < _MIN_ARCHIVE_DAYS:
        yield f"Images must be in archive storage for a minimum of {_MIN_ARCHIVE_DAYS} days before deletion."


def _set_complaints(rules: Sequence[_Written]) -> Iterator[str]:
    """Hold the rules of one storage class together; the first text is pasted in many deployment logs."""
    statuses = [rule.meaning().tag_status for rule in rules]
    if statuses.count("untagged") > 1:
        yield "Only one rule can select Untagged images per storage class."
    if statuses.count("any") > 1:
        yield "Only one rule can specify tagStatus=ANY per storage class."
    if "any" in statuses[:-1]:
        yield "Rule for tagStatus=ANY must have the lowest priority per storage class."
    prefixes = [frozenset(rule.prefixes) for rule in rules if rule.prefixes]
    if len(set(prefixes)) < len(prefixes):
        # The user guide's sense; whether a prefix may stand in two different lists is not said.
        yield "Rules must contain a unique set of prefixes per storage class."


def _in_order(value: _Object, order: Sequence[str]) -> _Object:
    return {name: value[name] for name in order if name in value}


def _object(value: _Object, name: str) -> _Object:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: _Object, name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _number(value: _Object, name: str) -> int:
    found = value.get(name)
    return found if isinstance(found, int) else 0


def _texts(value: _Object, name: str) -> tuple[str, ...]:
    found = value.get(name)
    return tuple(text for text in found if isinstance(text, str)) if isinstance(found, list) else ()
