"""Own the measurement behind `--compression`: what gzip costs on this machine, by way, level and workers.

    python3 -m tests.bench.gzip [--mib N] [--runs N] [--levels 1,6,9] [--blocks KIB,…]

Prints a table in Markdown: medians of seconds, rate, compressed share and CPU seconds per GiB. The
input is a sample of this Python's own library as a tar, a fifth of it noise. The libraries isal and
zlib-ng are measured where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import random
import statistics
import sys
import sysconfig
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ecrdrag.archive.compress import BLOCK_SIZE, ISAL, Compression, GzipBlocks

MIB = 1024 * 1024
GIB = 1024 * MIB
PIECE = MIB // 4  # what a reader hands over at once
NOISE_SHARE = 0.2  # what doesn't compress: images, archives, keys

Way = Callable[[memoryview, Callable[[bytes], object]], None]


@dataclass(frozen=True)
class Row:
    """One way to compress, as the table names it."""

    name: str
    level: int
    workers: int
    way: Way


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds, CPU seconds, compressed bytes."""

    seconds: float
    cpu: float
    size: int


class Tally:
    """Count what is written; the file that threaded writers want."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def main(arguments: Sequence[str]) -> int:
    """Measure every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=96)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--levels", type=numbers, default=[1, 6, 9], metavar="LEVEL,…")
    parser.add_argument("--blocks", type=numbers, default=[BLOCK_SIZE // 1024], metavar="KIB,…")
    options = parser.parse_args(arguments)
    content = memoryview(layer_like(options.mib * MIB))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    print(f"{len(content) / MIB:.0f} MiB, {cores} cores, zlib {zlib.ZLIB_RUNTIME_VERSION}, median of {options.runs}\n")
    print("| way | level | workers | seconds | MiB/s | size | CPU s/GiB |\n|---|---|---|---|---|---|---|")
    for row in [*our_rows(options.levels, options.blocks, cores), *library_rows(options.levels, cores)]:
        costs = [measure(row.way, content) for _ in range(options.runs)]
        seconds = statistics.median(cost.seconds for cost in costs)
        cpu = statistics.median(cost.cpu for cost in costs) / len(content) * GIB
        share = costs[0].size / len(content)
        print(
            f"| {row.name} | {row.level} | {row.workers} | {seconds:.2f} | {len(content) / MIB / seconds:,.0f} "
            f"| {share:.2%} | {cpu:.1f} |",
            flush=True,
        )
    return 0


def numbers(text: str) -> list[int]:
    """Read numbers with commas between."""
    return [int(word) for word in text.split(",")]


def layer_like(size: int) -> bytes:
    """Make a tar of size bytes at most: files of this Python in a seeded order, then noise."""
    chance = random.Random(1)
    home = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in home.rglob("*") if path.is_file() and "site-packages" not in path.parts)
    chance.shuffle(files)
    noise = int(size * NOISE_SHARE)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in files:
            if buffer.tell() + path.stat().st_size + 2 * tarfile.RECORDSIZE <= size - noise:
                archive.add(path, str(path.relative_to(home)), recursive=False)
        member = tarfile.TarInfo("noise")
        member.size = noise
        archive.addfile(member, io.BytesIO(chance.randbytes(noise)))
    return buffer.getvalue()


def our_rows(levels: Sequence[int], blocks: Sequence[int], cores: int) -> Iterator[Row]:
    """Give zlib's single stream, and our blocks on one and on all cores."""
    for level in levels:
        yield Row("zlib, one stream", level, 1, one_stream(importlib.import_module("zlib"), level))
        yield from block_rows(Compression(level), blocks, cores)
    if importlib.util.find_spec("isal"):
        for level in ISAL.levels:
            yield from block_rows(Compression(level, ISAL), blocks, cores)


def block_rows(compression: Compression, blocks: Sequence[int], cores: int) -> Iterator[Row]:
    """Give our blocks of each size, on one and on all cores."""
    for size in blocks:
        for workers in sorted({1, cores}):
            name = f"GzipBlocks, {compression.library.name}, {size} KiB"
            yield Row(name, compression.level or 0, workers, in_blocks(compression, workers, size * 1024))


def library_rows(levels: Sequence[int], cores: int) -> Iterator[Row]:
    """Give the optional libraries: one stream, and their own threads."""
    for library, threaded, known in (
        ("isal.isal_zlib", "isal.igzip_threaded", ISAL.levels),
        ("zlib_ng.zlib_ng", "zlib_ng.gzip_ng_threaded", levels),
    ):
        try:
            streams, threads = importlib.import_module(library), importlib.import_module(threaded)
        except ImportError:
            continue
        for level in known:
            yield Row(f"{library}, one stream", level, 1, one_stream(streams, level))
            yield Row(threaded, level, cores, on_their_threads(threads, level, cores))


def one_stream(library: ModuleType, level: int) -> Way:
    """Compress by a module that has zlib's names."""

    def way(content: memoryview, write: Callable[[bytes], object]) -> None:
        deflater = library.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        for piece in pieces(content):
            write(deflater.compress(piece))
        write(deflater.flush())

    return way


def in_blocks(compression: Compression, workers: int, block_size: int) -> Way:
    """Compress by our own blocks."""

    def way(content: memoryview, write: Callable[[bytes], object]) -> None:
        with GzipBlocks(compression, workers, block_size=block_size) as gzip:
            gzip.compress(pieces(content), write)

    return way


def on_their_threads(library: ModuleType, level: int, workers: int) -> Way:
    """Compress by a module with a threaded open()."""

    def way(content: memoryview, write: Callable[[bytes], object]) -> None:
        tally = Tally()
        with library.open(tally, "wb", level, threads=workers) as stream:
            for piece in pieces(content):
                stream.write(piece)
        write(bytes(tally.size))

    return way


def pieces(content: memoryview) -> Iterator[memoryview]:
    """Cut content as a reader would."""
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]


def measure(way: Way, content: memoryview) -> Cost:
    """Run one way once; CPU seconds are of all threads."""
    tally = Tally()
    begun, cpu_begun = time.perf_counter(), time.process_time()
    way(content, tally.write)
    return Cost(time.perf_counter() - begun, time.process_time() - cpu_begun, tally.size)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
