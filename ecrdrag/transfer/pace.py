"""Own how many requests a far end gets at once: fewer at first, more while that pays, half when it objects.

The command line makes one for each command and hands it to the registry's ends, who know it by the protocol Turns.

Additive increase and multiplicative decrease, as TCP does it (RFC 5681), over hosts and API actions. The first
increase is the exception: from a quarter of the ceiling up to it. One that brings no more bytes is taken back for a
while. That is looked at once the requests that it let in have brought their first bytes, which takes longer the
farther the end is.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from ecrdrag.errors import BusyError, TransferError

START: Final = 4  # the part of the ceiling that a pace begins with
FIRST_WINDOW: Final = 0.03  # seconds over which the rate is taken before the first increase, and after it
WINDOW: Final = 0.5  # seconds, later
HOLD: Final = 2.0  # seconds for which nothing more is tried after an increase that brought nothing
HOLD_AFTER_CUT: Final = 1.0  # seconds
SETTLING: Final = 2.0  # seconds after which the first bytes of the requests that an increase let in aren't waited for
# A connection gets as fast as it can in a few times what its first bytes took (RFC 5681, slow start).
_WARMING: Final = 4
# Of twice as many requests, a rate that is higher by less than a quarter is no gain.
_SHARE: Final = 0.25


class Paces:
    """Keep a pace for every host and action, each with at most ceiling requests at once; safe from many threads."""

    def __init__(self, ceiling: int, clock: Callable[[], float] = time.monotonic, first: int | None = None) -> None:
        """Begin everywhere with first requests, or with a quarter of the ceiling."""
        self._ceiling, self._clock, self._first = ceiling, clock, first
        self._lock = threading.Lock()
        self._paces: dict[str, Pace] = {}
        self._aborted = False

    @contextmanager
    def turn(self, end: str) -> Iterator[PacedTurn]:
        """Wait for a turn at end; see Turns."""
        pace = self._pace(end)
        turn = PacedTurn(pace, pace.enter())
        try:
            yield turn
        except BusyError:
            pace.cut(turn.era)
            raise
        finally:
            pace.leave()

    def abort(self) -> None:
        """End all waits; there are no turns any more."""
        with self._lock:
            self._aborted = True
            paces = list(self._paces.values())
        for pace in paces:
            pace.abort()

    def _pace(self, end: str) -> Pace:
        with self._lock:
            if self._aborted:
                raise _stopped()
            return self._paces.setdefault(end, Pace(self._ceiling, self._clock, self._first))


@dataclass(slots=True)
class PacedTurn:
    """One request's turn, for one thread; era says after which change of the limit it began."""

    pace: Pace
    era: int
    silent: bool = True

    def moved(self, count: int) -> None:
        """Count bytes, or 1 for an answered call."""
        first, self.silent = self.silent, False
        self.pace.moved(count, self.era if first else None)


@dataclass(slots=True)
class Ticket:
    """Stand in line for a turn; called with an era when it has come, without one when there are none any more."""

    called: threading.Event = field(default_factory=threading.Event)
    era: int | None = None


class Pace:
    """Find how many requests at once pay at one far end; safe from many threads."""

    def __init__(self, ceiling: int, clock: Callable[[], float], first: int | None = None) -> None:
        """Begin with first requests, or with a quarter of the ceiling."""
        self._ceiling, self._clock = ceiling, clock
        self._lock = threading.Lock()
        self.waiting: deque[Ticket] = deque()
        self._limit = first or max(1, ceiling // START)
        self._opening = True
        self._active = self._era = self._cut_era = self._busiest = 0
        self._aborted = False
        self._hold_until = self._raised = self._warming = 0.0
        self._newcomers = 0  # requests that the last increase let in, whose first bytes are still to come
        self._before: tuple[int, float] | None = None  # limit and rate before the last increase
        self._begin_window(None)

    @property
    def limit(self) -> int:
        """How many requests may run at once now."""
        return self._limit

    def enter(self) -> int:
        """Wait until a request may begin, after those that came before; return the era it belongs to."""
        with self._lock:
            ticket = Ticket()
            self.waiting.append(ticket)
            self._admit()
        ticket.called.wait()
        if ticket.era is None:
            raise _stopped()
        return ticket.era

    def leave(self) -> None:
        """End a request."""
        with self._lock:
            self._active -= 1
            if not self._active and not self.waiting:  # the rate isn't that of a time when nothing was asked for
                self._begin_window(None)
            self._admit()

    def _admit(self) -> None:
        """Call those who may begin, in the order in which they came: what is asked for early is needed early."""
        while self.waiting and (self._aborted or self._active < self._limit):
            ticket = self.waiting.popleft()
            if not self._aborted:
                self._active += 1
                self._busiest = max(self._busiest, self._active)
                ticket.era = self._era
            ticket.called.set()

    def moved(self, count: int, began: int | None = None) -> None:
        """Count what came, now and then decide on the limit; began is the era of a request whose first bytes it is."""
        with self._lock:
            if self._limit == self._ceiling and self._before is None:
                return
            now = self._clock()
            if self._is_settling(now, began):
                return
            if self._since is None:
                self._begin_window(now)
                return
            self._count += count
            self._events += 1
            elapsed = now - self._since
            window = max(self._warming, FIRST_WINDOW if self._opening else WINDOW)
            if elapsed >= window and self._events >= self._limit:
                raised = self._judge(self._count / elapsed, now)
                self._begin_window(None if raised else now)

    def cut(self, era: int) -> None:
        """Halve the limit, once for all the requests that were on their way together."""
        with self._lock:
            if era < self._cut_era:
                return
            self._era += 1
            self._cut_era = self._era
            self._limit = max(1, self._limit // 2)
            self._opening, self._before, self._newcomers = False, None, 0
            self._hold_until = self._clock() + HOLD_AFTER_CUT
            self._begin_window(None)

    def abort(self) -> None:
        """Let nobody wait any more."""
        with self._lock:
            self._aborted = True
            self._admit()

    def _begin_window(self, now: float | None) -> None:
        self._since = now
        self._count = self._events = 0
        self._busiest = self._active

    def _is_settling(self, now: float, began: int | None) -> bool:
        """Say whether it is too early to take the rate, as requests that an increase let in have brought nothing."""
        if not self._newcomers:
            return False
        self._newcomers -= began == self._era
        if self._newcomers and now < self._raised + SETTLING:
            return True
        self._newcomers, self._warming = 0, min(SETTLING, _WARMING * (now - self._raised))
        return False

    def _judge(self, rate: float, now: float) -> bool:
        """Take an increase back that brought nothing, or allow the next; say whether more requests may run now."""
        if self._before is not None:
            limit, lower = self._before
            self._before = None
            if rate < lower * (1 + _SHARE * (self._limit / limit - 1)):
                self._limit, self._opening = limit, False
                self._hold_until = now + HOLD
                return False
        if now < self._hold_until or self._busiest < self._limit or self._limit == self._ceiling:
            return False
        self._before = self._limit, rate
        self._limit = self._ceiling if self._opening else self._limit + 1
        self._era += 1
        self._raised, self._newcomers = now, self._limit - self._before[0]
        self._admit()
        return True


def _stopped() -> TransferError:
    return TransferError("the transfer was stopped")
