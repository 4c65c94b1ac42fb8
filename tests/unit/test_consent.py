"""The asking before something is changed: on a terminal, without one, and for a dry run."""

from __future__ import annotations

import argparse
import io
import os
import pty
import sys
import termios
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TextIO

import pytest

from ecrdrag.cli.consent import add_consent_arguments, agreed
from ecrdrag.errors import UsageError

WILL = ["delete my/app in us-west-2 with 12 images"]
SAID = "will delete my/app in us-west-2 with 12 images\n"
ASKED = SAID + "go ahead? [y/N] "


def arguments(*given: str, quiet: bool = False) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_consent_arguments(parser)
    return parser.parse_args(given, argparse.Namespace(quiet=quiet))


class Streams:
    """Give a call its own stdin and stderr, which pytest would take away between a fixture and its test."""

    def __init__(self, stdin: TextIO, stderr: TextIO) -> None:
        self.stdin, self.stderr = stdin, stderr

    def agreed(self, given: argparse.Namespace, will: list[str], *, loses: bool = True) -> bool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", self.stdin)
            patch.setattr(sys, "stderr", self.stderr)
            return agreed(given, will, loses=loses)


class Terminal(Streams):
    """What the user has in front of them, which doesn't show what is typed."""

    def __init__(self, stack: ExitStack) -> None:
        self._ours, theirs = pty.openpty()
        stack.callback(os.close, self._ours)
        settings = termios.tcgetattr(theirs)
        settings[1] &= ~termios.OPOST
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, settings)
        stdin = stack.enter_context(os.fdopen(theirs, encoding="utf-8"))
        super().__init__(stdin, stack.enter_context(os.fdopen(os.dup(theirs), "w", encoding="utf-8")))

    def type(self, text: bytes) -> None:
        os.write(self._ours, text)

    def shown(self) -> str:
        os.write(self.stderr.fileno(), b"\0")
        found = b""
        while not found.endswith(b"\0"):
            found += os.read(self._ours, 4096)
        return found[:-1].decode()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with ExitStack() as stack:
        yield Terminal(stack)


@pytest.fixture
def stderr() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def pipes(stderr: io.StringIO) -> Streams:
    """A stdin that says yes, and no terminal."""
    return Streams(io.StringIO("y\n"), stderr)


@pytest.mark.parametrize("loses", [True, False])
@pytest.mark.parametrize("answer", [b"y\n", b"yes\n", b"Y\n", b" YES \n"])
def test_a_yes_that_is_typed_is_one(terminal: Terminal, answer: bytes, loses: bool) -> None:
    terminal.type(answer)
    assert terminal.agreed(arguments(), WILL, loses=loses)
    assert terminal.shown() == ASKED


@pytest.mark.parametrize("loses", [True, False])
@pytest.mark.parametrize(
    "answer", [b"n\n", b"no\n", b"\n", b"yep\n", b"yes please\n", b"\xff\xfe\n", b"y" * 3000 + b"\n"]
)
def test_whatever_else_is_typed_is_a_no(terminal: Terminal, answer: bytes, loses: bool) -> None:
    terminal.type(answer)
    with pytest.raises(UsageError, match=r"^not agreed: nothing was changed$"):
        terminal.agreed(arguments(), WILL, loses=loses)
    assert terminal.shown() == ASKED


def test_the_end_of_input_is_a_no_and_ends_the_line(terminal: Terminal) -> None:
    terminal.type(b"\x04")
    with pytest.raises(UsageError, match="not agreed"):
        terminal.agreed(arguments(), WILL)
    assert terminal.shown() == ASKED + "\n"


def test_with_yes_nobody_is_asked(terminal: Terminal) -> None:
    assert terminal.agreed(arguments("--yes"), WILL)
    assert terminal.shown() == SAID


def test_a_dry_run_says_what_would_happen_and_asks_nothing(terminal: Terminal) -> None:
    assert not terminal.agreed(arguments("--dry-run", "-y"), [*WILL, "lose all"])
    assert terminal.shown() == SAID.replace("will", "would") + "would lose all\n"


def test_nobody_is_asked_blindly_however_quiet_it_is_to_be(terminal: Terminal) -> None:
    terminal.type(b"y\n")
    assert terminal.agreed(arguments(quiet=True), WILL)
    assert terminal.shown() == ASKED


def test_without_a_terminal_what_loses_something_needs_a_yes_in_the_arguments(
    pipes: Streams, stderr: io.StringIO
) -> None:
    with pytest.raises(UsageError, match=r"^there is no terminal to ask on: nothing was changed$") as caught:
        pipes.agreed(arguments(), WILL)
    assert "--yes" in caught.value.hint
    assert stderr.getvalue() == SAID
    assert pipes.agreed(arguments("-y"), WILL)


def test_without_a_terminal_what_only_adds_goes_on(pipes: Streams, stderr: io.StringIO) -> None:
    assert pipes.agreed(arguments(), WILL, loses=False)
    assert stderr.getvalue() == SAID


def test_without_a_terminal_quiet_is_quiet_but_for_a_dry_run(pipes: Streams, stderr: io.StringIO) -> None:
    assert pipes.agreed(arguments("--yes", quiet=True), WILL)
    assert stderr.getvalue() == ""
    assert not pipes.agreed(arguments("--dry-run", quiet=True), WILL)
    assert stderr.getvalue() == SAID.replace("will", "would")


@pytest.mark.parametrize("stream", ["stdin", "stderr"])
def test_a_terminal_at_one_end_alone_is_none_to_ask_on(terminal: Terminal, stream: str) -> None:
    setattr(terminal, stream, io.StringIO("y\n"))
    with pytest.raises(UsageError, match="no terminal"):
        terminal.agreed(arguments(), WILL)
