"""Own the threads of an engine: workers until all is done or the first thing fails, and an aide beside a worker.

The engines may enter.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Final, TypeVar

from ecrdrag.errors import TransferError

log = logging.getLogger(__name__)

GRACE: Final = 3.0  # seconds that a failure waits for threads that hang in a call
# Seconds between looks at what the system signalled: a Ctrl-C just before a wait doesn't end it, on Windows none does.
HEARTBEAT: Final = 0.5

Task = TypeVar("Task")
Result = TypeVar("Result")


class Crew:
    """Do tasks in threads; the first failure stops all of them, and later ones are logged."""

    def __init__(self, name: str, abort: Callable[[], None]) -> None:
        """Name the threads, and say what ends the calls that they may hang in."""
        self._name, self._abort = name, abort
        self._started = self._working = 0
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._first_error: BaseException | None = None

    @property
    def stopping(self) -> bool:
        """Say whether something has failed, so that all other work is to end."""
        return self._stop.is_set()

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until something fails."""
        self._stop.wait(seconds)

    def run(self, jobs: int, tasks: Iterable[Task], do: Callable[[Task], None]) -> None:
        """Do the tasks in order in jobs threads; come back when all are done, or soon after a failure.

        Whatever fails, Ctrl-C in this thread too, is kept for check(). Threads that hang in a call
        for longer than GRACE after a failure are left behind.
        """
        todo = iter(tasks)
        # Daemons, so that one that waits for a silent server can't keep the process from ending.
        workers = [
            threading.Thread(target=self._work, args=(todo, do), name=self._name, daemon=True) for _ in range(jobs)
        ]
        with self.failing():  # Ctrl-C reaches this thread, which waits
            for worker in workers:
                self._start(worker)
            self._wait_for_workers()
        self._end(workers)

    def check(self) -> None:
        """Raise the first failure, if there was one."""
        if self._first_error is not None:
            raise self._first_error

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Make whatever goes wrong inside, in any thread, a failure of the whole crew."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - raised again by check()
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._first_error is None:
                self._first_error = error
            else:
                log.debug("after the first failure: %s", error)
            self._stop.set()
            self._changed.notify_all()
        self._abort()

    def _start(self, worker: threading.Thread) -> None:
        with self._changed:
            self._working += 1
        try:
            worker.start()
            self._started += 1
        except RuntimeError as error:  # the system has no more threads: fewer do as well, none doesn't
            with self._changed:
                self._working -= 1
            if self._started == 0:
                raise TransferError("the system gives no thread", hint="try a smaller -j") from error

    def _wait_for_workers(self) -> None:
        with self._changed:
            while not self._changed.wait_for(lambda: self._working == 0 or self._stop.is_set(), HEARTBEAT):
                pass

    def _end(self, workers: Iterable[threading.Thread]) -> None:
        """Wait for the workers; after a failure no longer than GRACE for those that hang in a call."""
        deadline = time.monotonic() + GRACE
        for worker in workers:
            if worker.ident is not None:
                worker.join(max(0.0, deadline - time.monotonic()) if self._stop.is_set() else None)

    def _work(self, todo: Iterator[Task], do: Callable[[Task], None]) -> None:
        try:
            with self.failing():
                for task in iter(lambda: self._next(todo), None):
                    do(task)
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def _next(self, todo: Iterator[Task]) -> Task | None:
        with self._changed:
            return None if self._stop.is_set() else next(todo, None)


class Aide:
    """Make one call after the other in a thread of its own, beside the worker that asks for them.

    Without a thread to be had, the worker makes the calls itself.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Aide:
        try:
            self._thread.start()
        except RuntimeError as error:
            log.debug("no aide: %s", error)
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def call(self, function: Callable[[], Result]) -> Future[Result]:
        """Have function called once all earlier calls have ended."""
        future: Future[Result] = Future()
        call = partial(_call, function, future)
        if self._thread.ident is None:
            call()
        else:
            self._calls.put(call)
        return future

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # it holds the result, which may be large


def _call(function: Callable[[], Result], future: Future[Result]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 - raised again by future.result()
        future.set_exception(error)
    finally:
        del future  # which holds the error, which holds this frame: a circle keeps parts in memory
