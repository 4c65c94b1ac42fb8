"""Own how one thing is shown: a line for each of its fields, longer values indented below.

cli/output.py enters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeGuard

from ecrdrag.cli.json_document import json_text
from ecrdrag.cli.terminal import Screen
from ecrdrag.cli.values import Kind, detail_of, is_list, raw_text, texts_of
from ecrdrag.cli.width import width_of

_INDENT: Final = "  "


@dataclass(frozen=True, slots=True)
class Field:
    """One line of what is shown about a single thing; several lines, or a mapping, are shown indented below."""

    title: str
    value: object
    kind: Kind = Kind.TEXT


def detail_lines(fields: Sequence[Field], screen: Screen, now: datetime, *, is_cut: bool = True) -> Iterator[str]:
    """Show fields to people: the values of those that have one line stand below each other."""
    heads = [f"{screen.shown(field.title)}:" for field in fields]
    margin = max(map(width_of, heads), default=0) + len(_INDENT)
    room = screen.width - margin if screen.width and is_cut else None
    for field, head in zip(fields, heads, strict=True):
        lines = [screen.shown(line).rstrip(" ") for line in _lines(field, screen, now, room)]
        if len(lines) > 1 or _is_block(field.value):
            yield head
            yield from (f"{_INDENT}{line}" if line else "" for line in lines)
        else:
            yield f"{_padded(head, margin)}{lines[0]}".rstrip(" ")


def detail_rows(fields: Iterable[Field]) -> Iterator[str]:
    """Write fields for programs: a line for each, its title with - for blanks, a tab, and its value."""
    for field in fields:
        yield f"{field.title.lower().replace(' ', '-')}\t{raw_text(field.value)}"


def _lines(field: Field, screen: Screen, now: datetime, room: int | None) -> list[str]:
    value = field.value
    if _is_block(value):
        return _member_lines(value, screen, now)
    if is_list(value):
        items = list(value)
        if any(map(_is_deep, items)):
            return json_text(items, is_pretty=True).split("\n")
        texts = texts_of(items, field.kind, now)
        line = screen.shown(", ".join(texts))
        return [line] if room is None or width_of(line) <= room else list(texts)
    return detail_of(value or None if isinstance(value, Mapping) else value, field.kind, now).rstrip("\n").split("\n")


def _member_lines(mapping: Mapping[object, object], screen: Screen, now: datetime) -> list[str]:
    """Show the members one below the other, or as JSON where they have members of their own."""
    if any(map(_is_deep, mapping.values())):
        return json_text(mapping, is_pretty=True).split("\n")
    heads = [f"{screen.shown(str(name))}:" for name in mapping]
    margin = max(map(width_of, heads)) + len(_INDENT)
    values = (", ".join(texts_of(value, Kind.TEXT, now)) for value in mapping.values())
    return [f"{_padded(head, margin)}{value}" for head, value in zip(heads, values, strict=True)]


def _is_block(value: object) -> TypeGuard[Mapping[object, object]]:
    return isinstance(value, Mapping) and bool(value)


def _is_deep(value: object) -> bool:
    """Recognise what takes more than a line: a mapping, several lines, a list of such."""
    if isinstance(value, str):
        return "\n" in value
    return isinstance(value, Mapping) or (is_list(value) and any(map(_is_deep, value)))


def _padded(text: str, width: int) -> str:
    return text + " " * (width - width_of(text))
