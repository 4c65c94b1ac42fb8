"""How many requests a far end gets at once, by a clock that stands still between the tests' ticks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.content import Turns
from ecrdrag.errors import BusyError, NotFoundError, TransferError, TransientError
from ecrdrag.transfer.pace import FIRST_WINDOW, HOLD, HOLD_AFTER_CUT, SETTLING, WINDOW, Pace, PacedTurn, Paces, Ticket

PATIENCE = 20  # seconds that a test waits for what must happen
TICK = 0.002  # seconds


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Line:
    """A far end with as many requests as it gets, which bring together what rate says of their number, per second."""

    def __init__(self, ceiling: int, rate: Callable[[int], float], *, first_bytes: float = 0.0) -> None:
        self.clock, self.rate, self.first_bytes = Clock(), rate, first_bytes
        self.pace = Pace(ceiling, self.clock, first=max(1, ceiling // 2))
        self.turns: list[tuple[PacedTurn, float]] = []
        self.limits: list[int] = []
        self.wanted = ceiling

    def flow(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end - TICK / 2:
            self._fill()
            self.clock.now += TICK
            flowing = [turn for turn, from_then in self.turns if from_then <= self.clock.now]
            for turn in flowing:
                turn.moved(int(self.rate(len(flowing)) * TICK / len(flowing)))
                self._record()

    def _fill(self) -> None:
        while len(self.turns) > min(self.wanted, self.pace.limit):
            self.turns.pop()
            self.pace.leave()
        while len(self.turns) < min(self.wanted, self.pace.limit):
            self.turns.append((PacedTurn(self.pace, self.pace.enter()), self.clock.now + self.first_bytes))

    def _record(self) -> None:
        if self.limits[-1:] != [self.pace.limit]:
            self.limits.append(self.pace.limit)


def grows(requests: int) -> float:
    return 1e6 * requests


def saturated(requests: int) -> float:
    return 8e6


@pytest.mark.parametrize(("ceiling", "first"), [(1, 1), (2, 1), (7, 1), (16, 4), (33, 8)])
def test_the_beginning_is_at_a_quarter_of_the_ceiling(ceiling: int, first: int) -> None:
    assert Pace(ceiling, Clock()).limit == first


@pytest.mark.parametrize(("ceiling", "limits"), [(1, [1]), (2, [1, 2]), (3, [1, 3]), (16, [8, 16]), (33, [16, 33])])
def test_the_first_increase_goes_up_to_the_ceiling_and_stays_where_the_rate_grows(
    ceiling: int, limits: list[int]
) -> None:
    line = Line(ceiling, grows)
    line.flow(1.0)
    assert line.limits == limits


def test_the_first_increase_comes_after_a_short_window_and_not_before() -> None:
    line = Line(16, grows)
    line.flow(FIRST_WINDOW)
    assert line.limits == [8]
    line.flow(2 * TICK)
    assert line.limits == [8, 16]


def test_an_increase_that_brings_nothing_is_taken_back_and_not_tried_again_for_a_while() -> None:
    line = Line(16, saturated)
    line.flow(1.0)
    assert line.limits == [8, 16, 8]
    line.flow(HOLD - 1.0)
    assert line.limits == [8, 16, 8]
    line.flow(WINDOW + 1.0)
    assert line.limits[:4] == [8, 16, 8, 9], "after the hold one more is tried, not twice as many"


def test_after_a_step_back_the_limit_grows_by_one_while_the_rate_does() -> None:
    line = Line(16, saturated)
    line.flow(1.0)
    line.rate = grows
    line.flow(HOLD + 10 * (WINDOW + 2 * TICK))
    assert line.limits == [8, 16, 8, 9, 10, 11, 12, 13, 14, 15, 16]


def test_a_rate_that_grows_by_less_than_a_quarter_of_the_requests_is_no_gain() -> None:
    for gain, limits in ((0.15, [8, 16, 8]), (0.35, [8, 16])):
        line = Line(16, lambda requests, gain=gain: 8e6 * (1 + gain * (requests - 8) / 8))  # type: ignore[misc]
        line.flow(2.0)
        assert line.limits == limits


def test_an_increase_is_not_judged_before_those_it_let_in_have_brought_something() -> None:
    line = Line(16, grows, first_bytes=0.3)  # a distant registry: a handshake or two
    line.flow(5.0)
    assert line.limits == [8, 16]
    assert line.pace.limit == 16


def test_the_farther_the_end_the_longer_is_the_window() -> None:
    line = Line(16, saturated, first_bytes=0.3)
    line.flow(0.3 + FIRST_WINDOW + 4 * TICK)
    assert line.limits == [8, 16]
    line.flow(0.3 + 3 * 0.3)
    assert line.limits == [8, 16], "connections are still getting faster"
    line.flow(0.3 + 6 * TICK)
    assert line.limits == [8, 16, 8]


def test_only_the_first_bytes_of_those_whom_an_increase_let_in_are_waited_for() -> None:
    clock = Clock()
    pace = Pace(8, clock, first=4)
    old = [PacedTurn(pace, pace.enter()) for _ in range(4)]
    for _ in range(5):
        old[0].moved(1000)
        clock.now += FIRST_WINDOW / 3
    assert pace.limit == 8
    new = [PacedTurn(pace, pace.enter()) for _ in range(4)]
    for turn in (*old, *new[:3], *new[:3]):
        turn.moved(1)

    for _ in range(10):
        clock.now += SETTLING / 20
        new[0].moved(1)
    assert pace.limit == 8, "one has brought nothing yet"
    new[3].moved(1)
    for _ in range(25):
        clock.now += SETTLING / 20
        new[0].moved(1)
    assert pace.limit == 4


def test_those_who_never_bring_anything_hold_the_judgement_up_for_a_while_only() -> None:
    line = Line(16, saturated)
    line.flow(FIRST_WINDOW + 2 * TICK)
    assert line.limits == [8, 16]
    line.first_bytes = 1000.0
    line.flow(SETTLING)
    assert line.limits == [8, 16]
    line.flow(SETTLING + 6 * TICK)
    assert line.limits == [8, 16, 8]


def test_nobody_gets_more_who_does_not_use_what_there_is() -> None:
    line = Line(16, grows)
    line.wanted = 7
    line.flow(10.0)
    assert line.limits == [8]
    line.wanted = 8
    line.flow(1.0)
    assert line.limits == [8, 16]


def test_what_was_used_before_a_window_and_in_it_is_not_the_same() -> None:
    line = Line(16, saturated)
    line.flow(1.0)
    assert line.limits == [8, 16, 8]
    line.wanted = 5
    line.flow(HOLD + 5.0)
    assert line.limits == [8, 16, 8]
    clock = Clock()
    pace = Pace(8, clock, first=2)
    turn = PacedTurn(pace, pace.enter())
    turn.moved(1)  # begins the window, in which another request begins
    pace.enter()
    for _ in range(3):
        clock.now += FIRST_WINDOW / 2
        turn.moved(1)
    assert pace.limit == 8


def test_a_window_counts_a_move_of_each_request_at_least() -> None:
    clock = Clock()
    pace = Pace(8, clock, first=4)
    turns = [PacedTurn(pace, pace.enter()) for _ in range(4)]
    turns[0].moved(1)  # begins the window
    for turn in turns[:3]:
        clock.now += 1.0
        turn.moved(1)
    assert pace.limit == 4
    turns[3].moved(1)
    assert pace.limit == 8


def test_a_busy_end_gets_half_once_for_all_who_were_on_their_way() -> None:
    line = Line(16, grows)
    line.flow(1.0)
    eras = [turn.era for turn, _ in line.turns]
    for era in eras:
        line.pace.cut(era)
    assert line.pace.limit == 8


def test_a_busy_end_gets_half_of_the_half_when_those_who_came_later_hear_it_too() -> None:
    pace = Pace(16, Clock(), first=8)
    for limit in (4, 2, 1, 1):
        era = pace.enter()
        pace.leave()
        pace.cut(era)
        assert pace.limit == limit


def test_a_request_from_before_an_increase_may_still_say_that_the_end_is_busy() -> None:
    line = Line(16, grows)
    line.flow(FIRST_WINDOW + 2 * TICK)
    line.flow(TICK)
    (early, _), (late, _) = line.turns[0], line.turns[-1]
    assert early.era < late.era
    assert line.pace.limit == 16
    line.pace.cut(early.era)
    line.pace.cut(late.era)
    assert line.pace.limit == 8


def test_after_a_cut_the_limit_holds_and_then_grows_by_one() -> None:
    line = Line(16, grows)
    line.flow(1.0)
    line.pace.cut(line.turns[0][0].era)
    line.limits.clear()
    line.flow(HOLD_AFTER_CUT)
    assert line.limits == [8]
    line.flow(3 * (WINDOW + 2 * TICK))
    assert line.limits[:3] == [8, 9, 10]


def test_a_cut_forgets_the_increase_that_was_to_be_judged() -> None:
    line = Line(16, saturated)
    line.flow(FIRST_WINDOW + 2 * TICK)
    assert line.pace.limit == 16
    line.pace.cut(line.turns[0][0].era)
    line.rate = lambda requests: 4e6
    line.flow(HOLD_AFTER_CUT)
    assert line.pace.limit == 8
    line.flow(WINDOW)
    assert line.pace.limit == 9, "else this would be the hold of a step back"


def test_only_a_busy_error_that_leaves_the_block_halves_the_limit() -> None:
    paces = Paces(32, Clock())
    for error in (TransientError("cut"), NotFoundError("gone"), KeyboardInterrupt()):
        with pytest.raises(type(error)), paces.turn("host"):
            raise error
    with paces.turn("host") as turn:
        assert turn.pace.limit == 8
    busy = BusyError("slow down")
    with pytest.raises(BusyError) as caught, paces.turn("host"):
        raise busy
    assert caught.value is busy
    assert turn.pace.limit == 4


def test_every_end_has_a_pace_of_its_own() -> None:
    paces: Turns = Paces(8, Clock())
    with pytest.raises(BusyError), paces.turn("one"):
        raise BusyError("slow down")
    with paces.turn("one"), paces.turn("other"), paces.turn("other"):
        pass  # a third turn at either would wait for ever


def test_a_turn_waits_until_another_ends_however_that_ends() -> None:
    paces = Paces(2, Clock())
    inside, order = threading.Event(), list[str]()

    def wait_for_a_turn() -> None:
        inside.set()
        with paces.turn("host"):
            order.append("second")

    thread = threading.Thread(target=wait_for_a_turn)
    with suppress(NotFoundError), paces.turn("host"):
        thread.start()
        assert inside.wait(PATIENCE)
        thread.join(0.005)
        order.append("first")
        raise NotFoundError("gone")
    thread.join(PATIENCE)
    assert order == ["first", "second"]


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    pace, order = Pace(1, Clock()), list[int]()

    def take_a_turn(number: int) -> None:
        pace.enter()
        order.append(number)
        pace.leave()

    pace.enter()
    threads = [threading.Thread(target=take_a_turn, args=(number,)) for number in range(5)]
    for number, thread in enumerate(threads):
        thread.start()
        while len(pace.waiting) <= number:
            thread.join(0.001)
    pace.leave()
    for thread in threads:
        thread.join(PATIENCE)
    assert order == [0, 1, 2, 3, 4]


def test_a_pause_counts_for_nothing_in_the_rate() -> None:
    line = Line(16, grows)
    line.flow(FIRST_WINDOW / 2)
    for _ in range(8):
        line.pace.leave()
    line.turns.clear()
    line.clock.now += 60.0
    line.flow(FIRST_WINDOW)
    assert line.limits == [8]
    line.flow(2 * TICK)
    assert line.limits == [8, 16]


def test_an_increase_lets_those_in_who_wait() -> None:
    clock = Clock()
    pace = Pace(2, clock)
    turn = PacedTurn(pace, pace.enter())
    thread = threading.Thread(target=pace.enter)
    thread.start()
    thread.join(0.005)
    assert thread.is_alive()
    for _ in range(2):
        clock.now += 1.0
        turn.moved(1000)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_short_calls_of_which_one_always_waits_are_no_pause() -> None:
    clock = Clock()
    pace = Pace(2, clock)
    turn = PacedTurn(pace, pace.enter())
    for _ in range(3):
        pace.waiting.append(next_one := Ticket())
        clock.now += 1.0
        turn.moved(1)
        pace.leave()
        assert next_one.era is not None
        turn = PacedTurn(pace, next_one.era)
    assert pace.limit == 2


def test_abort_ends_all_waits_and_there_are_no_turns_any_more() -> None:
    paces = Paces(2, Clock())
    errors: list[TransferError] = []

    def wait_for_a_turn() -> None:
        try:
            with paces.turn("host"):
                errors.clear()
        except TransferError as error:
            errors.append(error)

    waiting = [threading.Thread(target=wait_for_a_turn) for _ in range(3)]
    with paces.turn("host"):
        for thread in waiting:
            thread.start()
        paces.abort()
        for thread in waiting:
            thread.join(PATIENCE)
    assert [(error.exit_code, str(error)) for error in errors] == [(5, "the transfer was stopped")] * 3
    for end in ("host", "another"):
        with pytest.raises(TransferError), paces.turn(end):
            pass


@given(
    ceiling=st.integers(1, 20),
    steps=st.lists(st.tuples(st.sampled_from(["enter", "leave", "cut", "move"]), st.integers(0, 30)), max_size=200),
)
def test_whatever_happens_the_limit_stays_between_one_and_the_ceiling(
    ceiling: int, steps: list[tuple[str, int]]
) -> None:
    clock = Clock()
    pace = Pace(ceiling, clock)
    turns: list[PacedTurn] = []
    jumps = 0
    for step, number in steps:
        before = pace.limit
        turn = turns[number % len(turns)] if turns else None
        if step == "enter" and len(turns) < pace.limit:  # else it would wait
            turns.append(PacedTurn(pace, pace.enter()))
        elif step == "leave" and turn:
            turns.remove(turn)
            pace.leave()
        elif step == "cut" and turn:
            pace.cut(turn.era)
        elif step == "move" and turn:
            clock.now += number / 10
            turn.moved(number * 1000)
        assert 1 <= pace.limit <= ceiling
        jumps += pace.limit > before + 1
        assert jumps <= 1, "only the first increase goes up by more than one"
        assert pace.limit >= before // 2


def test_who_asks_for_it_begins_with_all_turns_at_every_end() -> None:
    paces = Paces(3, Clock(), first=3)
    for end in ("UploadLayerPart", "PutImage"):
        with paces.turn(end), paces.turn(end), paces.turn(end) as last:
            assert last.pace.limit == 3
