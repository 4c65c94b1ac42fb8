"""Own the order of tags as people read them: as versions where they are ones, highest first.

The commands and the other rooms of control enter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

# 1.10, v2, 2024-05-06 (by its year), 1.2-rc1, 1.2rc1, 1.2_3; no version is what only begins with a digit, as 3f2a91c.
_VERSION: Final = re.compile(
    r"[vV]?(?P<release>[0-9]+(?P<more>(?:\.[0-9]+)+)?)(?P<rest>(?(more)(?:[-_.A-Za-z].*)?|(?:[-_.].*)?))"
)
_WORDS: Final = re.compile(r"[0-9]+|[^0-9]+")

Key = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


def highest_first(tags: Iterable[str]) -> list[str]:
    """Put tags in order: versions, highest first, then all others by the alphabet.

    Numbers count as such: 1.10 comes before 1.9. What has more behind its number comes after it, as 1.2-rc1 after
    1.2, and a shorter number after all that it begins: 1.10.1, 1.10, 1.
    """
    versions: list[tuple[Key, str]] = []
    names: list[str] = []
    for tag in tags:
        key = _key(tag)
        if key is None:
            names.append(tag)
        else:
            versions.append((key, tag))
    return [*(tag for _, tag in sorted(versions, reverse=True)), *sorted(names)]


def _key(tag: str) -> Key | None:
    """Give what compares with other versions; None for what is none."""
    match = _VERSION.fullmatch(tag)
    if match is None:
        return None
    release = tuple(int(number) for number in match["release"].split("."))
    return release, not match["rest"], tuple(_word(word) for word in _WORDS.findall(match["rest"]))


def _word(word: str) -> tuple[bool, int, str]:
    """Compare numbers with numbers, and put them before words, as Semantic Versioning 2.0.0 does (11.4)."""
    return (False, int(word), "") if word[0] in "0123456789" else (True, 0, word)
