"""Own how a value reads: to people by its kind, to programs whole in a line of tabs.

The rooms that print results may enter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Final, TypeGuard

from ecrdrag.cli.json_document import json_text
from ecrdrag.cli.report import size_text
from ecrdrag.cli.times import age_text, iso_text, seconds_text

NOTHING: Final = "-"
_ESCAPES: Final = {
    **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))},  # control characters
    ord("\t"): "\\t",
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\\"): "\\\\",
}


class Kind(Enum):
    """How a value is shown to people; programs get it as it is."""

    TEXT = "text"  # shortened at its end where the terminal is narrow
    NAME = "name"  # shortened in its middle: both ends tell names apart
    COUNT = "count"  # whole number, right-aligned
    SIZE = "size"  # bytes, as 1.2 GiB, right-aligned
    AGE = "age"  # datetime, as "3 days ago"; details show the time too
    DIGEST = "digest"  # whole where there is room, else sha256: and 12 digits
    LIST = "list"  # sequence of texts, by commas; "+3" stands for those without room


def texts_of(value: object, kind: Kind, now: datetime) -> tuple[str, ...]:
    """Say a value to people: by one text, or by one for each item of a list. Nothing is - too."""
    if is_list(value):
        return tuple(_short(item) or NOTHING for item in value) or (NOTHING,)
    if isinstance(value, datetime) and kind is Kind.AGE:
        return (age_text(value, now),)
    if isinstance(value, int) and kind is Kind.SIZE:
        return (size_text(value),)
    return (_short(value) or NOTHING,)


def detail_of(value: object, kind: Kind, now: datetime) -> str:
    """Say a value that is no list where there is room for both: what people and what programs want."""
    (said,) = texts_of(value, kind, now)
    if isinstance(value, datetime) and kind is Kind.AGE:
        return f"{said} ({seconds_text(value)})"
    if isinstance(value, int) and kind is Kind.SIZE:
        return said if said == f"{value} B" else f"{said} ({value} bytes)"
    return said


def raw_text(value: object) -> str:
    """Write a value for programs, in a field between tabs: \\t, \\n, \\r and \\\\ stand for what they do in C."""
    return _raw(value).translate(_ESCAPES)


def is_list(value: object) -> TypeGuard[Iterable[object]]:
    """Recognise what is shown item by item."""
    return isinstance(value, Iterable) and not isinstance(value, str | Mapping)


def _short(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return seconds_text(value)
    if isinstance(value, Mapping):
        return json_text(value)
    return "" if value is None else str(value)


def _raw(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return iso_text(value)
    if isinstance(value, Mapping):
        return json_text(value) if value else ""
    return ",".join(map(_raw, value)) if is_list(value) else str(value)
