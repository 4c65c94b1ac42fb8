"""The order of tags as people read them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.control.versions import highest_first

SEED = 8


@pytest.mark.parametrize(
    "wanted",
    [
        ["1.10", "1.9", "1.2"],
        ["1.2", "1.2-rc2", "1.2-rc1", "1.1"],
        ["1.2.1", "1.2.0", "1.2", "1.2rc10", "1.2rc2", "1.1.9", "1"],
        ["v2.0", "1.99", "v1.9", "V1.8"],
        ["3.20-alpine3.19", "3.20-alpine3.9", "3.19"],
        ["20240506", "2024-05-07", "2024-05-06"],
        ["1.0-alpha", "1.0-2", "1.0-1"],
        ["1.2_3", "1.2_2"],
        ["10", "9", "3f2a91c", "9e", "alpine", "latest", "v", "version-2"],
        ["0.1", "-1", ".1", "_1"],
    ],
)
def test_versions_come_highest_first_and_then_names_by_the_alphabet(wanted: list[str]) -> None:
    shuffled = random.Random(SEED).sample(wanted, len(wanted))
    assert highest_first(shuffled) == wanted
    assert highest_first(reversed(wanted)) == wanted


@given(st.lists(st.text("0123456789.-_abvrcZ²", min_size=1, max_size=12), unique=True), st.randoms())
def test_any_tags_have_one_order_whatever_order_they_come_in(tags: list[str], chance: random.Random) -> None:
    ordered = highest_first(tags)
    assert sorted(ordered) == sorted(tags)
    chance.shuffle(tags)
    assert highest_first(tags) == ordered


@given(st.lists(st.tuples(*[st.integers(0, 10**30)] * 3), unique=True))
def test_numbers_count_as_numbers(versions: list[tuple[int, int, int]]) -> None:
    tags = [".".join(map(str, version)) for version in versions]
    wanted = [".".join(map(str, version)) for version in sorted(versions, reverse=True)]
    assert highest_first(tags) == wanted
