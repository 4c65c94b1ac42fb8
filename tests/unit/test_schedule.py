"""Who fetches what next, and what is done at the end: chunks cut in two, and races, by a clock that stands still."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ecrdrag.transfer.blob import BlobInFlight
from ecrdrag.transfer.schedule import (
    LOOK,
    MIN_GAIN,
    MIN_RACE,
    MIN_SPLIT,
    RACE_AGAIN,
    SILENCE,
    Errand,
    Schedule,
)
from tests.landing import Sink, blob_of

PATIENCE = 20  # seconds that a test waits for what must happen
KIB = 1024
MIB = 1024 * KIB


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before  # those of an earlier test may end meanwhile


class Board:
    """A schedule, its clock, and workers who have nothing to do but to look at it once."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *sizes: int, chunk_size: int = 100 * MIB, landed: int = 0
    ) -> None:
        monkeypatch.setattr("ecrdrag.transfer.schedule.LOOK", 1e-6)  # how long the real look would take
        self.now = 1000.0
        self.looks = 0
        self.blobs = [
            BlobInFlight(blob_of(bytes(size)), Sink(size, [(0, landed)] if landed else ()), lambda missing: chunk_size)
            for size in sizes
        ]
        self.schedule = Schedule(self.blobs, self._ended, lambda: self.now)

    def _ended(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def look(self) -> Errand | None:
        """Take what there is to do for one who has nothing to do."""
        self.looks = 1
        return self.schedule.take()

    def begin(self) -> Errand:
        errand = self.look()
        assert errand is not None
        return errand

    def bring(self, errand: Errand, count: int) -> None:
        """Have bytes come by an errand now."""
        errand.blob.place(errand.run, memoryview(bytes(count)))
        self.schedule.moved(errand)

    def flow(self, errand: Errand, rate: float, seconds: float) -> None:
        """Have bytes come for a while, rate in bytes per second."""
        steps = 10
        for _ in range(steps):
            self.now += seconds / steps
            self.bring(errand, int(rate * seconds / steps))


def beside_a_usual_one(board: Board, seconds: float) -> Errand:
    """Begin two errands; the first brings its 400 KiB in so many seconds and ends, the other is given back."""
    usual, slow = board.begin(), board.begin()
    for errand in (usual, slow):
        board.bring(errand, 0)
    board.now += seconds
    board.bring(usual, 400 * KIB)
    board.schedule.end(usual)
    return slow


def span(errand: Errand | None) -> tuple[int, int] | None:
    return (errand.run.start, errand.run.stop) if errand else None


def test_chunks_are_handed_out_once_in_order_of_the_blobs(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 25, 0, 15, chunk_size=10)
    assert len(board.schedule) == 5
    taken = [board.begin() for _ in range(5)]
    assert [span(errand) for errand in taken] == [(0, 10), (10, 20), (20, 25), (0, 10), (10, 15)]
    assert [errand.blob for errand in taken] == [board.blobs[0]] * 3 + [board.blobs[2]] * 2
    assert not any(errand.racing for errand in taken)
    assert len(board.schedule) == 0
    assert board.look() is None


def test_what_has_landed_earlier_is_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 25, chunk_size=10, landed=12)
    assert [span(board.look()) for _ in range(3)] == [(12, 22), (22, 25), None]


def test_who_has_nothing_to_do_gets_the_second_half_of_what_the_slowest_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 8 * MIB, 8 * MIB)
    fast, slow = board.begin(), board.begin()
    board.flow(fast, 4 * MIB, 0.0)
    board.flow(slow, 2 * MIB, 0.0)
    board.now += 1.0
    board.bring(fast, 4 * MIB)
    board.bring(slow, 2 * MIB)
    half = board.begin()
    assert (half.blob, half.racing, span(half)) == (slow.blob, False, (5 * MIB, 8 * MIB))
    assert (slow.chunk.stop, slow.run.stop) == (5 * MIB, 8 * MIB)
    assert half.chunk is not slow.chunk


