"""What people see while things are counted."""

from __future__ import annotations

import argparse
import re
import threading
from contextlib import ExitStack

import pytest

from ecrdrag.cli.progress import CountingBar, CountingLine, add_counting_arguments, counting


def arguments_of(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_counting_arguments(parser)
    parser.add_argument("--quiet", action="store_true")
    return parser.parse_args(options)


def test_a_line_says_how_many_of_how_many_and_how_fast() -> None:
    with ExitStack() as stack:
        count = CountingLine(stack, 60, "count images", 5000, "repositories")
        count.advance(1000)
        count.advance()
        assert re.fullmatch(r"count images: 1,001 of 5,000 repositories \(20 %\), [\d,]+\.\d a second", count.line())


def test_a_line_does_without_a_total_and_learns_it_bit_by_bit() -> None:
    with ExitStack() as stack:
        count = CountingLine(stack, 60, "count", None, "repositories")
        count.advance(3)
        assert count.line().startswith("count: 3 repositories, ")
        count.expect(4)
        count.expect(8)
        assert count.line().startswith("count: 3 of 12 repositories (25 %), ")


def test_a_line_is_printed_each_interval_until_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    printed = threading.Event()

    class Told(CountingLine):
        def line(self) -> str:
            printed.set()
            return super().line()

    with ExitStack() as stack:
        Told(stack, 0.001, "count", 2, "images")
        assert printed.wait(10)
    assert not any(thread.name == "progress" for thread in threading.enumerate())
    assert capsys.readouterr().err.startswith("count: 0 of 2 images (0 %), ")


def test_the_bar_counts_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        count = CountingBar(stack, "count", None, "repositories")
        count.expect(2)
        count.expect(2)
        count.advance()
        count._bar.refresh()  # before its time
    err = capsys.readouterr().err
    assert "count:  25%" in err
    assert "1/4 [" in err
    assert "repositories/s" in err
    assert err.endswith("\r")


def test_a_short_count_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with counting(arguments_of("--progress", "bar"), "count", 2, "repositories") as count:
        count.advance(2)
    assert capsys.readouterr().err.strip() == ""


@pytest.mark.parametrize(
    ("options", "is_line"),
    [((), True), (("--quiet",), False), (("--progress", "none"), False), (("--progress", "plain", "--quiet"), True)],
)
def test_without_a_terminal_there_are_lines_unless_nobody_wants_them(options: tuple[str, ...], is_line: bool) -> None:
    with counting(arguments_of(*options), "count", 2, "repositories") as count:
        assert isinstance(count, CountingLine) is is_line
        count.expect(1)
        count.advance()
