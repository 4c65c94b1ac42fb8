"""Own the text of a journal: how its lines are written, and what they say when they are read again.

The journal may enter; why the lines are what they are stands there.

    ecrdrag-journal 1 PLAN SIZE       the sha256 of the plan, and the size of the file in bytes
    session BOOT POSITION             a run began, and believed what stands above this position of the journal
    landed START STOP                 bytes [START, STOP) of the file were written
    forgotten START STOP              they are believed no more
    stable POSITION                   what stands above this position was on stable storage before this line was written

Every line ends in the CRC-32 of the journal up to there, so that none can be changed, moved or taken from the middle.
All but the first have LINE_SIZE bytes: none crosses a page or a sector, so that a kill leaves it whole or not at all.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import Final

from ecrdrag.archive.ranges import Ranges
from ecrdrag.content import Digest

HEAD_SIZE: Final = 128  # bytes of the first line
LINE_SIZE: Final = 64  # bytes of each other line; divides every size of pages and sectors
UNKNOWN_BOOT: Final = "unknown"  # equals no boot id, not even itself

_NAME: Final = "ecrdrag-journal 1"
_SEAL_SIZE: Final = len("01234567\n")
_SESSION: Final = re.compile(rb"session ([0-9a-z-]{1,36}) ([0-9]{1,8})")
_STABLE: Final = re.compile(rb"stable ([0-9]{1,8})")
_RANGE: Final = re.compile(rb"(landed|forgotten) ([0-9]{1,19}) ([0-9]{1,19})")


class BrokenError(Exception):
    """A journal that can't be believed; the text is what is wrong with it."""


@dataclass(slots=True)
class History:
    """Tell what a journal says: ranges are the bytes to believe in, for what stands above position base.

    size and crc are of its sound lines. settled says that the ranges are on stable storage.
    """

    size: int
    crc: int
    base: int = HEAD_SIZE
    ranges: Ranges = field(default_factory=Ranges)
    settled: bool = True


def head(plan: Digest, total_size: int) -> bytes:
    """Write the first line of a plan's journal."""
    return seal(f"{_NAME} {plan.hex} {total_size}", 0, HEAD_SIZE)[0]


def seal(text: str, crc: int, size: int = LINE_SIZE) -> tuple[bytes, int]:
    """Make a line that follows after a journal with this CRC-32, and give that of both."""
    body = text.encode().ljust(size - _SEAL_SIZE)
    crc = zlib.crc32(body, crc)
    end = b"%08x\n" % crc
    return body + end, zlib.crc32(end, crc)


def beginning(first: bytes) -> History:
    """Give the history of a journal that has but its first line."""
    return History(len(first), zlib.crc32(first))


def replay(journal: bytes, first: bytes, total_size: int, boot_id: str) -> History:
    """Read the journal of a file of total_size bytes, which has to begin with the line first.

    Where the system crashed since its last line, nothing is read from a damaged one on: that is no surprise.
    Raises BrokenError for a damaged line without a crash, and for lines that nobody could have written.
    """
    _check_head(journal, first)
    reader = _Reader(total_size, len(first), zlib.crc32(first))
    for position in range(len(first), len(journal), LINE_SIZE):
        if not reader.take(journal[position : position + LINE_SIZE]):
            if reader.boot_id == "" or not reader.crashed(boot_id):
                raise BrokenError(f"is damaged at byte {position}")
            break
    return reader.history(boot_id)


def _check_head(journal: bytes, first: bytes) -> None:
    found = journal[: len(first)]
    if found == first:
        return
    if len(found) < len(first):
        raise BrokenError("is cut short")
    if found.startswith(_NAME.encode()) and _crc_with(found, 0) is not None:
        raise BrokenError("is of another image")
    raise BrokenError("is damaged in its first line")


def _crc_with(line: bytes, crc: int) -> int | None:
    """Give the CRC-32 of the journal with a line from that of the journal before it; None if the line denies it."""
    sealed = line[-_SEAL_SIZE:] == b"%08x\n" % zlib.crc32(line[:-_SEAL_SIZE], crc)
    return zlib.crc32(line, crc) if sealed else None


class _Reader:
    """Read line after line; stable is what landed above mark, pending what other lines say, with their positions."""

    def __init__(self, total_size: int, size: int, crc: int) -> None:
        self._total_size, self._size, self._crc = total_size, size, crc
        self._mark, self._stable = size, Ranges()
        self._pending: list[tuple[int, bytes, int, int]] = []
        self.boot_id = ""

    def take(self, line: bytes) -> bool:
        """Take the next line, or say that it is damaged."""
        crc = _crc_with(line, self._crc) if len(line) == LINE_SIZE else None
        if crc is None:
            return False
        text = line[:-_SEAL_SIZE].rstrip(b" ")
        if match := _RANGE.fullmatch(text):
            self._take_range(match[1], int(match[2]), int(match[3]))
        elif match := _STABLE.fullmatch(text):
            self._settle(int(match[1]))
        elif match := _SESSION.fullmatch(text):
            self._begin(match[1].decode(), int(match[2]))
        else:
            raise BrokenError(f"has a strange line at byte {self._size}")
        self._size, self._crc = self._size + len(line), crc
        return True

    def crashed(self, boot_id: str) -> bool:
        """Say whether another run of the kernel has come since the last session, or could have."""
        return boot_id == UNKNOWN_BOOT or self.boot_id != boot_id

    def history(self, boot_id: str) -> History:
        """Decide what to believe in, in this run of the kernel."""
        if self.crashed(boot_id):
            return History(self._size, self._crc, self._mark, self._stable)
        settled = not self._pending
        self._settle(self._size)
        return History(self._size, self._crc, self._size, self._stable, settled)

    def _take_range(self, verb: bytes, start: int, stop: int) -> None:
        self._check(self.boot_id != "" and start < stop <= self._total_size)
        self._pending.append((self._size, verb, start, stop))

    def _settle(self, position: int) -> None:
        self._check(position <= self._size)
        for at, verb, start, stop in self._pending:
            if at < position and verb == b"landed":
                self._stable.add(start, stop)
            elif at < position:
                self._stable.remove(start, stop)
        self._pending = [each for each in self._pending if each[0] >= position]
        self._mark = max(self._mark, position)

    def _begin(self, boot_id: str, position: int) -> None:
        self._check(self._mark <= position <= self._size)
        self._pending = [each for each in self._pending if each[0] < position]
        self.boot_id = boot_id

    def _check(self, possible: bool) -> None:
        if not possible:
            raise BrokenError(f"has an absurd line at byte {self._size}")
