"""The download engine against scripted sources: (replies → expected ranges → bytes or error)."""

from __future__ import annotations

import errno
import logging
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import (
    ArchiveError,
    BusyError,
    IntegrityError,
    NotFoundError,
    RangeIgnoredError,
    StalledError,
    TransferError,
    TransientError,
)
from ecrdrag.transfer.download import MAX_CHUNK, MIB, MIN_CHUNK, Download, chunk_size_for, download, fetch
from ecrdrag.transfer.retry import RetryPolicy
from tests.landing import Sink, blob_of

FAST = RetryPolicy(tries=3, base=0.0)
PATIENCE = 20  # seconds that a test waits for what must happen


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:  # who looked ahead is left alone to end by itself
        with suppress(RuntimeError):  # a Ctrl-C came while it was being started
            thread.join(PATIENCE)
    assert set(threading.enumerate()) <= before  # those of others may have ended meanwhile


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the schedule cut and race chunks of some hundred bytes after milliseconds."""
    for name, value in {"LOOK": 0.001, "SILENCE": 0.002, "MIN_SPLIT": 300, "MIN_GAIN": 0.0, "MIN_RACE": 0.0}.items():
        monkeypatch.setattr(f"ecrdrag.transfer.schedule.{name}", value)
    monkeypatch.setattr("ecrdrag.transfer.schedule._LATENCIES", 0)
    monkeypatch.setattr("ecrdrag.transfer.download.MIN_SPLIT", 300)
    monkeypatch.setattr("ecrdrag.transfer.crew.LEAVE", 0.01)


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
    asked: list[Digest] = field(default_factory=list)
    expected: list[Digest] = field(default_factory=list)
    aborted: bool = False

    def __post_init__(self) -> None:
        self._by_digest = {Digest.of(content): content for content in self.contents}
        self._script = deque(self.script)
        self._lock = threading.Lock()

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        with self._lock:
            self.reads.append((start, stop))
            self.asked.append(blob.digest)
            reply = self._script.popleft() if self._script else self.then
        for data in reply(self._by_digest[blob.digest], start, stop):
            for place in range(0, len(data), self.piece):
                yield memoryview(data)[place : place + self.piece]

    def expect(self, blob: Descriptor) -> None:
        self.expected.append(blob.digest)

    def abort(self) -> None:
        self.aborted = True


class Counter:
    """Progress that adds up."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.landed = self.highest = self.begun = 0
        self.done: list[Digest] = []
        self._lock = threading.Lock()

    def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
        self.total = size
        self.landed = self.highest = self.begun = landed

    def advance(self, size: int) -> None:
        with self._lock:
            self.landed += size
            self.highest = max(self.highest, self.landed)

    def blob_done(self, blob: Descriptor) -> None:
        self.done.append(blob.digest)


def run(
    source: ScriptedSource, *, jobs: int = 4, chunk_size: int = 4000, sinks: Sequence[Sink] = ()
) -> tuple[list[bytes], Counter]:
    sinks = sinks or [Sink(len(content)) for content in source.contents]
    downloads = [Download(blob_of(content), sink) for content, sink in zip(source.contents, sinks, strict=True)]
    counter = Counter()
    download(downloads, source, jobs=jobs, chunk_size=chunk_size, retry=FAST, progress=counter)
    for sink in sinks:
        assert sink.wrong == []
        assert all(sink.noted), "all is noted in the end"
    assert counter.highest <= (counter.total or 0)
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
        run(ScriptedSource([NOISE], then=wrong_byte))


def test_a_wrong_byte_in_the_last_chunk_is_an_integrity_error() -> None:
    with pytest.raises(IntegrityError):
        run(ScriptedSource([NOISE[:4000]], [wrong_byte, wrong_byte]), jobs=1)


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
    assert threading.active_count() <= before  # those of an earlier test may end meanwhile


def test_a_full_disk_ends_the_download() -> None:
    class FullSink(Sink):
        def write_at(self, view: memoryview, offset: int) -> None:
            raise ArchiveError("disk full") from OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArchiveError, match="disk full"):
        download([Download(blob_of(NOISE), FullSink(len(NOISE)))], ScriptedSource([NOISE]), retry=FAST)


