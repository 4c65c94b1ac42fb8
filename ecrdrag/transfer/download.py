"""Own the way down: chunks of many blobs at once, each written to its final place and verified.

The stories may enter. The engine knows a BlobSource and BlobSinks; it has never heard of HTTP or tar.

The thread that receives bytes writes them. A few other threads hash each blob in order from what
was just written, while it is still in the page cache, so chunks may land in any order.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from ecrdrag.content import BlobSink, BlobSource, Descriptor
from ecrdrag.errors import RangeIgnoredError, TransferError, TransientError
from ecrdrag.transfer.blob import BlobInFlight, Chunk
from ecrdrag.transfer.retry import RetryPolicy

log = logging.getLogger(__name__)

MIB: Final = 1024 * 1024
# The span that Amazon's containerd resolver documents for parallel layer downloads.
MIN_CHUNK: Final = MIB
MAX_CHUNK: Final = 20 * MIB
DEFAULT_JOBS: Final = 16
MAX_HASHERS: Final = 4
GRACE: Final = 3.0  # seconds that a failed download waits for threads that hang in a call


class Progress(Protocol):
    """Hear how it goes; called from many threads once it has begun."""

    def begin(self, size: int, blobs: int) -> None:
        """Note that so many bytes in so many blobs have to come."""
        ...

    def advance(self, size: int) -> None:
        """Count size more bytes as landed; negative when bytes were lost."""
        ...

    def blob_done(self, blob: Descriptor) -> None:
        """Note that a blob is whole and verified."""
        ...


class Silence:
    """Progress for nobody."""

    def begin(self, size: int, blobs: int) -> None:
        """Do nothing."""

    def advance(self, size: int) -> None:
        """Do nothing."""

    def blob_done(self, blob: Descriptor) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Download:
    """Ask for one blob to land in one sink."""

    blob: Descriptor
    sink: BlobSink


def chunk_size_for(size: int, jobs: int) -> int:
    """Choose the chunk size of a blob of size bytes: an even share of the jobs, between 1 and 20 MiB."""
    return max(MIN_CHUNK, min(MAX_CHUNK, -(-size // jobs)))


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

    chunk_size is in bytes; without it each blob's size decides. The first failure ends all
    other work, and source with it, and is raised once nothing can write to a sink any more.
    """
    _Engine(downloads, source, jobs, chunk_size, retry or RetryPolicy(), progress or Silence()).run()


def fetch(blob: Descriptor, source: BlobSource, *, retry: RetryPolicy | None = None) -> bytes:
    """Bring one small blob into memory, verified; the caller has bounded its size."""
    sink = _MemorySink(blob.size)
    download([Download(blob, sink)], source, jobs=1, retry=retry)
    return bytes(sink.content)


