"""The text of a lifecycle policy: what is taken, what is refused in which words, how it is given back."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.localecr.api import lifecycle_text
from ecrdrag.localecr.api.expiry import Rule
from ecrdrag.localecr.api.lifecycle_text import PolicyError

ONE_OF_FOUR = "instance failed to match exactly one schema (matched 0 out of 4)\n"
ONE_OF_TWO = "instance failed to match exactly one schema (matched 0 out of 2)\n"
NO_POLICY = "Could not map policyString into LifecyclePolicy."
ARCHIVE = {"storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 90}
TO_ARCHIVE = {"type": "transition", "targetStorageClass": "archive"}


def selection(**changes: object) -> dict[str, object]:
    """Write a selection; a change to ... takes a member out."""
    members = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1, **changes}
    return {name: value for name, value in members.items() if value is not ...}


def rule(priority: object = 1, *, action: object = None, also: object = None, **changes: object) -> dict[str, object]:
    extra = also if isinstance(also, dict) else {}
    return {
        "rulePriority": priority,
        "selection": selection(**changes),
        "action": action or {"type": "expire"},
        **extra,
    }


def tagged(*prefixes: str, **more: object) -> dict[str, object]:
    return {"tagStatus": "tagged", "tagPrefixList": list(prefixes), **more}


def complaint(*rules: object) -> str:
    with pytest.raises(PolicyError) as caught:
        lifecycle_text.read(json.dumps({"rules": rules}))
    return str(caught.value)


def test_a_policy_is_read_as_its_rules_by_priority() -> None:
    text = json.dumps(
        {
            "rules": [
                rule(20, action=TO_ARCHIVE, countType="sinceImagePulled", countUnit="days", countNumber=3),
                rule(3, **tagged("a", "b"), also={"description": "d" * 256}),
                rule(5, tagStatus="tagged", tagPatternList=["a*b*c*d*"], countNumber=7),
                rule(21, **ARCHIVE),
            ]
        }
    )
    assert lifecycle_text.read(text) == (
        Rule(3, "tagged", ("a*", "b*"), False, "imageCountMoreThan", 1, False),
        Rule(5, "tagged", ("a*b*c*d*",), False, "imageCountMoreThan", 7, False),
        Rule(20, "any", (), False, "sinceImagePulled", 3, True),
        Rule(21, "any", (), True, "sinceImageTransitioned", 90, False),
    )


def test_a_policy_is_given_back_compact_with_rules_and_members_in_their_order() -> None:
    given = {
        "rules": [
            {"action": {"type": "expire"}, "selection": selection(), "rulePriority": 9},
            {
                "selection": {
                    "countNumber": 14,
                    "countUnit": "days",
                    "tagStatus": "untagged",
                    "countType": "sinceImagePushed",
                },
                "action": {"targetStorageClass": "archive", "type": "transition"},
                "description": "Größer als 14 Tage",
                "rulePriority": 1,
            },
        ]
    }
    assert lifecycle_text.normal(json.dumps(given, indent=4)) == (
        '{"rules":[{"rulePriority":1,"description":"Größer als 14 Tage","selection":{"tagStatus":"untagged",'
        '"countType":"sinceImagePushed","countUnit":"days","countNumber":14},'
        '"action":{"type":"transition","targetStorageClass":"archive"}},'
        '{"rulePriority":9,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1},'
        '"action":{"type":"expire"}}]}'
    )


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "1", '{"rules": NaN}', "[" * 9999, '{"rules": [1e999]}', r'{"rules": "\ud800"}', "9" * 5000],
)
def test_what_is_no_json_object_is_no_policy(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        lifecycle_text.normal(text)
    assert str(caught.value) == NO_POLICY


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, 'object has missing required properties (["rules"])\n'),
        (
            {"rules": [rule()], "version": 1},
            'object instance has properties which are not allowed by the schema: ["version"]\n',
        ),
        ({"rules": {}}, 'instance type (object) does not match any allowed primitive type (allowed: ["array"])\n'),
        ({"rules": []}, "array is too short: must have at least 1 elements but instance has 0 elements\n"),
        (
            {"rules": [rule()] * 51},
            "array is too long: must have at most 50 elements but instance has 51 elements\n",
        ),
    ],
)
def test_a_policy_has_one_to_fifty_rules_and_nothing_else(policy: object, expected: str) -> None:
    with pytest.raises(PolicyError) as caught:
        lifecycle_text.read(json.dumps(policy))
    assert str(caught.value) == expected


def wrong_type(found: str, allowed: str) -> str:
    return f'instance type ({found}) does not match any allowed primitive type (allowed: ["{allowed}"])\n'


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (7, wrong_type("integer", "object")),
        ({}, 'object has missing required properties (["action","rulePriority","selection"])\n'),
        (rule(also={"name": 1}), 'object instance has properties which are not allowed by the schema: ["name"]\n'),
        (rule(0), "numeric instance is lower than the required minimum (minimum: 1, found: 0)\n"),
        (rule("1"), wrong_type("string", "integer")),
        (rule(True), wrong_type("boolean", "integer")),
        (rule(1.5), wrong_type("number", "integer")),
        (rule(also={"description": 1}), wrong_type("integer", "string")),
        (
            rule(also={"description": "d" * 257}),
            f'string "{"d" * 257}" is too long (length: 257, maximum allowed: 256)\n',
        ),
        (rule(also={"selection": []}), wrong_type("array", "object")),
        (rule(also={"action": "expire"}), wrong_type("string", "object")),
        (rule(tagStatus=...), 'object has missing required properties (["tagStatus"])\n'),
        (rule(colour=1), 'object instance has properties which are not allowed by the schema: ["colour"]\n'),
        (
            rule(tagStatus="old"),
            'instance value ("old") not found in enum (possible values: ["any","tagged","untagged"])\n',
        ),
        (
            rule(storageClass="glacier"),
            'instance value ("glacier") not found in enum (possible values: ["archive","standard"])\n',
        ),
        (
            rule(countType="sinceImagePushed", countUnit="hours"),
            'instance value ("hours") not found in enum (possible values: ["days"])\n',
        ),
        (rule(countNumber=0), "numeric instance is lower than the required minimum (minimum: 1, found: 0)\n"),
        (rule(tagPatternList=None, tagPrefixList=None), wrong_type("null", "array") * 2),
        (rule(tagPrefixList=[1]), wrong_type("integer", "string")),
        (rule(countType="sinceImageBuilt"), ONE_OF_FOUR),
        (rule(countType=["sinceImagePushed"]), ONE_OF_FOUR),
        (rule(countUnit="days"), ONE_OF_FOUR),
        (rule(countType="sinceImagePushed"), ONE_OF_FOUR),
        (rule(**{**ARCHIVE, "storageClass": ...}), ONE_OF_FOUR),
        (rule(**{**ARCHIVE, "storageClass": "standard"}), ONE_OF_FOUR),
        (rule(action={"type": "delete"}), ONE_OF_TWO),
        (rule(action={"type": "expire", "targetStorageClass": None}), ONE_OF_TWO),
        (rule(action={"type": "transition"}), ONE_OF_TWO),
        (rule(action={"type": "transition", "targetStorageClass": "standard"}), ONE_OF_TWO),
    ],
)
def test_a_rule_has_the_form_of_the_schema(bad: object, expected: str) -> None:
    assert complaint(bad) == expected


def test_every_complaint_about_the_form_is_made() -> None:
    bad = rule(0, countNumber=-1, action={"type": "delete"})
    assert complaint(bad).splitlines() == [
        "numeric instance is lower than the required minimum (minimum: 1, found: 0)",
        "numeric instance is lower than the required minimum (minimum: 1, found: -1)",
        ONE_OF_TWO.strip(),
    ]


NO_TAGS = "Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED."
STANDARD_ONLY = (
    "SINCE_IMAGE_PUSHED, SINCE_IMAGE_PULLED and IMAGE_COUNT_MORE_THAN support the STANDARD storage class only."
)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([rule(2**31)], NO_POLICY),
        ([rule(countNumber=10**99)], NO_POLICY),
        ([rule(1), rule(1, **tagged("a"))], "Duplicate priority in multiple rules."),
        ([rule(tagStatus="tagged")], NO_TAGS),
        ([rule(tagStatus="tagged", tagPatternList=[])], NO_TAGS),
        ([rule(tagPrefixList=["a"])], "Cannot specify tagPrefixList with tagStatus any."),
        (
            [rule(tagStatus="untagged", tagPatternList=["a"])],
            "Cannot specify tagPatternList with tagStatus untagged.",
        ),
        (
            [rule(**tagged("a", tagPatternList=["a"]))],
            "If policy has a tagged rule, it must specify only one of tagPrefixList or tagPatternList.",
        ),
        ([rule(tagStatus="tagged", tagPatternList=["*a*b*c*d*"])], "Invalid tag pattern provided."),
        ([rule(tagStatus="tagged", tagPatternList=["a", ""])], "Invalid tag pattern provided."),
        ([rule(storageClass="archive")], STANDARD_ONLY),
        (
            [rule(countType="sinceImagePulled", countUnit="days")],
            "SINCE_IMAGE_PULLED must be used with the TRANSITION action.",
        ),
        (
            [rule(**ARCHIVE, action=TO_ARCHIVE)],
            "SINCE_IMAGE_TRANSITIONED must be used with the EXPIRE action.",
        ),
        (
            [rule(**{**ARCHIVE, "countNumber": 89})],
            "Images must be in archive storage for a minimum of 90 days before deletion.",
        ),
        (
            [rule(1, tagStatus="untagged"), rule(2, tagStatus="untagged")],
            "Only one rule can select Untagged images per storage class.",
        ),
        ([rule(1), rule(2)], "Only one rule can specify tagStatus=ANY per storage class."),
        (
            [rule(2, **tagged("a")), rule(1)],
            "Rule for tagStatus=ANY must have the lowest priority per storage class.",
        ),
        (
            [rule(1, **tagged("a", "b")), rule(2, **tagged("b", "a"))],
            "Rules must contain a unique set of prefixes per storage class.",
        ),
    ],
)
def test_rules_make_sense_by_themselves_and_together(rules: list[object], expected: str) -> None:
    assert complaint(*rules) == expected


def test_rules_of_two_storage_classes_do_not_meet() -> None:
    """As in terraform-provider-aws's acceptance test of storage classes."""
    read = lifecycle_text.read(json.dumps({"rules": [rule(1), rule(2, **ARCHIVE)]}))
    assert [one.is_archive for one in read] == [False, True]
    lifecycle_text.read(json.dumps({"rules": [rule(1, **tagged("a")), rule(2, **tagged("a", **ARCHIVE))]}))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