def test_the_next_idle_worker_helps_who_is_the_slowest_then(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 8 * MIB, 8 * MIB)
    first, second = board.begin(), board.begin()
    for errand in (first, second):
        board.bring(errand, 0)
    board.now += 1.0
    board.bring(first, 1 * MIB)  # 7 s are left
    board.bring(second, 5 * MIB // 4)  # 5.4 s
    helped = [board.begin().blob for _ in range(3)]
    assert helped == [first.blob, second.blob, first.blob], "3.5 s were left, and 2.7"


def test_the_halves_of_a_cut_can_be_cut_again_and_cover_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 8 * MIB)
    errands = [board.begin()]
    for _ in range(40):
        board.now += SILENCE + 1
        helper = board.look()
        if helper is None or helper.racing:
            break
        errands.append(helper)
    chunks = board.blobs[0].chunks
    assert [(chunk.start, chunk.stop) for chunk in chunks] == [
        (at, at + MIN_SPLIT) for at in range(0, 8 * MIB, MIN_SPLIT)
    ]
    assert sorted(errand.chunk.start for errand in errands) == [chunk.start for chunk in chunks]


def test_what_would_be_too_small_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    for size, cut in ((2 * MIN_SPLIT, True), (2 * MIN_SPLIT - 1, False)):
        board = Board(monkeypatch, size)
        board.begin()
        board.now += SILENCE + 0.1
        helper = board.begin()
        assert helper.racing is not cut
        assert span(helper) == ((MIN_SPLIT, size) if cut else (0, size))


def test_who_is_about_to_be_done_is_not_helped(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 20 * MIB)
    errand = board.begin()
    board.bring(errand, 0)
    board.now += 1.0
    board.bring(errand, 18 * MIB)
    errand.chunk.stop -= MIB // 4  # 1.75 MiB are left, at 18 MiB/s
    assert MIN_GAIN > 1.75 / 18
    assert board.look() is None
    errand.chunk.stop += MIB // 4
    assert MIN_GAIN < 2 / 18
    assert board.look() is not None


def test_a_second_request_that_would_take_longer_to_begin_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 8 * MIB)
    errand = board.begin()
    board.now += 0.6  # the first byte's way
    board.bring(errand, 0)
    board.now += 1.0
    board.bring(errand, 3 * MIB)  # 5 MiB are left, at 3 MiB/s
    assert 5 / 3 < 4 * 0.6
    assert board.look() is None
    board.now += 1.0  # nothing came, so the rate is 1.5 MiB/s now
    assert 5 / 1.5 > 4 * 0.6
    assert board.look() is not None


def test_it_is_too_early_to_say_anything_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 8 * MIB)
    errand = board.begin()
    assert board.look() is None
    board.now += SILENCE
    assert board.look() is None
    board.bring(errand, 1)
    assert board.look() is None, "a rate of one moment says nothing"
    board.now += LOOK
    board.bring(errand, 1)
    assert board.look() is not None


def test_the_rate_of_less_than_half_a_look_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 8 * MIB)
    monkeypatch.setattr("ecrdrag.transfer.schedule.LOOK", 0.001)
    errand = board.begin()
    board.bring(errand, 1)
    for seconds, helped in ((0.0004, False), (0.0002, True)):
        board.now += seconds
        assert (board.look() is not None) is helped


def test_a_silent_request_is_helped_before_any_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 8 * MIB, 8 * MIB)
    slow, silent = board.begin(), board.begin()
    board.flow(silent, 70 * MIB, 0.1)
    board.flow(slow, 10 * KIB, SILENCE + 0.1)
    assert board.begin().blob is silent.blob


def test_a_crawl_beside_faster_ones_is_raced_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 400 * KIB, 400 * KIB)
    slow = beside_a_usual_one(board, 1.0)
    board.bring(slow, 90 * KIB)
    racer = board.begin()
    assert (racer.racing, racer.chunk, racer.blob) == (True, slow.chunk, slow.blob)
    assert span(racer) == (90 * KIB, 400 * KIB), "it begins behind what has landed"
    board.now += 100 * SILENCE
    assert board.look() is None, "one race at a time, and nobody helps who races"


def test_who_is_as_slow_as_the_others_or_nearly_done_is_not_raced(monkeypatch: pytest.MonkeyPatch) -> None:
    for brought, raced in ((100, False), (99, True), (400 - 90, False)):
        board = Board(monkeypatch, 400 * KIB, 400 * KIB)
        slow = beside_a_usual_one(board, 1.0)
        board.bring(slow, brought * KIB)
        assert (board.look() is not None) is raced


def test_a_race_must_gain_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    for left, raced in ((MIN_RACE * 0.9, False), (MIN_RACE * 1.1, True)):
        board = Board(monkeypatch, 400 * KIB, 400 * KIB)
        slow = beside_a_usual_one(board, 0.1)
        board.now += 0.9
        rate = 400 * KIB / (1 + left)  # so that so much is left after a second
        board.bring(slow, int(rate))
        assert (board.look() is not None) is raced


