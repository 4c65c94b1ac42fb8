"""Gzip in blocks: what any reader of gzip gets back, and that nothing but content and level decides the bytes."""

from __future__ import annotations

import gzip
import importlib
import io
import random
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecrdrag.archive import compress
from ecrdrag.archive.compress import (
    BLOCK_SIZE,
    BLOCKS_PER_WORKER,
    ISAL,
    ZLIB,
    Compression,
    GzipBlocks,
    Library,
    require,
)
from ecrdrag.errors import TransferError, UnsupportedError

Piece = bytes | memoryview
EVERY = [*(Compression(level) for level in range(1, 10)), *(Compression(level, ISAL) for level in range(4))]
GZIP = Compression()
WINDOW = 32 * 1024
SMALL = 1000  # a block size with which a test needs few bytes for many blocks
PATIENCE = 20.0  # seconds until a test that hangs fails
# An empty last block of fixed codes (RFC 1951, 3.2.6) between header and trailer.
EMPTY = bytes.fromhex("1f8b08 00 00000000 00 ff 0300 00000000 00000000")


def compressed(
    pieces: Iterable[Piece], *, by: Compression = GZIP, workers: int = 2, block_size: int = BLOCK_SIZE
) -> bytes:
    output = io.BytesIO()
    with GzipBlocks(by, workers, block_size=block_size) as blocks:
        blocks.compress(pieces, output.write)
    return output.getvalue()


def cut(content: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    """Cut content at any places, in any order, some of them twice."""
    start = 0
    for stop in [*sorted(min(place, len(content)) for place in cuts), len(content)]:
        yield content[start:stop]
        start = stop


def text_like(size: int, seed: int = 1) -> bytes:
    """Write words, the frequent ones often, as languages do."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(3000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    return " ".join(chance.choices(words, weights, k=size // 4)).encode()[:size]


def slow_to_deflate(size: int) -> bytes:
    """Give what keeps zlib's level 9 busy: matches everywhere, none of them long."""
    return random.Random(2).randbytes(size).translate(b"ab" * 128)


contents = st.builds(
    lambda parts, times: b"".join(parts) * times, st.lists(st.binary(max_size=400), max_size=8), st.integers(1, 4)
)


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Let threads change as often as Python can, so that a race shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# What a user may wish


def test_every_level_is_read_and_printed() -> None:
    texts = [*(f"gzip:{level}" for level in range(1, 10)), *(f"igzip:{level}" for level in range(4))]
    assert [Compression.parse(text) for text in texts] == EVERY
    assert [Compression.parse(str(compression)) for compression in EVERY] == EVERY
    assert not any(compression.plain for compression in EVERY)


@pytest.mark.parametrize("text", ["gzip", "gzip:1", "gzip:9", "igzip", "igzip:0", "igzip:3", "none"])
def test_a_compression_prints_as_it_was_written(text: str) -> None:
    assert str(Compression.parse(text)) == text


def test_gzip_alone_is_level_6_and_the_default() -> None:
    assert Compression.parse("gzip") == Compression.parse("gzip:6") == Compression() == Compression(6, ZLIB)


def test_igzip_alone_is_level_2_and_no_gzip() -> None:
    assert Compression.parse("igzip") == Compression.parse("igzip:2") == Compression(2, ISAL) != Compression(2)


def test_none_leaves_layers_plain() -> None:
    assert Compression.parse("none").plain


def test_a_compression_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Compression().level = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gzip:",
        "gzip:0",
        "gzip:10",
        "gzip:-1",
        "gzip:٣",
        "igzip:",
        "igzip:4",
        "igzip:-1",
        "igzip:01",
        "iigzip",
        "isal",
        "gzip: 6",
        "gzip:6\n",
        " gzip",
        "GZIP",
        "zstd",
        "none:1",
        "6",
    ],
)
def test_what_is_no_compression_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"gzip, gzip:1 \(fastest\) to gzip:9 \(smallest\), igzip, igzip:0 ") as caught:
        Compression.parse(text)
    assert str(caught.value).endswith(f" to igzip:3 (smallest), or none, not {text!r}")


def test_a_long_wrong_compression_is_shortened_in_the_message() -> None:
    with pytest.raises(ValueError, match=r"not 'x{100}'$"):
        Compression.parse("x" * 10_000)


