"""The threads of an engine: all tasks once, the first failure, Ctrl-C, calls that hang, no threads to be had."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator

import pytest

from ecrdrag.errors import NotFoundError, TransferError
from ecrdrag.transfer.crew import Aide, Crew, one_by_one

PATIENCE = 20  # seconds that a test waits for what must happen


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before  # those of an earlier test may end meanwhile


class Threads:
    """Let the system give so many threads and no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self._left = count
        start = threading.Thread.start

        def start_if_any_left(thread: threading.Thread) -> None:
            if self._left == 0:
                raise RuntimeError("can't start new thread")
            self._left -= 1
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_if_any_left)


def ignore() -> None:
    """Abort nothing."""


@pytest.mark.parametrize("jobs", [1, 3, 50])
def test_every_task_is_done_once(jobs: int) -> None:
    done: list[int] = []
    crew = Crew("test", ignore)
    crew.run(jobs, one_by_one(range(20)), done.append)
    crew.check()
    assert sorted(done) == list(range(20))
    assert not crew.stopping


def test_a_task_that_is_false_is_done_like_any_other() -> None:
    done: list[int] = []
    Crew("test", ignore).run(1, one_by_one([0, 1]), done.append)
    assert done == [0, 1]


def test_tasks_run_beside_each_other() -> None:
    both = threading.Barrier(2)
    crew = Crew("test", ignore)

    def meet(_: int) -> None:
        both.wait(PATIENCE)

    crew.run(2, one_by_one(range(2)), meet)
    crew.check()


def test_the_first_failure_ends_the_rest_and_later_ones_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    first, aborted = NotFoundError("first"), threading.Event()
    started: list[int] = []

    def do(task: int) -> None:
        started.append(task)
        if task == 0:
            raise first
        assert aborted.wait(PATIENCE)
        raise NotFoundError("later")

    crew = Crew("test", aborted.set)
    with caplog.at_level(logging.DEBUG, "ecrdrag"):
        crew.run(2, one_by_one(range(100)), do)
    assert len(started) <= 2
    with pytest.raises(NotFoundError) as caught:
        crew.check()
    assert caught.value is first
    assert [record.getMessage() for record in caplog.records] == ["after the end: later"] * (len(started) - 1)
    assert all(record.levelno == logging.DEBUG for record in caplog.records)


def test_a_pause_ends_with_the_first_failure() -> None:
    pausing = threading.Event()
    crew = Crew("test", ignore)

    def do(task: int) -> None:
        if task == 0:
            pausing.set()
            crew.pause(1000)
        else:
            assert pausing.wait(PATIENCE)
            raise NotFoundError("gone")

    crew.run(2, one_by_one(range(2)), do)
    with pytest.raises(NotFoundError):
        crew.check()


def test_ctrl_c_in_the_waiting_thread_is_a_failure() -> None:
    aborted = threading.Event()
    waiting = threading.main_thread()

    def do(_: int) -> None:
        if not aborted.is_set():
            signal.pthread_kill(waiting.ident or 0, signal.SIGINT)
            assert aborted.wait(PATIENCE)

    crew = Crew("test", aborted.set)
    crew.run(1, one_by_one(range(100)), do)
    with pytest.raises(KeyboardInterrupt):
        crew.check()


def test_a_call_that_hangs_holds_a_failure_up_for_the_grace_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecrdrag.transfer.crew.GRACE", 0.001)
    hanging, release = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def do(task: int) -> None:
        if task == 0:
            threads.append(threading.current_thread())
            hanging.set()
            release.wait(PATIENCE)
        else:
            assert hanging.wait(PATIENCE)
            raise NotFoundError("gone")

    crew = Crew("test", ignore)
    crew.run(2, one_by_one(range(2)), do)
    with pytest.raises(NotFoundError):
        crew.check()
    assert threads[0].is_alive()
    assert threads[0].daemon
    release.set()
    threads[0].join(PATIENCE)


def test_fewer_threads_than_asked_for_do_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    Threads(monkeypatch, 1)
    done: list[int] = []
    crew = Crew("test", ignore)
    crew.run(3, one_by_one(range(10)), done.append)
    crew.check()
    assert done == list(range(10))


def test_no_thread_at_all_is_a_transfer_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Threads(monkeypatch, 0)
    crew = Crew("test", ignore)
    crew.run(3, one_by_one(range(10)), lambda _: None)
    with pytest.raises(TransferError, match="no thread") as caught:
        crew.check()
    assert caught.value.hint == "try a smaller -j"