class _MemorySink:
    def __init__(self, size: int) -> None:
        self.content = bytearray(size)

    def write_at(self, view: memoryview, offset: int) -> None:
        self.content[offset : offset + len(view)] = view

    def read_at(self, buffer: memoryview, offset: int) -> int:
        data = self.content[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        return len(data)


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
        self._blobs = [
            BlobInFlight(each.blob, each.sink, chunk_size or chunk_size_for(each.blob.size, jobs)) for each in downloads
        ]
        self._jobs = min(jobs, sum(len(blob.chunks) for blob in self._blobs))
        self._working = 0
        self._queue = self._all_chunks()
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._first_error: BaseException | None = None

    def run(self) -> None:
        self._progress.begin(sum(blob.descriptor.size for blob in self._blobs), len(self._blobs))
        # Daemons, so that one that waits for a silent server can't keep the process from ending.
        workers = [threading.Thread(target=self._work, name="download", daemon=True) for _ in range(self._jobs)]
        with ThreadPoolExecutor(min(MAX_HASHERS, os.cpu_count() or 1), "hash") as self._hashers:
            with self._failing():  # Ctrl-C reaches this thread, which waits
                for blob in self._blobs:
                    self._hash_soon(blob)
                for worker in workers:
                    self._start(worker)
                self._wait_for_workers()
            self._end(workers)
        if self._first_error is not None:
            raise self._first_error
        for blob in self._blobs:
            blob.check_verified()

    def _start(self, worker: threading.Thread) -> None:
        with self._changed:
            self._working += 1
        try:
            worker.start()
        except RuntimeError as error:  # the system has no more threads: fewer do as well, none doesn't
            with self._changed:
                self._working -= 1
                if self._working == 0:
                    raise TransferError("the system gives no thread", hint="try a smaller -j") from error

    def _wait_for_workers(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._working == 0 or self._stop.is_set())

    def _end(self, workers: Sequence[threading.Thread]) -> None:
        """Wait for the workers; after a failure no longer than GRACE for those that hang in a call."""
        deadline = time.monotonic() + GRACE
        for worker in workers:
            if worker.ident is not None:
                worker.join(max(0.0, deadline - time.monotonic()) if self._stop.is_set() else None)
        if self._stop.is_set():
            for blob in self._blobs:
                blob.close()

    def _all_chunks(self) -> Iterator[tuple[BlobInFlight, Chunk]]:
        for blob in self._blobs:
            for chunk in blob.chunks:
                yield blob, chunk

    def _work(self) -> None:
        try:
            with self._failing():
                while (task := self._next()) is not None:
                    self._fetch(*task)
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def _next(self) -> tuple[BlobInFlight, Chunk] | None:
        with self._changed:
            return None if self._stop.is_set() else next(self._queue, None)

    def _fetch(self, blob: BlobInFlight, chunk: Chunk) -> None:
        """Try until the chunk has landed; count the tries in a row that got no further."""
        failures = furthest = 0
        while chunk.open and not self._stop.is_set():
            try:
                self._receive(blob, chunk)
                return
            except RangeIgnoredError as error:
                cause: TransientError = error
                position = chunk.position
                lost, whole = blob.restart_whole(chunk)
                self._progress.advance(-lost)
                if whole is None:  # another thread reads the blob now
                    return
                chunk = whole
            except TransientError as error:
                cause = error
                position = chunk.position
            failures = failures + 1 if position <= furthest else 1
            furthest = max(furthest, position)
            self._pause(blob, failures, cause)

    def _receive(self, blob: BlobInFlight, chunk: Chunk) -> None:
        for view in self._source.read(blob.descriptor, chunk.position, chunk.stop):
            if self._stop.is_set() or not blob.place(chunk, view):
                return
            self._progress.advance(len(view))
            self._hash_soon(blob)
        if chunk.open:
            raise TransientError(f"blob {blob.descriptor.digest} ended at byte {chunk.position} of {chunk.stop}")

    def _pause(self, blob: BlobInFlight, failures: int, cause: TransientError) -> None:
        if failures >= self._retry.tries:
            raise TransferError(
                f"gave up on blob {blob.descriptor.digest} after {failures} tries without progress: {cause}",
                hint=cause.hint or "run the same command again when the line is better",
            ) from cause
        delay = self._retry.delay(failures)
        log.info("blob %s: %s; trying again in %.1f s", blob.descriptor.digest, cause, delay)
        self._stop.wait(delay)

    def _hash_soon(self, blob: BlobInFlight) -> None:
        if blob.claim_hashing():
            self._hashers.submit(self._hash, blob)

    def _hash(self, blob: BlobInFlight) -> None:
        with self._failing():
            if not self._stop.is_set() and blob.hash_landed():
                self._progress.blob_done(blob.descriptor)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Make whatever goes wrong in a thread the failure of the whole download."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - raised again by run()
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._first_error is None:
                self._first_error = error
            else:
                log.debug("after the first failure: %s", error)
            self._stop.set()
            self._changed.notify_all()
        self._source.abort()
