"""Sets of byte ranges behave as sets of bytes do."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.archive.ranges import Ranges

SIZE = 30
SPANS = st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)).map(lambda pair: (pair[0], min(SIZE, sum(pair))))


@given(st.lists(st.tuples(st.booleans(), SPANS), max_size=12), SPANS)
def test_ranges_are_a_set_of_bytes_in_order_and_apart(
    changes: list[tuple[bool, tuple[int, int]]], window: tuple[int, int]
) -> None:
    ranges, expected = Ranges(), set[int]()
    for adds, (start, stop) in changes:
        if adds:
            ranges.add(start, stop)
            expected |= set(range(start, stop))
        else:
            ranges.remove(start, stop)
            expected -= set(range(start, stop))
    for low, high in ((0, SIZE), window):
        found = ranges.within(low, high)
        assert [at for start, stop in found for at in range(start, stop)] == sorted(expected & set(range(low, high)))
        assert all(start < stop for start, stop in found)
        assert all(stop < start for (_, stop), (start, _) in pairwise(found)), "ranges that touch are one"
    assert ranges.total == len(expected)
