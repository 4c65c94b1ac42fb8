"""Own the asking before something is changed: what will happen is said, and a yes is needed, typed or given.

The commands that change registries enter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ecrdrag.cli.streams import MAX_LINE, tell
from ecrdrag.errors import UsageError

_YES = ("y", "yes")


def add_consent_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --yes and --dry-run."""
    group = parser.add_argument_group("before anything is changed")
    group.add_argument("-y", "--yes", action="store_true", help="don't ask")
    group.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")


def agreed(arguments: argparse.Namespace, will: Sequence[str], *, loses: bool = True) -> bool:
    """Say what will happen, a line each, and ask on a terminal; False is a dry run.

    Where nobody can be asked, what loses something needs --yes; what only adds goes on. Raises UsageError for a no.
    """
    asks = not arguments.yes and sys.stdin.isatty() and sys.stderr.isatty()
    quiet = arguments.quiet and not asks and not arguments.dry_run  # nobody says yes to what is kept from them
    tell([f"{'would' if arguments.dry_run else 'will'} {line}" for line in will], quiet=quiet)
    if arguments.dry_run:
        return False
    if not asks:
        if loses and not arguments.yes:
            raise UsageError("there is no terminal to ask on: nothing was changed", hint="give --yes to go ahead")
        return True
    if _answer().strip().lower() not in _YES:
        raise UsageError("not agreed: nothing was changed")
    return True


def _answer() -> str:
    """Ask for a line; what can't be read is no yes, nor is the end of input."""
    try:
        sys.stderr.write("go ahead? [y/N] ")
        sys.stderr.flush()
        line = sys.stdin.readline(MAX_LINE)
        if not line:
            sys.stderr.write("\n")
    except (OSError, UnicodeDecodeError):
        return ""
    return line
