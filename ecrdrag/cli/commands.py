"""Own what a command is to cli/main.py: alone, or one of a group.

cli/main.py and the groups of commands may enter.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

EXIT_CODES: Final = """\
exit codes: 0 done, 2 usage, 3 credentials, 4 not found, 5 given up, 7 a file can't be read or written, 8 unsupported,
9 conflict, 70 a bug, 130 interrupted, 141 closed pipe
"""


class Command(Protocol):
    """What a module of this room offers as a command."""

    @property
    def DESCRIPTION(self) -> str:  # noqa: N802 - a constant of a module
        """What --help begins with."""
        ...

    @property
    def EPILOG(self) -> str:  # noqa: N802
        """What --help ends with."""
        ...

    @property
    def add_arguments(self) -> Callable[[argparse.ArgumentParser], None]:
        """Declare the command's arguments."""
        ...

    @property
    def run(self) -> Callable[[argparse.Namespace], int]:
        """Do it and return the exit code."""
        ...


@dataclass(frozen=True, slots=True)
class Subcommand:
    """One of a group; summary is its line in the group's --help, description is what its own begins with."""

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    description: str = ""

    @property
    def DESCRIPTION(self) -> str:  # noqa: N802
        """Say more than the summary where there is more to say."""
        return self.description or f"{self.summary[:1].upper()}{self.summary[1:]}."

    @property
    def EPILOG(self) -> str:  # noqa: N802
        """Say the exit codes."""
        return EXIT_CODES


@runtime_checkable
class Group(Protocol):
    """What a module of this room offers as a group of commands."""

    DESCRIPTION: str
    EPILOG: str
    COMMANDS: Mapping[str, Subcommand]
