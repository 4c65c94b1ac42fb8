"""Own stdin, stdout and stderr: the result, messages and log, whatever the streams are and servers say.

cli/main.py and the commands may enter.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, TextIO

from ecrdrag.errors import ArchiveError

MAX_LINE: Final = 2000  # characters


def print_result(text: str, *, end: str = "\n", hint: str = "the result itself is in place") -> None:
    """Print the result of a command to stdout, now; raise ArchiveError with the hint where it can't be taken."""
    try:
        print(text, end=end, flush=True)  # noqa: T201
    except BrokenPipeError:
        _point_nowhere(sys.stdout)
        raise
    except OSError as error:
        _point_nowhere(sys.stdout)
        raise ArchiveError(f"can't print the result: {error.strerror}", hint=hint) from error


def write_result(data: bytes) -> None:
    """Write the bytes of a result to stdout as they are, all of them; raises as print_result does."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _point_nowhere(sys.stdout)
        raise
    except OSError as error:
        _point_nowhere(sys.stdout)
        raise ArchiveError(f"can't print the result: {error.strerror}") from error


def mend_streams() -> None:
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


def complain(program: str, message: str, hint: str, verbose: bool) -> None:
    """Say on stderr what went wrong, with the traceback of what is being handled when verbose."""
    lines = traceback.format_exc().splitlines() if verbose else []
    lines += [f"{program}: {message}", *(f"  {line}" for line in hint.splitlines())]
    try:
        print("\n".join(map(_printable, lines)), file=sys.stderr, flush=True)  # noqa: T201
    except OSError:
        _point_nowhere(sys.stderr)


def printable(text: str) -> str:
    """Escape what could steer a terminal."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _printable(text: str) -> str:
    """Escape what could steer a terminal, and cut what could flood it: servers have a say in messages."""
    shown = printable(text[:MAX_LINE])
    return shown if len(text) <= MAX_LINE else f"{shown}..."


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _printable(super().format(record))


def log_to_stderr(program: str, *, verbose: int, quiet: bool) -> None:
    """Show our own log to people; those of botocore and urllib3 hold signatures and stay unheard."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(f"{program}: %(message)s"))
    log = logging.getLogger("ecrdrag")
    log.handlers[:] = [handler]
    log.propagate = False
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    log.setLevel(logging.ERROR if quiet else levels[min(verbose, len(levels) - 1)])


def tell(lines: Iterable[str], *, quiet: bool = False) -> None:
    """Say something to people on stderr, with neither level nor program's name."""
    with suppress(OSError):
        if not quiet:
            print("\n".join(map(_printable, lines)), file=sys.stderr, flush=True)  # noqa: T201
