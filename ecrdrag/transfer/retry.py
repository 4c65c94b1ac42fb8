"""Own the question what is worth another try and how long to wait for it.

The engines may enter. A later version also decides here how many requests run at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bound the tries of one chunk that bring no byte, and space them out; times in seconds."""

    tries: int = 8
    base: float = 0.25
    cap: float = 20.0
    random: random.Random = field(default_factory=random.Random, compare=False)

    def delay(self, failures: int) -> float:
        """Say how long to wait after so many failures in a row, 1 or more.

        Exponential backoff with full jitter, as the AWS SDKs' standard mode does.
        """
        return self.random.uniform(0, min(self.cap, self.base * 2 ** (failures - 1)))
