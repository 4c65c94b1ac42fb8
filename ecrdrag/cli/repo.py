"""Own the commands `repo`: their options, and what they print.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
from typing import Final

from ecrdrag.cli.commands import EXIT_CODES, Subcommand
from ecrdrag.cli.output import Column, Kind, Output, add_format_arguments
from ecrdrag.cli.planes import Planes, add_plane_arguments
from ecrdrag.control.repositories import Repository, repositories

DESCRIPTION: Final = "List, show, create and delete repositories of ECR, and their policies."
EPILOG: Final = EXIT_CODES


def _add_ls_arguments(parser: argparse.ArgumentParser) -> None:
    add_plane_arguments(parser, several=True)
    add_format_arguments(parser)


def _ls(arguments: argparse.Namespace) -> int:
    columns: list[Column[Repository]] = [Column("NAME", lambda one: one.name, Kind.NAME)]
    rows = Planes(arguments).across(repositories)
    Output(arguments).listing("repositories", columns, rows, lambda one: one.answer)
    return 0


COMMANDS: Final = {"ls": Subcommand("list repositories", _add_ls_arguments, _ls)}