@pytest.mark.parametrize(("level", "library"), [(-1, ZLIB), (0, ZLIB), (10, ZLIB), (-1, ISAL), (4, ISAL), (6, ISAL)])
def test_a_level_that_its_library_does_not_have_is_refused(level: int, library: Library) -> None:
    with pytest.raises(ValueError, match=rf"{library.name}:{library.levels[-1]} \(smallest\), not level {level}$"):
        Compression(level, library)


def test_a_pool_for_plain_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to compress"):
        GzipBlocks(Compression.parse("none"), 1)


# Where ISA-L comes from


@pytest.mark.parametrize("ask", [require, lambda compression: GzipBlocks(compression, 1)])
def test_igzip_without_its_module_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Compression], object]
) -> None:
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)  # as where it isn't installed
    with pytest.raises(UnsupportedError, match=r"^igzip needs the module isal\.isal_zlib") as caught:
        ask(Compression.parse("igzip"))
    assert "pip install isal" in caught.value.hint
    assert caught.value.exit_code == 8


def test_gzip_and_none_need_no_module_of_igzip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    for text in ("none", "gzip"):
        require(Compression.parse(text))
    assert gzip.decompress(compressed([b"x"])) == b"x"


def test_igzip_is_used_where_it_is_asked_for_and_there_alone() -> None:
    content = text_like(2 * BLOCK_SIZE)
    assert compressed([content], by=Compression(1)) != compressed([content], by=Compression(1, ISAL))
    one_block = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    raw = one_block.compress(content[:SMALL]) + one_block.flush()
    assert compressed([content[:SMALL]], by=Compression(1))[10:-8] == raw


# What readers get back


@pytest.mark.parametrize("by", EVERY, ids=str)
@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE])
def test_content_comes_back_at_every_level_and_size(by: Compression, size: int) -> None:
    content = text_like(size)
    assert gzip.decompress(compressed([content], by=by)) == content


@pytest.mark.parametrize("text", ["gzip", "igzip"])
def test_noise_comes_back_and_hardly_grows(text: str) -> None:
    content = random.Random(3).randbytes(5 * BLOCK_SIZE + 12_345)
    stream = compressed([content], by=Compression.parse(text))
    assert gzip.decompress(stream) == content
    assert len(stream) < len(content) * 1.001


def test_a_reader_of_small_steps_gets_it_all() -> None:
    content = text_like(3 * SMALL)
    with gzip.open(io.BytesIO(compressed([content], block_size=SMALL))) as reader:
        assert b"".join(iter(lambda: reader.read(7), b"")) == content


@pytest.mark.parametrize("pieces", [[], [b""], [b"", b"", memoryview(b"")]])
def test_nothing_is_a_valid_stream_of_nothing(pieces: list[Piece]) -> None:
    assert compressed(pieces) == EMPTY
    assert gzip.decompress(EMPTY) == b""


@pytest.mark.parametrize("text", ["gzip", "igzip", "igzip:0"])
@pytest.mark.parametrize("size", [0, 1, 2 * SMALL, 5 * SMALL + 1])
def test_the_stream_is_one_member_that_ends_with_its_last_byte(size: int, text: str) -> None:
    content = text_like(size)
    stream = compressed([content], by=Compression.parse(text), block_size=SMALL)
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert reader.decompress(stream[:-1]) == content
    assert not reader.eof
    assert reader.decompress(stream[-1:]) == b""
    assert reader.eof
    assert reader.unused_data == b""


@pytest.mark.parametrize("by", EVERY, ids=str)
def test_the_header_says_no_name_no_time_the_effort_and_no_system(by: Compression) -> None:
    efforts = {"gzip:1": "04", "gzip:9": "02", "igzip:0": "04", "igzip:1": "04"}  # RFC 1952, 2.3.1: XFL
    assert compressed([b"x"], by=by)[:10] == bytes.fromhex(f"1f8b 08 00 00000000 {efforts.get(str(by), '00')} ff")


@pytest.mark.parametrize("text", ["gzip", "igzip"])
def test_the_trailer_holds_crc_and_size(text: str) -> None:
    content = text_like(3 * SMALL)
    stream = compressed([content], by=Compression.parse(text), block_size=SMALL)
    assert stream[-8:] == struct.pack("<LL", zlib.crc32(content), len(content))


@settings(deadline=None)
@given(
    content=contents,
    cuts=st.lists(st.integers(0, 12_000), max_size=20),
    block_size=st.integers(200, 5000),
    by=st.sampled_from([GZIP, *EVERY[9:]]),
)
def test_any_content_comes_back_however_it_is_cut(
    content: bytes, cuts: list[int], block_size: int, by: Compression
) -> None:
    assert gzip.decompress(compressed(cut(content, cuts), by=by, block_size=block_size)) == content


