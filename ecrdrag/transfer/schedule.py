"""Own the order of work on the way down: which bytes a worker asks for next, and what it does when none are left.

The download engine may enter.

At the end nobody waits for one slow connection: what the slowest request still lacks is cut in two for a
worker that has nothing to do, and what is too short for that is raced by a second request.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ecrdrag.transfer.blob import BlobInFlight, Chunk, Run

LOOK: Final = 0.05  # seconds between looks at the others of a worker that has nothing to do
MIN_SPLIT: Final = 256 * 1024  # bytes that are worth a request of their own
MIN_GAIN: Final = 0.1  # seconds that a request must still take to be cut in two
MIN_RACE: Final = 1.0  # seconds that a request must still take to be raced
SILENCE: Final = 2.0  # seconds without a byte after which nothing is expected any more
RACE_AGAIN: Final = 5.0  # seconds after a second request has failed before the first is raced once more
_LATENCIES: Final = 4  # what a second request costs is so many times less than what it must bring
_CRAWL: Final = 4  # times slower than usual is a crawl
_USUAL: Final = 64  # ended requests that say what is usual


@dataclass(slots=True, eq=False)
class Errand:
    """Send a worker for a chunk; racing says that another one is at it. The rest tells how it goes, in seconds."""

    blob: BlobInFlight
    chunk: Chunk
    racing: bool
    run: Run
    begun: float
    first: float = 0.0  # when the first byte came
    latest: float = 0.0  # when the latest did
    alone_until: float = 0.0  # before then it isn't raced


class Schedule:
    """Hand out errands until every blob is verified; safe from many threads."""

    def __init__(
        self, blobs: Sequence[BlobInFlight], ended: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ended, self._clock = ended, clock
        self._changed = threading.Condition()
        self._untouched = deque((blob, chunk) for blob in blobs for chunk in blob.chunks if chunk.open)
        self._errands: list[Errand] = []
        self._latencies: deque[float] = deque(maxlen=_USUAL)
        self._rates: deque[float] = deque(maxlen=_USUAL)

    def __len__(self) -> int:
        """How many chunks nobody has begun."""
        return len(self._untouched)

    def take(self) -> Errand | None:
        """Wait for something to do; None when all is done, or ended says so."""
        with self._changed:
            while not self._ended():
                task = self._next()
                if task is not None:
                    self._errands.append(task)
                    return task
                self._changed.wait(LOOK)
            return None

    def add(self, blob: BlobInFlight) -> None:
        """Take up a blob that has begun again."""
        with self._changed:
            self._untouched.extend((blob, chunk) for chunk in blob.chunks if chunk.open)
            self._changed.notify_all()

    def again(self, errand: Errand, delay: float) -> None:
        """Expect a new request on the same errand in delay seconds, and nothing before."""
        with self._changed:
            errand.run, errand.begun, errand.first, errand.latest = Run(errand.chunk), self._clock() + delay, 0.0, 0.0

    def moved(self, errand: Errand) -> None:
        """Note that bytes have come."""
        now = errand.latest = self._clock()
        if not errand.first:
            with self._changed:  # others look through the latencies
                errand.first = now
                self._latencies.append(now - errand.begun)

    def end(self, errand: Errand) -> None:
        """Note that a worker is back."""
        with self._changed:
            self._errands.remove(errand)
            if errand.racing and errand.chunk.open:
                self._leave_alone(errand.chunk)
            rate = self._rate(errand)
            if rate:
                self._rates.append(rate)
            self._changed.notify_all()

    def wake(self) -> None:
        """Let everybody look whether it has ended."""
        with self._changed:
            self._changed.notify_all()

    def _next(self) -> Errand | None:
        while self._untouched:
            blob, chunk = self._untouched.popleft()
            if chunk.open:
                return self._errand(blob, chunk)
        return self._relief()

    def _errand(self, blob: BlobInFlight, chunk: Chunk, *, racing: bool = False) -> Errand:
        return Errand(blob, chunk, racing, Run(chunk), self._clock())

    def _relief(self) -> Errand | None:
        """Help with the chunk that would take longest of those where that pays."""
        latency = _LATENCIES * statistics.median(self._latencies or [0.0])
        raced = {errand.chunk for errand in self._errands if errand.racing}
        alone = [errand for errand in self._errands if errand.chunk not in raced and errand.chunk.open]
        for errand in sorted(alone, key=self._burden, reverse=True):
            left = self._left(errand)
            if errand.chunk.whole or left <= max(MIN_GAIN, latency):
                continue
            if half := errand.blob.split(errand.chunk, MIN_SPLIT):
                return self._errand(errand.blob, half)
            if left > max(MIN_RACE, latency) and self._crawls(errand, left):
                return self._errand(errand.blob, errand.chunk, racing=True)
        return None

    def _burden(self, errand: Errand) -> tuple[float, int]:
        """Order by time, and those that are silent by what they lack."""
        return self._left(errand), errand.chunk.stop - errand.chunk.position

    def _left(self, errand: Errand) -> float:
        """Seconds that an errand will still take, as it goes so far; 0 where it is too early to say."""
        if self._clock() - max(errand.latest, errand.begun) > SILENCE:
            return float("inf")
        rate = self._rate(errand)
        return (errand.chunk.stop - errand.run.position) / rate if rate else 0.0

    def _crawls(self, errand: Errand, left: float) -> bool:
        if self._clock() < errand.alone_until:
            return False
        usual = statistics.median(self._rates) if self._rates else 0.0
        return left == float("inf") or self._rate(errand) * _CRAWL < usual

    def _leave_alone(self, chunk: Chunk) -> None:
        """Race a chunk no more for a while: a server that refuses at once would hear of nothing else."""
        for errand in self._errands:
            if errand.chunk is chunk:
                errand.alone_until = self._clock() + RACE_AGAIN

    def _rate(self, errand: Errand) -> float:
        """Bytes per second since the first ones came; 0 where that is too early to say."""
        elapsed = self._clock() - errand.first
        return (errand.run.position - errand.run.start) / elapsed if errand.first and elapsed > LOOK / 2 else 0.0
