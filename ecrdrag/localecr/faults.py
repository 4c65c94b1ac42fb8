"""Own faults: a script of what goes wrong, and the layer around a handler that plays it.

The command and tests may enter. A script as text has a line for each fault, or for several of the same:

    # requests of this kind    how often    which fault    its number
    blob                       3x           cut            100000
    GetDownloadUrlForLayer                  throttle
    api                                     hang
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from types import MappingProxyType
from typing import Final
from uuid import uuid4

from werkzeug.datastructures import Headers

from ecrdrag.errors import UsageError
from ecrdrag.localecr.api.refusals import Refusal, layer_inaccessible
from ecrdrag.localecr.api.wire import CONTENT_TYPE, service_model, write_refusal
from ecrdrag.localecr.s3.downloads import refuse as write_s3_refusal
from ecrdrag.localecr.s3.links import LinkRefused, is_link
from ecrdrag.localecr.web.exchange import Answer, Body, Delivery, End, Handler, Request
from ecrdrag.localecr.web.files import FileSlice

BLOB: Final = "blob"
API: Final = "api"
HONEST: Final = "honest"
_DISCARD_BLOCK: Final = 1024 * 1024
_PLACE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")  # RFC 9110, 14.4
_LINE: Final = re.compile(
    r"(?P<kind>\S+)(?:\s+(?P<count>[1-9][0-9]{0,5})x)?\s+(?P<name>[a-z0-9-]+)(?:\s+(?P<number>[0-9]{1,18}))?", re.ASCII
)

Effect = Callable[[Answer, int], Answer]
"""Spoils a good answer, by a number."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of one answer: a name out of BLOB_FAULTS or API_FAULTS, and a number for those that take one."""

    name: str
    number: int = 0

    def __str__(self) -> str:
        """Return it as a script's line has it."""
        return f"{self.name} {self.number}" if self.name in NUMBERED else self.name


