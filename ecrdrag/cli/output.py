"""Own what an everyday command prints: a table for people, one JSON document, lines of tabs, or what a query picks.

The commands enter. JSON is the AWS API's own structure with members added, so that queries of the aws CLI fit.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime, timezone
from typing import Final, TypeVar

from ecrdrag.cli.details import Field, detail_lines, detail_rows
from ecrdrag.cli.json_document import ascii_only, json_text, listing_texts, plain
from ecrdrag.cli.progress import beside_bars
from ecrdrag.cli.query import Query, text_lines
from ecrdrag.cli.streams import print_result
from ecrdrag.cli.table import Column, Table
from ecrdrag.cli.terminal import Screen
from ecrdrag.cli.values import Kind, raw_text
from ecrdrag.errors import UsageError

__all__ = ["Answer", "Column", "Field", "Kind", "Output", "add_format_arguments"]

Row = TypeVar("Row")
Answer = Mapping[str, object]
_DONE: Final = "the command itself is done"
_BREAKS: Final = re.compile("([\n\t])")


def add_format_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how the result is printed."""
    group = parser.add_argument_group("how the result is printed (default: for people)")
    forms = group.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="as one JSON document, with the members of the AWS API")
    forms.add_argument("--tsv", action="store_true", help="a line for each, its values separated by tabs")
    group.add_argument("--query", metavar="JMESPATH", help="what this picks of the JSON document, as JSON or --tsv")
    whole = "shorten nothing that is wider than the terminal, or than COLUMNS if that is set"
    group.add_argument("--no-trunc", action="store_true", help=whole)


class Output:
    """Print as a command's arguments say. Raises UsageError for a query that can't be, before anything is asked."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        query: str | None = arguments.query
        self._query = None if query is None else Query(query)
        self._is_json, self._is_tsv = bool(arguments.json), bool(arguments.tsv)
        self._is_cut = not arguments.no_trunc
        self._screen = Screen.of_stdout()
        self._now = datetime.now(timezone.utc)

    def listing(
        self, member: str, columns: Sequence[Column[Row]], rows: Iterable[Row], document: Callable[[Row], Answer]
    ) -> None:
        """Print rows as they come; in JSON they are the list `member` of the document, each made by `document`."""
        if self._query:
            self._say_found(self._query.search({member: [plain(document(row)) for row in rows]}))
        elif self._is_json:
            for text in listing_texts(member, map(document, rows)):
                self._say(self._encodable(text), end="")
        elif self._is_tsv:
            self._say_lines("\t".join(raw_text(column.value(row)) for column in columns) for row in rows)
        else:
            self._say_all(Table(columns, self._screen, self._now, is_cut=self._is_cut).lines(rows))

    def details(self, fields: Sequence[Field], document: Answer) -> None:
        """Print what is known of one thing."""
        if self._query:
            self._say_found(self._found_in(document, self._query))
        elif self._is_json:
            self.document(document)
        elif self._is_tsv:
            self._say_lines(detail_rows(fields), hint=_DONE)
        else:
            self._say_all(detail_lines(fields, self._screen, self._now, is_cut=self._is_cut), hint=_DONE)

    @property
    def is_for_people(self) -> bool:
        """Whether the arguments want neither JSON nor lines of tabs."""
        return not (self._is_json or self._is_tsv or self._query)

    @property
    def is_document(self) -> bool:
        """Whether the arguments want a JSON document, or what a query picks of one."""
        return self._is_json or self._query is not None

    def document(self, document: object) -> None:
        """Print JSON, whatever the arguments say."""
        self._say(self._encodable(json_text(document, is_pretty=True)), hint=_DONE)

    def lines(self, lines: Iterable[str]) -> None:
        """Print plain lines as they come, whatever the arguments say."""
        self._say_lines(lines, hint=_DONE)

    def _found_in(self, document: Answer, query: Query) -> object:
        try:
            return query.search(plain(document))
        except UsageError as error:
            error.hint = f"{error.hint}\n{_DONE}"
            raise

    def _say_found(self, found: object) -> None:
        if self._is_tsv:
            self._say_lines(text_lines(found))
        else:
            self._say(self._encodable(json_text(found, is_pretty=True)))

    def _say_lines(self, lines: Iterable[str], hint: str = "") -> None:
        """Print lines as they are, but for what a terminal would obey."""
        self._say_all(map(self._harmless, lines) if self._screen.is_terminal else lines, hint)

    def _say_all(self, lines: Iterable[str], hint: str = "") -> None:
        for line in lines:
            self._say(line, hint=hint)

    def _say(self, text: str, *, end: str = "\n", hint: str = "") -> None:
        with beside_bars() if self._screen.is_terminal else nullcontext():
            print_result(text, end=end, hint=hint)

    def _encodable(self, text: str) -> str:
        """Keep JSON what it is on streams that have few characters."""
        return text if self._screen.can_show(text) else ascii_only(text)

    def _harmless(self, line: str) -> str:
        parts = _BREAKS.split(line)
        return "".join(part if _BREAKS.fullmatch(part) else self._screen.shown(part) for part in parts)
