"""Own what an everyday command prints: a table for people, one JSON document, lines of tabs, or what a query picks.

The commands enter. JSON is the AWS API's own structure with members added, so that queries of the aws CLI fit.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from ecrdrag.cli.streams import print_result

Row = TypeVar("Row")
Answer = Mapping[str, object]


class Kind(Enum):
    """How a value is shown to people; programs get it as it is."""

    TEXT = "text"  # shortened at its end where the terminal is narrow
    NAME = "name"  # shortened in its middle: both ends tell names apart
    COUNT = "count"  # whole number, right-aligned
    SIZE = "size"  # bytes, as 1.2 GiB, right-aligned
    AGE = "age"  # datetime, as "3 days ago"; details show the time too
    DIGEST = "digest"  # whole where there is room, else sha256: and 12 digits
    LIST = "list"  # sequence of texts, by commas; "+3" stands for those without room


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column of a table: its title in capitals, and how a row gives its value; None is shown as -."""

    title: str
    value: Callable[[Row], object]
    kind: Kind = Kind.TEXT


@dataclass(frozen=True, slots=True)
class Field:
    """One line of what is shown about a single thing; several lines, or a mapping, are shown indented below."""

    title: str
    value: object
    kind: Kind = Kind.TEXT


def add_format_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how the result is printed."""
    group = parser.add_argument_group("how the result is printed (default: for people)")
    forms = group.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="as one JSON document, with the members of the AWS API")
    forms.add_argument("--tsv", action="store_true", help="a line for each, its values separated by tabs")
    group.add_argument("--query", metavar="JMESPATH", help="print of the JSON document what this picks")


class Output:
    """Print as a command's arguments say."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments

    def listing(
        self, member: str, columns: Sequence[Column[Row]], rows: Iterable[Row], document: Callable[[Row], Answer]
    ) -> None:
        """Print rows as they come; in JSON they are the list `member` of the document, each made by `document`."""
        import json

        print_result(json.dumps({member: [dict(document(row)) for row in rows]}, default=str))

    def details(self, fields: Sequence[Field], document: Answer) -> None:
        """Print what is known of one thing."""
        import json

        print_result(json.dumps(document, default=str))

    def lines(self, lines: Iterable[str]) -> None:
        """Print plain lines as they come."""
        for line in lines:
            print_result(line)
