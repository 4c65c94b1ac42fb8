"""Own how the bytes of an answer go out: at once or at a rate, whole or in part, early or late.

The HTTP server and the service may enter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from time import monotonic
from typing import Final

from ecrdrag.localecr.web.exchange import Answer, ClientGone, Delivery, Handler, Request
from ecrdrag.localecr.web.files import FileSlice
from ecrdrag.localecr.web.line import Outgoing

# How much goes out at a time under a rate: short enough to look even, long enough to cost little.
_PIECE_SECONDS: Final = 0.02
_BLOB_STATUSES: Final = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)

Wait = Callable[[float], bool]
"""Waits so many seconds, and tells, at once when it is so, whether the server stops."""


def over_line(handler: Handler, *, latency: float, rate: float | None) -> Handler:
    """Put a line around a handler: seconds of latency before every answer, bytes per second for each blob body."""

    def answer(request: Request) -> Answer:
        honest = handler(request)
        is_blob = request.method == "GET" and honest.status in _BLOB_STATUSES
        rates = [one for one in (honest.delivery.rate, rate if is_blob else None) if one is not None]
        delay = honest.delivery.delay + latency
        return replace(honest, delivery=replace(honest.delivery, delay=delay, rate=min(rates, default=None)))

    return answer


def deliver(
    outgoing: Outgoing,
    head: bytes,
    body: bytes | FileSlice,
    delivery: Delivery,
    *,
    wait: Wait,
    clock: Callable[[], float] = monotonic,
) -> int:
    """Send what the delivery lets out and return how many bytes of the body went; raise ClientGone at a stop."""
    if not delivery.head:
        return 0
    size = delivery.sent(body.size if isinstance(body, FileSlice) else len(body))
    if delivery.rate is None:
        _send_at_once(outgoing, head, body, size)
        return size
    with _opened(outgoing, body) as put:
        outgoing.send(head)
        for start, stop in paced(size, delivery.rate, wait=wait, clock=clock):
            put(start, stop)
    return size


def paced(size: int, rate: float, *, wait: Wait, clock: Callable[[], float]) -> Iterator[tuple[int, int]]:
    """Give the pieces [start, stop) of size bytes, each when it may go; raise ClientGone when the server stops.

    Each has its moment from the start on, so that what one wait was too long is made good by the next.
    """
    began = clock()
    piece = max(1, int(rate * _PIECE_SECONDS))
    for start in range(0, size, piece):
        stop = min(start + piece, size)
        if wait(max(0.0, began + stop / rate - clock())):
            raise ClientGone("the server stops")
        yield start, stop


def _send_at_once(outgoing: Outgoing, head: bytes, body: bytes | FileSlice, size: int) -> None:
    if isinstance(body, bytes):
        # One send: of a head without its body, left by a kill between the two, botocore makes an empty success.
        outgoing.send(head + body[:size])
    elif not size:
        outgoing.send(head)
    else:
        with _opened(outgoing, body) as put:
            outgoing.send(head, more=True)
            put(0, size)


@contextmanager
def _opened(outgoing: Outgoing, body: bytes | FileSlice) -> Iterator[Callable[[int, int], None]]:
    """Give a function that sends bytes [start, stop) of the body."""
    if isinstance(body, bytes):
        yield lambda start, stop: outgoing.send(body[start:stop])
        return
    with body.opened() as file:
        yield lambda start, stop: outgoing.send_file(file, body.start + start, body.start + stop)
