"""Small tasks side by side: in order, no further ahead than is read, and what becomes of failures."""

from __future__ import annotations

import _thread
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ecrdrag.transfer.lookahead import AHEAD, in_order

WAIT = 10  # seconds, which only a test that fails takes


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + WAIT
    while not holds() and time.monotonic() < end:
        time.sleep(0.001)
    return holds()


@pytest.mark.parametrize("jobs", [1, 3, 16])
def test_results_come_in_the_order_of_the_tasks_whichever_ends_first(jobs: int) -> None:
    gates = [threading.Event() for _ in range(10)]
    gates[-1].set()

    def do(task: int) -> int:
        if task % jobs == 0 and jobs > 1:  # the first of each crowd waits for the next
            assert gates[min(task + 1, 9)].wait(WAIT)
        gates[task].set()
        return task * 2

    assert list(in_order("order", range(10), do, jobs=jobs)) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]


def test_no_tasks_are_no_results() -> None:
    assert list(in_order("none", [], str, jobs=4)) == []


def test_as_many_tasks_run_at_once_as_there_are_jobs_and_no_more() -> None:
    running, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(4)

    def do(task: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(WAIT)
        with lock:
            running -= 1

    assert len(list(in_order("jobs", range(32), do, jobs=4))) == 32
    assert most == 4


def test_tasks_are_taken_as_results_are_read_so_that_endless_ones_are_no_burden() -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for task in itertools.count():
            taken += 1
            yield task

    results = in_order("endless", tasks(), str, jobs=3)
    assert taken == 0
    assert [next(results) for _ in range(5)] == ["0", "1", "2", "3", "4"]
    assert taken == 3 * AHEAD + 4
    results.close()  # type: ignore[attr-defined]


def test_few_tasks_take_few_threads() -> None:
    results = in_order("few threads", iter([1, 2]), str, jobs=16)
    next(results)
    assert len(threads_of("few threads")) <= 2
    assert list(results) == ["2"]


def test_the_first_failure_in_order_is_raised_after_the_results_before_it() -> None:
    failed = threading.Event()

    def do(task: int) -> int:
        if task == 5:
            failed.set()
            raise ValueError("the later one, though first in time")
        if task == 3:
            assert failed.wait(WAIT)
            raise KeyError("the earlier one")
        return task

    results = in_order("failure", range(100), do, jobs=8)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="the earlier one"):
        next(results)
    assert list(results) == []


def test_an_error_of_the_tasks_themselves_comes_after_the_results_of_those_before_it() -> None:
    def tasks() -> Iterator[int]:
        yield from range(3)
        raise OSError("no more pages")

    results = in_order("tasks", tasks(), str, jobs=16)
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(OSError, match="no more pages"):
        next(results)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_a_task_raises_reaches_the_reader(error: BaseException) -> None:
    def do(task: int) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        list(in_order("odd", [1], do, jobs=2))
    assert caught.value is error


def test_who_reads_no_further_leaves_no_thread_behind_and_no_task_is_begun_after() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def do(task: int) -> int:
        begun.append(task)
        assert task == 0 or gate.wait(WAIT)
        return task

    results = in_order("early", itertools.count(), do, jobs=2)
    assert next(results) == 0
    assert eventually(lambda: len(begun) == 3)  # both threads are in a call
    results.close()  # type: ignore[attr-defined]
    gate.set()
    assert eventually(lambda: not threads_of("early"))
    assert len(begun) == 3


def test_threads_end_with_the_tasks_and_after_a_failure() -> None:
    assert list(in_order("done", range(9), str, jobs=4))
    with pytest.raises(ZeroDivisionError):
        list(in_order("done", range(9), lambda task: 1 // task, jobs=4))
    assert eventually(lambda: not threads_of("done"))


def test_a_thread_that_hangs_keeps_neither_the_reader_nor_the_process() -> None:
    hanging = threading.Event()
    try:
        results = in_order("hangs", [1, 2], lambda task: hanging.wait(WAIT) if task == 2 else None, jobs=2)
        next(results)
        results.close()  # type: ignore[attr-defined]
        assert all(thread.daemon for thread in threads_of("hangs"))
    finally:
        hanging.set()


def test_ctrl_c_ends_the_wait_for_a_result() -> None:
    asked, gate = threading.Event(), threading.Event()

    def do(task: int) -> None:
        asked.set()
        _thread.interrupt_main()
        gate.wait(WAIT)

    begun = time.monotonic()
    results = in_order("interrupt", [1], do, jobs=1)
    with pytest.raises(KeyboardInterrupt):
        next(results)
    gate.set()
    assert asked.is_set()
    assert time.monotonic() - begun < WAIT / 2


def test_where_no_thread_can_be_had_the_reader_s_own_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    me = threading.get_ident()
    results = in_order("alone", range(10), lambda task: (task, threading.get_ident()), jobs=4)
    assert list(results) == [(task, me) for task in range(10)]


def test_fewer_threads_than_jobs_do_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    honest, left = threading.Thread.start, iter([True])

    def start(thread: threading.Thread) -> None:
        if not next(left, False):
            raise RuntimeError("can't start new thread")
        honest(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert list(in_order("one", range(10), str, jobs=4)) == [str(task) for task in range(10)]


def test_a_result_that_was_read_is_held_by_nobody_here() -> None:
    results = in_order("large", [1], lambda task: [task], jobs=1)
    first = next(results)
    assert eventually(lambda: sys.getrefcount(first) == 2)
    assert list(results) == []
