"""Own tables for people: how wide columns are, how they shrink to fit a terminal, and rows as they come.

cli/output.py enters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final, Generic, TypeVar

from ecrdrag.cli.terminal import Screen
from ecrdrag.cli.values import Kind, texts_of
from ecrdrag.cli.width import end_shortened, middle_shortened, width_of

MEASURED: Final = 100  # rows that say how wide columns are; later ones are printed as they come
GAP: Final = 2  # columns between two columns
_WIDEST: Final = 256  # of a column where lines may have any length, as names of ECR; what is longer pushes the rest
_SHORT_DIGEST: Final = len("sha256:") + 12  # docker's short form
# Who makes room, in order, and down to what: first what loses nothing that tells rows apart, names last.
_SHRINKING: Final[tuple[Mapping[Kind, int], ...]] = (
    {Kind.DIGEST: _SHORT_DIGEST},  # whole or short, nothing between
    {Kind.LIST: 24, Kind.TEXT: 24},
    {Kind.NAME: 24, Kind.LIST: 12, Kind.TEXT: 12},
    {Kind.NAME: 12, Kind.LIST: 6, Kind.TEXT: 6},
)
_SHRINKABLE: Final = frozenset(kind for stage in _SHRINKING for kind in stage)
_RIGHT: Final = (Kind.COUNT, Kind.SIZE)

Row = TypeVar("Row")
Cell = tuple[str, ...]  # the items of a list, else one text


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column of a table: its title in capitals, and how a row gives its value; None is shown as -."""

    title: str
    value: Callable[[Row], object]
    kind: Kind = Kind.TEXT


class Table(Generic[Row]):
    """A table on a screen; is_cut says that cells are shortened where the screen has a width."""

    def __init__(self, columns: Sequence[Column[Row]], screen: Screen, now: datetime, *, is_cut: bool = True) -> None:
        self._columns = columns
        self._screen, self._now = screen, now
        self._limit = screen.width if is_cut else None
        self._widths: list[int] = []

    def lines(self, rows: Iterable[Row]) -> Iterator[str]:
        """Give the titles and a line for each row; rows before an error are shown before it is raised."""
        cells = map(self._cells, rows)
        first, ending = _taken(cells, MEASURED)
        if first or ending is None:
            self._measure(first)
            yield self._screen.bold(self._line([(column.title,) for column in self._columns]))
        yield from map(self._line, first)
        if ending is not None:
            raise ending
        yield from map(self._line, cells)

    def _cells(self, row: Row) -> list[Cell]:
        return [
            tuple(map(self._screen.shown, texts_of(column.value(row), column.kind, self._now)))
            for column in self._columns
        ]

    def _measure(self, rows: Iterable[Sequence[Cell]]) -> None:
        titles = [width_of(column.title) for column in self._columns]
        self._widths = list(titles)
        for row in rows:
            self._widths = [max(width, _width(cell)) for width, cell in zip(self._widths, row, strict=True)]
        if self._limit is None:
            self._widths = [min(width, _WIDEST) for width in self._widths]
            return
        for stage in _SHRINKING:
            floors = {
                place: max(stage[column.kind], titles[place])
                for place, column in enumerate(self._columns)
                if column.kind in stage
            }
            _shrink(self._widths, floors, _total(self._widths) - self._limit, in_steps=Kind.DIGEST in stage)

    def _line(self, cells: Sequence[Cell]) -> str:
        texts = [
            _padded(self._short(cell, column.kind, limit), width, column.kind)
            for cell, column, limit, width in zip(cells, self._columns, self._limits(cells), self._widths, strict=True)
        ]
        return (" " * GAP).join(texts).rstrip(" ")

    def _limits(self, cells: Sequence[Cell]) -> list[int | None]:
        """Say how wide each cell may be: as its column, and wider where the row has room left."""
        if self._limit is None:
            return [None] * len(cells)
        own = list(map(_width, cells))
        if all(cell <= width for cell, width in zip(own, self._widths, strict=True)):
            return list(self._widths)
        limits = [max(width, self._least(own[place], place)) for place, width in enumerate(self._widths)]
        spare = max(0, self._limit - _total(limits))
        for place, cell in enumerate(own):
            more = max(0, cell - limits[place])
            if more > spare:
                more = 0 if self._columns[place].kind is Kind.DIGEST else spare
            limits[place] += more
            spare -= more
        return list(limits)

    def _least(self, width: int, place: int) -> int:
        """Say how wide a cell is that can't be shortened, or not further; 0 where the column decides."""
        kind = self._columns[place].kind
        if kind is Kind.DIGEST:
            return min(width, _SHORT_DIGEST)
        return 0 if kind in _SHRINKABLE else width

    def _short(self, cell: Cell, kind: Kind, limit: int | None) -> str:
        text = ", ".join(cell)
        if limit is None or width_of(text) <= limit or kind not in _SHRINKABLE:
            return text
        if kind is Kind.DIGEST:
            return text[:_SHORT_DIGEST]
        if kind is Kind.NAME:
            return middle_shortened(text, limit, self._screen.ellipsis)
        return _items_shortened(cell, limit, self._screen.ellipsis)


def _taken(cells: Iterator[list[Cell]], most: int) -> tuple[list[list[Cell]], BaseException | None]:
    """Take the first rows, and what ended them before their time."""
    taken: list[list[Cell]] = []
    try:
        for cell in islice(cells, most):
            taken.append(cell)  # noqa: PERF402 - an error must not lose those before it
    except BaseException as error:  # noqa: BLE001 - raised again when the rows are shown
        return taken, error
    return taken, None


def _shrink(widths: list[int], floors: Mapping[int, int], excess: int, *, in_steps: bool) -> None:
    """Take excess from some columns, the widest first, none below its floor; in_steps says: all the way or not."""
    if in_steps and excess > 0:
        widths[:] = [min(width, floors.get(place, width)) for place, width in enumerate(widths)]
    while excess > 0 and not in_steps:
        tallest = max((widths[place] for place, floor in floors.items() if widths[place] > floor), default=0)
        able = [place for place, floor in floors.items() if widths[place] == tallest > floor]
        if not able:
            return
        lower = max(
            *(floors[place] for place in able),
            *(widths[place] for place in floors if widths[place] < tallest),
            tallest - -(-excess // len(able)),
        )
        for place in able:
            taken = min(tallest - lower, excess)
            widths[place] -= taken
            excess -= taken


def _items_shortened(items: Cell, width: int, ellipsis: str) -> str:
    """Give the items that fit and how many don't; at least the start of the first."""
    if len(items) == 1:
        return end_shortened(items[0], width, ellipsis)
    used = kept = 0
    for count, item in enumerate(items[:-1], 1):
        used += width_of(item) + len(", ")
        if used > width:
            break
        kept = count if used + len(f"+{len(items) - count}") <= width else kept
    if kept:
        return f"{', '.join(items[:kept])}, +{len(items) - kept}"
    rest = f", +{len(items) - 1}"
    room = width - len(rest)
    return end_shortened(items[0], room, ellipsis) + rest if room > len(ellipsis) else f"+{len(items)}"


def _width(cell: Cell) -> int:
    return sum(map(width_of, cell)) + len(", ") * (len(cell) - 1)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _padded(text: str, width: int, kind: Kind) -> str:
    blanks = " " * (width - width_of(text))
    return blanks + text if kind in _RIGHT else text + blanks
