"""Tables: columns stand below each other, shrink by their kinds, and lose nothing that isn't shortened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.cli.table import MEASURED, Column, Table
from ecrdrag.cli.terminal import Screen
from ecrdrag.cli.values import Kind
from ecrdrag.cli.width import width_of
from ecrdrag.errors import TransferError
from tests.screens import check_golden

NOW = datetime(2026, 11, 21, 15, 27, 53, tzinfo=timezone.utc)
DIGEST = "sha256:" + "0123456789abcdef" * 4
FLOORS = {Kind.DIGEST: 19, Kind.NAME: 12, Kind.LIST: 6, Kind.TEXT: 6}
LETTERS = "ab/é中😀e\u0301\x1b\n\\"
Row = Sequence[object]


def columns_of(*kinds: Kind) -> list[Column[Row]]:
    return [Column(f"C{place}", itemgetter(place), kind) for place, kind in enumerate(kinds)]


def lines_of(rows: Sequence[Row], *kinds: Kind, width: int | None = None, is_cut: bool = True) -> list[str]:
    return list(Table(columns_of(*kinds), Screen(width), NOW, is_cut=is_cut).lines(rows))


def values_of(kind: Kind) -> st.SearchStrategy[object]:
    texts = st.text(st.sampled_from(LETTERS), max_size=40)
    by_kind: dict[Kind, st.SearchStrategy[object]] = {
        Kind.COUNT: st.integers(0, 10**9),
        Kind.SIZE: st.integers(0, 10**15),
        Kind.AGE: st.integers(-(10**8), 10**9).map(lambda ago: NOW - timedelta(seconds=ago)),
        Kind.DIGEST: st.just(DIGEST),
        Kind.LIST: st.lists(texts.filter(bool), max_size=12),
    }
    return st.none() | by_kind.get(kind, texts)


def widths_of(kinds: list[Kind], rows: list[Row]) -> list[int]:
    """Say how wide columns are where nothing is shortened."""
    columns = [[[row[place]] for row in rows] for place in range(len(kinds))]
    alone = [lines_of(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return [max(map(width_of, lines)) for lines in alone]


@st.composite
def tables(draw: st.DrawFn, *wanted: Kind) -> tuple[list[Kind], list[Row]]:
    kinds = draw(st.lists(st.sampled_from(wanted or tuple(Kind)), min_size=1, max_size=7))
    return kinds, draw(st.lists(st.tuples(*map(values_of, kinds)), max_size=8))


def cells_of(line: str, widths: list[int]) -> list[str]:
    """Cut a line at the columns where cells begin."""
    cells, rest = [], line
    for width in widths:
        cell = ""
        while rest and (width_of(cell + rest[0]) <= width or not width_of(rest[0])):
            cell, rest = cell + rest[0], rest[1:]
        assert rest[:2].strip(" ") == ""
        cells.append(cell.strip(" "))
        rest = rest[2:]
    assert rest == ""
    return cells


@given(tables(), st.integers(1, 250))
def test_a_table_is_never_wider_than_the_terminal_unless_the_least_widths_are(
    table: tuple[list[Kind], list[Row]], width: int
) -> None:
    kinds, rows = table
    least = [min(wide, FLOORS.get(kind, wide)) for kind, wide in zip(kinds, widths_of(kinds, rows), strict=True)]
    widest = max(map(width_of, lines_of(rows, *kinds, width=width)))
    assert widest <= max(width, sum(least) + 2 * (len(kinds) - 1))
    if sum(widths_of(kinds, rows)) + 2 * (len(kinds) - 1) <= width:
        assert lines_of(rows, *kinds, width=width) == lines_of(rows, *kinds, width=width, is_cut=False)


@given(tables(Kind.NAME, Kind.LIST, Kind.TEXT, Kind.DIGEST), st.integers(1, 250))
def test_nor_is_a_row_that_comes_late(table: tuple[list[Kind], list[Row]], width: int) -> None:
    kinds, late = table
    rows: list[Row] = [["tag" if kind is not Kind.DIGEST else DIGEST for kind in kinds]] * MEASURED + late
    least = [min(wide, FLOORS[kind]) for kind, wide in zip(kinds, widths_of(kinds, rows), strict=True)]
    widest = max(map(width_of, lines_of(rows, *kinds, width=width)))
    assert widest <= max(width, sum(least) + 2 * (len(kinds) - 1))


@given(tables(), st.sampled_from([None, 1, 20, 80]))
def test_without_shortening_every_value_is_whole_and_below_its_title(
    table: tuple[list[Kind], list[Row]], width: int | None
) -> None:
    kinds, rows = table
    title, *lines = lines_of(rows, *kinds, width=width, is_cut=width is None)
    wanted = [[lines_of([[value]], kind)[1].strip(" ") for value, kind in zip(row, kinds, strict=True)] for row in rows]
    widths = widths_of(kinds, rows)
    assert cells_of(title, widths) == [f"C{place}" for place in range(len(kinds))]
    for line, cells in zip(lines, wanted, strict=True):
        if all(wide <= 256 for wide in widths):
            assert cells_of(line, widths) == cells
        assert not line.endswith(" ")
        assert line.isprintable()


def test_titles_and_cells_stand_below_each_other_and_numbers_to_the_right() -> None:
    rows: list[Row] = [["my/app", 3, 1288490188, "x"], ["b", 12345, 12, None]]
    assert lines_of(rows, Kind.NAME, Kind.COUNT, Kind.SIZE, Kind.TEXT) == [
        "C0         C1       C2  C3",
        "my/app      3  1.2 GiB  x",
        "b       12345     12 B  -",
    ]


def test_digests_give_way_first() -> None:
    rows: list[Row] = [["a-name-of-some-length-indeed", ["tag", "tug"], DIGEST]]
    line = lines_of(rows, Kind.NAME, Kind.LIST, Kind.DIGEST, width=60)[1]
    assert line == "a-name-of-some-length-indeed  tag, tug  sha256:0123456789ab"


def test_a_digest_is_whole_or_short_and_nothing_between() -> None:
    title, row = lines_of([[DIGEST, "x"]], Kind.DIGEST, Kind.TEXT, width=75)
    assert (title.index("C1"), row) == (73, f"{DIGEST}  x")
    assert lines_of([[DIGEST]], Kind.DIGEST, width=70)[1] == DIGEST[:19]


def test_a_list_shows_what_has_room_and_counts_the_rest() -> None:
    def shown(items: list[str], width: int) -> str:
        return lines_of([[items]], Kind.LIST, width=width)[1]

    tags = ["1.2", "latest", "prod", "v1"]
    assert shown(tags, 21) == "1.2, latest, prod, v1"
    assert shown(tags, 20) == "1.2, latest, +2"
    assert shown(tags, 15) == "1.2, latest, +2"
    assert shown(tags, 14) == "1.2, +3"
    assert shown(tags, 6) == "1…, +3"
    assert shown(["a", "b", "a-long-one"], 8) == "a, b, +1"
    assert shown(["a-long-one"], 6) == "a-lon…"
    assert shown([f"v{number}" for number in range(1000)], 6) == "+1000"


def test_names_lose_their_middle_and_texts_their_end() -> None:
    rows: list[Row] = [["team/" + "x" * 246 + "/last", "a comment of many words that nobody reads"]]
    assert (
        lines_of(rows, Kind.NAME, Kind.TEXT, width=60)[1]
        == "team/xxxxxxxxxxxx…xxxxxxxxxxx/last  a comment of many words…"
    )


def test_names_stay_whole_while_lists_and_texts_have_room_to_give() -> None:
    rows: list[Row] = [["n" * 40, [f"v{number}" for number in range(1000)]]]
    assert lines_of(rows, Kind.NAME, Kind.LIST, width=70)[1] == "n" * 40 + "  v0, v1, v2, v3, v4, v5, +994"


def test_titles_are_never_shortened() -> None:
    column: Column[Row] = Column("A-LONG-TITLE-OF-A-LIST", lambda row: row[0], Kind.LIST)
    lines = list(Table([column], Screen(5), NOW).lines([[["tag"] * 99]]))
    assert lines == ["A-LONG-TITLE-OF-A-LIST", "tag, tag, tag, +96"]


@pytest.mark.parametrize("width", [1, 20])
def test_on_a_terminal_that_is_too_narrow_lines_are_longer(width: int) -> None:
    kinds = (Kind.NAME, Kind.COUNT, Kind.SIZE, Kind.DIGEST)
    rows: list[Row] = [["x" * 256, 10**6, 12, DIGEST]]
    assert lines_of(rows, *kinds, width=width)[1] == "xxxxxx…xxxxx  1000000  12 B  sha256:0123456789ab"


def test_without_a_row_there_are_titles() -> None:
    assert lines_of([], Kind.NAME, Kind.COUNT, width=80) == ["C0  C1"]


def test_wide_characters_and_marks_keep_columns_straight() -> None:
    rows: list[Row] = [["中文", "x"], ["e\u0301e\u0301", "y"], ["abcd", "z"]]
    assert lines_of(rows, Kind.NAME, Kind.TEXT)[1:] == ["中文  x", "e\u0301e\u0301    y", "abcd  z"]


def test_what_could_steer_a_terminal_is_escaped_before_it_is_measured() -> None:
    rows: list[Row] = [["\x1b[31mred", "x"], ["a\nb", "y"]]
    assert lines_of(rows, Kind.TEXT, Kind.TEXT)[1:] == ["\\x1b[31mred  x", "a\\nb         y"]


def test_the_title_is_bold_where_it_can_be() -> None:
    table = Table(columns_of(Kind.NAME, Kind.COUNT), Screen(80, is_bold=True), NOW)
    assert next(table.lines([["a", 1]])) == "\x1b[1mC0  C1\x1b[0m"


def test_characters_that_stdout_lacks_are_escaped_and_dots_stand_for_the_ellipsis() -> None:
    table = Table(columns_of(Kind.TEXT, Kind.TEXT), Screen(20, encoding="ascii"), NOW)
    assert list(table.lines([["é", "a" * 30]]))[1] == "\\xe9  aaaaaaaaaaa..."


def test_rows_beyond_the_measured_ones_come_before_the_next_is_asked_for() -> None:
    asked: list[int] = []

    def rows() -> Iterator[Row]:
        for number in range(MEASURED + 10):
            asked.append(number)
            yield [number]

    lines = Table(columns_of(Kind.COUNT), Screen(), NOW).lines(rows())
    for _ in range(1 + MEASURED + 3):
        last = next(lines)
    assert last.strip() == str(MEASURED + 2)
    assert asked[-1] == MEASURED + 2


def test_a_late_long_cell_pushes_its_row_where_lines_may_have_any_length() -> None:
    rows: Sequence[Row] = [["a", "x"]] * MEASURED + [["b" * 300, "y"]]
    assert lines_of(rows, Kind.NAME, Kind.TEXT)[-1] == "b" * 300 + "  y"


def test_a_late_long_cell_takes_the_room_that_its_row_has_and_is_shortened_beyond() -> None:
    rows: Sequence[Row] = [["abcde", "x", DIGEST[:9]]] * MEASURED + [["b" * 10, "y", "z"], ["b" * 300, "y", DIGEST]]
    *_, pushed, shortened = lines_of(rows, Kind.NAME, Kind.TEXT, Kind.DIGEST, width=30)
    assert pushed == "b" * 10 + "  y   z"
    assert shortened == "bb…bb  y   sha256:0123456789ab"


def test_the_room_of_a_row_goes_to_the_cells_that_need_it() -> None:
    rows: Sequence[Row] = [["abc", "x"]] * MEASURED + [["a", "y" * 20], ["b", "z" * 30]]
    *_, whole, shortened = lines_of(rows, Kind.NAME, Kind.TEXT, width=25)
    assert whole == "a    " + "y" * 20
    assert shortened == "b    " + "z" * 19 + "…"


def test_a_late_digest_that_stays_short_leaves_its_room_to_others() -> None:
    rows: Sequence[Row] = [["-", "x"]] * MEASURED + [[DIGEST, "n" * 20]]
    assert lines_of(rows, Kind.DIGEST, Kind.NAME, width=41)[-1] == f"{DIGEST[:19]}  {'n' * 20}"


def test_rows_before_an_error_are_shown_and_titles_need_one() -> None:
    def rows(count: int) -> Iterator[Row]:
        yield from [["a"]] * count
        raise TransferError("it broke")

    for count in (0, 1, MEASURED + 1):
        shown: list[str] = []
        with pytest.raises(TransferError, match="it broke"):
            shown.extend(Table(columns_of(Kind.NAME), Screen(), NOW).lines(rows(count)))  # extend keeps what came
        assert len(shown) == (count + 1 if count else 0)


@pytest.mark.parametrize("width", [80, 200])
def test_a_table_of_all_kinds_looks_so(width: int) -> None:
    columns: list[Column[Row]] = [
        Column(title, itemgetter(place), kind)
        for place, (title, kind) in enumerate(
            [
                ("REPOSITORY", Kind.NAME),
                ("TAGS", Kind.LIST),
                ("IMAGES", Kind.COUNT),
                ("SIZE", Kind.SIZE),
                ("PUSHED", Kind.AGE),
                ("DIGEST", Kind.DIGEST),
            ]
        )
    ]
    rows: list[Row] = [
        ["my/app", ["1.2", "latest"], 3, 1288490188, NOW - timedelta(days=3), DIGEST],
        [
            "team/service/" + "n" * 240 + "end",
            [f"v{n}" for n in range(1000)],
            12345,
            12,
            NOW - timedelta(days=125),
            DIGEST,
        ],
        ["中文/仓库/应用程序", [], 0, None, NOW + timedelta(hours=3), None],
    ]
    check_golden(f"table-{width}", "\n".join(Table(columns, Screen(width, is_bold=True), NOW).lines(rows)) + "\n")
