"""One blob on its way down: what is written, noted and hashed, whoever brings it in whatever order."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.errors import ArchiveError, IntegrityError, TransientError
from ecrdrag.transfer.blob import NOTE_SIZE, BlobInFlight, Chunk, Run
from tests.landing import Sink, blob_of

PATIENCE = 20  # seconds that a test waits for what must happen
NOISE = random.Random(11).randbytes(10_000)


def flight(content: bytes = NOISE, *, chunk_size: int = 4000, sink: Sink | None = None) -> tuple[BlobInFlight, Sink]:
    sink = sink or Sink(len(content))
    return BlobInFlight(blob_of(content), sink, lambda missing: chunk_size), sink


def bring(blob: BlobInFlight, run: Run, count: int, content: bytes = NOISE) -> int | None:
    return blob.place(run, memoryview(content)[run.position : run.position + count])


def bring_all(blob: BlobInFlight, content: bytes = NOISE) -> None:
    for chunk in blob.chunks:
        run = Run(chunk)
        bring(blob, run, run.stop - run.start, content)


@st.composite
def ranges(draw: st.DrawFn, size: int) -> list[tuple[int, int]]:
    edges = sorted(draw(st.sets(st.integers(0, size), max_size=8)))
    return list(zip(edges[::2], edges[1::2], strict=False))


@given(st.integers(0, 60).flatmap(lambda size: st.tuples(st.just(size), ranges(size))), st.integers(1, 20))
def test_chunks_are_what_has_landed_and_the_gaps_in_pieces(
    size_and_landed: tuple[int, list[tuple[int, int]]], chunk_size: int
) -> None:
    size, landed = size_and_landed
    blob, _ = flight(NOISE[:size], chunk_size=chunk_size, sink=Sink(size, landed, NOISE))
    assert [at for chunk in blob.chunks for at in range(chunk.start, chunk.stop)] == list(range(size))
    assert [(chunk.start, chunk.stop) for chunk in blob.chunks if not chunk.open] == landed
    assert all(chunk.stop - chunk.start <= chunk_size for chunk in blob.chunks if chunk.open)
    assert blob.received == sum(stop - start for start, stop in landed)


def test_the_size_of_a_chunk_is_asked_for_with_what_is_missing_from_there_on() -> None:
    asked: list[int] = []

    def third(missing: int) -> int:
        asked.append(missing)
        return max(1, missing // 3)

    blob = BlobInFlight(blob_of(NOISE[:30]), Sink(30, [(2, 10), (20, 22)], NOISE), third)
    assert [(chunk.start, chunk.stop) for chunk in blob.chunks if chunk.open] == [
        (0, 2),
        (10, 16),
        (16, 20),
        (22, 24),
        (24, 26),
        (26, 27),
        (27, 28),
        (28, 29),
        (29, 30),
    ]
    assert asked == [20, 18, 12, 8, 6, 4, 3, 2, 1]
    assert blob.restart() == 10
    assert asked[9] == 30


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 400)), max_size=60))
def test_runs_that_bring_the_same_bytes_write_each_once(steps: list[tuple[int, int]]) -> None:
    blob, sink = flight(NOISE[:2000])
    (chunk,) = blob.chunks
    runs = [Run(chunk) for _ in range(3)]
    for number, count in [*steps, (0, 2000)]:
        count = min(count, runs[number].stop - runs[number].position)
        before = chunk.position
        came = bring(blob, runs[number], count)
        assert came == (None if before == chunk.stop else chunk.position - before)
        assert chunk.position == max([before, *(run.position for run in runs)])
    assert sink.content == NOISE[:2000]
    assert sink.writes == 2000


def test_a_run_may_begin_behind_what_another_has_brought() -> None:
    blob, sink = flight(NOISE[:2000])
    (chunk,) = blob.chunks
    slow = Run(chunk)
    bring(blob, slow, 500)
    fast = Run(chunk)
    assert (fast.start, fast.stop) == (500, 2000)
    assert bring(blob, fast, 1000) == 1000
    assert bring(blob, slow, 1100) == 100
    assert (chunk.position, sink.writes) == (1600, 1600)


def test_what_has_landed_is_not_overwritten_by_what_comes_later() -> None:
    blob, sink = flight(NOISE[:2000])
    (chunk,) = blob.chunks
    slow, fast = Run(chunk), Run(chunk)
    bring(blob, fast, 1500)
    assert bring(blob, slow, 1500, bytes(2000)) == 0
    bring(blob, fast, 500)
    assert bring(blob, slow, 500, bytes(2000)) is None
    assert blob.claim_hashing()
    assert blob.hash_landed()
    assert sink.content == NOISE[:2000]


def test_who_brings_nothing_new_takes_no_claim_away() -> None:
    """Three threads side by side: who was behind took the claim of who was ahead away, now and then."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for seed in range(15):
            content = NOISE[:4000]
            blob, sink = flight(content)
            (chunk,) = blob.chunks
            chance = random.Random(seed)
            threads = [
                threading.Thread(
                    target=_bring_in_pieces, args=(blob, Run(chunk), content, chance.randint(3, 40)), daemon=True
                )
                for _ in range(3)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            assert sink.wrong == []
            assert (bytes(sink.content), sink.writes, chunk.position) == (content, 4000, 4000)
    finally:
        sys.setswitchinterval(interval)


def _bring_in_pieces(blob: BlobInFlight, run: Run, content: bytes, count: int) -> None:
    while run.position < run.stop and bring(blob, run, count, content[: run.stop]) is not None:
        pass


def test_while_one_writes_another_waits_and_brings_only_what_is_new() -> None:
    writing, release = threading.Event(), threading.Event()

    def hold(offset: int, size: int) -> None:
        if offset == 0:
            writing.set()
            assert release.wait(PATIENCE)

    blob, sink = flight(NOISE[:2000], sink=Sink(2000, on_write=hold))
    (chunk,) = blob.chunks
    came: list[int | None] = []
    first = threading.Thread(target=lambda: came.append(bring(blob, Run(chunk), 1000)))
    second = threading.Thread(target=lambda: came.append(bring(blob, Run(chunk), 1500)))
    first.start()
    assert writing.wait(PATIENCE)
    second.start()
    second.join(0.005)
    assert came == []
    release.set()
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert sorted(count for count in came if count) == [500, 1000]
    assert sink.content[:1500] == NOISE[:1500]


def test_more_than_was_asked_for_is_refused_before_it_is_written() -> None:
    blob, sink = flight(NOISE[:2000])
    run = Run(blob.chunks[0])
    bring(blob, run, 1999)
    with pytest.raises(TransientError, match="more bytes than were asked for"):
        blob.place(run, memoryview(b"12"))
    assert sink.writes == 1999


def test_a_chunk_is_cut_in_the_middle_of_what_it_lacks() -> None:
    blob, sink = flight(NOISE[:2000])
    (chunk,) = blob.chunks
    run = Run(chunk)
    bring(blob, run, 600)
    half = blob.split(chunk, 700)
    assert half is not None
    assert (chunk.stop, half.start, half.position, half.stop) == (1300, 1300, 1300, 2000)
    assert blob.chunks == [chunk, half]
    assert bring(blob, run, 1000) == 700, "the run goes on, but what isn't its own any more is cut off"
    assert bring(blob, run, 400) is None
    bring(blob, Run(half), 700)
    assert blob.claim_hashing()
    assert blob.hash_landed()
    assert (bytes(sink.content), sink.writes) == (NOISE[:2000], 2000)


def test_a_chunk_is_not_cut_where_a_half_were_too_small() -> None:
    blob, _ = flight(NOISE[:2000])
    (chunk,) = blob.chunks
    bring(blob, Run(chunk), 600)
    assert blob.split(chunk, 701) is None
    assert (chunk.stop, len(blob.chunks)) == (2000, 1)


def test_what_is_being_written_is_not_cut_off() -> None:
    halves: list[Chunk | None] = []
    blob, _ = flight(NOISE[:2000], sink=Sink(2000, on_write=lambda *_: halves.append(blob.split(chunk, 100))))
    (chunk,) = blob.chunks
    bring(blob, Run(chunk), 1500)
    (half,) = halves
    assert half is not None
    assert (chunk.position, chunk.stop, half.start) == (1500, 1750, 1750)


def test_neither_a_void_chunk_nor_a_whole_one_is_cut() -> None:
    blob, _ = flight(NOISE)
    void = blob.chunks[1]
    blob.restart(blob.chunks[0], whole=True)
    (whole,) = blob.chunks
    assert whole.whole
    assert blob.split(void, 1) is None
    assert blob.split(whole, 1) is None


def test_notes_come_by_the_mebibyte_and_at_the_end_of_a_chunk_or_a_run() -> None:
    content = bytes(3 * NOTE_SIZE)
    blob, sink = flight(content, chunk_size=2 * NOTE_SIZE + 10)
    first, second = (Run(chunk) for chunk in blob.chunks)
    bring(blob, first, NOTE_SIZE - 1, content)
    assert sink.notes == []
    bring(blob, first, 2, content)
    assert sink.notes == [(0, NOTE_SIZE + 1)]
    bring(blob, first, NOTE_SIZE - 1, content)
    bring(blob, first, 10, content)
    assert sink.notes[1:] == [(NOTE_SIZE + 1, 2 * NOTE_SIZE + 10)]
    bring(blob, second, 5, content)
    assert len(sink.notes) == 2
    blob.leave(second)
    blob.leave(second)
    assert sink.notes[2:] == [(2 * NOTE_SIZE + 10, 2 * NOTE_SIZE + 15)]


def test_what_an_earlier_run_noted_is_not_noted_again() -> None:
    blob, sink = flight(NOISE, sink=Sink(len(NOISE), [(0, 3000)], NOISE))
    bring_all(blob)
    blob.close()
    assert sink.notes == [(3000, 7000), (7000, 10_000)]


def test_a_refused_note_lets_those_go_on_who_wait() -> None:
    waiting, release = threading.Event(), threading.Event()

    class FullDisk(Sink):
        def note(self, start: int, stop: int) -> None:
            raise ArchiveError("the disk has lost bytes")

    def hold(offset: int, size: int) -> None:
        waiting.set()
        assert release.wait(PATIENCE)

    blob, _ = flight(NOISE[:2000], sink=FullDisk(2000, on_write=hold))
    (chunk,) = blob.chunks
    errors: list[ArchiveError] = []

    def write() -> None:
        try:
            bring(blob, Run(chunk), 2000)
        except ArchiveError as error:
            errors.append(error)

    came: list[int | None] = []
    writer = threading.Thread(target=write)
    other = threading.Thread(target=lambda: came.append(bring(blob, Run(chunk), 1000)), daemon=True)
    writer.start()
    assert waiting.wait(PATIENCE)
    other.start()
    other.join(0.005)  # by now it waits for the writer
    release.set()
    writer.join(PATIENCE)
    other.join(1)
    assert (came, len(errors)) == ([None], 1)


def test_a_write_that_fails_claims_nothing() -> None:
    class Failing(Sink):
        def write_at(self, view: memoryview, offset: int) -> None:
            raise ArchiveError("disk full")

    blob, _ = flight(NOISE[:2000], sink=Failing(2000))
    run = Run(blob.chunks[0])
    with pytest.raises(ArchiveError):
        bring(blob, run, 500)
    assert (blob.received, run.position, blob.chunks[0].claimed) == (0, 0, 0)
    blob.close()


def test_a_restart_forgets_all_and_says_how_much_that_was() -> None:
    blob, sink = flight(NOISE, sink=Sink(len(NOISE), [(0, 1000)], NOISE))
    old = list(blob.chunks)
    run = Run(old[1])
    bring(blob, run, 2000)
    assert blob.restart(old[1]) == 3000
    assert (sink.forgotten, blob.received) == (1, 0)
    assert [(chunk.start, chunk.stop) for chunk in blob.chunks] == [(0, 4000), (4000, 8000), (8000, 10_000)]
    assert all(chunk.void and not chunk.open for chunk in old)
    assert bring(blob, run, 100) is None
    blob.leave(run)
    assert sum(sink.noted) == 0
    assert sink.writes == 2000


def test_a_restart_for_a_chunk_that_is_done_or_void_is_somebody_elses() -> None:
    blob, sink = flight(NOISE)
    done, open_one, *_ = blob.chunks
    bring(blob, Run(done), 4000)
    assert blob.restart(done) is None
    assert blob.restart(open_one, whole=True) == 4000
    assert blob.restart(open_one, whole=True) is None
    assert sink.forgotten == 1
    assert [(chunk.start, chunk.stop, chunk.whole) for chunk in blob.chunks] == [(0, 10_000, True)]


@pytest.mark.parametrize("end", ["restart", "close"])
def test_a_restart_and_a_close_wait_for_the_write_that_has_begun(end: str) -> None:
    writing, release = threading.Event(), threading.Event()

    def hold(offset: int, size: int) -> None:
        writing.set()
        assert release.wait(PATIENCE)

    blob, sink = flight(sink=Sink(len(NOISE), on_write=hold))
    first, second, _ = blob.chunks
    run = Run(first)
    writer = threading.Thread(target=lambda: bring(blob, run, 4000))
    writer.start()
    assert writing.wait(PATIENCE)
    lost: list[int | None] = []
    ending = threading.Thread(target=lambda: lost.append(blob.restart(second)) if end == "restart" else blob.close())
    ending.start()
    ending.join(0.005)
    assert ending.is_alive()
    assert bring(blob, Run(second), 1000) is None, "nothing begins in the meantime"
    release.set()
    ending.join(PATIENCE)
    writer.join(PATIENCE)
    assert (lost, sum(sink.noted), sink.writes) == (([4000], 0, 4000) if end == "restart" else ([], 4000, 4000))


def test_close_notes_all_that_has_landed_and_nothing_is_written_or_forgotten_later() -> None:
    blob, sink = flight()
    first, second, _ = blob.chunks
    run = Run(first)
    bring(blob, run, 1000)
    bring(blob, Run(second), 500)
    blob.close()
    assert (sum(sink.written), sum(sink.noted)) == (1500, 1500)
    assert bring(blob, run, 1000) is None
    blob.leave(run)
    assert blob.restart() is None
    assert (sink.writes, len(sink.notes), sink.forgotten) == (1500, 2, 0)


def test_a_close_during_a_restart_is_the_last_that_the_sink_hears_of() -> None:
    writing, release = threading.Event(), threading.Event()

    def hold(offset: int, size: int) -> None:
        writing.set()
        assert release.wait(PATIENCE)

    blob, sink = flight(sink=Sink(len(NOISE), on_write=hold))
    first, second, _ = blob.chunks
    threads = [
        threading.Thread(target=lambda: bring(blob, Run(first), 1000)),
        threading.Thread(target=lambda: blob.restart(second)),
        threading.Thread(target=blob.close),
    ]
    threads[0].start()
    assert writing.wait(PATIENCE)
    for thread in threads[1:]:
        thread.start()
        thread.join(0.005)
    release.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert (sink.forgotten, sum(sink.noted), sum(sink.written)) == (1, 0, 0)
    assert not any(chunk.open for chunk in blob.chunks)


def test_after_close_nothing_is_hashed_any_more() -> None:
    class Unread(Sink):
        def read_at(self, buffer: memoryview, offset: int) -> int:
            raise AssertionError("40 GB might be hashed while a user waits for Ctrl-C to work")

    blob, _ = flight(sink=Unread(len(NOISE), [(0, 9000)], NOISE))
    assert blob.claim_hashing()
    blob.close()
    assert not blob.hash_landed()
    with pytest.raises(IntegrityError, match="was not verified"):
        blob.check_verified()


def test_one_thread_hashes_at_a_time_and_only_when_there_is_something_new() -> None:
    blob, _ = flight()
    assert not blob.claim_hashing(), "nothing has landed"
    first, second, third = (Run(chunk) for chunk in blob.chunks)
    bring(blob, second, 4000)
    assert not blob.claim_hashing(), "not from the start"
    bring(blob, first, 10)
    assert blob.claim_hashing()
    assert not blob.claim_hashing()
    assert not blob.hash_landed()
    assert not blob.claim_hashing(), "all that landed in order is hashed"
    bring(blob, first, 3990)
    assert blob.claim_hashing()
    assert not blob.hash_landed()
    bring(blob, third, 2000)
    assert blob.claim_hashing()
    assert blob.hash_landed()
    assert not blob.claim_hashing()
    blob.check_verified()


def test_a_blob_of_no_bytes_is_hashed_too() -> None:
    blob, _ = flight(b"")
    assert blob.claim_hashing()
    assert blob.hash_landed()
    wrong = BlobInFlight(blob_of(b""), Sink(0), lambda missing: 10)
    with pytest.raises(IntegrityError, match="was not verified"):
        wrong.check_verified()


def test_wrong_bytes_are_an_integrity_error_and_the_blob_can_be_hashed_again() -> None:
    blob, sink = flight()
    bring_all(blob, bytes(len(NOISE)))
    assert blob.claim_hashing()
    with pytest.raises(IntegrityError, match="arrived with digest"):
        blob.hash_landed()
    assert blob.restart() == len(NOISE)
    bring_all(blob)
    assert blob.claim_hashing()
    assert blob.hash_landed()
    assert sink.content == NOISE


def test_a_hash_that_was_under_way_at_a_restart_begins_again_too() -> None:
    reading, release = threading.Event(), threading.Event()

    class Held(Sink):
        def read_at(self, buffer: memoryview, offset: int) -> int:
            count = super().read_at(buffer, offset)
            if not reading.is_set():
                reading.set()
                assert release.wait(PATIENCE)
            return count

    blob, _ = flight(sink=Held(len(NOISE)))
    bring(blob, Run(blob.chunks[0]), 3000, bytes(len(NOISE)))
    assert blob.claim_hashing()
    verified: list[bool] = []
    hasher = threading.Thread(target=lambda: verified.append(blob.hash_landed()))
    hasher.start()
    assert reading.wait(PATIENCE)
    assert blob.restart(blob.chunks[0]) == 3000
    bring_all(blob)
    assert not blob.claim_hashing(), "it is being hashed"
    release.set()
    hasher.join(PATIENCE)
    assert verified == [True]


def test_a_disk_that_is_shorter_than_what_was_written_is_an_archive_error() -> None:
    class Short(Sink):
        def read_at(self, buffer: memoryview, offset: int) -> int:
            return 0 if offset else min(10, super().read_at(buffer, offset))

    blob, _ = flight(sink=Short(len(NOISE)))
    bring_all(blob)
    assert blob.claim_hashing()
    with pytest.raises(ArchiveError, match="cut short on the disk at byte 10"):
        blob.hash_landed()


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before  # those of an earlier test may end meanwhile
