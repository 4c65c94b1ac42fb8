"""Own gzip on the way up: one deterministic stream for each plain layer, made by all cores.

The stories may enter, and the command line to parse what a user wishes.

A stream is cut into blocks of plain bytes that deflate at the same time, each with the 32 KiB
before it as dictionary, and joined by empty stored blocks (RFC 1951, 3.2.4), as pigz does. Its
bytes depend on the content, the level and the library (zlib, as Python was built with, or ISA-L,
where a user asks for it): never on threads, timing or the pieces that the content came in. ISA-L
has a way of its own for each kind of processor, and not all of them give the same bytes.
"""

from __future__ import annotations

import importlib
import re
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, cast

from ecrdrag.errors import TransferError, UnsupportedError

# Measured with tests.bench.gzip: from 256 KiB to 2 MiB size is the same within 0.1 %, rates within noise.
# The smallest keeps the least memory, stops soonest and spreads a small layer over the most cores.
BLOCK_SIZE: Final = 256 * 1024
BLOCKS_PER_WORKER: Final = 2  # one being deflated, one to go on with
_WINDOW: Final = 32 * 1024  # RFC 1951, 2: how far back a match can lie


@dataclass(frozen=True, slots=True)
class Library:
    """A library that deflates: its command's name, its module, its levels from fastest to smallest."""

    name: str
    module: str
    levels: range
    default: int
    fast: range  # levels whose streams say so in their header, and so for small
    small: range

    @property
    def choice(self) -> str:
        """Say what a user can wish of it."""
        return f"{self.name}, {self.name}:{self.levels[0]} (fastest) to {self.name}:{self.levels[-1]} (smallest)"


ZLIB: Final = Library("gzip", "zlib", range(1, 10), default=6, fast=range(1, 2), small=range(9, 10))
# Measured with tests.bench.gzip: level 2 takes the CPU time of 1 and is smaller; 3 takes two thirds more for 0.2 %.
# 2 is python-isal's own default, too, and unlike 3 gave the same bytes on all x86-64 with SSE4.2 that were tried.
ISAL: Final = Library("igzip", "isal.isal_zlib", range(4), default=2, fast=range(2), small=range(0))
_LIBRARIES: Final = {library.name: library for library in (ZLIB, ISAL)}
_COMPRESSION: Final = re.compile(rf"(?P<name>{'|'.join(_LIBRARIES)})(?::(?P<level>[0-9]))?")


@dataclass(frozen=True, slots=True)
class Compression:
    """Say how plain layers are compressed: by which library, at which of its levels; None leaves them plain."""

    level: int | None = ZLIB.default
    library: Library = ZLIB

    def __post_init__(self) -> None:
        if self.level is not None and self.level not in self.library.levels:
            raise ValueError(f"a compression is {self.library.choice}, not level {self.level}")

    @classmethod
    def parse(cls, text: str) -> Compression:
        """Read ``gzip``, ``gzip:LEVEL``, the same for ``igzip``, or ``none``; raise ValueError for anything else."""
        if text == "none":
            return cls(None)
        if match := _COMPRESSION.fullmatch(text):
            library = _LIBRARIES[match["name"]]
            level = int(match["level"] or library.default)
            if level in library.levels:
                return cls(level, library)
        choices = ", ".join(library.choice for library in _LIBRARIES.values())
        raise ValueError(f"a compression is {choices}, or none, not {text[:100]!r}")

    @property
    def plain(self) -> bool:
        """Whether layers stay as they are."""
        return self.level is None

    def __str__(self) -> str:
        if self.plain:
            return "none"
        return self.library.name if self.level == self.library.default else f"{self.library.name}:{self.level}"


class _Deflater(Protocol):
    """One raw deflate stream in the making."""

    def compress(self, data: bytearray, /) -> bytes: ...

    def flush(self, mode: int, /) -> bytes: ...


class _Module(Protocol):
    """What zlib and isal.isal_zlib have in common; positions, since they name parameters differently."""

    def compressobj(
        self, level: int, method: int, window: int, memory: int, strategy: int, dictionary: bytes, /
    ) -> _Deflater: ...

    def crc32(self, data: bytearray, crc: int, /) -> int: ...


def require(compression: Compression) -> None:
    """Raise UnsupportedError where this Python lacks the library, so that it is said before anything is read."""
    _load(compression.library)


def _load(library: Library) -> _Module:
    try:
        return cast(_Module, importlib.import_module(library.module))
    except ImportError as error:
        raise UnsupportedError(
            f"{library.name} needs the module {library.module}, which this Python doesn't have",
            hint=f"pip install {library.module.partition('.')[0]}, or take {ZLIB.name}, whose digests are others",
        ) from error


@dataclass(frozen=True, slots=True)
class _Block:
    """Plain bytes that one worker deflates; before is what a match may reach back to."""

    content: bytearray
    before: bytes
    last: bool


class GzipBlocks:
    """Compress streams on a pool of threads; both libraries let go of the GIL, so each thread is a core.

    A context manager: leaving it stops what still runs. block_size is in bytes and part of what
    decides the compressed bytes, so only tests and measurements give another. Raises UnsupportedError
    where this Python lacks the library.
    """

    def __init__(self, compression: Compression, workers: int, *, block_size: int = BLOCK_SIZE) -> None:
        if compression.level is None:
            raise ValueError("there is nothing to compress where layers stay plain")
        self._level = compression.level
        self._header = _header(compression.library, compression.level)
        self._module = _load(compression.library)
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
        write(self._header)
        crc = size = 0
        flying: deque[Future[bytes]] = deque()
        try:
            for block in self._cut(pieces):
                if len(flying) == self._limit:
                    self._land(flying, write)
                flying.append(self._start(block))
                crc, size = self._module.crc32(block.content, crc), size + len(block.content)
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
        deflater = self._module.compressobj(
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


def _header(library: Library, level: int) -> bytes:
    """Say deflate, no name, no time, which effort, and no operating system (RFC 1952, 2.3.1)."""
    effort = 4 if level in library.fast else 2 if level in library.small else 0
    return bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, effort, 255))


def _trailer(crc: int, size: int) -> bytes:
    """Close with CRC-32 and the size modulo 2**32 (RFC 1952, 2.3.1)."""
    return struct.pack("<LL", crc, size & 0xFFFFFFFF)