def test_a_silent_request_for_a_small_chunk_is_raced(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 100)
    errand = board.begin()
    board.now += SILENCE + 0.01
    racer = board.begin()
    assert (racer.racing, racer.chunk) == (True, errand.chunk)


def test_after_a_race_that_failed_there_is_none_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 100, 100)
    first, second = board.begin(), board.begin()
    board.now += SILENCE + 0.01
    racer = board.begin()
    assert racer.chunk is first.chunk
    board.schedule.end(racer)
    assert board.begin().chunk is second.chunk, "another may be raced"
    assert board.look() is None
    board.now += RACE_AGAIN - 0.01
    assert board.look() is None
    board.now += 0.02
    again = board.begin()
    assert (again.racing, again.chunk) == (True, first.chunk)


def test_a_race_that_was_won_needs_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 100)
    errand = board.begin()
    board.now += SILENCE + 0.01
    racer = board.begin()
    board.bring(racer, 100)
    board.schedule.end(racer)
    assert errand.alone_until == 0
    assert board.look() is None, "the chunk is there; its first request needs no help"


def test_a_blob_that_comes_in_one_stream_is_neither_cut_nor_raced_and_stands_in_nobodys_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = Board(monkeypatch, 8 * MIB, 8 * MIB)
    stream, other = board.begin(), board.begin()
    stream.blob.restart(stream.chunk, whole=True)
    stream.chunk = stream.blob.chunks[0]
    board.schedule.again(stream, 0.0)
    for errand in (stream, other):
        board.bring(errand, 0)
    board.now += SILENCE
    board.bring(stream, 1)
    board.bring(other, MIB)
    assert board.begin().blob is other.blob, "the stream takes longer, but there is no help for it"
    for _ in range(100):
        board.now += SILENCE + 1
        helper = board.look()
        assert helper is None or helper.blob is other.blob
    assert len(stream.blob.chunks) == 1


def test_void_chunks_are_neither_handed_out_nor_cut_nor_raced(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 20, chunk_size=10)
    board.begin()
    board.blobs[0].restart()
    board.now += SILENCE + 1
    assert board.look() is None
    board.schedule.add(board.blobs[0])
    assert [span(board.begin()) for _ in range(2)] == [(0, 10), (10, 20)]


def test_nobody_helps_who_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 8 * MIB)
    errand = board.begin()
    board.flow(errand, 1 * KIB, 1.0)
    board.schedule.again(errand, 10.0)
    assert span(errand) == (1020, 8 * MIB), "the next request is for what the chunk lacks"
    for seconds in (0.0, 9.9, SILENCE):
        board.now += seconds
        assert board.look() is None
    board.now += 0.2
    assert board.look() is not None


def test_a_new_request_has_a_rate_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 8 * MIB)
    errand = board.begin()
    board.bring(errand, 0)
    board.flow(errand, 1 * KIB, 10.0)
    board.schedule.again(errand, 0.0)
    board.bring(errand, 0)
    board.now += 1.0
    board.bring(errand, int(7.4 * MIB))
    assert board.look() is None, "a moment is left"


def test_who_is_back_is_helped_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 8 * MIB)
    errand = board.begin()
    board.schedule.end(errand)
    board.now += SILENCE + 1
    assert board.look() is None


def test_the_end_is_there_when_it_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, 10)
    board.looks = 0
    assert board.schedule.take() is None
    assert len(board.schedule) == 1


@pytest.mark.parametrize("what", ["wake", "end", "add"])
def test_who_waits_looks_again_when_something_changes(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr("ecrdrag.transfer.schedule.LOOK", PATIENCE)
    over, looked = threading.Event(), threading.Event()

    def ended() -> bool:
        if over.is_set():
            return True
        looked.set()
        return False

    blob = BlobInFlight(blob_of(bytes(10)), Sink(10), lambda missing: 10)
    schedule = Schedule([blob], ended)
    errand = schedule.take()
    assert errand is not None
    looked.clear()
    taken: list[Errand | None] = []
    thread = threading.Thread(target=lambda: taken.append(schedule.take()))
    thread.start()
    assert looked.wait(PATIENCE)
    if what == "add":
        blob.restart()
        schedule.add(blob)
    else:
        over.set()
        if what == "end":
            schedule.end(errand)
        schedule.wake()
    thread.join(PATIENCE / 4)
    assert [span(each) for each in taken] == [(0, 10) if what == "add" else None]
