"""Own sets of bytes, held as ranges [start, stop).

The archive room may enter.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Ranges:
    """Hold bytes as ranges in order and apart: those that touch are one."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    @property
    def total(self) -> int:
        """Bytes in the set."""
        return sum(self._stops) - sum(self._starts)

    def add(self, start: int, stop: int) -> None:
        """Take in bytes [start, stop), of which there is at least one."""
        first, behind = bisect_left(self._stops, start), bisect_right(self._starts, stop)
        if first < behind:
            start, stop = min(start, self._starts[first]), max(stop, self._stops[behind - 1])
        self._starts[first:behind], self._stops[first:behind] = [start], [stop]

    def remove(self, start: int, stop: int) -> None:
        """Drop bytes [start, stop), of which there is at least one."""
        first, behind = bisect_right(self._stops, start), bisect_left(self._starts, stop)
        rest = [(low, min(high, start)) for low, high in self._pairs(first, behind) if low < start]
        rest += [(max(low, stop), high) for low, high in self._pairs(first, behind) if high > stop]
        self._starts[first:behind], self._stops[first:behind] = [low for low, _ in rest], [high for _, high in rest]

    def within(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Give what the set holds of bytes [start, stop)."""
        pairs = self._pairs(bisect_right(self._stops, start), bisect_left(self._starts, stop))
        return [(max(low, start), min(high, stop)) for low, high in pairs]

    def _pairs(self, first: int, behind: int) -> list[tuple[int, int]]:
        return list(zip(self._starts[first:behind], self._stops[first:behind], strict=True))
