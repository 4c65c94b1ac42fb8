"""Own the question what is worth another try and how long to wait for it.

The engines and the stories may enter. A later version also decides here how many requests run at once.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from ecrdrag.errors import TransferError, TransientError

log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bound the tries in a row that bring nothing, and space them out; times in seconds."""

    tries: int = 10
    base: float = 0.25
    cap: float = 20.0
    random: random.Random = field(default_factory=random.Random, compare=False)
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)

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
            try:
                return attempt()
            except TransientError as cause:
                if failures >= self.tries:
                    message = f"gave up on {what} after {failures} tries: {cause}"
                    raise TransferError(message, hint=cause.hint) from cause
                delay = self.delay(failures)
                log.info("%s: %s; trying again in %.1f s", what, cause, delay)
            self.sleep(delay)
        raise AssertionError("count() never ends")


class Tries:
    """Count the tries in a row that got one thing no further; for one thread."""

    def __init__(self, policy: RetryPolicy, what: str) -> None:
        self._policy, self._what = policy, what
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
        log.info("%s: %s; trying again in %.1f s", self._what, cause, delay)
        return delay