# How small it is


@pytest.mark.parametrize("text", ["gzip:1", "gzip:6", "gzip:9", "igzip:0", "igzip:1", "igzip:2", "igzip:3"])
def test_blocks_cost_hardly_more_than_one_stream(text: str) -> None:
    content = text_like(6 * BLOCK_SIZE)
    by = Compression.parse(text)
    single = importlib.import_module(by.library.module).compressobj(by.level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    alone = len(single.compress(content) + single.flush())
    assert alone < len(content) / 2
    assert len(compressed([content], by=by)) < alone * 1.03


@pytest.mark.parametrize("text", ["gzip", "igzip"])
def test_a_block_repeats_what_ended_before_it(text: str) -> None:
    noise = random.Random(4).randbytes(WINDOW - 1000)
    stream = compressed([noise] * 20, by=Compression.parse(text), block_size=len(noise))
    assert gzip.decompress(stream) == noise * 20
    assert len(stream) < len(noise) * 1.2


@pytest.mark.parametrize("texts", [("gzip:1", "gzip:6", "gzip:9"), ("igzip:0", "igzip:1", "igzip:3")])
def test_a_level_does_what_it_says(texts: tuple[str, ...]) -> None:
    content = text_like(BLOCK_SIZE)
    sizes = [len(compressed([content], by=Compression.parse(text))) for text in texts]
    assert sizes == sorted(set(sizes), reverse=True)


# What decides the bytes


@settings(deadline=None)
@given(
    content=contents,
    cuts=st.lists(st.integers(0, 12_000), max_size=20),
    workers=st.sampled_from([1, 2, 7]),
    by=st.sampled_from(EVERY),
)
def test_only_content_library_and_level_decide_the_bytes(
    content: bytes, cuts: list[int], workers: int, by: Compression
) -> None:
    whole = compressed([content], by=by, workers=1, block_size=SMALL)
    assert compressed(cut(content, cuts), by=by, workers=workers, block_size=SMALL) == whole


@pytest.mark.usefixtures("eager_switches")
@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("by", [Compression(1), *EVERY[9:]], ids=str)
def test_any_number_of_workers_gives_the_same_bytes(workers: int, by: Compression) -> None:
    content = text_like(20 * BLOCK_SIZE + 1)
    expected = compressed([content], by=by, workers=3)
    pieces = [memoryview(content)[start : start + 10_007] for start in range(0, len(content), 10_007)]
    assert compressed(pieces, by=by, workers=workers) == expected


def test_a_piece_is_copied_before_the_next_is_asked_for() -> None:
    content = text_like(10 * SMALL)

    def views_of_one_buffer() -> Iterator[memoryview]:
        buffer = bytearray(300)
        for start in range(0, len(content), len(buffer)):
            part = content[start : start + len(buffer)]
            buffer[: len(part)] = part
            yield memoryview(buffer)[: len(part)]
            buffer[:] = b"!" * len(buffer)

    assert gzip.decompress(compressed(views_of_one_buffer(), block_size=SMALL)) == content


# Memory


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_no_more_blocks_are_taken_in_than_workers_can_use(workers: int) -> None:
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    written = taken = highest = 0

    def blocks_that_are_counted() -> Iterator[bytes]:
        nonlocal taken, highest
        for number in range(6 * workers + 5):
            highest = max(highest, taken - written // SMALL)
            taken += 1
            yield bytes([number]) * SMALL

    def count(data: bytes) -> None:
        nonlocal written
        written += len(reader.decompress(data))

    with GzipBlocks(Compression(6), workers, block_size=SMALL) as blocks:
        blocks.compress(blocks_that_are_counted(), count)
    assert highest == BLOCKS_PER_WORKER * workers + 1  # and the one that waits for what comes after it
    assert written == taken * SMALL


# Failures


class BrokenError(Exception):
    """What a scripted end raises."""


def pieces_that_break(after: int) -> Iterator[bytes]:
    yield from [bytes(SMALL)] * after
    raise BrokenError


def writing_that_breaks(after: int) -> Callable[[bytes], None]:
    left = after

    def write(data: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise BrokenError

    return write


def busy_workers() -> int:
    """Count the threads, other than this one, that run code of the room."""
    own = threading.get_ident()
    frames = [frame for ident, frame in sys._current_frames().items() if ident != own]
    return sum(frame.f_code.co_filename == compress.__file__ for frame in frames)


@pytest.mark.parametrize("after", [0, 1, 2, 5, 30])
def test_what_the_input_raises_goes_out_and_the_pool_lives_on(after: int) -> None:
    output = io.BytesIO()
    with GzipBlocks(Compression(6), 2, block_size=SMALL) as blocks:
        with pytest.raises(BrokenError):
            blocks.compress(pieces_that_break(after), lambda data: None)
        blocks.compress([b"next"], output.write)
    assert gzip.decompress(output.getvalue()) == b"next"


@pytest.mark.parametrize("after", [0, 1, 2, 5, 31])  # the header, blocks, …, the trailer
def test_what_writing_raises_goes_out_and_the_pool_lives_on(after: int) -> None:
    output = io.BytesIO()
    with GzipBlocks(Compression(6), 2, block_size=SMALL) as blocks:
        with pytest.raises(BrokenError):
            blocks.compress([bytes(30 * SMALL)], writing_that_breaks(after))
        blocks.compress([b"next"], output.write)
    assert gzip.decompress(output.getvalue()) == b"next"


def test_no_worker_is_busy_for_a_call_that_failed() -> None:
    content = slow_to_deflate(4 * BLOCK_SIZE)
    with GzipBlocks(Compression(9), 2) as blocks:
        with pytest.raises(BrokenError):
            blocks.compress([content], writing_that_breaks(1))
        assert busy_workers() == 0


def test_a_system_without_threads_is_said_in_words() -> None:
    before = threading.stack_size()
    with GzipBlocks(Compression(6), 1) as blocks:
        try:
            threading.stack_size(1 << 46)  # more than a process can have
            with pytest.raises(TransferError, match="the system gives no thread"):
                blocks.compress([b"x"], lambda data: None)
        finally:
            threading.stack_size(before)


# Stopping


def test_stop_from_another_thread_ends_a_call_before_its_next_piece_is_used() -> None:
    asked = 0
    writes: list[bytes] = []
    with GzipBlocks(Compression(6), 2) as blocks:

        def small_pieces_without_end() -> Iterator[bytes]:
            nonlocal asked
            while True:
                asked += 1
                if asked == 10:
                    stopper = threading.Thread(target=blocks.stop)
                    stopper.start()
                    stopper.join()
                yield b"x"

        with pytest.raises(TransferError, match=r"^stopped$"):
            blocks.compress(small_pieces_without_end(), writes.append)
    assert asked == 10
    assert len(writes) == 1  # the header


def test_stop_ends_a_call_whose_blocks_are_all_deflated() -> None:
    writes: list[bytes] = []
    with GzipBlocks(Compression(6), 1, block_size=SMALL) as blocks:

        def write_and_stop(data: bytes) -> None:
            writes.append(data)
            if len(writes) == 2:
                blocks.compress([b"x"], lambda data: None)  # one worker: what came before this is done after it
                blocks.stop()

        with pytest.raises(TransferError, match=r"^stopped$"):
            blocks.compress([bytes(2 * SMALL)], write_and_stop)
    assert len(writes) == 2  # the header and the first block


def test_stop_leaves_the_blocks_that_wait_for_a_worker_undone() -> None:
    content = slow_to_deflate(2 * BLOCK_SIZE)
    cpu = time.process_time()
    compressed([content], by=Compression(9), workers=1)
    one_block = (time.process_time() - cpu) / 2
    begun = threading.Barrier(11)

    def pieces() -> Iterator[bytes]:
        yield content
        begun.wait(PATIENCE)

    with GzipBlocks(Compression(9), 1) as blocks, ThreadPoolExecutor(10) as callers:
        calls = [callers.submit(blocks.compress, pieces(), lambda data: None) for _ in range(10)]
        begun.wait(PATIENCE)
        blocks.stop()
        cpu = time.process_time()
        for call in calls:
            with pytest.raises(TransferError, match=r"^stopped$"):
                call.result(PATIENCE)
    assert time.process_time() - cpu < 4 * one_block  # one is being deflated; all calls wait for ten or more


def test_a_pool_that_was_stopped_writes_nothing_more() -> None:
    output = io.BytesIO()
    with GzipBlocks(Compression(6), 1) as blocks:
        blocks.stop()
        blocks.stop()
        with pytest.raises(TransferError, match=r"^stopped$"):
            blocks.compress([b"x"], output.write)
    assert output.getvalue() == b""


def test_a_pool_that_was_left_writes_nothing_more() -> None:
    with GzipBlocks(Compression(6), 1) as blocks:
        pass
    with pytest.raises(TransferError, match=r"^stopped$"):
        blocks.compress([b"x"], lambda data: None)


def test_leaving_the_pool_stops_calls_in_progress_and_waits_for_its_threads() -> None:
    content = slow_to_deflate(3 * BLOCK_SIZE)
    threads = set(threading.enumerate())
    begun, left = threading.Event(), threading.Event()

    def endless() -> Iterator[bytes]:
        yield content
        begun.set()
        left.wait(PATIENCE)
        while True:
            yield b"x"

    errors: list[TransferError] = []

    def call() -> None:
        with pytest.raises(TransferError) as caught:
            blocks.compress(endless(), lambda data: None)
        errors.append(caught.value)

    caller = threading.Thread(target=call)
    with GzipBlocks(Compression(9), 2) as blocks:
        caller.start()
        assert begun.wait(PATIENCE)
    assert set(threading.enumerate()) - threads == {caller}
    left.set()
    caller.join(PATIENCE)
    assert [str(error) for error in errors] == ["stopped"]


def test_a_pool_that_is_left_in_the_middle_of_a_piece_is_stopped() -> None:
    writes: list[bytes] = []
    with ExitStack() as stack:
        blocks = stack.enter_context(GzipBlocks(Compression(6), 1, block_size=SMALL))

        def write_and_leave(data: bytes) -> None:
            writes.append(data)
            if len(writes) == 2:
                stack.close()

        with pytest.raises(TransferError, match=r"^stopped$"):
            blocks.compress([bytes(10 * SMALL)], write_and_leave)
    assert len(writes) == 2


# Layers side by side


@pytest.mark.usefixtures("eager_switches")
@pytest.mark.parametrize("workers", [1, 2, 7])
def test_many_streams_on_one_pool_do_not_mix(workers: int) -> None:
    layers = [text_like(size * SMALL + size, seed=size) for size in range(0, 80, 10)]
    outputs = [io.BytesIO() for _ in layers]
    with GzipBlocks(Compression(6), workers, block_size=SMALL) as blocks, ThreadPoolExecutor(len(layers)) as callers:
        calls = [
            callers.submit(blocks.compress, cut(layer, range(0, len(layer), 333)), output.write)
            for layer, output in zip(layers, outputs, strict=True)
        ]
        for call in calls:
            call.result(PATIENCE)
    alone = [compressed([layer], block_size=SMALL) for layer in layers]
    assert [output.getvalue() for output in outputs] == alone


def test_a_stream_that_waits_at_both_ends_holds_up_no_other() -> None:
    other_done = threading.Event()
    held, free = io.BytesIO(), io.BytesIO()
    content = text_like(20 * SMALL)

    def held_pieces() -> Iterator[bytes]:
        yield content[: 3 * SMALL]
        assert other_done.wait(PATIENCE)
        yield content[3 * SMALL :]

    def held_write(data: bytes) -> None:
        assert other_done.wait(PATIENCE)
        held.write(data)

    with GzipBlocks(Compression(6), 1, block_size=SMALL) as blocks, ThreadPoolExecutor(2) as callers:
        calls = [
            callers.submit(blocks.compress, held_pieces(), held.write),
            callers.submit(blocks.compress, [content], held_write),
        ]
        blocks.compress([content], free.write)
        other_done.set()
        for call in calls:
            call.result(PATIENCE)
    assert gzip.decompress(free.getvalue()) == content


def test_a_call_that_fails_leaves_the_one_beside_it_whole() -> None:
    failed = threading.Event()
    content = text_like(20 * SMALL)
    output = io.BytesIO()

    def pieces() -> Iterator[bytes]:
        yield content[: 2 * SMALL + 1]
        assert failed.wait(PATIENCE)
        yield content[2 * SMALL + 1 :]

    with GzipBlocks(Compression(6), 1, block_size=SMALL) as blocks, ThreadPoolExecutor(1) as caller:
        call = caller.submit(blocks.compress, pieces(), output.write)
        with pytest.raises(BrokenError):
            blocks.compress(pieces_that_break(2), lambda data: None)
        failed.set()
        call.result(PATIENCE)
    assert gzip.decompress(output.getvalue()) == content
