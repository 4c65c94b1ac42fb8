"""Own lists of references that users keep in files: one a line.

The commands enter.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ecrdrag.errors import ArchiveError, UsageError
from ecrdrag.reference import ImageReference

_MAX_LIST: Final = 4 * 1024 * 1024  # bytes; a thousand names have some hundred KiB
_SHOWN: Final = 10  # lines in a message


def references_in(name: str) -> tuple[ImageReference, ...]:
    """Read a list; - is standard input. Raises UsageError, which names all lines that are wrong, or ArchiveError."""
    found: list[ImageReference] = []
    wrong: list[str] = []
    for number, line in _lines(name):
        try:
            found.append(ImageReference.parse(line))
        except UsageError as error:  # noqa: PERF203 - to name them all
            wrong.append(f"line {number}: {error}")
    if wrong:
        more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise UsageError(f"{name} has lines that are no references", hint="\n".join([*wrong[:_SHOWN], *more]))
    return tuple(found)


def _lines(name: str) -> Iterator[tuple[int, str]]:
    """Number the lines, and give those that say something."""
    try:
        raw = sys.stdin.buffer.read(_MAX_LIST + 1) if name == "-" else _read(Path(name))
    except OSError as error:
        raise ArchiveError(f"can't read {name}: {error.strerror or error}") from error
    if len(raw) > _MAX_LIST:
        raise UsageError(f"{name} has more than {_MAX_LIST} bytes: that is no list of images")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{name} is no text in UTF-8") from None
    for number, line in enumerate(text.splitlines(), 1):
        if reference := line.partition("#")[0].strip():
            yield number, reference


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_LIST + 1)
