"""Columns of a terminal: how many a text takes, and texts shortened to so many."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.cli.width import end_shortened, middle_shortened, width_of

TEXTS = st.text(st.sampled_from("abcé中仓😀e\u0301\u0323한ᄒ\u1161\u11ab\u200d"), max_size=40)
ELLIPSES = st.sampled_from(["…", "..."])


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("my/app", 6),
        ("é", 1),
        ("e\u0301", 1),
        ("中文", 4),
        ("ｆｕｌｌ", 8),
        ("😀", 2),
        ("ᄒ\u1161\u11ab", 2),
        ("a\u200bb", 2),
    ],
)
def test_wide_characters_take_two_columns_and_marks_none(text: str, width: int) -> None:
    assert width_of(text) == width


@pytest.mark.parametrize(
    ("width", "end", "middle"),
    [
        (10, "abcdefghij", "abcdefghij"),
        (9, "abcdefgh…", "abcd…ghij"),
        (8, "abcdefg…", "abcd…hij"),
        (3, "ab…", "a…j"),
        (2, "a…", "a…"),
        (1, "…", "…"),
        (0, "", ""),
    ],
)
def test_ends_and_middles_give_way_to_an_ellipsis(width: int, end: str, middle: str) -> None:
    assert end_shortened("abcdefghij", width, "…") == end
    assert middle_shortened("abcdefghij", width, "…") == middle


def test_three_dots_stand_in_where_there_is_no_ellipsis() -> None:
    assert end_shortened("abcdefghij", 6, "...") == "abc..."
    assert middle_shortened("abcdefghij", 6, "...") == "ab...j"
    assert end_shortened("abcdefghij", 2, "...") == ".."


def test_a_wide_character_that_fits_half_is_left_out() -> None:
    assert end_shortened("中文仓库", 4, "…") == "中…"
    assert middle_shortened("中文仓库", 6, "…") == "中…库"


def test_a_mark_stays_with_its_character() -> None:
    assert end_shortened("e\u0301bcd", 2, "…") == "e\u0301…"
    assert middle_shortened("abcde\u0301", 3, "…") == "a…e\u0301"
    assert middle_shortened("abcde\u0301f", 3, "…") == "a…f"


@given(TEXTS, st.integers(0, 50), ELLIPSES)
def test_what_is_shortened_fits_and_uses_all_but_one_column(text: str, width: int, ellipsis: str) -> None:
    for shorten in (end_shortened, middle_shortened):
        found = shorten(text, width, ellipsis)
        assert width_of(found) <= width
        if width_of(text) <= width:
            assert found == text
        elif width > len(ellipsis) + 3:
            assert width_of(found) >= width - 2  # a wide character may not fit on either side
            start, _, end = found.partition(ellipsis)
            assert text.startswith(start)
            assert text.endswith(end)


@given(TEXTS, st.integers(0, 50))
def test_no_mark_loses_its_character(text: str, width: int) -> None:
    _, found, end = middle_shortened(text, width, "…").partition("…")
    if found and end and not unicodedata.category(text[0]).startswith(("M", "C")):
        assert width_of(end[0]) > 0
