"""Own gzip on the way up: one deterministic stream for each plain layer, made by all cores.

The stories may enter, and the command line to parse what a user wishes.

A stream is cut into blocks of plain bytes that deflate at the same time, each with the 32 KiB
before it as dictionary, and joined by empty stored blocks (RFC 1951, 3.2.4), as pigz does. Its
bytes depend on the content, the level and the zlib that Python was built with: never on
threads, timing or the pieces that the content came in.
"""

from __future__ import annotations

import re
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from ecrdrag.errors import TransferError

MIN_LEVEL: Final = 1
MAX_LEVEL: Final = 9
DEFAULT_LEVEL: Final = 6  # what gzip itself does
# Measured with tests.bench.gzip: from 256 KiB to 2 MiB size is the same within 0.1 %, rates within noise.
# The smallest keeps the least memory, stops soonest and spreads a small layer over the most cores.
BLOCK_SIZE: Final = 256 * 1024
BLOCKS_PER_WORKER: Final = 2  # one being deflated, one to go on with
_WINDOW: Final = 32 * 1024  # RFC 1951, 2: how far back a match can lie
_COMPRESSION: Final = re.compile(rf"gzip(?::(?P<level>[{MIN_LEVEL}-{MAX_LEVEL}]))?")


@dataclass(frozen=True, slots=True)
class Compression:
    """Say how plain layers are compressed: gzip at level 1 (fastest) to 9 (smallest); 0 leaves them plain."""

    level: int = DEFAULT_LEVEL

    @classmethod
    def parse(cls, text: str) -> Compression:
        """Read ``gzip``, ``gzip:LEVEL`` or ``none``; raise ValueError for anything else."""
        if text == "none":
            return cls(0)
        match = _COMPRESSION.fullmatch(text)
        if match is None:
            raise ValueError(
                f"a compression is gzip, gzip:{MIN_LEVEL} (fastest) to gzip:{MAX_LEVEL} (smallest), or none, "
                f"not {text[:100]!r}"
            )
        return cls(int(match["level"] or DEFAULT_LEVEL))

    @property
    def plain(self) -> bool:
        """Whether layers stay as they are."""
        return self.level == 0

    def __str__(self) -> str:
        if self.plain:
            return "none"
        return "gzip" if self.level == DEFAULT_LEVEL else f"gzip:{self.level}"


@dataclass(frozen=True, slots=True)
class _Block:
    """Plain bytes that one worker deflates; before is what a match may reach back to."""

    content: bytearray
    before: bytes
    last: bool


class GzipBlocks:
    """Compress streams on a pool of threads; zlib lets go of the GIL, so each thread is a core.

    A context manager: leaving it stops what still runs. block_size is in bytes and part of what
    decides the compressed bytes, so only tests and measurements give another.
    """

    def __init__(self, level: int, workers: int, *, block_size: int = BLOCK_SIZE) -> None:
        if not MIN_LEVEL <= level <= MAX_LEVEL:
            raise ValueError(f"a gzip level is {MIN_LEVEL} to {MAX_LEVEL}, not {level}")
        self._level = level
        self._block_size = block_size
        self._limit = BLOCKS_PER_WORKER * workers
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(workers, "gzip")

    def __enter__(self) -> GzipBlocks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._pool.shutdown()

    def stop(self) -> None:
        """End every compress() in progress within about a block's time, from any thread; later ones fail."""
        self._stopped.set()

    def compress(self, pieces: Iterable[bytes | memoryview], write: Callable[[bytes], object]) -> None:
        """Write the pieces, one after the other, as one gzip stream; safe from many threads.

        A piece is copied before the next one is asked for. Holds at most BLOCKS_PER_WORKER blocks for
        each worker, and the one that fills. Both pieces and write run in the calling thread. Raises
        what they raise, and TransferError once stopped; no worker is busy for this call after that.
        """
        self._check()
        write(_header(self._level))
        crc = size = 0
        flying: deque[Future[bytes]] = deque()
        try:
            for block in self._cut(pieces):
                if len(flying) == self._limit:
                    self._land(flying, write)
                flying.append(self._start(block))
                crc, size = zlib.crc32(block.content, crc), size + len(block.content)
            while flying:
                self._land(flying, write)
        finally:
            wait([future for future in flying if not future.cancel()])
        write(_trailer(crc, size))

    def _cut(self, pieces: Iterable[bytes | memoryview]) -> Iterator[_Block]:
        """Copy pieces into blocks, all full but the last; a full one waits to see whether more comes."""
        content, before = bytearray(), b""
        for piece in pieces:
            self._check()
            rest = memoryview(piece)
            while len(rest):
                if len(content) == self._block_size:
                    yield _Block(content, before, last=False)
                    content, before = bytearray(), bytes(content[-_WINDOW:])
                taken = rest[: self._block_size - len(content)]
                content += taken
                rest = rest[len(taken) :]
        yield _Block(content, before, last=True)

    def _start(self, block: _Block) -> Future[bytes]:
        try:
            return self._pool.submit(self._deflate, block)
        except RuntimeError as error:  # the pool was left meanwhile, or the system has no more threads
            self._check()
            raise TransferError("the system gives no thread to compress a layer with") from error

    def _land(self, flying: deque[Future[bytes]], write: Callable[[bytes], object]) -> None:
        """Wait for the oldest block and write it."""
        deflated = flying.popleft().result()
        self._check()
        write(deflated)

    def _deflate(self, block: _Block) -> bytes:
        self._check()
        deflater = zlib.compressobj(
            self._level,
            zlib.DEFLATED,
            -zlib.MAX_WBITS,  # negative: without a header and trailer of its own
            zlib.DEF_MEM_LEVEL,  # 9 was measured to be larger and no faster
            zlib.Z_DEFAULT_STRATEGY,
            block.before,
        )
        return deflater.compress(block.content) + deflater.flush(zlib.Z_FINISH if block.last else zlib.Z_SYNC_FLUSH)

    def _check(self) -> None:
        if self._stopped.is_set():
            raise TransferError("stopped")


def _header(level: int) -> bytes:
    """Say deflate, no name, no time, which effort, and no operating system (RFC 1952, 2.3.1)."""
    effort = {MIN_LEVEL: 4, MAX_LEVEL: 2}.get(level, 0)
    return bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, effort, 255))


def _trailer(crc: int, size: int) -> bytes:
    """Close with CRC-32 and the size modulo 2**32 (RFC 1952, 2.3.1)."""
    return struct.pack("<LL", crc, size & 0xFFFFFFFF)
