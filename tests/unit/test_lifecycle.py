"""Lifecycle rules: the user guide's own examples, and any rules against a slow and obvious model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ecrdrag.localecr.api.expiry import DAY, Rule, Subject, evaluate, matches
from ecrdrag.localecr.storage.records import Image

NOW = 1000.0 * DAY


def subject(name: str, *tags: str, days: float, parents: Sequence[str] = (), **more: float) -> Subject:
    """Make an image that was pushed some days ago; more are times of Image, in days ago."""
    times = {key: NOW - ago * DAY for key, ago in more.items()}
    image = Image(name, "m", "", "", 1, NOW - days * DAY, archived="archived_at" in more, **times)  # type: ignore[arg-type]
    return Subject(image, tags, tuple(parents))


def rule(
    priority: int,
    *patterns: str,
    status: str = "",
    count: int = 1,
    kind: str = "imageCountMoreThan",
    archive: bool = False,
    transition: bool = False,
) -> Rule:
    return Rule(priority, status or "tagged", patterns, archive, kind, count, transition)


def outcome(rules: Sequence[Rule], *subjects: Subject) -> dict[str, int]:
    return {digest: one.priority for digest, one in evaluate(rules, subjects, NOW).items()}


# The examples of the Amazon ECR user guide, "Examples of lifecycle policies"

BETAS = (
    subject("A", "beta-1", "prod-1", days=10),
    subject("B", "beta-2", "prod-2", days=9),
    subject("C", "beta-3", days=8),
)


def test_what_a_rule_has_seen_the_next_ones_let_be() -> None:
    assert outcome([rule(1, "prod*"), rule(2, "beta*")], *BETAS) == {"A": 1}
    assert outcome([rule(1, "beta*"), rule(2, "prod*")], *BETAS) == {"A": 1, "B": 1}


def test_the_order_of_priorities_counts_and_not_that_of_the_text() -> None:
    assert outcome([rule(2, "beta*"), rule(1, "prod*")], *BETAS) == {"A": 1}


def test_an_image_must_have_a_tag_for_each_pattern() -> None:
    subjects = (
        subject("A", "alpha-1", days=12),
        subject("B", "beta-1", days=11),
        subject("C", "alpha-2", "beta-2", days=10),
        subject("D", "alpha-3", days=4),
        subject("E", "beta-3", days=3),
        subject("F", "alpha-4", "beta-4", days=2),
    )
    assert outcome([rule(1, "alpha*", "beta*", kind="sinceImagePushed", count=5)], *subjects) == {"C": 1}


def test_tags_beside_those_that_are_asked_for_change_nothing() -> None:
    subjects = (
        subject("A", "alpha-1", "beta-1", "gamma-1", days=10),
        subject("B", "alpha-2", "beta-2", days=9),
        subject("C", "alpha-3", "beta-3", "gamma-2", days=8),
    )
    assert outcome([rule(1, "alpha*", "beta*")], *subjects) == {"A": 1, "B": 1}


def test_any_is_tagged_or_not() -> None:
    subjects = (
        subject("A", "alpha-1", days=4),
        subject("B", "beta-1", days=3),
        subject("C", days=2),
        subject("D", "alpha-2", days=1),
    )
    assert outcome([rule(1, status="any")], *subjects) == {"A": 1, "B": 1, "C": 1}


def test_all_kinds_of_rules_go_together() -> None:
    subjects = (
        subject("A", "alpha-1", "beta-1", days=4),
        subject("B", days=3),
        subject("C", "alpha-2", days=2),
        subject("D", "git hash", days=1),
        subject("E", days=0.9),
    )
    rules = [
        rule(1, "alpha*"),
        rule(2, status="untagged", kind="sinceImagePushed"),
        rule(3, status="any"),
    ]
    assert outcome(rules, *subjects) == {"A": 1, "B": 2, "D": 3}


# What "Lifecycle policy evaluation rules" says beside the examples


def test_an_image_is_older_than_a_number_of_days_only_when_they_are_over() -> None:
    rules = [rule(1, status="any", kind="sinceImagePushed", count=2)]
    assert outcome(rules, subject("A", days=2), subject("B", days=2.001)) == {"B": 1}


def test_an_image_counts_as_pulled_when_it_was_pushed_or_restored_unless_it_was_pulled_since() -> None:
    rules = [rule(1, status="any", kind="sinceImagePulled", count=30, transition=True)]
    subjects = (
        subject("never", days=31),
        subject("lately", days=99, pulled_at=29),
        subject("long-ago", days=99, pulled_at=31),
        subject("restored", days=99, pulled_at=80, activated_at=5),
        subject("restored-and-pulled", days=99, pulled_at=31, activated_at=40),
    )
    assert set(outcome(rules, *subjects)) == {"never", "long-ago", "restored-and-pulled"}


def test_an_image_that_was_restored_is_as_young_as_that() -> None:
    subjects = (subject("A", days=9, activated_at=1), subject("B", days=5))
    assert outcome([rule(1, status="any")], *subjects) == {"B": 1}
    assert outcome([rule(1, status="any", kind="sinceImagePushed", count=4)], *subjects) == {"B": 1}


def test_each_storage_class_has_its_own_rules() -> None:
    rules = [
        rule(1, status="any", kind="sinceImagePushed", count=1),
        rule(2, status="any", kind="sinceImageTransitioned", count=90, archive=True),
    ]
    subjects = (
        subject("active", days=400),
        subject("archived", days=400, archived_at=91),
        subject("lately-archived", days=400, archived_at=89),
    )
    assert outcome(rules, *subjects) == {"active": 1, "archived": 2}


OLD = rule(9, status="any", kind="sinceImagePushed", count=5)


def test_an_image_in_an_index_stays_while_the_index_does() -> None:
    child = subject("child", days=10, parents=["index", "other"])
    assert outcome([OLD], child, subject("index", days=1), subject("other", days=9)) == {"other": 9}
    assert outcome([OLD], child, subject("index", days=8), subject("other", days=9)) == {
        "child": 9,
        "index": 9,
        "other": 9,
    }


def test_an_index_in_an_index_holds_what_is_in_it_too() -> None:
    subjects = (
        subject("leaf", days=10, parents=["inner"]),
        subject("inner", days=10, parents=["outer"]),
        subject("outer", days=1),
    )
    assert outcome([OLD], *subjects) == {}


def test_an_image_in_an_index_is_archived_with_it_and_expires_only_after_it() -> None:
    index = subject("index", "i", days=10)
    child = subject("child", "c", days=10, parents=["index"])
    archive = rule(1, "i", kind="sinceImagePushed", count=5, transition=True)
    for transition, expected in ((True, {"index": 1, "child": 2}), (False, {"index": 1})):
        second = rule(2, "c", kind="sinceImagePushed", count=5, transition=transition)
        assert outcome([archive, second], index, child) == expected


@pytest.mark.parametrize(
    ("pattern", "tag", "expected"),
    [
        ("prod*", "prod", True),
        ("prod*", "production-team1", True),
        ("prod*", "a-prod", False),
        ("*prod*", "repo-production", True),
        ("*prod*", "prod-team", True),
        ("prod", "prod1", False),
        ("a*a", "a", False),
        ("a*b*a", "aba", True),
        ("a*ba*ba", "aba", False),
        ("*", "", True),
    ],
)
def test_a_star_stands_for_anything(pattern: str, tag: str, expected: bool) -> None:
    assert matches(pattern, tag) is expected


@given(st.text("ab*", max_size=7), st.text("ab", max_size=9))
def test_a_pattern_is_the_regular_expression_that_one_thinks_of(pattern: str, tag: str) -> None:
    assert matches(pattern, tag) == bool(re.fullmatch(pattern.replace("*", ".*"), tag))


# Any rules on any images, against a model that asks each question anew


def is_selected(one: Rule, found: Subject) -> bool:
    if one.tag_status == "tagged":
        expressions = [pattern.replace("*", ".*") for pattern in one.patterns]
        tagged = all(any(re.fullmatch(expression, tag) for tag in found.tags) for expression in expressions)
    else:
        tagged = one.tag_status == "any" or found.tags == ()
    return tagged and one.is_archive == found.image.archived


def is_due(one: Rule, found: Subject, subjects: Sequence[Subject]) -> bool:
    image = found.image
    begun = image.activated_at if image.activated_at else image.pushed
    if one.count_type == "imageCountMoreThan":
        rivals = [(rival.image.activated_at or rival.image.pushed, rival.image.digest) for rival in subjects
                  if is_selected(one, rival)]  # fmt: skip
        return sum(rival > (begun, image.digest) for rival in rivals) >= one.count
    if one.count_type == "sinceImagePulled" and image.pulled_at > image.activated_at:
        begun = image.pulled_at
    if one.count_type == "sinceImageTransitioned":
        begun = image.archived_at
    return (NOW - begun) / DAY > one.count


def slowly(rules: Sequence[Rule], subjects: Sequence[Subject]) -> dict[str, int]:
    """Ask the first rule that selects an image, then let indexes hold their images until nothing changes."""
    actions: dict[str, Rule] = {}
    for found in subjects:
        first = min((one for one in rules if is_selected(one, found)), key=lambda one: one.priority, default=None)
        if first and is_due(first, found, subjects):
            actions[found.image.digest] = first
    archived = {found.image.digest for found in subjects if found.image.archived}
    while held := [one.image.digest for one in subjects if any(holds(actions, archived, one, p) for p in one.parents)]:
        for digest in held:
            del actions[digest]
    return {digest: one.priority for digest, one in actions.items()}


def holds(actions: Mapping[str, Rule], archived: set[str], child: Subject, parent: str) -> bool:
    if child.image.digest not in actions:
        return False
    expired = parent in actions and not actions[parent].is_transition
    if actions[child.image.digest].is_transition:
        return not (expired or parent in actions or parent in archived)
    return not expired


_days = st.integers(0, 6).map(lambda half: half / 2)


@st.composite
def _subjects(draw: st.DrawFn) -> list[Subject]:
    names = [f"d{number}" for number in range(draw(st.integers(0, 7)))]
    made = []
    for place, name in enumerate(names):
        known = draw(st.lists(st.sampled_from(["archived_at", "activated_at", "pulled_at"]), unique=True))
        more = {key: draw(_days) for key in known}
        tags = draw(st.lists(st.text("ab", min_size=1, max_size=2), max_size=2, unique=True))
        parents = draw(st.sets(st.sampled_from(names[:place]), max_size=2)) if place else set()
        made.append(subject(name, *tags, days=draw(_days), parents=sorted(parents), **more))
    return draw(st.permutations(made))


_rules = st.lists(
    st.builds(
        Rule,
        priority=st.integers(1, 99),
        tag_status=st.sampled_from(["tagged", "untagged", "any"]),
        patterns=st.lists(st.text("ab*", max_size=3), min_size=1, max_size=2).map(tuple),
        is_archive=st.booleans(),
        count_type=st.sampled_from(
            ["imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned"]
        ),
        count=st.integers(1, 3),
        is_transition=st.booleans(),
    ),
    max_size=4,
    unique_by=lambda one: one.priority,
)


@given(_rules, _subjects())
@example([OLD], [subject("a", days=9, parents=["b"]), subject("b", days=9)])
def test_any_rules_do_what_the_slow_model_does(rules: list[Rule], subjects: list[Subject]) -> None:
    assert outcome(rules, *subjects) == slowly(rules, subjects)
