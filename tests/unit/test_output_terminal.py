"""What is printed on a terminal: its width, bold titles, and rows beside a bar that counts."""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import select
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest

from ecrdrag.cli.output import Column, Field, Kind, Output, add_format_arguments
from ecrdrag.cli.progress import add_counting_arguments, counting
from ecrdrag.cli.terminal import Screen

_END = "<end>"
NAMES: list[Column[str]] = [Column("NAME", str, Kind.NAME)]


class Terminal:
    """A terminal whose both streams are this process's, and what it shows."""

    def __init__(self, columns: int) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.out: TextIO = os.fdopen(theirs, "w", encoding="utf-8")
        self.err: TextIO = os.fdopen(os.dup(theirs), "w", encoding="utf-8")

    def shown(self) -> str:
        """Give all that was written since, with \\n as a line's end."""
        self.err.flush()
        self.out.write(_END)
        self.out.flush()
        found = ""
        while not found.endswith(_END):
            assert select.select([self._ours], [], [], 10)[0]
            found += os.read(self._ours, 65536).decode()
        return found.removesuffix(_END).replace("\r\n", "\n")

    def close(self) -> None:
        for stream in (self.out, self.err):
            stream.close()
        os.close(self._ours)


@contextmanager
def terminal_of(columns: int) -> Iterator[Terminal]:
    """Give a terminal to what runs inside: pytest itself changes streams between a fixture and its test."""
    made = Terminal(columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", made.out)
        patch.setattr(sys, "stderr", made.err)
        for name, value in {"TERM": "xterm", "NO_COLOR": "", "COLUMNS": "500"}.items():
            patch.setenv(name, value)
        yield made
    made.close()


def arguments_of(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_format_arguments(parser)
    add_counting_arguments(parser)
    parser.add_argument("--quiet", action="store_true")
    return parser.parse_args(options)


def overwritten(text: str) -> list[str]:
    """Say what stays on a terminal: after \\r a line is written over."""
    lines = []
    for line in text.split("\n"):
        cells: list[str] = []
        for part in line.split("\r"):
            cells[: len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines


def test_a_table_is_as_wide_as_its_terminal_and_its_title_bold() -> None:
    with terminal_of(40) as terminal:
        Output(arguments_of()).listing("names", NAMES, ["x" * 100], lambda name: {"name": name})
        title, row, _ = terminal.shown().split("\n")
    assert title == "\x1b[1mNAME\x1b[0m"
    assert row == "x" * 20 + "…" + "x" * 19


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("NO_COLOR", "0"), ("TERM", "dumb"), ("TERM", None)])
def test_there_are_terminals_and_users_without_bold(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    with terminal_of(40) as terminal:
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
        Output(arguments_of()).listing("names", NAMES, ["x"], lambda name: {"name": name})
        assert terminal.shown() == "NAME\nx\n"


def test_a_terminal_of_no_columns_is_as_wide_as_the_environment_says() -> None:
    with terminal_of(0) as terminal:
        assert Screen.of(terminal.out, {"COLUMNS": "33"}).width == 33
        assert Screen.of(terminal.out, {}).width is None


def test_a_stream_that_is_no_file_has_neither_width_nor_bold() -> None:
    assert Screen.of(io.StringIO(), {"TERM": "xterm"}) == Screen(None)


def test_plain_lines_can_not_steer_a_terminal_and_keep_their_form() -> None:
    with terminal_of(40) as terminal:
        Output(arguments_of()).lines(["{\n\t\x1b[31m\n}"])
        assert terminal.shown().replace("        ", "\t") == "{\n\t\\x1b[31m\n}\n"


@pytest.mark.parametrize("options", [("--tsv",), ("--tsv", "--query", "names[].[name]"), ("--json",)])
def test_lines_for_programs_can_not_steer_a_terminal_either(options: tuple[str, ...]) -> None:
    for evil in ("\x1b]0;x\x07", "\x9b1m", "\u202e", "\u061c", "\xad", "\u180e", "\ufff9", "\U000e0041"):
        with terminal_of(40) as terminal:
            Output(arguments_of(*options)).listing("names", NAMES, [evil], lambda name: {"name": name})
            assert not set(evil) & set(terminal.shown()) - set("0123456789;xm]")
            Output(arguments_of(*options)).details([Field("Name", evil)], {"names": [{"name": evil}]})
            assert not set(evil) & set(terminal.shown()) - set("0123456789;xm]")


def test_what_a_query_picks_goes_into_a_pipe_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Output(arguments_of("--tsv", "--query", "text")).details([], {"text": "a\n\t\x1b\u202e"})
    assert capsys.readouterr().out == "a\n\t\x1b\u202e\n"


def test_rows_stay_whole_beside_a_bar() -> None:
    arguments = arguments_of()

    def rows() -> Iterator[str]:
        with counting(arguments, "count", 3, "repositories") as count:
            for number in range(3):
                count.advance()
                yield f"name-{number}"

    with terminal_of(40) as terminal:
        Output(arguments_of("--tsv")).listing("names", NAMES, rows(), lambda name: {"name": name})
        shown = terminal.shown()
    assert "1/3 [" in shown
    assert overwritten(shown) == ["name-0", "name-1", "name-2", ""]


def test_who_wants_quiet_gets_no_bar() -> None:
    with terminal_of(40) as terminal:
        with counting(arguments_of("--quiet"), "count", 3, "repositories") as count:
            count.expect(1)
            count.advance()
        Output(arguments_of()).lines(["end"])
        assert terminal.shown() == "end\n"
