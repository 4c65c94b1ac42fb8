"""Own ranged GETs of blobs: what is asked for, replies that are checked, bytes as they come.

The registry's ends may enter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Final

import requests

from ecrdrag.content import Turns
from ecrdrag.errors import (
    BusyError,
    IntegrityError,
    NotFoundError,
    RangeIgnoredError,
    TransferError,
    TransientError,
)
from ecrdrag.registry.body import Body, Patience
from ecrdrag.registry.ends import Unlimited
from ecrdrag.registry.heads import Heads
from ecrdrag.registry.http import HEADERS, MIN_RATE, READ_TIMEOUT, Connections, Guard, Trust, host_of, small_body
from ecrdrag.registry.http_errors import translated
from ecrdrag.registry.refusal_text import read_refusal

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")  # RFC 9110, 14.4
_SIZE: Final = re.compile(r"[0-9]{1,19}")  # an int64 at most, as descriptors have it
# RFC 9110, 15: the server asks for another try later.
_TRY_LATER: Final = frozenset({408, 425})
_GONE: Final = frozenset({404, 410})
# RFC 6585, 4; and what S3 answers with the code SlowDown ("Best practices design patterns: optimizing performance").
_TOO_MANY: Final = frozenset({429, 503})


class LinkRefusedError(TransientError):
    """The server won't serve this URL any more; a fresh one may work."""


class BlobTransport:
    """Fetch byte ranges of blobs over at most connections kept-alive connections; safe from many threads.

    trust says whose certificates are believed. turns decide how many requests a host gets at once. A reply ends that
    brings nothing for read_timeout seconds, or over so long less than min_rate bytes per second, or whose head takes
    twice as long. Proxies come from the environment. Where requests may go is the guard's to say, if there is one.
    """

    def __init__(
        self,
        *,
        connections: int,
        trust: Trust | None = None,
        turns: Turns | None = None,
        read_timeout: float = READ_TIMEOUT,
        min_rate: float = MIN_RATE,
        guard: Guard | None = None,
    ) -> None:
        trust = trust or Trust()
        self._connections = Connections(connections, trust=trust, read_timeout=read_timeout, guard=guard)
        self._heads = Heads(2 * read_timeout)
        self._turns = turns or Unlimited()
        self._read_timeout, self._min_rate = read_timeout, min_rate

    def read_range(
        self, url: str, *, start: int, stop: int, size: int, authorization: str = ""
    ) -> Iterator[memoryview]:
        """Yield bytes [start, stop) of the size bytes behind url; authorization goes to no other host.

        Raises LinkRefusedError when a fresh URL may help, RangeIgnoredError when the server sent
        the whole blob instead, TransientError when another try may help, IntegrityError when the
        blob has another size, TransferError when it is no use.
        """
        host = host_of(url)
        with self._turns.turn(host) as turn, translated(host), self._open(url, start, stop, authorization) as response:
            host = host_of(response.url)
            _check_reply(response, host, start, stop, size)
            body, missing = Body(response.raw), stop - start
            patience = Patience(host, self._read_timeout, self._min_rate)
            while missing:
                view = body.read(missing, patience)
                if not view:
                    raise TransientError(f"{host} closed the connection {missing} bytes before the end")
                missing -= len(view)
                turn.moved(len(view))
                yield view

    def measure(self, url: str, *, authorization: str = "") -> int:
        """Ask how many bytes are behind url, by the first of them: a signed URL is good for GET alone.

        Raises NotFoundError where nothing is, TransferError where it isn't said, else as read_range() does.
        """
        host = host_of(url)
        with self._turns.turn(host) as turn, translated(host), self._open(url, 0, 1, authorization) as response:
            size = _told_size(response, host_of(response.url))
            if response.status_code != requests.codes.ok:  # whose body is the whole blob; others leave a connection
                small_body(response)
            turn.moved(1)
            return size

    def abort(self) -> None:
        """Wake every thread that waits for bytes; later requests fail at once."""
        self._turns.abort()
        self._connections.abort()  # first: a thread that waited for a head asks no more
        self._heads.abort()

    def __enter__(self) -> BlobTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()  # a request that lost a race may still wait for bytes
        self._connections.close()

    @contextmanager
    def _open(self, url: str, start: int, stop: int, authorization: str) -> Iterator[requests.Response]:
        login = {"Authorization": authorization} if authorization else {}
        headers = {**HEADERS, **login, "Range": f"bytes={start}-{stop - 1}"}
        response = self._heads.ask(partial(self._connections.send, "GET", url, headers), host_of(url))
        with self._connections.watched(response):
            yield response


def _check_reply(response: requests.Response, host: str, start: int, stop: int, size: int) -> None:
    status = response.status_code
    if status == requests.codes.partial_content:
        _check_content_range(response.headers.get("Content-Range", ""), host, start, stop, size)
    elif status == requests.codes.ok:
        _check_whole(response.headers.get("Content-Length"), host, start, stop, size)
    elif status == requests.codes.requested_range_not_satisfiable:
        raise IntegrityError(f"{host} has fewer than the {size} bytes that the manifest promises")
    else:
        raise _refusal(response, host)


def _check_content_range(found: str, host: str, start: int, stop: int, size: int) -> None:
    match = _CONTENT_RANGE.fullmatch(found)
    first, last, total = map(int, match.groups()) if match else (-1, -1, -1)
    if first == start and total != size:
        raise IntegrityError(f"{host} has {total} bytes, the manifest promises {size}")
    if (first, last) != (start, stop - 1):
        raise TransientError(f"{host} sent range {found[:80]!r} where bytes {start}-{stop - 1}/{size} were asked for")


def _check_whole(length: str | None, host: str, start: int, stop: int, size: int) -> None:
    if (start, stop) != (0, size):
        raise RangeIgnoredError(f"{host} sent the whole blob where a range was asked for")
    if length is not None and length != str(size):
        raise IntegrityError(f"{host} sends {length[:20]} bytes, the manifest promises {size}")


def _told_size(response: requests.Response, host: str) -> int:
    """Read from the reply to a question for the first byte how many there are."""
    status = response.status_code
    if status == requests.codes.requested_range_not_satisfiable:
        return 0  # there isn't even a first one
    if status == requests.codes.partial_content:
        told = response.headers.get("Content-Range", "").rpartition("/")[2]
    elif status == requests.codes.ok:
        told = response.headers.get("Content-Length", "")
    elif status in _GONE:
        raise NotFoundError(_said(response, host))
    else:
        raise _refusal(response, host)
    if not _SIZE.fullmatch(told):
        raise TransferError(f"{host} doesn't say how many bytes the blob has")
    return int(told)


def _refusal(response: requests.Response, host: str) -> TransientError:
    status, text = response.status_code, _said(response, host)
    if status in _TOO_MANY:
        return BusyError(text)
    if status >= requests.codes.internal_server_error or status in _TRY_LATER:
        return TransientError(text)
    return LinkRefusedError(text)


def _said(response: requests.Response, host: str) -> str:
    reason = ": ".join(said for said in read_refusal(response) if said) or "no reason given"
    return f"{host} answered {response.status_code} ({reason})"
