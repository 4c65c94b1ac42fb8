"""Own a local ECR that bears so many calls a second and refuses all others, as ECR does.

The benchmarks enter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ecrdrag.localecr import LocalEcr
from ecrdrag.localecr.faults import Fault, FaultLayer, FaultScript
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from tests.bench.servers import clean_environment

_MOST: Final = 1_000_000  # refusals


class Bucket:
    """Let so many calls through each second, and as many at once after a rest; safe from many threads."""

    def __init__(self, rate: float) -> None:
        self._rate, self._tokens, self._since = rate, rate, time.monotonic()
        self._lock = threading.Lock()
        self.refused = 0

    def wrap(self, handler: Handler) -> Handler:
        """Return the handler with this bucket before it; what is too much is throttled."""
        refuse = FaultLayer(FaultScript(api=(Fault("throttle"),) * _MOST)).wrap(handler)

        def answer(request: Request) -> Answer:
            return handler(request) if self._take() else refuse(request)

        return answer

    def _take(self) -> bool:
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._rate, self._tokens + (now - self._since) * self._rate)
            self._since = now
            if self._tokens < 1:
                self.refused += 1
                return False
            self._tokens -= 1
        return True


@contextmanager
def throttled_ecr(data: Path, rate: float) -> Iterator[tuple[Mapping[str, str], Callable[[], int]]]:
    """Run one on a data folder; give the environment that leads to it, and what counts its refusals."""
    bucket = Bucket(rate)
    with LocalEcr(data, wrap=bucket.wrap) as ecr:
        yield {**clean_environment(), **ecr.environment}, lambda: bucket.refused