def test_what_is_done_beside_is_not_waited_for_and_ends_with_the_rest() -> None:
    hanging, release = threading.Event(), threading.Event()
    crew = Crew("test", ignore)
    done: list[int] = []

    def hang(task: int) -> None:
        done.append(task)
        hanging.set()
        assert release.wait(PATIENCE)

    crew.beside(1, one_by_one([10, 11, 12]), hang)
    assert hanging.wait(PATIENCE)
    crew.run(1, one_by_one([0]), done.append)
    crew.check()
    release.set()
    _join_all()
    assert done == [10, 0], "nobody takes up more once all is over"


def test_a_failure_beside_is_a_failure_of_all() -> None:
    aborted = threading.Event()
    crew = Crew("test", aborted.set)

    def fail(_: int) -> None:
        raise NotFoundError("gone")

    crew.beside(2, one_by_one([0]), fail)

    def wait(_: int) -> None:
        assert aborted.wait(PATIENCE)

    crew.run(2, one_by_one(range(100)), wait)
    with pytest.raises(NotFoundError):
        crew.check()


def test_without_threads_nothing_is_done_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    Threads(monkeypatch, 1)
    done: list[int] = []
    crew = Crew("test", ignore)
    with monkeypatch.context() as nothing:
        Threads(nothing, 0)
        crew.beside(2, one_by_one([10]), done.append)
    crew.run(2, one_by_one([0]), done.append)
    crew.check()
    assert done == [0]


@pytest.mark.parametrize("late", [None, NotFoundError("late")])
def test_finish_ends_a_run_though_a_worker_still_hangs(
    monkeypatch: pytest.MonkeyPatch, late: NotFoundError | None
) -> None:
    monkeypatch.setattr("ecrdrag.transfer.crew.LEAVE", 0.001)
    monkeypatch.setattr("ecrdrag.transfer.crew.GRACE", 1000.0)
    hanging, release, aborted = threading.Event(), threading.Event(), threading.Event()
    started: list[int] = []

    def do(task: int) -> None:
        started.append(task)
        if task == 0:
            hanging.set()
            assert release.wait(PATIENCE)
            if late:
                raise late
        else:
            assert hanging.wait(PATIENCE)
            crew.finish()

    crew = Crew("test", aborted.set)
    crew.run(2, one_by_one(range(100)), do)
    crew.check()
    (worker,) = [thread for thread in threading.enumerate() if thread.name == "test"]
    assert worker.daemon
    release.set()
    worker.join(PATIENCE)
    crew.check()
    assert not aborted.is_set(), "what goes wrong for those whom nobody needs is no failure"
    assert not crew.stopping
    assert sorted(started) == [0, 1], "whoever is back takes no more"


def test_a_bug_is_a_failure_after_the_end_too() -> None:
    crew = Crew("test", ignore)
    crew.run(1, one_by_one([0]), lambda _: None)
    with crew.failing():
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        crew.check()


def test_finish_ends_pauses() -> None:
    pausing = threading.Event()
    crew = Crew("test", ignore)

    def do(task: int) -> None:
        if task == 0:
            pausing.set()
            crew.pause(1000)
        else:
            assert pausing.wait(PATIENCE)
            crew.finish()

    crew.run(2, one_by_one(range(2)), do)
    crew.check()
    _join_all()


def test_a_take_that_fails_is_a_failure() -> None:
    def take() -> int | None:
        raise ZeroDivisionError

    crew = Crew("test", ignore)
    crew.run(3, take, lambda _: None)
    with pytest.raises(ZeroDivisionError):
        crew.check()


def _join_all() -> None:
    for thread in threading.enumerate():
        if thread.name == "test":
            thread.join(PATIENCE)


def test_an_aide_makes_calls_in_order_in_one_other_thread() -> None:
    seen: list[tuple[int, int]] = []

    def note(number: int) -> int:
        seen.append((number, threading.get_ident()))
        return number

    with Aide("test") as aide:
        first, second = aide.call(lambda: note(1)), aide.call(lambda: note(2))
        assert (second.result(PATIENCE), first.result(PATIENCE)) == (2, 1)
    assert [number for number, _ in seen] == [1, 2]
    assert len({thread for _, thread in seen} | {threading.get_ident()}) == 2


def test_an_aides_failure_is_raised_to_who_asks_for_the_result() -> None:
    def fail() -> None:
        raise NotFoundError("gone")

    with Aide("test") as aide:
        failed, after = aide.call(fail), aide.call(lambda: 2)
        with pytest.raises(NotFoundError):
            failed.result(PATIENCE)
        assert after.result(PATIENCE) == 2


def test_without_a_thread_the_worker_does_its_aides_work(monkeypatch: pytest.MonkeyPatch) -> None:
    Threads(monkeypatch, 0)
    with Aide("test") as aide:
        assert aide.call(threading.get_ident).result(PATIENCE) == threading.get_ident()
