"""Own how a result is written as JSON: as the aws CLI writes it, and entry by entry as entries come.

The rooms that print results may enter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from ecrdrag.cli.times import iso_text

_INDENT: Final = 4  # as the aws CLI
_STEP: Final = " " * _INDENT
# Characters that a terminal obeys or hides, or that are no text by themselves; JSON has another way to write them.
_UNSEEN: Final = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_BEYOND_ASCII: Final = re.compile("[^\x00-\x7f]")


def json_text(value: object, *, is_pretty: bool = False) -> str:
    """Write a value: moments in ISO 8601 and UTC, what JSON doesn't know as text."""
    text = json.dumps(value, indent=_INDENT if is_pretty else None, default=_known, ensure_ascii=False)
    return _UNSEEN.sub(_escape, text)


def ascii_only(text: str) -> str:
    """Write the same JSON without characters beyond ASCII: all are inside of strings."""
    return _BEYOND_ASCII.sub(_escape, text)


def plain(value: object) -> object:
    """Make a value of what JSON knows alone, as a program gets it that reads what json_text wrote."""
    known: object = json.loads(json_text(value))
    return known


def listing_texts(member: str, entries: Iterable[object]) -> Iterator[str]:
    """Write a document of one list, piece by piece; no piece before the first entry is there.

    Where entries end by an error, so does the document, in a line of its own.
    """
    head = f"{{\n{_STEP}{json_text(member)}: ["
    separator = head
    try:
        for entry in entries:
            text = json_text(entry, is_pretty=True).replace("\n", f"\n{_STEP * 2}")
            yield f"{separator}\n{_STEP * 2}{text}"
            separator = ","
    except (Exception, KeyboardInterrupt):
        if separator is not head:
            yield "\n"
        raise
    yield f"{head}]\n}}\n" if separator is head else f"\n{_STEP}]\n}}\n"


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _known(value: object) -> object:
    if isinstance(value, datetime):
        return iso_text(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    return str(value)
