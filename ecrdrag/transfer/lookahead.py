"""Own the doing of small tasks side by side whose results are wanted in order, and no more of them than are read.

The stories and the command line may enter.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from itertools import islice
from queue import SimpleQueue
from typing import Final, TypeVar

from ecrdrag.transfer.crew import HEARTBEAT

log = logging.getLogger(__name__)

AHEAD: Final = 4  # results that may wait for one that takes long, for each thread

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_order(name: str, tasks: Iterable[Task], do: Callable[[Task], Result], *, jobs: int) -> Iterator[Result]:
    """Yield what do makes of each task, in the order of the tasks, which jobs threads of this name work on.

    Tasks are taken as results are read, so endless ones are no burden. The first task to fail, in their order, ends
    it: its error is raised, and that of the tasks themselves after the results of those before. Threads that hang in
    a call when nobody reads on are left behind.
    """
    calls: SimpleQueue[tuple[Task, Future[Result]] | None] = SimpleQueue()
    waiting: deque[Future[Result]] = deque()
    threads: list[threading.Thread] = []
    over = threading.Event()

    def work() -> None:
        while _fulfil(do, calls.get(), over):
            pass

    def submit(task: Task) -> None:
        waiting.append(Future())
        calls.put((task, waiting[-1]))
        _staff(threads, min(jobs, len(waiting)), name, work)

    failures: list[Exception] = []
    todo = _up_to_failure(tasks, failures)
    try:
        while True:
            for task in islice(todo, jobs * AHEAD - len(waiting)):
                submit(task)
            if not waiting:
                break
            if not threads:
                _fulfil(do, calls.get(), over)
            yield _result(waiting.popleft())
    finally:
        over.set()
        for _ in threads:
            calls.put(None)
    if failures:
        raise failures[0]


def _up_to_failure(tasks: Iterable[Task], failures: list[Exception]) -> Iterator[Task]:
    """Give the tasks, and keep the error that ends them."""
    try:
        yield from tasks
    except Exception as error:  # noqa: BLE001 - raised again when its turn comes
        failures.append(error)


def _staff(threads: list[threading.Thread], wanted: int, name: str, work: Callable[[], None]) -> None:
    """Start a thread where there are fewer than are wanted; fewer do as well, or the reader's own alone."""
    if len(threads) >= wanted:
        return
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        log.debug("no thread: %s", error)
        return
    threads.append(thread)


def _fulfil(do: Callable[[Task], Result], call: tuple[Task, Future[Result]] | None, over: threading.Event) -> bool:
    """Do a task and keep no result, which may be large; False where there is nothing to do any more."""
    if call is None or over.is_set():
        return False
    task, future = call
    try:
        future.set_result(do(task))
    except BaseException as error:  # noqa: BLE001 - raised again by the reader
        future.set_exception(error)
    return True


def _result(future: Future[Result]) -> Result:
    """Wait for a result, with looks at what the system signalled in between."""
    while not future.done():
        wait((future,), HEARTBEAT)
    return future.result()
