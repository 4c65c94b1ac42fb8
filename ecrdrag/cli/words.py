"""Own how sentences count things, and list a few of many names.

The commands enter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_FEW: Final = 5


def count_text(count: int, one: str, more: str = "") -> str:
    """Say how many there are of something: 1 image, 2,000 images."""
    return f"{count:,} {one if count == 1 else more or f'{one}s'}"


def few(names: Sequence[str], most: int = _FEW) -> str:
    """List some names, and say how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
