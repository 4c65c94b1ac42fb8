"""Own the way from argv to an exit code: which command, what goes to stderr, what an error becomes.

The doors (docker_pull.py, docker_push.py, python3 -m ecrdrag) enter; each command is a module of
this room with add_arguments() and run(), imported only when it is asked for.
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NoReturn, Protocol, TextIO, cast

from ecrdrag import __version__
from ecrdrag.errors import ArchiveError, EcrdragError, UsageError

COMMANDS: Final = {
    "pull": "pull an image from ECR into a tar",
    "push": "push a tar to ECR (not in this version)",
    "serve": "run a local ECR",
}
EXIT_BUG: Final = 70  # sysexits.h: EX_SOFTWARE
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
MAX_LINE: Final = 2000  # characters
EXIT_CLOSED_PIPE: Final = 128 + 13  # SIGPIPE, which Windows doesn't have


class Command(Protocol):
    """What a module of this room offers as a command."""

    DESCRIPTION: str
    EPILOG: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it and return the exit code."""
        ...


class _Parser(argparse.ArgumentParser):
    """A parser whose errors look like all others."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"{self.prog} --help lists the options")


def main(arguments: Sequence[str]) -> int:
    """Run `ecrdrag COMMAND …`."""
    if not arguments or arguments[0] in ("-h", "--help", "--version") or arguments[0] not in COMMANDS:
        return _guarded("ecrdrag", False, lambda: _overview(arguments))
    return main_of(arguments[0], arguments[1:], program=f"ecrdrag {arguments[0]}")


def main_of(name: str, arguments: Sequence[str], *, program: str) -> int:
    """Run one command under a program's name and return the exit code."""
    verbose = any(each in ("-v", "-vv", "--verbose") for each in arguments)  # known even if parsing fails
    return _guarded(program, verbose, lambda: _run(name, arguments, program))


def _run(name: str, arguments: Sequence[str], program: str) -> int:
    command = cast(Command, importlib.import_module(f"ecrdrag.cli.{name}"))
    parser = _Parser(
        prog=program,
        description=command.DESCRIPTION,
        epilog=command.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ecrdrag {__version__}")
    command.add_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors on stderr")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; -vv says all")
    parsed = parser.parse_args(arguments)
    _log_to_stderr(program, verbose=parsed.verbose, quiet=parsed.quiet)
    return command.run(parsed)


def _overview(arguments: Sequence[str]) -> int:
    parser = _Parser(prog="ecrdrag", description="Move container images in and out of Amazon ECR without a daemon.")
    parser.add_argument("--version", action="version", version=f"ecrdrag {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary)
    parser.parse_args(arguments)
    return 0


def _guarded(program: str, verbose: bool, work: Callable[[], int]) -> int:
    """Turn whatever ends the work into an exit code and a message."""
    _mend_streams()
    try:
        return work()
    except SystemExit as done:  # --help and --version
        return done.code if isinstance(done.code, int) else 0
    except EcrdragError as error:
        _complain(program, str(error), error.hint, verbose)
        return error.exit_code
    except KeyboardInterrupt:
        _complain(program, "interrupted", "", verbose)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_CLOSED_PIPE
    except Exception as error:  # noqa: BLE001 - the last line of defence
        hint = "" if verbose else "-v shows where"
        _complain(program, f"this is a bug in ecrdrag: {type(error).__name__}: {error}", hint, verbose)
        return EXIT_BUG


def print_result(text: str) -> None:
    """Print the result of a command to stdout, now; raise ArchiveError where it can't be taken."""
    try:
        print(text, flush=True)  # noqa: T201
    except BrokenPipeError:
        _point_nowhere(sys.stdout)
        raise
    except OSError as error:
        _point_nowhere(sys.stdout)
        raise ArchiveError(f"can't print the result: {error.strerror}", hint="the result itself is in place") from error


def _mend_streams() -> None:
    """Give the process the streams that it was started without, and let no file name break them."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # for the process's life
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _point_nowhere(stream: TextIO) -> None:
    """Lead a broken stream to where it can be flushed: else Python complains when it ends."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _complain(program: str, message: str, hint: str, verbose: bool) -> None:
    lines = traceback.format_exc().splitlines() if verbose else []
    lines += [f"{program}: {message}", *(f"  {line}" for line in hint.splitlines())]
    try:
        print("\n".join(map(_printable, lines)), file=sys.stderr, flush=True)  # noqa: T201
    except OSError:
        _point_nowhere(sys.stderr)


def _printable(text: str) -> str:
    """Escape what could steer a terminal, and cut what could flood it: servers have a say in messages."""
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:MAX_LINE])
    return shown if len(text) <= MAX_LINE else f"{shown}..."


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _printable(super().format(record))


def _log_to_stderr(program: str, *, verbose: int, quiet: bool) -> None:
    """Show our own log to people; those of botocore and urllib3 hold signatures and stay unheard."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(f"{program}: %(message)s"))
    log = logging.getLogger("ecrdrag")
    log.handlers[:] = [handler]
    log.propagate = False
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    log.setLevel(logging.ERROR if quiet else levels[min(verbose, len(levels) - 1)])
