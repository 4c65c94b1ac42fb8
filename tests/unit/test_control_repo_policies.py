"""Policies as users give them: what is taken for one, what is sent, and when two are the same."""

from __future__ import annotations

import json

import pytest

from ecrdrag.control.policies import ACCESS, LIFECYCLE, Policy, PolicyKind, PolicyText
from ecrdrag.errors import UsageError

RULES = {
    "rules": [
        {
            "rulePriority": 1,
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
            "action": {"type": "expire"},
        }
    ]
}


def refusal(text: str, kind: PolicyKind = ACCESS) -> str:
    with pytest.raises(UsageError) as caught:
        PolicyText.parse(text, kind)
    return str(caught.value)


def test_a_policy_is_sent_as_it_is_written() -> None:
    text = ' {"Version" : "2012-10-17",\n"Statement":[ ]}\n'
    assert PolicyText.parse(text, ACCESS).text == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: Expecting value"),
        ('{"a": 1,\n  "b" 2}', "line 2, column 7: Expecting ':' delimiter"),
        ('{"a": 1,\n\n}', "line 3, column 1"),
        ('{"a": 1} x', "line 1, column 10: Extra data"),
    ],
)
def test_what_is_no_json_is_refused_with_the_place_of_the_mistake(text: str, said: str) -> None:
    assert f"this is no JSON: {said}" in refusal(text)


@pytest.mark.parametrize("text", ["[" * 100_000, f'{{"a": {"1" * 5000}}}'])
def test_json_that_python_does_not_read_is_refused_without_a_traceback(text: str) -> None:
    assert "too deep, or a number in it too long" in refusal(text)


@pytest.mark.parametrize("text", ["[]", '"x"', "1", "null", "true"])
def test_json_that_is_no_object_is_no_policy(text: str) -> None:
    assert (
        refusal(text, LIFECYCLE) == "this is JSON, but no lifecycle policy: that is an object, with { and } around it"
    )


@pytest.mark.parametrize(("kind", "most"), [(ACCESS, 10_240), (LIFECYCLE, 30_720)])
def test_a_policy_has_so_many_characters_and_no_more(kind: PolicyKind, most: int) -> None:
    full = f'{{"a":"{"é" * (most - 8)}"}}'
    assert PolicyText.parse(full, kind).text == full
    said = refusal(full.replace("a", "ab"), kind)
    assert f"it has {most + 1:,} characters, blanks aside, and ECR takes" in said
    assert f"{most:,}" in said.rpartition("takes")[2]


def test_blanks_are_left_out_of_a_policy_that_is_too_long_with_them() -> None:
    document = {"é": ["x" * 10] * 700}
    spacious, compact = json.dumps(document, indent=4), json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    assert len(compact) < ACCESS.most < len(spacious)
    assert PolicyText.parse(spacious, ACCESS).text == compact


def test_a_lifecycle_policy_has_at_least_a_hundred_characters() -> None:
    assert refusal('{"rules":[]}', LIFECYCLE).endswith("it has 12 characters, and ECR takes 100 to 30,720")
    assert PolicyText.parse(json.dumps(RULES), LIFECYCLE).document == RULES
    assert PolicyText.parse("{}", ACCESS).text == "{}"


def test_a_policy_says_the_same_however_it_is_written() -> None:
    there = Policy(LIFECYCLE, {"lifecyclePolicyText": json.dumps(RULES, separators=(",", ":"))})
    assert there.says(PolicyText.parse(json.dumps(RULES, indent=8), LIFECYCLE))
    other = json.dumps(RULES).replace("1", "2")
    assert not there.says(PolicyText.parse(other, LIFECYCLE))


def test_a_policy_of_ecr_that_is_no_json_is_its_text() -> None:
    assert Policy(ACCESS, {"policyText": "{nonsense"}).document == "{nonsense"
    assert Policy(ACCESS, {}).document == ""