@dataclass(frozen=True, slots=True)
class FaultScript:
    """Faults for requests in the order of their arrival, for each kind by itself; afterwards all is honest.

    A call to the API takes from the faults of its operation while there are any, then from those of any call.
    Raises ValueError for a fault that its kind of request can't have, and for an operation that ECR hasn't.
    """

    blob: tuple[Fault, ...] = ()
    api: tuple[Fault, ...] = ()
    operations: Mapping[str, tuple[Fault, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, faults in self.kinds.items():
            for fault in faults:
                _check(kind, fault)

    @property
    def kinds(self) -> dict[str, tuple[Fault, ...]]:
        """The faults by kind of request."""
        return {BLOB: self.blob, API: self.api, **self.operations}

    @classmethod
    def parse(cls, text: str, source: str = "the script") -> FaultScript:
        """Read a script's text; raise UsageError with the source and the number of the line."""
        kinds: dict[str, tuple[Fault, ...]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].strip()
            if words:
                try:
                    kind, faults = _parse_line(words)
                except ValueError as error:
                    raise UsageError(f"{source}, line {number}: {error}") from None
                kinds[kind] = kinds.get(kind, ()) + faults
        return cls(kinds.pop(BLOB, ()), kinds.pop(API, ()), kinds)

    def __str__(self) -> str:
        """Return the script's text."""
        return "\n".join(f"{kind} {fault}" for kind, faults in self.kinds.items() for fault in faults)


class FaultLayer:
    """Play scripts around a handler: ``LocalEcr(data, wrap=FaultLayer(script).wrap)``; safe from many threads."""

    def __init__(self, script: FaultScript = FaultScript()) -> None:
        self._lock = threading.Lock()
        self.play(script)

    def play(self, script: FaultScript) -> None:
        """Begin a script, and forget the one before."""
        with self._lock:
            self._coming = {kind: deque(faults) for kind, faults in script.kinds.items()}

    @property
    def left(self) -> int:
        """How many faults are still to come."""
        with self._lock:
            return sum(map(len, self._coming.values()))

    def wrap(self, handler: Handler) -> Handler:
        """Return the handler with this layer around it."""

        def answer(request: Request) -> Answer:
            kind = _kind_of(request)
            fault = self._take(kind)
            if fault is None:
                return handler(request)
            spoiled = _spoil(kind, fault, request, handler)
            return replace(spoiled, summary=f"{spoiled.summary} (fault: {fault})")

        return answer

    def _take(self, kind: str) -> Fault | None:
        with self._lock:
            for queue in (kind,) if kind in ("", BLOB) else (kind, API):
                if self._coming.get(queue):
                    return self._coming[queue].popleft()
        return None


def _parse_line(words: str) -> tuple[str, tuple[Fault, ...]]:
    match = _LINE.fullmatch(words)
    if match is None:
        raise ValueError("it takes KIND [COUNTx] FAULT [NUMBER], such as: blob 3x cut 100000")
    name, number = match["name"], match["number"]
    if (number is not None) != (name in NUMBERED):
        raise ValueError(f"{name} takes {'a' if number is None else 'no'} number")
    fault = Fault(name, int(number or 0))
    _check(match["kind"], fault)
    return match["kind"], (fault,) * int(match["count"] or 1)


def _check(kind: str, fault: Fault) -> None:
    if kind not in (BLOB, API) and kind not in service_model().operation_names:
        raise ValueError(f"{kind!r} is neither {BLOB} nor {API} nor an operation of ECR")
    known = BLOB_FAULTS if kind == BLOB else API_FAULTS
    if fault.name not in known:
        raise ValueError(f"{kind} has no fault {fault.name!r}; it has {', '.join(known)}")
    if fault.number < NUMBERED.get(fault.name, 0):
        raise ValueError(f"{fault.name} takes a number from {NUMBERED.get(fault.name, 0)} on")


def _kind_of(request: Request) -> str:
    """Return what a script calls such a request; nothing for what no script can spoil."""
    if request.method == "POST" and request.path == "/":
        return request.headers.get("X-Amz-Target", "").rpartition(".")[2]
    return BLOB if request.method == "GET" and is_link(request.path) else ""


def _spoil(kind: str, fault: Fault, request: Request, handler: Handler) -> Answer:
    if kind == BLOB and fault.name in _S3_REFUSALS:
        return write_s3_refusal(_S3_REFUSALS[fault.name])
    if kind != BLOB and fault.name in _API_REFUSALS:
        _discard(request.body)
        return _refuse_call(kind, _API_REFUSALS[fault.name])
    if fault.name in _LOST:
        return replace(handler(request), delivery=_LOST[fault.name])
    if fault.name == "whole":
        return handler(_without_range(request))
    answer = handler(request)
    if fault.name not in _EFFECTS or answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return answer
    return _EFFECTS[fault.name](answer, fault.number)


def _discard(body: Body) -> None:
    """Read what a refusal isn't interested in, so that the connection lasts."""
    for _ in body.blocks(_DISCARD_BLOCK):
        pass


def _refuse_call(operation: str, refusal: Refusal) -> Answer:
    headers = {"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": str(uuid4())}
    return Answer(refusal.status, headers, write_refusal(refusal), f"{operation} {refusal.shape}")


def _without_range(request: Request) -> Request:
    headers = Headers(request.headers)
    headers.remove("Range")
    return replace(request, headers=headers)


def _cut(end: End) -> Effect:
    def spoil(answer: Answer, number: int) -> Answer:
        return replace(answer, delivery=Delivery(cut=number, end=end))

    return spoil


def _trickle(answer: Answer, number: int) -> Answer:
    return replace(answer, delivery=Delivery(rate=number))


def _shift(answer: Answer, number: int) -> Answer:
    """Say that the bytes lie further on than they do."""
    return _replace_place(answer, by=number, larger=0)


def _total(answer: Answer, number: int) -> Answer:
    """Say that the whole blob is larger than it is."""
    return _replace_place(answer, by=0, larger=number)


def _replace_place(answer: Answer, *, by: int, larger: int) -> Answer:
    match = _PLACE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None:
        return answer
    first, last, total = map(int, match.groups())
    place = f"bytes {first + by}-{last + by}/{total + larger}"
    return replace(answer, headers={**answer.headers, "Content-Range": place})


def _flip(answer: Answer, number: int) -> Answer:
    """Invert one byte; the whole body passes through memory."""
    body = bytearray(_read(answer.body))
    if number < len(body):
        body[number] ^= 0xFF
    return replace(answer, body=bytes(body))


def _read(body: bytes | FileSlice) -> bytes:
    if isinstance(body, bytes):
        return body
    with body.opened() as file:
        file.seek(body.start)
        return file.read(body.size)


def _short(answer: Answer, number: int) -> Answer:
    """Leave the last bytes out, and let Content-Length say so."""
    size = max(0, answer.size - number)
    if isinstance(answer.body, FileSlice):
        return replace(answer, body=replace(answer.body, stop=answer.body.start + size))
    return replace(answer, body=answer.body[:size])


# After the operation is done, as a line does that breaks: the client gets nothing of the answer.
_LOST: Final[Mapping[str, Delivery]] = {
    "drop": Delivery(head=False, end=End.RESET),
    "hang": Delivery(head=False, end=End.SILENCE),
}
_EFFECTS: Final[Mapping[str, Effect]] = {
    "cut": _cut(End.CLOSE),
    "reset": _cut(End.RESET),
    "stall": _cut(End.SILENCE),
    "trickle": _trickle,
    "shift": _shift,
    "total": _total,
    "flip": _flip,
    "short": _short,
}
# S3 API reference, "Error responses": the texts are S3's.
_S3_REFUSALS: Final[Mapping[str, LinkRefused]] = {
    "error": LinkRefused(500, "InternalError", "We encountered an internal error. Please try again."),
    "slowdown": LinkRefused(503, "SlowDown", "Please reduce your request rate."),
    "expired": LinkRefused(403, "AccessDenied", "Request has expired"),
}
# ECR API reference, "Common Error Types"; "Rate exceeded" is what users of ECR see.
_API_REFUSALS: Final[Mapping[str, Refusal]] = {
    "throttle": Refusal("ThrottlingException", "Rate exceeded"),
    "error": Refusal("ServerException", "These errors are usually caused by a server-side issue.", status=500),
    "unavailable": Refusal(
        "ServiceUnavailable", "The request has failed due to a temporary failure of the server.", status=503
    ),
    "expired-token": Refusal("ExpiredTokenException", "The security token included in the request is expired"),
    "inaccessible": layer_inaccessible(),
}

BLOB_FAULTS: Final = (HONEST, *_LOST, *_EFFECTS, *_S3_REFUSALS, "whole")
"""What can become of a GET of a blob by its signed URL."""
API_FAULTS: Final = (HONEST, *_LOST, *_API_REFUSALS)
"""What can become of a call to the API."""
NUMBERED: Final[Mapping[str, int]] = MappingProxyType(
    {"cut": 0, "reset": 0, "stall": 0, "trickle": 1, "shift": 1, "total": 1, "flip": 0, "short": 1}
)
"""The faults that take a number, with the least that it may be; trickle's is bytes per second, the others' bytes."""
