"""The download engine against scripted sources: (replies → expected ranges → bytes or error)."""

from __future__ import annotations

import errno
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import ArchiveError, IntegrityError, NotFoundError, RangeIgnoredError, TransferError, TransientError
from ecrdrag.transfer.download import MAX_CHUNK, MIB, MIN_CHUNK, Download, chunk_size_for, download, fetch
from ecrdrag.transfer.retry import RetryPolicy

FAST = RetryPolicy(tries=3, base=0.0)


def blob_of(content: bytes) -> Descriptor:
    return Descriptor("application/octet-stream", Digest.of(content), len(content))


class MemorySink:
    """A sink that remembers how often each byte was written."""

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)
        self.writes = 0

    def write_at(self, view: memoryview, offset: int) -> None:
        assert offset + len(view) <= len(self.content), "a write outside the blob"
        self.content[offset : offset + len(view)] = view
        self.writes += len(view)

    def read_at(self, buffer: memoryview, offset: int) -> int:
        data = self.content[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        return len(data)


Reply = Callable[[bytes, int, int], Iterator[bytes]]


def whole(content: bytes, start: int, stop: int) -> Iterator[bytes]:
    yield content[start:stop]


def cut_after(count: int) -> Reply:
    def reply(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        yield content[start : min(start + count, stop)]
        if start + count < stop:
            raise TransientError("the line was cut")

    return reply


def short_without_error(content: bytes, start: int, stop: int) -> Iterator[bytes]:
    yield content[start : stop - 1]


def too_long(content: bytes, start: int, stop: int) -> Iterator[bytes]:
    yield content[start:stop] + b"!"


def no_ranges(content: bytes, start: int, stop: int) -> Iterator[bytes]:
    if (start, stop) != (0, len(content)):
        raise RangeIgnoredError("whole blob")
    yield content


def wrong_byte(content: bytes, start: int, stop: int) -> Iterator[bytes]:
    yield bytes([content[start] ^ 1]) + content[start + 1 : stop]


def refuse(error: Exception) -> Reply:
    def reply(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        raise error
        yield b""

    return reply


@dataclass
class ScriptedSource:
    """Serve blobs from memory; each read takes the next reply of the script, then whole ones."""

    contents: Sequence[bytes]
    script: Sequence[Reply] = ()
    then: Reply = whole
    piece: int = 1000
    reads: list[tuple[int, int]] = field(default_factory=list)
    aborted: bool = False

    def __post_init__(self) -> None:
        self._by_digest = {Digest.of(content): content for content in self.contents}
        self._script = deque(self.script)
        self._lock = threading.Lock()

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        with self._lock:
            self.reads.append((start, stop))
            reply = self._script.popleft() if self._script else self.then
        for data in reply(self._by_digest[blob.digest], start, stop):
            for place in range(0, len(data), self.piece):
                yield memoryview(data)[place : place + self.piece]

    def abort(self) -> None:
        self.aborted = True


class Counter:
    """Progress that adds up."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.landed = self.highest = 0
        self.done: list[Digest] = []
        self._lock = threading.Lock()

    def begin(self, size: int | None, blobs: int) -> None:
        self.total = size

    def advance(self, size: int) -> None:
        with self._lock:
            self.landed += size
            self.highest = max(self.highest, self.landed)

    def blob_done(self, blob: Descriptor) -> None:
        self.done.append(blob.digest)


def run(source: ScriptedSource, *, jobs: int = 4, chunk_size: int = 4000) -> tuple[list[bytes], Counter]:
    sinks = [MemorySink(len(content)) for content in source.contents]
    downloads = [Download(blob_of(content), sink) for content, sink in zip(source.contents, sinks, strict=True)]
    counter = Counter()
    download(downloads, source, jobs=jobs, chunk_size=chunk_size, retry=FAST, progress=counter)
    return [bytes(sink.content) for sink in sinks], counter


NOISE = random.Random(7).randbytes(25_000)


@pytest.mark.parametrize("jobs", [1, 2, 16])
def test_blobs_of_all_sizes_arrive_whole_at_any_parallelism(jobs: int) -> None:
    contents = [NOISE, b"", b"x", NOISE[:4000], NOISE[:4001], NOISE[::-1]]
    arrived, counter = run(ScriptedSource(contents), jobs=jobs)
    assert arrived == contents
    assert counter.landed == counter.total == sum(map(len, contents))
    assert sorted(map(str, counter.done)) == sorted(str(Digest.of(content)) for content in contents)


def test_chunks_are_asked_for_in_order_and_cover_the_blob_once() -> None:
    source = ScriptedSource([NOISE[:10_000]])
    run(source, jobs=1, chunk_size=4000)
    assert source.reads == [(0, 4000), (4000, 8000), (8000, 10_000)]


def test_a_cut_line_goes_on_behind_the_last_good_byte() -> None:
    source = ScriptedSource([NOISE[:10_000]], [cut_after(1500), cut_after(2000)])
    arrived, counter = run(source, jobs=1, chunk_size=10_000)
    assert source.reads == [(0, 10_000), (1500, 10_000), (3500, 10_000)]
    assert arrived == [NOISE[:10_000]]
    assert counter.highest == 10_000


def test_tries_with_progress_do_not_count_against_the_limit() -> None:
    source = ScriptedSource([NOISE[:10_000]], [cut_after(500)] * 15)
    arrived, _ = run(source, jobs=1, chunk_size=10_000)
    assert arrived == [NOISE[:10_000]]


def test_tries_without_progress_end_with_the_blob_the_tries_and_the_last_cause() -> None:
    source = ScriptedSource([NOISE], then=cut_after(0))
    with pytest.raises(TransferError, match=f"{Digest.of(NOISE)} after 3 tries .*: the line was cut") as caught:
        run(source, jobs=1)
    assert caught.value.exit_code == 5
    assert len(source.reads) == FAST.tries


def test_a_source_that_ends_early_without_saying_so_is_asked_for_the_rest() -> None:
    source = ScriptedSource([NOISE[:4000]], [short_without_error])
    arrived, _ = run(source, jobs=1)
    assert source.reads == [(0, 4000), (3999, 4000)]
    assert arrived == [NOISE[:4000]]


def test_more_bytes_than_asked_for_are_never_written() -> None:
    source = ScriptedSource([NOISE[:500]], then=too_long)
    with pytest.raises(TransferError, match="more bytes than were asked for"):
        run(source, jobs=1)


@pytest.mark.parametrize("jobs", [1, 8])
def test_a_server_that_ignores_ranges_is_read_in_one_stream(jobs: int) -> None:
    source = ScriptedSource([NOISE], then=no_ranges)
    arrived, counter = run(source, jobs=jobs)
    assert arrived == [NOISE]
    assert source.reads.count((0, len(NOISE))) == 1
    assert counter.landed == len(NOISE)


def test_a_server_that_stops_doing_ranges_midway_starts_the_blob_over() -> None:
    source = ScriptedSource([NOISE], [whole, whole], then=no_ranges)
    arrived, counter = run(source, jobs=1)
    assert source.reads == [(0, 4000), (4000, 8000), (8000, 12_000), (0, len(NOISE))]
    assert arrived == [NOISE]
    assert counter.landed == counter.highest == len(NOISE)


def test_bytes_that_a_restart_replaces_are_hashed_anew() -> None:
    source = ScriptedSource([NOISE], [wrong_byte, refuse(RangeIgnoredError("whole"))], then=no_ranges)
    arrived, _ = run(source, jobs=1)
    assert arrived == [NOISE]


def test_one_stream_that_is_cut_again_and_again_ends() -> None:
    def cut_whole(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        if (start, stop) != (0, len(content)):
            raise RangeIgnoredError("whole blob")
        yield content[:9000]
        raise TransientError("the line was cut")

    with pytest.raises(TransferError, match="without progress"):
        run(ScriptedSource([NOISE], then=cut_whole), jobs=4)


def test_a_wrong_byte_is_an_integrity_error() -> None:
    with pytest.raises(IntegrityError, match=f"blob {Digest.of(NOISE)} arrived with digest"):
        run(ScriptedSource([NOISE], [wrong_byte]))


def test_a_wrong_byte_in_the_last_chunk_is_an_integrity_error() -> None:
    with pytest.raises(IntegrityError):
        run(ScriptedSource([NOISE[:4000]], [wrong_byte]), jobs=1)


def test_the_first_failure_ends_all_and_is_the_one_raised() -> None:
    first = NotFoundError("no such layer")
    source = ScriptedSource([NOISE, NOISE[::-1]], [refuse(first)])
    with pytest.raises(NotFoundError) as caught:
        run(source, jobs=4, chunk_size=10)
    assert caught.value is first
    assert source.aborted
    assert len(source.reads) < 2 * len(NOISE) / 10


def test_no_thread_is_left_behind_by_a_failure() -> None:
    before = threading.active_count()
    with pytest.raises(NotFoundError):
        run(ScriptedSource([NOISE], [refuse(NotFoundError("gone"))]), jobs=16)
    assert threading.active_count() == before


def test_a_full_disk_ends_the_download() -> None:
    class FullSink(MemorySink):
        def write_at(self, view: memoryview, offset: int) -> None:
            raise ArchiveError("disk full") from OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArchiveError, match="disk full"):
        download([Download(blob_of(NOISE), FullSink(len(NOISE)))], ScriptedSource([NOISE]), retry=FAST)


def test_a_disk_that_loses_bytes_is_noticed_by_the_hash() -> None:
    class Forgetful(MemorySink):
        def write_at(self, view: memoryview, offset: int) -> None:
            if offset:
                super().write_at(view, offset)

    with pytest.raises(IntegrityError):
        download([Download(blob_of(NOISE), Forgetful(len(NOISE)))], ScriptedSource([NOISE]), retry=FAST)


def test_ctrl_c_in_the_waiting_thread_stops_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(engine: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ecrdrag.transfer.crew.Crew._wait_for_workers", interrupted)
    source = ScriptedSource([NOISE], then=cut_after(1))
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run(source, jobs=4)
    assert source.aborted
    assert threading.active_count() == before


def test_a_thread_that_hangs_in_a_call_holds_no_failure_up_and_writes_nothing_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ecrdrag.transfer.crew.GRACE", 0.01)
    hanging, release = threading.Event(), threading.Event()

    def hang(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        hanging.set()
        release.wait(20)
        yield content[start:stop]

    def refuse_once_the_other_hangs(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        hanging.wait(20)
        raise NotFoundError("gone")
        yield b""

    sink = MemorySink(len(NOISE))
    source = ScriptedSource([NOISE], [hang, refuse_once_the_other_hangs])
    with pytest.raises(NotFoundError):
        download([Download(blob_of(NOISE), sink)], source, jobs=2, chunk_size=20_000, retry=FAST)
    (thread,) = [each for each in threading.enumerate() if each.name == "download"]
    release.set()
    thread.join(20)
    assert (sink.writes, thread.daemon) == (0, True)


def test_a_failure_is_raised_only_when_the_last_write_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecrdrag.transfer.crew.GRACE", 0.0)
    writing, release, raised = threading.Event(), threading.Event(), threading.Event()

    class SlowDisk(MemorySink):
        def write_at(self, view: memoryview, offset: int) -> None:
            writing.set()
            release.wait(20)
            assert not raised.is_set()
            super().write_at(view, offset)

    def refuse_once_the_other_writes(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        writing.wait(20)
        raise NotFoundError("gone")
        yield b""

    def run_to_its_failure() -> None:
        with pytest.raises(NotFoundError):
            download([Download(blob_of(NOISE), sink)], source, jobs=2, chunk_size=20_000, retry=FAST)
        raised.set()

    sink = SlowDisk(len(NOISE))
    source = ScriptedSource([NOISE], [whole, refuse_once_the_other_writes])
    thread = threading.Thread(target=run_to_its_failure)
    thread.start()
    assert writing.wait(20)
    assert not raised.wait(0.01)
    release.set()
    thread.join(20)
    assert raised.is_set()
    assert sink.writes


def test_fetch_brings_a_small_blob_into_memory_verified() -> None:
    assert fetch(blob_of(NOISE), ScriptedSource([NOISE], [cut_after(3)]), retry=FAST) == NOISE
    with pytest.raises(IntegrityError):
        fetch(blob_of(NOISE), ScriptedSource([NOISE], [wrong_byte]), retry=FAST)


@pytest.mark.parametrize(
    ("size", "jobs", "expected"),
    [
        (100, 16, MIN_CHUNK),
        (16 * MIB, 16, MIN_CHUNK),
        (32 * MIB, 16, 2 * MIB),
        (32 * MIB + 1, 16, 2 * MIB + 1),
        (320 * MIB, 16, MAX_CHUNK),
        (40_000 * MIB, 16, MAX_CHUNK),
        (5 * MIB, 1, 5 * MIB),
    ],
)
def test_the_chunk_size_is_an_even_share_between_1_and_20_mib(size: int, jobs: int, expected: int) -> None:
    assert chunk_size_for(size, jobs) == expected


def test_backoff_grows_to_its_cap_and_never_beyond() -> None:
    policy = RetryPolicy(base=0.1, cap=2.0, random=random.Random(1))
    for failures in range(1, 60):
        assert 0 <= policy.delay(failures) <= min(2.0, 0.1 * 2 ** (failures - 1))
    assert max(policy.delay(50) for _ in range(100)) > 1.5


REPLIES = [whole, whole, cut_after(1), cut_after(700), short_without_error, too_long, no_ranges, wrong_byte]


@settings(max_examples=200, deadline=None)
@given(
    script=st.lists(st.sampled_from(REPLIES), max_size=12),
    jobs=st.integers(1, 5),
    chunk_size=st.integers(300, 6000),
    piece=st.integers(50, 4000),
)
def test_any_script_of_faults_ends_in_the_right_bytes_or_a_clean_error(
    script: list[Reply], jobs: int, chunk_size: int, piece: int
) -> None:
    contents = [NOISE[:5000], NOISE[5000:5100]]
    source = ScriptedSource(contents, script, piece=piece)
    try:
        arrived, counter = run(source, jobs=jobs, chunk_size=chunk_size)
    except (IntegrityError, TransferError):
        assert source.aborted
    else:
        assert arrived == contents
        assert counter.landed == counter.total
