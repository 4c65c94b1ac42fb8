"""Own `repo ls --count`: what it prints of each repository, and of all together.

cli/repo.py enters.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from ecrdrag.cli.output import Column, Kind, Output
from ecrdrag.cli.planes import Planes
from ecrdrag.cli.progress import Counting, CountingSilence, counting
from ecrdrag.cli.report import size_text
from ecrdrag.cli.streams import tell
from ecrdrag.cli.words import count_text
from ecrdrag.control.plane import Plane
from ecrdrag.control.repositories import NamePattern, repositories
from ecrdrag.control.usage import Counted, Usage, counted
from ecrdrag.errors import AuthError, EcrdragError

REGION: list[Column[Counted]] = [Column("REGION", lambda one: one.repository.region)]
COLUMNS: list[Column[Counted]] = [
    Column("NAME", lambda one: one.repository.name, Kind.NAME),
    Column("IMAGES", lambda one: one.usage and one.usage.images, Kind.COUNT),
    Column("TAGS", lambda one: one.usage and one.usage.tags, Kind.COUNT),
    Column("SIZE", lambda one: one.usage and one.usage.size, Kind.SIZE),
    Column("MUTABILITY", lambda one: one.repository.mutability),
    Column("LAST PUSH", lambda one: one.usage and one.usage.last_push, Kind.AGE),
]


def count(arguments: argparse.Namespace, *, with_region: bool) -> int:
    """Print repositories with what is in them, each as soon as those before it are counted."""
    output, planes, census = Output(arguments), Planes(arguments), Census()
    with counting(arguments, "counting", None, "repositories") as progress:

        def read(plane: Plane) -> Iterator[Counted]:
            look_ahead(plane, arguments.pattern, progress)
            return counted(plane, repositories(plane, arguments.pattern))

        columns = [*(REGION if with_region else []), *COLUMNS]
        rows = census.watch(planes.across(read), progress)
        output.listing("repositories", columns, rows, lambda one: one.document)
    tell([census.summary()], quiet=arguments.quiet or not output.is_for_people)
    census.check()
    return 0


def look_ahead(plane: Plane, pattern: NamePattern | None, progress: Counting) -> None:
    """Find out how many there will be to count: a call for each thousand more, which nobody waits for."""
    if isinstance(progress, CountingSilence):
        return

    def look() -> None:
        with suppress(EcrdragError):  # the counting meets it too, and says so
            progress.expect(sum(1 for _ in repositories(plane, pattern)))

    threading.Thread(target=look, name="look-ahead", daemon=True).start()


@dataclass(slots=True)
class Census:
    """Add up what goes by."""

    repositories: int = 0
    images: int = 0
    size: int = 0
    refused: int = 0
    refusal: AuthError | None = None

    def watch(self, rows: Iterable[Counted], progress: Counting) -> Iterator[Counted]:
        """Let rows go by."""
        for row in rows:
            self.repositories += 1
            if isinstance(row.found, Usage):
                self.images += row.found.images
                self.size += row.found.size
            else:
                self.refused += 1
                self.refusal = self.refusal or row.found
            progress.advance()
            yield row

    def summary(self) -> str:
        """Say it in a line."""
        some = count_text(self.repositories, "repository", "repositories")
        refused = f", {self.refused:,} not counted" if self.refused else ""
        return f"{some}, {count_text(self.images, 'image')}, {size_text(self.size)}{refused}"

    def check(self) -> None:
        """Raise AuthError where images may not be counted."""
        if self.refusal is not None:
            some = count_text(self.refused, "repository", "repositories")
            raise AuthError(f"{some} could not be counted: {self.refusal}", hint=self.refusal.hint)
