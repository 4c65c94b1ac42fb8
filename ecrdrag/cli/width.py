"""Own how many columns of a terminal a text takes, and how one is shortened to so many.

The rooms that lay out results may enter. Widths are Unicode's: UAX 11 for wide characters, no column for marks that
combine with the character before them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

_WIDE: Final = ("W", "F")  # East Asian Width
_COMBINING: Final = ("Mn", "Me", "Cf")  # general categories
_JAMO: Final = range(0x1160, 0x1200)  # vowels and final consonants, which join the syllable before them


def width_of(text: str) -> int:
    """Count the columns that a text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def end_shortened(text: str, width: int, ellipsis: str) -> str:
    """Keep the start of a text that is wider than width."""
    if width_of(text) <= width:
        return text
    room = width - len(ellipsis)
    return _start(_clusters(text), room) + ellipsis if room > 0 else ellipsis[:width]


def middle_shortened(text: str, width: int, ellipsis: str) -> str:
    """Keep the start and the end of a text that is wider than width."""
    if width_of(text) <= width:
        return text
    room = width - len(ellipsis)
    if room < 2:  # one for the start, one for the end
        return end_shortened(text, width, ellipsis)
    clusters = list(_clusters(text))
    end = _start((cluster[::-1] for cluster in reversed(clusters)), room // 2)[::-1]
    return _start(clusters, room - room // 2) + ellipsis + end


def _width(character: str) -> int:
    if unicodedata.category(character) in _COMBINING or ord(character) in _JAMO:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1


def _clusters(text: str) -> Iterator[str]:
    """Give each character together with the marks upon it."""
    cluster = ""
    for character in text:
        if cluster and _width(character):
            yield cluster
            cluster = ""
        cluster += character
    yield cluster


def _start(clusters: Iterable[str], width: int) -> str:
    """Join what fits."""
    kept = ""
    for cluster in clusters:
        width -= width_of(cluster)
        if width < 0:
            break
        kept += cluster
    return kept