def test_a_disk_that_loses_bytes_is_noticed_by_the_hash() -> None:
    class Forgetful(Sink):
        def write_at(self, view: memoryview, offset: int) -> None:
            super().write_at(view, offset)
            if offset == 0:
                self.content[0] ^= 1

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
    assert threading.active_count() <= before  # those of an earlier test may end meanwhile


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

    sink = Sink(len(NOISE))
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

    class SlowDisk(Sink):
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
        fetch(blob_of(NOISE), ScriptedSource([NOISE], then=wrong_byte), retry=FAST)


@pytest.mark.parametrize(
    ("missing", "jobs", "expected"),
    [
        (100, 16, MIN_CHUNK),
        (32 * MIB, 16, MIN_CHUNK),
        (64 * MIB, 16, 2 * MIB),
        (64 * MIB + 1, 16, 2 * MIB + 1),
        (640 * MIB, 16, MAX_CHUNK),
        (40_000 * MIB, 16, MAX_CHUNK),
        (10 * MIB, 1, 5 * MIB),
    ],
)
def test_the_chunk_size_is_half_a_share_of_what_is_missing_between_1_and_20_mib(
    missing: int, jobs: int, expected: int
) -> None:
    assert chunk_size_for(missing, jobs) == expected


def test_chunks_get_smaller_towards_the_end_of_the_last_blob_and_not_before() -> None:
    contents = [bytes(24 * MIB), bytes([1]) * (24 * MIB)]
    source = ScriptedSource(contents, piece=4 * MIB)
    sinks = [Sink(len(content)) for content in contents]
    asked = [Download(blob_of(content), sink) for content, sink in zip(contents, sinks, strict=True)]
    download(asked, source, jobs=1, retry=FAST)
    sizes = [stop - start for start, stop in source.reads]
    assert sizes[:2] == [MAX_CHUNK, 4 * MIB]  # half of 48 MiB would be more; then what the blob has left
    assert sizes[2:5] == [12 * MIB, 6 * MIB, 3 * MIB]
    assert sizes[-1] <= MIN_CHUNK


def test_backoff_grows_to_its_cap_and_never_beyond() -> None:
    policy = RetryPolicy(base=0.1, cap=2.0, random=random.Random(1))
    for failures in range(1, 60):
        assert 0 <= policy.delay(failures) <= min(2.0, 0.1 * 2 ** (failures - 1))
    assert max(policy.delay(50) for _ in range(100)) > 1.5


# What an earlier run has brought.


@pytest.mark.parametrize("jobs", [1, 4])
def test_what_has_landed_earlier_is_hashed_but_not_fetched(jobs: int) -> None:
    source = ScriptedSource([NOISE[:10_000]])
    sink = Sink(10_000, [(0, 1000), (5000, 9000)], NOISE)
    _, counter = run(source, jobs=jobs, sinks=[sink])
    assert sorted(source.reads) == [(1000, 5000), (9000, 10_000)]
    assert (counter.begun, counter.landed, counter.total) == (5000, 10_000, 10_000)
    assert (sink.writes, sink.forgotten) == (5000, 0)


def test_a_blob_that_has_landed_whole_is_hashed_and_nothing_is_asked_for() -> None:
    source = ScriptedSource([NOISE, NOISE[:4000]])
    sinks = [Sink(len(NOISE), [(0, len(NOISE))], NOISE), Sink(4000, [(0, 4000)], NOISE)]
    _, counter = run(source, sinks=sinks)
    assert (source.reads, source.expected) == ([], [])
    assert len(counter.done) == 2


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_blob_of_which_wrong_bytes_had_landed_is_fetched_again_and_no_other(
    jobs: int, caplog: pytest.LogCaptureFixture
) -> None:
    contents = [NOISE[:10_000], NOISE[10_000:20_000]]
    source = ScriptedSource(contents)
    sinks = [Sink(10_000, [(0, 3000)], bytes(10_000)), Sink(10_000, [(0, 3000)], contents[1])]
    arrived, counter = run(source, jobs=jobs, sinks=sinks)
    assert arrived == contents
    assert [sink.forgotten for sink in sinks] == [1, 0]
    assert [sink.writes for sink in sinks] == [17_000, 7000]
    assert counter.landed == counter.total
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "fetching this blob again" in caplog.text


