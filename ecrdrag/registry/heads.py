"""Own the wait for the head of a reply, which ends when it is told to, or when it has taken too long.

The registry's ends may enter. A reply can be shut down once it is there; until then its socket is urllib3's secret, and
a server that sends its headers letter by letter meets no timeout. So a thread waits that nobody waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError

import requests

from ecrdrag.errors import StalledError, TransferError


class Heads:
    """Ask, each time in a thread of its own, and leave that behind when it takes too long; safe from many threads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._waiting: set[Future[requests.Response]] = set()

    def ask(self, send: Callable[[], requests.Response], host: str, *, endless: bool = False) -> requests.Response:
        """Return or raise what send does; raise StalledError when it takes too long, TransferError at an abort().

        endless says that nothing is too long.
        """
        head: Future[requests.Response] = Future()
        with self._lock:
            self._waiting.add(head)
        try:
            threading.Thread(target=_fulfil, args=(head, send), name="registry", daemon=True).start()
            return head.result(None if endless else self._seconds)
        except CancelledError:
            raise TransferError("the transfer was stopped") from None
        except FutureTimeoutError:
            if not head.cancel():  # it came in this moment
                return head.result()
            raise StalledError(f"{host} did not answer in {self._seconds:.0f} s") from None
        finally:
            with self._lock:
                self._waiting.discard(head)

    def abort(self) -> None:
        """End every wait."""
        with self._lock:
            for head in self._waiting:
                head.cancel()


def _fulfil(head: Future[requests.Response], send: Callable[[], requests.Response]) -> None:
    try:
        response = send()
    except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for it
        _settle(head.set_exception, error)
    else:
        if not _settle(head.set_result, response):
            response.close()


def _settle(end: Callable[..., None], outcome: object) -> bool:
    """Tell whether anybody still waited."""
    try:
        end(outcome)
    except InvalidStateError:
        return False
    return True
