"""Own the threads of an engine: workers until all is done or the first thing fails, and an aide beside a worker.

The engines may enter, and the stories for small calls side by side.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Final, TypeVar

from ecrdrag.errors import EcrdragError, TransferError

log = logging.getLogger(__name__)

GRACE: Final = 3.0  # seconds that a failure waits for threads that hang in a call
LEAVE: Final = 0.2  # seconds that a success waits for threads that nobody needs any more
# Seconds between looks at what the system signalled: a Ctrl-C just before a wait doesn't end it, on Windows none does.
HEARTBEAT: Final = 0.5
_AT_ONCE: Final = 8  # small calls, which mostly wait for a registry far away

Task = TypeVar("Task")
Result = TypeVar("Result")


class Crew:
    """Do work in threads; the first failure stops all of it, and later ones are logged."""

    def __init__(self, name: str, abort: Callable[[], None]) -> None:
        """Name the threads, and say what ends the calls that they may hang in."""
        self._name, self._abort = name, abort
        self._working = 0
        self._over = threading.Event()  # all is done, or something has failed
        self._changed = threading.Condition()
        self._first_error: BaseException | None = None

    @property
    def stopping(self) -> bool:
        """Say whether something has failed, so that all other work is to end."""
        return self._first_error is not None

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until something fails or all is done."""
        self._over.wait(seconds)

    def run(self, jobs: int, take: Callable[[], Task | None], do: Callable[[Task], None]) -> None:
        """Do the tasks that take gives, until None, in jobs threads; come back when all are done, or after a failure.

        Whatever fails, Ctrl-C in this thread too, is kept for check(). Threads that hang in a call are
        left behind: GRACE seconds after a failure, and soon when finish() says that nobody needs them.
        """
        workers = [self._thread(partial(self._work_counted, take, do)) for _ in range(jobs)]
        with self.failing():  # Ctrl-C reaches this thread, which waits
            self._working = jobs
            started = sum(_starts(worker) for worker in workers)
            if jobs and not started:
                raise TransferError("the system gives no thread", hint="try a smaller -j")
            self._count_out(jobs - started)
            self._wait_for_workers()
        self._end(workers)
        self._over.set()

    def beside(self, jobs: int, take: Callable[[], Task | None], do: Callable[[Task], None]) -> None:
        """Do other tasks too, in jobs threads at most, until all is over; run() doesn't wait for them."""
        for _ in range(jobs):
            _starts(self._thread(partial(self._work, take, do)))

    def finish(self) -> None:
        """Say that all is done, whatever the threads are still at."""
        with self._changed:
            self._over.set()
            self._changed.notify_all()

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
            if self._first_error is not None or (self._over.is_set() and isinstance(error, EcrdragError)):
                log.debug("after the end: %s", error)
                return
            self._first_error = error
            self._over.set()
            self._changed.notify_all()
        self._abort()

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        # A daemon, so that one that waits for a silent server can't keep the process from ending.
        return threading.Thread(target=work, name=self._name, daemon=True)

    def _wait_for_workers(self) -> None:
        with self._changed:
            while not self._changed.wait_for(lambda: not self._working or self._over.is_set(), HEARTBEAT):
                pass

    def _end(self, workers: Iterable[threading.Thread]) -> None:
        """Wait for the workers; no longer than this for those that hang in a call after a failure, or at the end."""
        deadline = time.monotonic() + (GRACE if self.stopping else LEAVE)
        for worker in workers:
            if worker.ident is not None:
                worker.join(max(0.0, deadline - time.monotonic()))

    def _work_counted(self, take: Callable[[], Task | None], do: Callable[[Task], None]) -> None:
        try:
            self._work(take, do)
        finally:
            self._count_out(1)

    def _count_out(self, workers: int) -> None:
        with self._changed:
            self._working -= workers
            self._changed.notify_all()

    def _work(self, take: Callable[[], Task | None], do: Callable[[Task], None]) -> None:
        with self.failing():
            while not self._over.is_set() and (task := take()) is not None:
                do(task)


def _starts(worker: threading.Thread) -> bool:
    """Start a thread; False when the system has none to give, as fewer do as well."""
    try:
        worker.start()
    except RuntimeError as error:
        log.debug("no thread: %s", error)
        return False
    return True


def one_by_one(tasks: Iterable[Task]) -> Callable[[], Task | None]:
    """Give the tasks in order to many threads, then None."""
    todo, lock = iter(tasks), threading.Lock()

    def take() -> Task | None:
        with lock:
            return next(todo, None)

    return take


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


def side_by_side(
    name: str, tasks: Sequence[Task], do: Callable[[Task], None], abort: Callable[[], None] = lambda: None
) -> None:
    """Do small tasks in a few threads of this name; the first failure ends all, after abort, and is raised."""
    crew = Crew(name, abort)
    crew.run(min(_AT_ONCE, len(tasks)), one_by_one(tasks), do)
    crew.check()
