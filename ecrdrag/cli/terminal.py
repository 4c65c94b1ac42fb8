"""Own what stdout is: a terminal or not, how wide, what it can show and whether in bold.

The rooms that print results may enter.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TextIO

from ecrdrag.cli.streams import printable

_ELLIPSIS: Final = "…"
_BOLD: Final = "\x1b[1m{}\x1b[0m"  # ECMA-48, SGR


@dataclass(frozen=True, slots=True)
class Screen:
    """Where people read the result; width is in columns, None where lines may have any length."""

    width: int | None = None
    is_terminal: bool = False
    is_bold: bool = False
    encoding: str = "utf-8"

    @classmethod
    def of(cls, stream: TextIO, environment: Mapping[str, str]) -> Screen:
        """Look at a stream. A pipe has no width unless COLUMNS says one."""
        is_terminal = stream.isatty()
        width = (_columns(stream) if is_terminal else None) or _number(environment.get("COLUMNS", ""))
        # no-color.org; a terminal without a name is one of Windows, where bold may show as signs
        is_bold = is_terminal and not environment.get("NO_COLOR") and environment.get("TERM", "dumb") != "dumb"
        return cls(width, is_terminal, is_bold, stream.encoding or "utf-8")

    @classmethod
    def of_stdout(cls) -> Screen:
        """Look at the stdout of this process."""
        return cls.of(sys.stdout, os.environ)

    @property
    def ellipsis(self) -> str:
        """What stands for what was left out."""
        return _ELLIPSIS if self.can_show(_ELLIPSIS) else "..."

    def can_show(self, text: str) -> bool:
        """Tell whether the stream's encoding has all characters of a text."""
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True

    def shown(self, text: str) -> str:
        """Escape what the stream can't show or what could steer a terminal, so that a text's width can be known."""
        if text.isascii() and text.isprintable():
            return text
        return printable(text).encode(self.encoding, "backslashreplace").decode(self.encoding)

    def bold(self, text: str) -> str:
        """Make a text stand out, where that can be."""
        return _BOLD.format(text) if self.is_bold else text


def _columns(stream: TextIO) -> int | None:
    """Ask the terminal; those of many CI systems have no columns."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _number(text: str) -> int | None:
    try:
        return max(0, int(text)) or None
    except ValueError:
        return None
