"""Own lists of references that users keep in files: one a line.

The commands enter.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ecrdrag.errors import ArchiveError, UsageError

_MAX_LIST: Final = 4 * 1024 * 1024  # bytes; a thousand names have some hundred KiB


def lines_of(name: str) -> Iterator[str]:
    """Yield the lines that say something; - is standard input. Raises UsageError, or ArchiveError for the disk."""
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
    for line in text.splitlines():
        reference = line.partition("#")[0].strip()
        if reference:
            yield reference


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_LIST + 1)
