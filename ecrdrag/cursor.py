"""Own the walk through a text that a user wrote, and the error that points at what is wrong in it.

reference.py and hostname.py enter.
"""

from __future__ import annotations

from dataclasses import dataclass

from ecrdrag.errors import UsageError

# Of the user's text, in characters: shown in a message, left of the pointer, on the pointer's line.
SHOWN, _SHOWN_LEFT, _SHOWN_LINE = 40, 50, 76


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the text and how many characters stand before it."""

    text: str
    start: int

    def after(self, count: int) -> Piece:
        """Leave out the first count characters."""
        return Piece(self.text[count:], self.start + count)

    def lower(self) -> Piece:
        """Take small letters."""
        return Piece(self.text.lower(), self.start)

    def __str__(self) -> str:
        shown = repr(self.text[:SHOWN]) if self.text else "nothing"
        return shown + "..." if len(self.text) > SHOWN else shown


class Cursor:
    """Walk through a text, piece by piece; kind is what it should be, in a word."""

    def __init__(self, text: str, kind: str = "reference") -> None:
        self.text = text
        self.kind = kind
        self._place = 0

    @property
    def rest(self) -> Piece:
        """What is still to come."""
        return Piece(self.text[self._place :], self._place)

    def take(self, literal: str, *, any_case: bool = False) -> bool:
        """Step over literal if it comes next."""
        found = self.text[self._place : self._place + len(literal)]
        taken = (found.lower() if any_case else found) == literal
        self._place += len(literal) if taken else 0
        return taken

    def until(self, stops: str) -> Piece:
        """Step to the next of the stops, or to the end."""
        start = self._place
        while self._place < len(self.text) and self.text[self._place] not in stops:
            self._place += 1
        return Piece(self.text[start : self._place], start)

    def field(self, stop: str) -> Piece:
        """Step to the next stop and over it, or to the end."""
        piece = self.until(stop)
        self.take(stop)
        return piece

    def instead(self, piece: Piece, text: str) -> str:
        """Suggest the whole text with another one in place of a piece."""
        whole = f"{self.text[: piece.start]}{text}{self.text[piece.start + len(piece.text) :]}"
        return f"did you mean {_printable(whole)}"

    def error(self, piece: Piece, problem: str, *, hint: str = "") -> UsageError:
        """Say what is wrong at the start of piece; without a better hint, point at it."""
        message = f"bad {self.kind} at character {piece.start + 1}: {problem}"
        return UsageError(message, hint=hint or self._pointer(piece.start))

    def _pointer(self, place: int) -> str:
        left, right = _printable(self.text[max(0, place - _SHOWN_LEFT) : place]), _printable(self.text[place:])
        left = "..." + left if place > _SHOWN_LEFT else left
        right = right[: _SHOWN_LINE - len(left)] + "..." if len(left + right) > _SHOWN_LINE else right
        return f"{left}{right}\n{' ' * len(left)}^"


def _printable(text: str) -> str:
    return "".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in text)
