"""Own the question what is worth another try and how long to wait for it.

The engines and the stories may enter. How many requests run at once is pace.py's business.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final, TypeVar

from ecrdrag.errors import TransferError, TransientError

log = logging.getLogger(__name__)

TELL_AFTER: Final = 3  # failures in a row
TELL_SLOW: Final = 20.0  # seconds; a call that the far end leaves without an answer takes minutes

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bound the tries in a row that bring nothing, and space them out; times in seconds."""

    tries: int = 10
    base: float = 0.25
    cap: float = 20.0
    random: random.Random = field(default_factory=random.Random, compare=False)
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)
    told: set[str] = field(default_factory=set, compare=False)

    def tell(self, what: str, cause: TransientError, failures: int, *, delay: float, took: float) -> None:
        """Log a failure; at the third in a row, or one that took long, let everybody know, once for each thing."""
        level = logging.INFO
        if (failures >= TELL_AFTER or took >= TELL_SLOW) and what not in self.told:
            self.told.add(what)
            level = logging.WARNING
        log.log(level, "%s: %s; trying again in %.1f s (try %d of %d)", what, cause, delay, failures + 1, self.tries)

    def delay(self, failures: int) -> float:
        """Say how long to wait after so many failures in a row, 1 or more.

        Exponential backoff, of which chance takes no more than half: with many workers, the one that draws
        the shortest waits would end all others.
        """
        longest = min(self.cap, self.base * 2 ** (failures - 1))
        return self.random.uniform(longest / 2, longest)

    def insist(self, attempt: Callable[[], Result], what: str) -> Result:
        """Call attempt until it ends without a TransientError; for what takes one call.

        Raises TransferError, with the last cause and its hint, when tries calls were not enough.
        """
        for failures in count(1):
            begun = time.monotonic()
            try:
                return attempt()
            except TransientError as cause:
                if failures >= self.tries:
                    message = f"gave up on {what} after {failures} tries: {cause}"
                    raise TransferError(message, hint=cause.hint) from cause
                delay = self.delay(failures)
                self.tell(what, cause, failures, delay=delay, took=time.monotonic() - begun)
            self.sleep(delay)
        raise AssertionError("count() never ends")


class Tries:
    """Count the tries in a row that got one thing no further; for one thread."""

    def __init__(self, policy: RetryPolicy, what: str) -> None:
        self._policy, self._what, self._since = policy, what, time.monotonic()
        self._failures = self._furthest = 0

    def reached(self, position: int) -> None:
        """Forgive the failures so far when position is further than ever before."""
        if position > self._furthest:
            self._failures, self._furthest = 0, position

    def failed(self, cause: TransientError) -> float:
        """Count a failure and say how many seconds to wait; raise TransferError when it is one too many."""
        self._failures += 1
        if self._failures >= self._policy.tries:
            raise TransferError(
                f"gave up on {self._what} after {self._failures} tries without progress: {cause}",
                hint=cause.hint or "run the same command again when the line is better",
            ) from cause
        delay = self._policy.delay(self._failures)
        now = time.monotonic()
        self._policy.tell(self._what, cause, self._failures, delay=delay, took=now - self._since)
        self._since = now + delay
        return delay