def test_wrong_bytes_from_an_earlier_run_and_wrong_bytes_again_are_an_integrity_error() -> None:
    sink = Sink(4000, [(0, 1000)], bytes(4000))
    with pytest.raises(IntegrityError) as caught:
        run(ScriptedSource([NOISE[:4000]], then=wrong_byte), jobs=1, sinks=[sink])
    assert caught.value.exit_code == 6
    assert (sink.forgotten, any(sink.noted)) == (2, False), "a later run is to believe nothing of it"


def test_a_failure_leaves_all_noted_that_has_landed() -> None:
    contents = [NOISE[:10_000], NOISE[10_000:20_000]]
    sinks = [Sink(10_000), Sink(10_000, [(0, 500)], contents[1])]
    source = ScriptedSource(contents, [whole, whole, cut_after(1500), whole], then=refuse(NotFoundError("gone")))
    with pytest.raises(NotFoundError):
        run(source, jobs=1, chunk_size=3000, sinks=sinks)
    for sink in sinks:
        assert sink.noted == sink.written
    assert sum(sinks[0].noted) == 9000


def test_what_a_cut_request_has_brought_is_noted_before_the_next_one_begins() -> None:
    noted: list[int] = []

    def look(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        noted.append(sum(sink.noted))
        yield content[start:stop]

    sink = Sink(4000)
    run(ScriptedSource([NOISE[:4000]], [cut_after(700), look]), jobs=1, sinks=[sink])
    assert noted == [700]


# Wrong bytes.


def test_a_wrong_blob_is_fetched_once_more_and_the_second_time_it_is_given_up() -> None:
    contents = [NOISE[:4000], NOISE[4000:8000], NOISE[8000:12_000]]
    source = ScriptedSource(contents, [whole, wrong_byte, whole, wrong_byte])
    sinks = [Sink(4000) for _ in contents]
    with pytest.raises(IntegrityError, match="arrived with digest") as caught:
        run(source, jobs=1, sinks=sinks)
    assert caught.value.exit_code == 6
    assert source.asked == [Digest.of(contents[number]) for number in (0, 1, 2, 1)]
    assert source.aborted
    assert [sink.forgotten for sink in sinks] == [0, 2, 0]
    assert all(sinks[0].noted)


def test_a_blob_that_is_right_the_second_time_is_a_success() -> None:
    source = ScriptedSource([NOISE, NOISE[::-1]], [wrong_byte])
    arrived, counter = run(source, jobs=4)
    assert arrived == [NOISE, NOISE[::-1]]
    assert counter.landed == counter.total
    assert len(counter.done) == 2


@pytest.mark.parametrize("jobs", [1, 8])
def test_another_size_at_the_far_end_is_looked_at_once_more_before_it_is_an_error(jobs: int) -> None:
    other_size = refuse(IntegrityError("registry has 9 bytes, the manifest promises 10"))
    arrived, _ = run(ScriptedSource([NOISE], [whole, other_size]), jobs=jobs)
    assert arrived == [NOISE]
    source = ScriptedSource([NOISE[:4000], NOISE[4000:]], [whole], then=other_size)
    with pytest.raises(IntegrityError, match="has 9 bytes"):
        run(source, jobs=jobs, chunk_size=30_000)


def test_two_requests_that_find_another_size_at_a_time_are_one_reason_to_look_once_more() -> None:
    together = threading.Barrier(2)

    def other_size(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        together.wait(PATIENCE)
        raise IntegrityError("registry has 9 bytes, the manifest promises 10")
        yield b""

    sink = Sink(8000)
    arrived, _ = run(ScriptedSource([NOISE[:8000]], [other_size] * 2), jobs=2, sinks=[sink])
    assert (arrived, sink.forgotten) == ([NOISE[:8000]], 1)


def test_wrong_bytes_of_a_blob_that_comes_in_one_stream_are_fetched_once_more_too() -> None:
    tries: list[int] = []

    def stream(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        if (start, stop) != (0, len(content)):
            raise RangeIgnoredError("whole blob")
        tries.append(start)
        yield from (wrong_byte if len(tries) == 1 else whole)(content, start, stop)

    arrived, counter = run(ScriptedSource([NOISE], then=stream), jobs=4)
    assert arrived == [NOISE]
    assert len(tries) == 2
    assert counter.landed == counter.total


# Tries.


def stalled_after(count: int) -> Reply:
    def reply(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        yield content[start : min(start + count, stop)]
        raise StalledError("too slow")

    return reply


def test_a_line_that_brings_a_byte_with_each_try_and_stalls_is_given_up() -> None:
    source = ScriptedSource([NOISE], then=stalled_after(1))
    with pytest.raises(TransferError, match="after 3 tries without progress: too slow"):
        run(source, jobs=1, chunk_size=30_000)
    assert source.reads == [(0, 25_000), (1, 25_000), (2, 25_000)]


def test_a_line_that_stalls_is_forgiven_once_another_try_gets_further() -> None:
    stalls = [stalled_after(1), stalled_after(1)]
    arrived, _ = run(ScriptedSource([NOISE], [*stalls, cut_after(100), stalls[0]]), jobs=1, chunk_size=30_000)
    assert arrived == [NOISE]


def test_a_source_that_gives_nothing_at_all_is_asked_so_many_times_and_no_more() -> None:
    source = ScriptedSource([NOISE], then=lambda content, start, stop: iter(()))
    with pytest.raises(TransferError, match="ended at byte 0 of 4000"):
        run(source, jobs=1)
    assert len(source.reads) == FAST.tries


# What goes wrong where nobody expects it.


def test_a_bug_in_a_source_a_sink_or_the_progress_surfaces() -> None:
    class Hollow(Sink):
        def read_at(self, buffer: memoryview, offset: int) -> int:
            raise ZeroDivisionError("hash")

    class Unnotable(Sink):
        def note(self, start: int, stop: int) -> None:
            raise ZeroDivisionError("note")

    with pytest.raises(ZeroDivisionError, match="read"):
        run(ScriptedSource([NOISE], then=refuse(ZeroDivisionError("read"))))
    with pytest.raises(ZeroDivisionError, match="hash"):
        run(ScriptedSource([NOISE]), sinks=[Hollow(len(NOISE))])
    with pytest.raises(ZeroDivisionError, match="note"):
        run(ScriptedSource([NOISE]), sinks=[Unnotable(len(NOISE))])

    class Broken(Counter):
        def advance(self, size: int) -> None:
            raise ZeroDivisionError("progress")

    with pytest.raises(ZeroDivisionError, match="progress"):
        download([Download(blob_of(NOISE), Sink(len(NOISE)))], ScriptedSource([NOISE]), progress=Broken())


def test_a_refused_note_at_the_end_of_a_failure_is_not_what_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecrdrag.transfer.crew.GRACE", 0.0)
    release, hanging = threading.Event(), threading.Event()

    class Lost(Sink):
        def note(self, start: int, stop: int) -> None:
            raise ArchiveError("the disk has lost bytes")

    def hang(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        yield content[start : start + 100]
        hanging.set()
        release.wait(PATIENCE)

    def gone(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        hanging.wait(PATIENCE)
        raise NotFoundError("gone")
        yield b""

    contents = [NOISE[:4000], NOISE[4000:8000], NOISE[8000:]]
    sinks = [Lost(4000), Sink(4000), Sink(17_000)]
    source = ScriptedSource(contents, [hang, lambda *args: hang(*args), gone])
    with pytest.raises(NotFoundError):
        run(source, jobs=3, chunk_size=20_000, sinks=sinks)
    assert sinks[1].noted == sinks[1].written, "the other blobs are closed all the same"
    release.set()


def test_ctrl_c_while_workers_receive_ends_the_download() -> None:
    main = threading.main_thread().ident or 0

    def interrupt(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        yield content[start : start + 10]
        signal.pthread_kill(main, signal.SIGINT)
        while not source.aborted:
            time.sleep(0.001)
        raise TransferError("the transfer was stopped")

    source = ScriptedSource([NOISE], then=interrupt)
    sink = Sink(len(NOISE))
    with pytest.raises(KeyboardInterrupt):
        run(source, jobs=4, sinks=[sink])
    assert sink.noted == sink.written
    assert sink.wrong == []


def test_ctrl_c_before_the_workers_have_begun_ends_who_looks_ahead_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ecrdrag.transfer.download._Engine._look_ahead", interrupted)
    source = ScriptedSource([NOISE, NOISE[::-1]])
    with pytest.raises(KeyboardInterrupt):
        run(source)
    assert source.aborted
    assert source.reads == []


def test_after_a_failure_nobody_goes_on_with_what_still_comes() -> None:
    one_writes = threading.Event()

    def flow(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        yield content[start : start + 100]
        one_writes.set()
        while not source.aborted:
            time.sleep(0.001)
        for place in range(start + 100, stop, 100):
            yield content[place : place + 100]

    def gone(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        one_writes.wait(PATIENCE)
        raise NotFoundError("gone")
        yield b""

    source = ScriptedSource([NOISE], [flow, gone])
    sink = Sink(len(NOISE))
    with pytest.raises(NotFoundError):
        run(source, jobs=2, chunk_size=20_000, sinks=[sink])
    assert sink.writes == 100


def test_a_request_is_read_to_its_end_so_that_its_connection_can_be_used_again() -> None:
    ended: list[int] = []

    def to_the_end(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        yield content[start:stop]
        ended.append(start)

    run(ScriptedSource([NOISE[:10_000]], then=to_the_end), jobs=1)
    assert ended == [0, 4000, 8000]


# Looking ahead.


def test_the_source_is_told_of_the_blobs_behind_the_first() -> None:
    contents = [NOISE[:10], NOISE[:20], b"", NOISE[:30], NOISE[:40]]
    sinks = [Sink(len(content)) for content in contents]
    sinks[3] = Sink(30, [(0, 30)], NOISE)
    told = threading.Event()

    class Told(ScriptedSource):
        def expect(self, blob: Descriptor) -> None:
            super().expect(blob)
            if len(self.expected) == 2:
                told.set()

    def once_told(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        told.wait(PATIENCE)
        yield content[start:stop]

    source = Told(contents, then=once_told)
    run(source, jobs=2, sinks=sinks)
    assert sorted(map(str, source.expected)) == sorted(str(Digest.of(NOISE[:size])) for size in (20, 40))


class Foreseeing(ScriptedSource):
    """A source that can't prepare for a blob."""

    error: Exception = TransientError("not now")

    def expect(self, blob: Descriptor) -> None:
        super().expect(blob)
        raise self.error


def test_what_can_not_be_prepared_yet_is_left_to_the_read() -> None:
    source = Foreseeing([NOISE, NOISE[::-1]])
    arrived, _ = run(source)
    assert arrived == [NOISE, NOISE[::-1]]


def test_what_can_not_be_prepared_at_all_ends_the_download() -> None:
    def once_foreseen(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        while not source.aborted:
            time.sleep(0.001)
        yield content[start:stop]

    source = Foreseeing([NOISE, NOISE[::-1]], then=once_foreseen)
    source.error = NotFoundError("no such layer")
    with pytest.raises(NotFoundError):
        run(source)


# Several requests for the same bytes.


@dataclass
class Stage:
    """Events that the requests of one test wait for, and what each of them was asked for."""

    release: threading.Event = field(default_factory=threading.Event)
    seen: threading.Event = field(default_factory=threading.Event)

    def hang(self, count: int = 0) -> Reply:
        """Bring count bytes, and the rest, which is wrong, when the test says so."""

        def reply(content: bytes, start: int, stop: int) -> Iterator[bytes]:
            yield content[start : start + count]
            self.seen.set()
            self.release.wait(PATIENCE)
            yield bytes(stop - start - count)

        return reply


def losers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "download"]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("count", [0, 100])
def test_a_loser_that_hangs_holds_no_success_up_and_writes_nothing_later(count: int) -> None:
    stage = Stage()
    sink = Sink(500)
    source = ScriptedSource([NOISE[:500]], [stage.hang(count)])
    counter = Counter()
    begun = time.monotonic()
    download([Download(blob_of(NOISE[:500]), sink)], source, jobs=2, chunk_size=500, retry=FAST, progress=counter)
    assert time.monotonic() - begun < PATIENCE / 2
    assert source.reads == [(0, 500), (count, 500)]
    assert (bytes(sink.content), sink.writes, counter.landed) == (NOISE[:500], 500, 500)
    (thread,) = losers()
    assert thread.daemon
    assert not source.aborted, "whoever owns the source may go on with it"
    stage.release.set()
    thread.join(PATIENCE)
    assert (bytes(sink.content), sink.writes, counter.landed, sink.wrong) == (NOISE[:500], 500, 500, [])


@pytest.mark.usefixtures("hasty")
def test_wrong_bytes_that_come_late_never_replace_what_has_landed() -> None:
    stage, late = Stage(), threading.Event()

    def brings_half_and_waits(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        yield content[start : start + 300]
        stage.release.set()  # the loser brings wrong bytes for these, and no others
        late.wait(PATIENCE)
        yield content[start + 300 : stop]

    def hangs_then_wrong(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        yield content[start : start + 100]
        stage.release.wait(PATIENCE)
        for _ in range(3):
            yield bytes(100)
        late.set()
        raise TransientError("cut")

    def patient(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        yield content[start:stop]

    source = ScriptedSource([NOISE[:590]], [hangs_then_wrong, brings_half_and_waits], then=patient)
    sink = Sink(590)
    arrived, counter = run(source, jobs=2, chunk_size=590, sinks=[sink])
    assert source.reads[:2] == [(0, 590), (100, 590)]
    assert arrived == [NOISE[:590]]
    assert (sink.writes, sink.forgotten, counter.landed) == (590, 0, 590)


@pytest.mark.usefixtures("hasty")
def test_a_request_that_fails_when_another_has_brought_its_chunk_is_no_failure() -> None:
    raced, lost = threading.Event(), threading.Event()

    def loses(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        raced.wait(PATIENCE)
        lost.set()
        raise TransientError("cut")
        yield b""

    def takes_longer(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        lost.wait(PATIENCE)
        time.sleep(0.01)
        yield content[start:stop]

    def wins(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        yield content[start:stop]
        raced.set()
        yield from takes_longer(content, stop, stop)

    sink = Sink(1000)
    source = ScriptedSource([NOISE[:1000]], [loses, takes_longer, wins])
    download([Download(blob_of(NOISE[:1000]), sink)], source, jobs=3, chunk_size=500, retry=RetryPolicy(tries=1))
    assert source.reads[:3] == [(0, 500), (500, 1000), (0, 500)]
    assert sink.content == NOISE[:1000]


@pytest.mark.usefixtures("hasty")
def test_nobody_helps_a_request_that_pauses() -> None:
    begun: list[float] = []

    def note_time(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        begun.append(time.monotonic())
        if len(begun) == 1:
            raise BusyError("slow down")
        yield content[start:stop]

    source = ScriptedSource([NOISE[:500]], then=note_time)
    download([Download(blob_of(NOISE[:500]), Sink(500))], source, jobs=2, retry=RetryPolicy(base=0.015))
    assert len(begun) == 2
    assert begun[1] - begun[0] > 0.007, "half of what the policy says"


def test_who_has_nothing_to_do_is_called_when_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecrdrag.transfer.schedule.LOOK", PATIENCE)

    class SlowToRead(Sink):
        def read_at(self, buffer: memoryview, offset: int) -> int:
            time.sleep(0.01)  # so that all others have come to wait
            return super().read_at(buffer, offset)

    run(ScriptedSource([NOISE[:500]]), jobs=2, sinks=[SlowToRead(500)])
    assert losers() == []


@pytest.mark.usefixtures("hasty")
def test_a_silent_request_is_raced_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecrdrag.transfer.schedule.RACE_AGAIN", 0.001)
    stage = Stage()
    source = ScriptedSource([NOISE[:500]], [stage.hang(), refuse(BusyError("slow down"))])
    begun = time.monotonic()
    run(source, jobs=2, chunk_size=500)
    assert time.monotonic() - begun < PATIENCE / 2
    assert source.reads == [(0, 500)] * 3
    stage.release.set()


@pytest.mark.usefixtures("hasty")
def test_a_race_that_fails_is_no_failure_and_not_run_again_at_once() -> None:
    stage, refused = Stage(), threading.Event()

    def refuse_and_tell(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        refused.set()
        raise BusyError("slow down")
        yield b""

    def hang_for_a_moment(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        refused.wait(PATIENCE)
        stage.release.wait(0.01)  # many looks
        yield content[start:stop]

    source = ScriptedSource([NOISE[:500]], [hang_for_a_moment], then=refuse_and_tell)
    arrived, _ = run(source, jobs=4, chunk_size=500)
    assert arrived == [NOISE[:500]]
    assert source.reads == [(0, 500)] * 2


@pytest.mark.usefixtures("hasty")
def test_what_a_silent_request_lacks_is_fetched_by_the_others() -> None:
    stage = Stage()
    sink = Sink(20_000)
    source = ScriptedSource([NOISE[:20_000]], [stage.hang(1000)], piece=500)
    counter = Counter()
    download([Download(blob_of(NOISE[:20_000]), sink)], source, jobs=4, chunk_size=20_000, progress=counter)
    assert (bytes(sink.content), sink.writes, counter.landed) == (NOISE[:20_000], 20_000, 20_000)
    assert len(source.reads) > 3
    assert all(sink.noted)
    stage.release.set()
    for thread in losers():
        thread.join(PATIENCE)
    assert (sink.writes, sink.wrong) == (20_000, [])


@pytest.mark.usefixtures("hasty")
def test_who_has_lost_the_rest_of_a_chunk_asks_for_nothing_more_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecrdrag.transfer.schedule.MIN_RACE", float("inf"))
    monkeypatch.setattr("ecrdrag.transfer.schedule.SILENCE", float("inf"))  # so its rate tells that it needs help
    other_began, asked_for_more = threading.Event(), threading.Event()

    def slow(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        yield content[start : start + 100]
        other_began.wait(PATIENCE)
        yield content[start + 100 : start + 600]
        asked_for_more.set()

    def other(content: bytes, start: int, stop: int) -> Iterator[bytes]:
        other_began.set()
        yield content[start:stop]

    source = ScriptedSource([NOISE[:1000]], [slow], then=other)
    run(source, jobs=2, chunk_size=1000)
    assert source.reads == [(0, 1000), (550, 1000)]
    assert not asked_for_more.is_set()


def slow(content: bytes, start: int, stop: int) -> Iterator[bytes]:
    third = (stop - start) // 3
    for place, end in ((start, start + third), (start + third, start + 2 * third), (start + 2 * third, stop)):
        yield content[place:end]
        time.sleep(0.004)


REPLIES = [
    whole,
    whole,
    slow,
    slow,
    cut_after(1),
    cut_after(700),
    stalled_after(300),
    short_without_error,
    too_long,
    no_ranges,
    wrong_byte,
    refuse(IntegrityError("another size")),
    refuse(BusyError("slow down")),
]


@st.composite
def some_ranges(draw: st.DrawFn, size: int) -> list[tuple[int, int]]:
    edges = sorted(draw(st.sets(st.integers(0, size), max_size=6)))
    return list(zip(edges[::2], edges[1::2], strict=False))


@pytest.mark.usefixtures("hasty")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=st.lists(st.sampled_from(REPLIES), max_size=14),
    landed=some_ranges(5000),
    damaged=st.booleans(),
    jobs=st.integers(1, 5),
    chunk_size=st.integers(300, 6000),
    piece=st.integers(50, 4000),
)
def test_any_script_of_faults_ends_in_the_right_bytes_or_a_clean_error(
    script: list[Reply], landed: list[tuple[int, int]], damaged: bool, jobs: int, chunk_size: int, piece: int
) -> None:
    contents = [NOISE[:5000], NOISE[5000:5100], b""]
    source = ScriptedSource(contents, script, piece=piece)
    sinks = [Sink(5000, landed, bytes(5000) if damaged else contents[0]), Sink(100), Sink(0)]
    downloads = [Download(blob_of(content), sink) for content, sink in zip(contents, sinks, strict=True)]
    counter = Counter()
    try:
        download(downloads, source, jobs=jobs, chunk_size=chunk_size, retry=FAST, progress=counter)
    except (IntegrityError, TransferError):
        assert source.aborted
    else:
        assert [sink.content for sink in sinks] == contents
        assert counter.landed == counter.total
        assert sorted(map(str, counter.done)) == sorted(str(Digest.of(content)) for content in contents)
    for thread in losers():
        thread.join(PATIENCE)
    for sink in sinks:
        assert sink.wrong == []
        assert sink.noted == sink.written
    assert 0 <= counter.landed <= counter.highest <= (counter.total or 0)