_names = st.sampled_from(sorted({**selection(), **ARCHIVE, "tagPatternList": [], "tagPrefixList": []}))
_SELECTIONS = [
    selection(),
    selection(tagStatus="untagged", countType="sinceImagePushed", countUnit="days"),
    selection(**tagged("a")),
    selection(tagStatus="tagged", tagPatternList=["*a*"]),
    selection(**ARCHIVE),
]
_rule = st.fixed_dictionaries(
    {
        "rulePriority": st.integers(1, 9),
        "selection": st.sampled_from(_SELECTIONS)
        | st.builds(lambda one, more: {**one, **more}, st.sampled_from(_SELECTIONS), st.dictionaries(_names, _json)),
        "action": st.sampled_from([{"type": "expire"}, TO_ARCHIVE]),
    },
    optional={"description": st.text(max_size=3)},
)


@given(st.lists(_rule | _json, max_size=3) | st.lists(_rule, min_size=1, max_size=2) | _json)
def test_any_text_is_read_or_complained_about_and_what_is_given_back_reads_the_same(rules: object) -> None:
    text = json.dumps({"rules": rules})
    with suppress(PolicyError):
        read = lifecycle_text.read(text)
        normal = lifecycle_text.normal(text)
        assert lifecycle_text.read(normal) == read
        assert lifecycle_text.normal(normal) == normal
