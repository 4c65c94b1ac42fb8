"""Own the way down: chunks of many blobs at once, each written to its final place and verified.

The stories may enter. The engine knows a BlobSource and BlobSinks; it has never heard of HTTP or tar.

The thread that receives bytes writes them. A few other threads hash each blob in order from what
was just written, while it is still in the page cache, so chunks may land in any order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from ecrdrag.content import BlobSink, BlobSource, Descriptor
from ecrdrag.errors import RangeIgnoredError, TransientError
from ecrdrag.transfer.blob import BlobInFlight, Chunk
from ecrdrag.transfer.crew import Crew
from ecrdrag.transfer.progress import Progress, Silence
from ecrdrag.transfer.retry import RetryPolicy, Tries

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
        self._crew = Crew("download", source.abort)

    def run(self) -> None:
        self._progress.begin(sum(blob.descriptor.size for blob in self._blobs), len(self._blobs))
        with ThreadPoolExecutor(min(MAX_HASHERS, os.cpu_count() or 1), "hash") as self._hashers:
            with self._crew.failing():
                for blob in self._blobs:
                    self._hash_soon(blob)
            self._crew.run(self._jobs, self._all_chunks(), self._fetch)
            if self._crew.stopping:
                for blob in self._blobs:
                    blob.close()
        self._crew.check()
        for blob in self._blobs:
            blob.check_verified()

    def _all_chunks(self) -> Iterator[tuple[BlobInFlight, Chunk]]:
        for blob in self._blobs:
            for chunk in blob.chunks:
                yield blob, chunk

    def _fetch(self, task: tuple[BlobInFlight, Chunk]) -> None:
        """Try until the chunk has landed; count the tries in a row that got no further."""
        blob, chunk = task
        tries = Tries(self._retry, f"blob {blob.descriptor.digest}")
        while chunk.open and not self._crew.stopping:
            try:
                self._receive(blob, chunk)
                return
            except RangeIgnoredError as error:
                cause: TransientError = error
                tries.reached(chunk.position)
                lost, whole = blob.restart_whole(chunk)
                self._progress.advance(-lost)
                if whole is None:  # another thread reads the blob now
                    return
                chunk = whole
            except TransientError as error:
                cause = error
                tries.reached(chunk.position)
            self._crew.pause(tries.failed(cause))

    def _receive(self, blob: BlobInFlight, chunk: Chunk) -> None:
        for view in self._source.read(blob.descriptor, chunk.position, chunk.stop):
            if self._crew.stopping or not blob.place(chunk, view):
                return
            self._progress.advance(len(view))
            self._hash_soon(blob)
        if chunk.open:
            raise TransientError(f"blob {blob.descriptor.digest} ended at byte {chunk.position} of {chunk.stop}")

    def _hash_soon(self, blob: BlobInFlight) -> None:
        if blob.claim_hashing():
            self._hashers.submit(self._hash, blob)

    def _hash(self, blob: BlobInFlight) -> None:
        with self._crew.failing():
            if not self._crew.stopping and blob.hash_landed():
                self._progress.blob_done(blob.descriptor)
