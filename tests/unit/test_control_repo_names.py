"""Which names a pattern means, and what a repository says of itself."""

from __future__ import annotations

import re
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.control.repositories import NamePattern, Repository
from ecrdrag.errors import UsageError

NAMES = ("app", "my/app", "my/app2", "my/other", "team-a/my/app", "team-b/x.y_z")


def fitting(pattern: str) -> list[str]:
    fits = NamePattern.parse(pattern).matcher()
    return [name for name in NAMES if fits(name)]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("", [*NAMES]),
        ("app", ["app", "my/app", "my/app2", "team-a/my/app"]),
        ("my/app", ["my/app", "my/app2", "team-a/my/app"]),
        ("y.z", []),  # a point is a point
        ("x.y", ["team-b/x.y_z"]),
        ("app*", ["app"]),
        ("*app", ["app", "my/app", "team-a/my/app"]),
        ("*", [*NAMES]),
        ("my/*", ["my/app", "my/app2", "my/other"]),
        ("team*app", ["team-a/my/app"]),
        ("my/app?", ["my/app2"]),
        ("a?p", ["app"]),
        ("team-[ab]/*", ["team-a/my/app", "team-b/x.y_z"]),
        ("team-[!a]/*", ["team-b/x.y_z"]),
        ("*[0-9]", ["my/app2"]),
        ("?", []),
        ("[a", []),
    ],
)
def test_a_pattern_is_of_the_whole_name_and_anything_else_a_part_of_it(pattern: str, wanted: list[str]) -> None:
    assert fitting(pattern) == wanted


@pytest.mark.parametrize(
    "pattern", ["MyApp", "my app", "app:1", "app@sha256:0", "[A-Z]*", "äpp", "a\nb", "{a,b}", "a\\*"]
)
def test_a_pattern_that_no_name_can_fit_is_refused_at_once(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"no repository has .* in its name") as caught:
        NamePattern.parse(pattern)
    assert "--registry-id" in caught.value.hint


@given(st.from_regex(r"[a-z0-9]+([._/-][a-z0-9]+){0,3}", fullmatch=True), st.data())
def test_a_name_fits_each_part_of_it_and_each_of_its_ends_behind_a_star(name: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(name)))
    stop = data.draw(st.integers(start, len(name)))
    assert NamePattern.parse(name[start:stop]).matcher()(name)
    assert NamePattern.parse(f"*{name[start:]}").matcher()(name)
    assert NamePattern.parse(f"{name[:stop]}*").matcher()(name)
    assert not NamePattern.parse(f"*{name}?").matcher()(name)


@pytest.mark.parametrize(
    ("mutability", "words"),
    [
        ("MUTABLE", "mutable"),
        ("IMMUTABLE", "immutable"),
        ("IMMUTABLE_WITH_EXCLUSION", "immutable with exclusion"),
        ("MUTABLE_WITH_EXCLUSION", "mutable with exclusion"),
    ],
)
def test_mutability_is_said_in_peoples_words(mutability: str, words: str) -> None:
    assert Repository({"imageTagMutability": mutability}, "r").mutability == words


def test_a_repository_says_all_of_what_ecr_describes() -> None:
    made = datetime(2026, 1, 2, tzinfo=timezone.utc)
    answer = {
        "repositoryName": "my/app",
        "repositoryUri": "host/my/app",
        "repositoryArn": "arn:of:it",
        "createdAt": made,
        "imageScanningConfiguration": {"scanOnPush": True},
        "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": f"{one}*"} for one in "ab"],
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "key"},
    }
    one = Repository(answer, "eu-west-1")
    assert (one.name, one.uri, one.arn, one.created) == ("my/app", "host/my/app", "arn:of:it", made)
    assert (one.scanning, one.exceptions, one.encryption, one.kms_key) == ("on push", ("a*", "b*"), "KMS", "key")
    assert one.document == {**answer, "region": "eu-west-1"}


def test_a_repository_of_which_an_answer_says_nothing_is_no_trouble() -> None:
    one = Repository({"createdAt": "yesterday", "imageScanningConfiguration": None}, "r")
    assert (one.name, one.created, one.mutability, one.exceptions, one.kms_key) == ("", None, "", (), "")
    assert one.scanning == "manual"
    assert re.fullmatch("", one.encryption)
