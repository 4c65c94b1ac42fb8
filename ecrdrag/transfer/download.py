"""Own the way down: chunks of many blobs at once, each written to its final place and verified.

The stories may enter. The engine knows a BlobSource and BlobSinks; it has never heard of HTTP or tar.

The thread that receives bytes writes them. A few other threads hash each blob in order from what
was just written, while it is still in the page cache, so chunks may land in any order.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from ecrdrag.content import BlobSink, BlobSource, Descriptor
from ecrdrag.errors import IntegrityError, RangeIgnoredError, StalledError, TransientError
from ecrdrag.transfer.blob import BlobInFlight, Chunk
from ecrdrag.transfer.crew import Crew, one_by_one
from ecrdrag.transfer.progress import Progress, Silence
from ecrdrag.transfer.retry import RetryPolicy, Tries
from ecrdrag.transfer.schedule import MIN_SPLIT, Errand, Schedule

log = logging.getLogger(__name__)

MIB: Final = 1024 * 1024
# The span that Amazon's containerd resolver documents for parallel layer downloads.
MIN_CHUNK: Final = MIB
MAX_CHUNK: Final = 20 * MIB
DEFAULT_JOBS: Final = 16
MAX_HASHERS: Final = 4


@dataclass(frozen=True, slots=True)
class Download:
    """Ask for one blob to land in one sink."""

    blob: Descriptor
    sink: BlobSink


def chunk_size_for(missing: int, jobs: int) -> int:
    """Choose the size of the next chunk when so many bytes of the whole download are missing: half a share of each job.

    Between 1 and 20 MiB. So chunks get smaller towards the end, where all jobs are to end together, and
    where what is hashed in order must not wait for much that came early.
    """
    return max(MIN_CHUNK, min(MAX_CHUNK, -(-missing // (2 * jobs))))


def download(
    downloads: Sequence[Download],
    source: BlobSource,
    *,
    jobs: int = DEFAULT_JOBS,
    chunk_size: int | None = None,
    retry: RetryPolicy | None = None,
    progress: Progress | None = None,
) -> None:
    """Bring every blob into its sink, whole and verified, over at most jobs connections.

    chunk_size is in bytes; without it what is still missing decides. The first failure ends all
    other work, and source with it, and is raised once nothing can write to a sink any more.
    """
    _Engine(downloads, source, jobs, chunk_size, retry or RetryPolicy(), progress or Silence()).run()


def fetch(blob: Descriptor, source: BlobSource, *, retry: RetryPolicy | None = None) -> bytes:
    """Bring one small blob into memory, verified; the caller has bounded its size."""
    sink = _MemorySink(blob.size)
    download([Download(blob, sink)], source, jobs=1, retry=retry)
    return bytes(sink.content)


class _MemorySink:
    """Hold one blob for as long as this process lives, so there is nothing to remember."""

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)

    def write_at(self, view: memoryview, offset: int) -> None:
        self.content[offset : offset + len(view)] = view

    def read_at(self, buffer: memoryview, offset: int) -> int:
        data = self.content[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        return len(data)

    def landed(self) -> Sequence[tuple[int, int]]:
        return ()

    def note(self, start: int, stop: int) -> None:
        pass

    def forget(self) -> None:
        pass


def _in_flight(downloads: Sequence[Download], jobs: int, chunk_size: int | None) -> Iterator[BlobInFlight]:
    behind = sum(each.blob.size for each in downloads)
    for each in downloads:
        behind -= each.blob.size
        yield BlobInFlight(each.blob, each.sink, partial(_chunk_size, jobs, chunk_size, behind))


def _chunk_size(jobs: int, fixed: int | None, behind: int, missing: int) -> int:
    return fixed or chunk_size_for(missing + behind, jobs)


class _Engine:
    def __init__(
        self,
        downloads: Sequence[Download],
        source: BlobSource,
        jobs: int,
        chunk_size: int | None,
        retry: RetryPolicy,
        progress: Progress,
    ) -> None:
        self._source, self._retry, self._progress = source, retry, progress
        self._blobs = list(_in_flight(downloads, jobs, chunk_size))
        self._crew = Crew("download", source.abort)
        self._schedule = Schedule(self._blobs, lambda: self._crew.stopping or not self._unverified)
        self._unverified = len(self._blobs)
        self._fetched_twice: set[BlobInFlight] = set()
        self._jobs = min(jobs, self._most_workers())
        self._lock = threading.Lock()

    def _most_workers(self) -> int:
        """How many could be busy at once, with every chunk cut as small as is worth it; two at least, for a race."""
        missing = sum(blob.descriptor.size - blob.received for blob in self._blobs)
        return max(2, len(self._schedule), missing // MIN_SPLIT) if self._blobs else 0

    def run(self) -> None:
        self._progress.begin(
            sum(blob.descriptor.size for blob in self._blobs),
            len(self._blobs),
            landed=sum(blob.received for blob in self._blobs),
        )
        with ThreadPoolExecutor(min(MAX_HASHERS, os.cpu_count() or 1), "hash") as self._hashers:
            with self._crew.failing():  # Ctrl-C too, wherever it finds this thread
                for blob in self._blobs:
                    self._hash_soon(blob)
                self._look_ahead()
                self._crew.run(self._jobs, self._schedule.take, self._fetch)
            for blob in self._blobs:
                with self._crew.failing():  # every blob is closed, and the first failure stays the first
                    blob.close()
        self._crew.check()
        for blob in self._blobs:
            blob.check_verified()

    def _look_ahead(self) -> None:
        """Have the source get ready for the blobs behind the first, while that one moves."""
        later = [blob.descriptor for blob in self._blobs if blob.received < blob.descriptor.size][1:]
        self._crew.beside(min(self._jobs, len(later)), one_by_one(later), self._expect)

    def _expect(self, blob: Descriptor) -> None:
        try:
            self._source.expect(blob)
        except TransientError as error:  # whoever needs it tries again, and counts the tries
            log.debug("blob %s: %s", blob.digest, error)

    def _fetch(self, errand: Errand) -> None:
        try:
            self._insist(errand)
        except IntegrityError as error:
            self._once_more(errand.blob, error, errand.chunk)
        finally:
            self._schedule.end(errand)

    def _insist(self, errand: Errand) -> None:
        """Try until the chunk has landed, here or by another request; count the tries in a row that got no further.

        Who races another request doesn't insist.
        """
        blob = errand.blob
        tries = Tries(self._retry, f"blob {blob.descriptor.digest}")
        while errand.chunk.open and not self._crew.stopping:
            try:
                self._receive(errand)
                return
            except TransientError as error:
                if errand.racing or not errand.chunk.open:
                    log.debug("blob %s: %s, at an errand that is done", blob.descriptor.digest, error)
                    return
                if not isinstance(error, StalledError):
                    tries.reached(max(errand.run.position, errand.chunk.position))  # a racer's progress counts too
                if isinstance(error, RangeIgnoredError) and not self._start_over(errand):
                    return
                delay = tries.failed(error)
            self._schedule.again(errand, delay)
            self._crew.pause(delay)

    def _start_over(self, errand: Errand) -> bool:
        """Fetch the whole blob in this errand, by one request; False when another thread does so."""
        lost = errand.blob.restart(errand.chunk, whole=True)
        if lost is None:
            return False
        self._progress.advance(-lost)
        errand.chunk = errand.blob.chunks[0]
        return True

    def _once_more(self, blob: BlobInFlight, error: IntegrityError, chunk: Chunk | None = None) -> None:
        """Fetch a wrong blob again, and no other; raise the error the second time."""
        lost = blob.restart(chunk)
        if lost is None:
            return
        self._progress.advance(-lost)
        with self._lock:
            if blob in self._fetched_twice:
                raise error
            self._fetched_twice.add(blob)
        log.warning("%s; fetching this blob again", error)
        self._schedule.add(blob)
        self._hash_soon(blob)

    def _receive(self, errand: Errand) -> None:
        blob, run = errand.blob, errand.run
        try:
            for view in self._source.read(blob.descriptor, run.start, run.stop):
                gained = None if self._crew.stopping else blob.place(run, view)
                if gained is None:
                    return
                self._schedule.moved(errand)
                self._progress.advance(gained)
                self._hash_soon(blob)
                if run.position < run.stop and not errand.chunk.open:  # the rest isn't ours: it was split off, or raced
                    return
        finally:
            blob.leave(run)
        if errand.chunk.open:
            raise TransientError(f"blob {blob.descriptor.digest} ended at byte {run.position} of {run.stop}")

    def _hash_soon(self, blob: BlobInFlight) -> None:
        if blob.claim_hashing():
            self._hashers.submit(self._hash, blob)

    def _hash(self, blob: BlobInFlight) -> None:
        with self._crew.failing():
            if self._crew.stopping:
                return
            try:
                verified = blob.hash_landed()
            except IntegrityError as error:
                self._once_more(blob, error)
            else:
                if verified:
                    self._count_verified(blob)

    def _count_verified(self, blob: BlobInFlight) -> None:
        self._progress.blob_done(blob.descriptor)
        with self._lock:
            self._unverified -= 1
        if not self._unverified:
            self._crew.finish()
            self._schedule.wake()
