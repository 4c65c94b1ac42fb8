"""--query: what it picks, how that is printed, and what it says of expressions that can't be."""

from __future__ import annotations

import argparse
import json

import pytest

from ecrdrag.cli.output import Column, Output, add_format_arguments
from ecrdrag.cli.query import Query, text_lines
from ecrdrag.errors import UsageError

ROWS = [{"name": "a", "size": 2, "tags": ["x", "y"]}, {"name": "b", "size": 1, "tags": []}]
COLUMNS: list[Column[dict[str, object]]] = [Column("NAME", lambda row: row["name"])]


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    parser = argparse.ArgumentParser()
    add_format_arguments(parser)
    Output(parser.parse_args(options)).listing("things", COLUMNS, iter(ROWS), lambda row: row)
    return capsys.readouterr().out


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_query_picks_of_the_whole_document_and_prints_json(
    capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    found = printed(capsys, "--query", "sort_by(things, &size)[].name", *more)
    assert found == json.dumps(["b", "a"], indent=4) + "\n"
    assert printed(capsys, "--query", "length(things)", *more) == "2\n"
    assert printed(capsys, "--query", "nothing", *more) == "null\n"


def test_with_tabs_a_query_prints_what_the_aws_cli_calls_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--query", "things[].[name, size]", "--tsv") == "a\t2\nb\t1\n"
    assert printed(capsys, "--query", "things[].name", "--tsv") == "a\tb\n"
    assert printed(capsys, "--query", "nothing", "--tsv") == "None\n"
    assert printed(capsys, "--query", "things", "--tsv") == "a\t2\nTAGS\tx\nTAGS\ty\nb\t1\n"


def test_details_are_queried_too(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = argparse.Namespace(json=False, tsv=False, query="a.b", no_trunc=False)
    Output(arguments).details([], {"a": {"b": (1, 2)}})
    assert json.loads(capsys.readouterr().out) == [1, 2]


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (None, ["None"]),
        (True, ["True"]),
        ("a b", ["a b"]),
        ([], []),
        ({}, []),
        ([1, None, "x"], ["1\tNone\tx"]),
        ([[1, 2], [3], []], ["1\t2", "3"]),
        ([1, [2, 3], 4], ["1\t4", "2\t3"]),
        ({"b": 1, "a": "x"}, ["x\t1"]),
        ({"b": 1, "a": {"c": 2}}, ["1", "A\t2"]),
        ([{"a": 1}, {"b": 2}], ["1\t", "\t2"]),
        ([{"a": 1}, {"a": [2]}], ["1", "[2]"]),
        ({"l": [1, [2]]}, ["L\t1", "L\t2"]),
        ({"l": [{"x": 1}, {"x": {"y": 2}}]}, ["L\t1", "L\t{'y': 2}"]),
        ([{"a": 1}, "x"], ["1", "x"]),
    ],
)
def test_text_is_the_aws_clis(value: object, lines: list[str]) -> None:
    assert list(text_lines(value)) == lines


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("things[", "the expression ends too early", 7),
        ("things[?name=='x'", "the expression ends too early", 17),
        ("a b", "Unexpected token: b", 2),
        ("a = b", "Unknown token '='", 2),
        ("things[?x>`1]", "Unclosed ` delimiter", 10),
        ("length(a, b)", "length() takes 1 argument, not 2", 0),
        ("a.{x: sort_by (b)}", "sort_by() takes 2 arguments, not 1", 6),
        ("a | [?merge()]", "merge() takes at least 1 argument, not 0", 6),
        ("things[?nix(name)]", "there is no function nix()", 8),
    ],
)
def test_an_expression_that_can_not_be_is_refused_at_its_place(text: str, message: str, place: int) -> None:
    with pytest.raises(UsageError) as caught:
        Query(text)
    assert str(caught.value) == f"--query: {message}"
    shown, mark, hint = caught.value.hint.split("\n")
    assert shown == text
    assert mark == " " * place + "^"
    assert "jmespath.org" in hint or "functions: abs, avg, " in hint


@pytest.mark.parametrize(("text", "message"), [("", "it is empty"), ("[" * 5000, "nested too deeply")])
def test_what_has_no_place_is_refused_too(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Query(text)


def test_of_a_long_expression_the_place_is_shown() -> None:
    with pytest.raises(UsageError) as caught:
        Query("a." * 500 + "\n" + "b." * 100 + "b}" + "c" * 500)
    shown, mark, _ = caught.value.hint.split("\n")
    assert shown[mark.index("^")] == "}"
    assert len(shown) == 120


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sort_by(things, &tags)", "sort_by() takes string or number here, and finds array"),
        ("length(`1`)", "length() takes string or array or object here, and finds number"),
        ("things[::0]", "slice step cannot be zero"),
        ("join('', things)", "join() takes array-string here, and finds object"),
    ],
)
def test_values_that_a_function_can_not_take_are_the_users_to_mend(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Query(text).search({"things": ROWS})
    assert str(caught.value) == f"--query: {message}"


def test_open_argument_lists_and_backticked_words_are_fine() -> None:
    assert Query("merge(@, @, {c: `word`})").search({"a": 1}) == {"a": 1, "c": "word"}
