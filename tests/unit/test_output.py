"""What everyday commands print: the same rows for people and for programs, as they come."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.cli.json_document import ascii_only, json_text, listing_texts, plain
from ecrdrag.cli.output import Column, Field, Kind, Output, add_format_arguments
from ecrdrag.cli.values import raw_text
from ecrdrag.errors import ArchiveError, TransferError, UsageError

NOW = datetime.now(timezone.utc)
MOMENT = datetime(2026, 11, 21, 15, 27, 53, 57000, tzinfo=timezone.utc)
DIGEST = "sha256:" + "0123456789abcdef" * 4
Row = dict[str, object]
COLUMNS: list[Column[Row]] = [
    Column("NAME", lambda row: row["name"], Kind.NAME),
    Column("TAGS", lambda row: row["tags"], Kind.LIST),
    Column("SIZE", lambda row: row["size"], Kind.SIZE),
    Column("PUSHED", lambda row: row["pushed"], Kind.AGE),
]
ROWS: list[Row] = [
    {"name": "my/app", "tags": ["1.2", "latest"], "size": 1288490188, "pushed": NOW - timedelta(days=3, minutes=1)},
    {"name": "b", "tags": [], "size": None, "pushed": None},
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.text(st.characters(categories=["Cc", "Cf"]))
    | st.just("\ud800"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def output(*options: str) -> Output:
    parser = argparse.ArgumentParser()
    add_format_arguments(parser)
    return Output(parser.parse_args(options))


def list_rows(*options: str, rows: Iterable[Row] = ROWS) -> None:
    output(*options).listing("things", COLUMNS, rows, lambda row: {"thing": row["name"], "pushed": row["pushed"]})


def failing() -> Iterator[Row]:
    yield from ROWS
    raise TransferError("it broke")


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    list_rows()
    assert capsys.readouterr().out == (
        "NAME    TAGS            SIZE  PUSHED\n"
        "my/app  1.2, latest  1.2 GiB  3 days ago\n"
        "b       -                  -  -\n"
    )


def test_columns_says_how_wide_a_pipe_is_and_no_trunc_shortens_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "36")
    list_rows()
    assert capsys.readouterr().out.split("\n")[1] == "my/app  1.2, +1  1.2 GiB  3 days ago"
    list_rows("--no-trunc")
    assert capsys.readouterr().out.split("\n")[1] == "my/app  1.2, latest  1.2 GiB  3 days ago"


@pytest.mark.parametrize("columns", ["", "0", "-5", "wide", "²", "9" * 5000])
def test_columns_that_are_no_number_say_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    list_rows()
    assert "1.2, latest" in capsys.readouterr().out


def test_json_is_what_json_dumps_makes_of_the_whole_document(capsys: pytest.CaptureFixture[str]) -> None:
    for rows in (ROWS, ROWS[:1], []):
        list_rows("--json", rows=rows)
        whole = {"things": [{"thing": row["name"], "pushed": _iso(row["pushed"])} for row in rows]}
        assert capsys.readouterr().out == json.dumps(whole, indent=4) + "\n"


def _iso(moment: object) -> object:
    return moment.isoformat() if isinstance(moment, datetime) else moment


@given(st.text(), st.lists(VALUES, max_size=4))
def test_json_that_is_written_entry_by_entry_holds_what_came(member: str, entries: list[object]) -> None:
    text = "".join(listing_texts(member, entries))
    assert json.loads(text) == {member: entries} == json.loads(ascii_only(text))
    assert ascii_only(text).isascii()
    assert text == json_text({member: entries}, is_pretty=True) + "\n"
    assert "\x9b" not in text
    assert "\x7f" not in text


def test_json_knows_moments_mappings_sequences_and_says_the_rest_as_text() -> None:
    found = plain({"at": MOMENT, "of": _Answer({"a": 1}), "in": (1, 2), "set": {3}, "path": Path("x")})
    assert found == {
        "at": "2026-11-21T15:27:53.057000+00:00",
        "of": {"a": 1},
        "in": [1, 2],
        "set": [3],
        "path": "x",
    }


class _Answer(Mapping[str, object]):
    """A mapping that is no dict."""

    def __init__(self, members: dict[str, object]) -> None:
        self._members = members

    def __getitem__(self, name: str) -> object:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def test_json_is_escaped_for_streams_of_few_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "latin-1", "backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    output("--json").details([], {"a": "é", "b": "中😀"})
    stream.seek(0)
    text = stream.read()
    assert json.loads(text) == {"a": "é", "b": "中😀"}
    assert "\\ud83d\\ude00" in text


def test_tabs_separate_whole_values(capsys: pytest.CaptureFixture[str]) -> None:
    list_rows("--tsv", rows=[{**ROWS[0], "pushed": MOMENT}, ROWS[1]])
    assert capsys.readouterr().out == ("my/app\t1.2,latest\t1288490188\t2026-11-21T15:27:53.057000+00:00\nb\t\t\t\n")
    list_rows("--tsv", rows=[])
    assert capsys.readouterr().out == ""


@given(st.text())
def test_a_value_between_tabs_can_be_read_back(text: str) -> None:
    written = raw_text(text)
    assert not set(written) & set(map(chr, (*range(0x20), *range(0x7F, 0xA0))))
    assert _read_back(written) == text


def _read_back(written: str) -> str:
    found, parts = "", iter(written)
    for each in parts:
        if each != "\\":
            found += each
            continue
        kind = next(parts)
        known = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}
        found += chr(int(next(parts) + next(parts), 16)) if kind == "x" else known[kind]
    return found


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, ""),
        ([], ""),
        ({}, ""),
        (True, "true"),
        ({"a": ["b"]}, '{"a": ["b"]}'),
        (("a", 1), "a,1"),
        (DIGEST, DIGEST),
    ],
)
def test_values_for_programs_are_whole(value: object, written: str) -> None:
    assert raw_text(value) == written


def test_what_came_before_an_error_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for options, ending in ((), "-\n"), (("--tsv",), "b\t\t\t\n"), (("--json",), "    }\n"):
        with pytest.raises(TransferError):
            list_rows(*options, rows=failing())
        out = capsys.readouterr().out
        assert "my/app" in out
        assert out.endswith(ending)


def test_json_that_an_error_ends_can_not_be_taken_for_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TransferError):
        list_rows("--json", rows=failing())
    with pytest.raises(json.JSONDecodeError):
        json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("option", ["--json", "--tsv"])
def test_rows_are_printed_before_the_next_is_asked_for(capsys: pytest.CaptureFixture[str], option: str) -> None:
    printed: list[str] = []

    def rows() -> Iterator[Row]:
        yield ROWS[0]
        printed.append(capsys.readouterr().out)
        yield ROWS[1]

    list_rows(option, rows=rows())
    assert "my/app" in printed[0]


def test_nothing_is_printed_where_the_first_row_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def rows() -> Iterator[Row]:
        raise TransferError("it broke")
        yield ROWS[0]

    for options in ((), ("--tsv",), ("--json",), ("--query", "things")):
        with pytest.raises(TransferError):
            list_rows(*options, rows=rows())
    assert capsys.readouterr().out == ""


def test_a_closed_pipe_ends_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    asked: list[int] = []

    def rows() -> Iterator[Row]:
        for number in range(1000):
            asked.append(number)
            yield ROWS[0]

    for option in ("--json", "--tsv"):
        with os.fdopen(os.dup(writing), "w") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            with pytest.raises(BrokenPipeError):
                list_rows(option, rows=rows())
    os.close(writing)
    assert len(asked) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def show_details() -> None:
        output().details([Field("Name", "my/app")], {})

    cases: list[tuple[Callable[[], None], str]] = [(list_rows, ""), (show_details, "the command itself is done")]
    for action, hint in cases:
        with Path("/dev/full").open("w") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            with pytest.raises(ArchiveError, match="No space left") as caught:
                action()
        assert caught.value.hint == hint


def test_json_and_tsv_exclude_each_other() -> None:
    with pytest.raises(SystemExit):
        output("--json", "--tsv")


def test_details_are_one_document_as_json_and_lines_of_tabs_as_tsv(capsys: pytest.CaptureFixture[str]) -> None:
    fields, document = [Field("Last push", MOMENT, Kind.AGE)], {"repository": {"lastPush": "é"}}
    output("--json").details(fields, document)
    assert capsys.readouterr().out == json.dumps(document, indent=4, ensure_ascii=False) + "\n"
    output("--tsv").details(fields, document)
    assert capsys.readouterr().out == "last-push\t2026-11-21T15:27:53.057000+00:00\n"
    output().details(fields, document)
    assert capsys.readouterr().out.startswith("Last push:  ")


def test_a_bad_query_is_found_before_anything_is_asked() -> None:
    with pytest.raises(UsageError):
        output("--query", "things[")


def test_lines_are_printed_whatever_the_form(capsys: pytest.CaptureFixture[str]) -> None:
    output("--tsv").lines(["1.2", "latest\t\x1b["])
    assert capsys.readouterr().out == "1.2\nlatest\t\x1b[\n"
