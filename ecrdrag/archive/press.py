"""Own the work on layers, many at once on all cores: read, unpacked, hashed, and put into temporary files.

archive/convert.py and the conversion room enter. What comes out depends on what goes in, whatever runs side by side.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Final, TypeVar

from ecrdrag.archive.compress import Compression, GzipBlocks
from ecrdrag.archive.contents import StoredBlob
from ecrdrag.archive.spool import Spool
from ecrdrag.content import Digest
from ecrdrag.errors import TransferError

_LAYERS_AT_ONCE: Final = 8
# Seconds between looks at what the system signalled: a Ctrl-C just before a wait doesn't end it, on Windows none does.
_HEARTBEAT: Final = 0.5

Task = TypeVar("Task")


class Hashed:
    """Pass pieces on and hash them."""

    def __init__(self, pieces: Iterable[bytes | memoryview], algorithm: str = "sha256") -> None:
        self._pieces = pieces
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for piece in self._pieces:
            self._hash.update(piece)
            yield piece

    @property
    def digest(self) -> Digest:
        """Name what has been passed on."""
        return Digest(self._algorithm, self._hash.hexdigest())


class Press:
    """Make layers anew as a wish says, until the first failure; what it made lies here until close().

    where names the whole in errors.
    """

    def __init__(self, compression: Compression, where: str) -> None:
        self._compression = compression
        self._where = where
        self._spools: list[Spool] = []
        self._idle: list[Spool] = []
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    @property
    def makes(self) -> str:
        """Name the compression of what it makes, as decompress.sniff does."""
        return "" if self._compression.plain else "gzip"

    def run(self, tasks: Sequence[Task], do: Callable[[Task, GzipBlocks], None]) -> None:
        """Do tasks in a few threads, and compress on all cores; the first failure ends all, for good, and is raised.

        Ctrl-C too. Raises UnsupportedError where this Python lacks the library to compress with.
        """
        workers = os.cpu_count() or 1
        at_once = min(workers, _LAYERS_AT_ONCE)  # each keeps blocks for every worker in memory
        compression = Compression() if self._compression.plain else self._compression  # unused where layers stay plain
        with GzipBlocks(compression, workers) as gzip, ThreadPoolExecutor(at_once, "layers") as pool:
            try:
                _wait_for([pool.submit(do, task, gzip) for task in tasks])
            except BaseException:  # the layers that are being read would take minutes
                self._stopped.set()
                gzip.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def watched(self, views: Iterable[memoryview], advance: Callable[[int], None]) -> Iterator[memoryview]:
        """Pass on what a task reads, and count it, until it is to end."""
        for view in views:
            if self._stopped.is_set():
                raise TransferError(f"{self._where}: stopped")
            advance(len(view))
            yield view

    def make(self, plain: Iterable[bytes | memoryview], gzip: GzipBlocks) -> StoredBlob:
        """Write a layer into a temporary file: compressed, or plain where that was asked for."""
        spool = self._take_spool()
        start, written = spool.size, hashlib.sha256()

        def write(data: bytes | memoryview) -> None:
            written.update(data)
            spool.write(data)

        if self._compression.plain:
            for piece in plain:
                write(piece)
        else:
            gzip.compress(plain, write)
        extent = spool.extent(start, spool.size)
        blob = StoredBlob(Digest("sha256", written.hexdigest()), extent, partial(_section, spool, start))
        with self._lock:
            self._idle.append(spool)
        return blob

    def close(self) -> None:
        """Give the space of what it made back; no read may be in progress."""
        for spool in self._spools:
            spool.close()

    def _take_spool(self) -> Spool:
        """Give a temporary file that nobody writes to: many layers may share one, but not at once."""
        with self._lock:
            if not self._idle:
                self._spools.append(Spool(self._where))
                self._idle.append(self._spools[-1])
            return self._idle.pop()


def _section(spool: Spool, offset: int, start: int, stop: int) -> Iterator[memoryview]:
    return spool.read(offset + start, offset + stop)


def _wait_for(jobs: Sequence[Future[None]]) -> None:
    """Wait until all are done, or raise what the first one fails with."""
    going = True
    while going:
        going = bool(wait(jobs, _HEARTBEAT, return_when=FIRST_EXCEPTION).not_done)
        for job in jobs:
            if job.done():
                job.result()
