"""What is shown of one thing: a line for each field, longer values below."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.cli.details import Field, detail_lines, detail_rows
from ecrdrag.cli.terminal import Screen
from ecrdrag.cli.values import Kind

NOW = datetime(2026, 11, 21, 15, 27, 53, 57000, tzinfo=timezone.utc)
TAGS = [f"v{number}" for number in range(6)]


def lines_of(*fields: Field, width: int | None = 80, is_cut: bool = True) -> list[str]:
    return list(detail_lines(fields, Screen(width), NOW, is_cut=is_cut))


def test_values_stand_below_each_other() -> None:
    fields = Field("Name", "my/app"), Field("Last push", NOW - timedelta(days=3), Kind.AGE), Field("Scan", True)
    assert lines_of(*fields) == [
        "Name:       my/app",
        "Last push:  3 days ago (2026-11-18T15:27:53+00:00)",
        "Scan:       yes",
    ]


def test_a_moment_that_is_no_age_is_said_alone_and_an_age_that_is_no_moment_as_it_is() -> None:
    assert lines_of(Field("At", NOW), Field("On", "Monday", Kind.AGE)) == [
        "At:  2026-11-21T15:27:53+00:00",
        "On:  Monday",
    ]


@pytest.mark.parametrize(("size", "said"), [(1288490188, "1.2 GiB (1288490188 bytes)"), (12, "12 B"), (0, "0 B")])
def test_sizes_are_said_for_people_and_to_the_byte(size: int, said: str) -> None:
    assert lines_of(Field("Size", size, Kind.SIZE)) == [f"Size:  {said}"]


@pytest.mark.parametrize("value", [None, "", [], {}, ()])
def test_nothing_is_a_dash(value: object) -> None:
    assert lines_of(Field("Tags", value, Kind.LIST)) == ["Tags:  -"]


def test_a_list_that_has_no_room_takes_a_line_for_each() -> None:
    field = Field("Tags", TAGS, Kind.LIST)
    assert lines_of(field, width=29) == ["Tags:  v0, v1, v2, v3, v4, v5"]
    assert lines_of(field, width=28) == ["Tags:", *(f"  {tag}" for tag in TAGS)]
    assert lines_of(field, width=28, is_cut=False) == lines_of(field, width=None) == lines_of(field, width=29)


def test_a_mapping_is_indented_below_its_title() -> None:
    assert lines_of(Field("Tags", {"team": "x", "cost center": 5})) == [
        "Tags:",
        "  team:         x",
        "  cost center:  5",
    ]


def test_a_policy_is_shown_as_json() -> None:
    assert lines_of(Field("Policy", {"Statement": [{"Effect": "Allow"}]})) == [
        "Policy:",
        "  {",
        '      "Statement": [',
        "          {",
        '              "Effect": "Allow"',
        "          }",
        "      ]",
        "  }",
    ]
    assert lines_of(Field("Rules", [{"a": "b"}]))[:3] == ["Rules:", "  [", "      {"]


def test_several_lines_are_indented_below_their_title() -> None:
    assert lines_of(Field("Text", "a  \n\n  b\n"), Field("Next", "c")) == ["Text:", "  a", "", "    b", "Next:  c"]


def test_what_could_steer_a_terminal_is_escaped() -> None:
    fields = Field("T\x1b", "a\x1b[31m"), Field("Tags", {"\x9b": "\x07"})
    assert lines_of(*fields) == ["T\\x1b:  a\\x1b[31m", "Tags:", "  \\x9b:  \\x07"]


def test_programs_get_a_line_for_each_field() -> None:
    fields = [
        Field("Name", "my/app"),
        Field("Last push", NOW, Kind.AGE),
        Field("Size", 1288490188, Kind.SIZE),
        Field("Tags", TAGS[:2], Kind.LIST),
        Field("Text", "a\tb\nc"),
        Field("Policy", {"a": []}),
        Field("None", None),
    ]
    assert list(detail_rows(fields)) == [
        "name\tmy/app",
        "last-push\t2026-11-21T15:27:53.057000+00:00",
        "size\t1288490188",
        "tags\tv0,v1",
        "text\ta\\tb\\nc",
        'policy\t{"a": []}',
        "none\t",
    ]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.builds(Field, st.text(max_size=10), VALUES, st.sampled_from(Kind)), max_size=4), st.integers(1, 90))
def test_any_value_can_be_shown(fields: Sequence[Field], width: int) -> None:
    lines = lines_of(*fields, width=width)
    assert len(lines) >= len(fields)
    assert all(line.isprintable() and not line.endswith(" ") for line in lines)
    assert all(
        row.count("\t") == 1 or "\t" in field.title for row, field in zip(detail_rows(fields), fields, strict=True)
    )
