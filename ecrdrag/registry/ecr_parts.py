"""Own the form in which a layer part travels: UploadLayerPart's JSON, written once and sent as it is.

registry/ecr_destination.py encodes; the command line installs the hooks where it builds the client.

botocore would walk a part through base64, str, a JSON encoder and back to bytes: five copies. The hooks
hand it our bytes after it has serialised the request around an empty blob, and before it signs:
validation, endpoint, signature, retries and errors stay its own.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import json
from collections.abc import Callable, Iterable, MutableMapping
from functools import partial
from typing import Final, Protocol

from botocore.model import OperationModel

from ecrdrag.errors import IntegrityError
from ecrdrag.registry.blocks import Blocks

_SLICE: Final = 3 * 16 * 1024  # bytes read at once; their base64 fits a processor's nearest caches
_TAIL: Final = b'"}'
_BLOB: Final = "layerPartBlob"
_CONTEXT: Final = "ecrdrag.layer-part"


def _encoder() -> Callable[[bytes | memoryview], bytes]:
    """Take the package of the extra base64 where it is there: the same letters for a tenth of the CPU time."""
    try:
        encode: Callable[[bytes | memoryview], bytes] = importlib.import_module("pybase64").b64encode
    except ImportError:
        return partial(binascii.b2a_base64, newline=False)
    return encode


letters_of: Final = _encoder()


class WrittenPart(bytes):
    """Stand for a part whose request is written already; to all but the hooks it is an empty blob."""

    body: bytes | bytearray

    def __new__(cls, body: bytes | bytearray) -> WrittenPart:
        """Hold the body of a whole request."""
        part = super().__new__(cls)
        part.body = body
        return part


def write_part(names: dict[str, str], start: int, stop: int, views: Iterable[memoryview]) -> bytearray:
    """Write the request that sends bytes [start, stop); names are its members for registry, repository and upload.

    Raises IntegrityError unless the views hold as many bytes.
    """
    # The order and the spaces are those of botocore's json.dumps.
    head = json.dumps({**names, "partFirstByte": start, "partLastByte": stop - 1, _BLOB: ""}).encode()[: -len(_TAIL)]
    body = bytearray(len(head) + (stop - start + 2) // 3 * 4 + len(_TAIL))
    body[: len(head)] = head
    body[-len(_TAIL) :] = _TAIL
    with memoryview(body)[len(head) : -len(_TAIL)] as room:
        _Base64(room, stop - start).take(views)
    return body


class _Base64:
    """Fill room with the base64 of size bytes, which come in views of any lengths."""

    def __init__(self, room: memoryview, size: int) -> None:
        self._room = room
        self._size = size
        self._place = 0
        self._rest = b""  # fewer than three bytes: base64 makes four letters of three

    def take(self, views: Iterable[memoryview]) -> None:
        taken = 0
        for view in views:
            taken += len(view)
            if taken > self._size:
                break  # before anything lands outside of the room
            self._write(self._after_rest(view))
        if taken != self._size:
            more = "more" if taken > self._size else f"{taken} bytes"
            raise IntegrityError(f"a part of a blob should have {self._size} bytes, and its source gave {more}")
        self._put(self._rest)

    def _after_rest(self, view: memoryview) -> memoryview:
        """Complete the three bytes that an earlier view began; return what is left of this one."""
        missing = -len(self._rest) % 3
        if missing:
            self._rest += view[:missing]
        if len(self._rest) == 3:
            self._put(self._rest)
            self._rest = b""
        return view[missing:]

    def _write(self, view: memoryview) -> None:
        whole = len(view) - len(view) % 3
        for start in range(0, whole, _SLICE):
            self._put(view[start : min(start + _SLICE, whole)])
        self._rest += view[whole:]

    def _put(self, data: bytes | memoryview) -> None:
        letters = letters_of(data)
        self._room[self._place : self._place + len(letters)] = letters
        self._place += len(letters)


class Events(Protocol):
    """What is used of botocore's event system: client.meta.events."""

    def register(self, event_name: str, handler: Callable[..., None]) -> None:
        """Call handler at each such event."""
        ...


def install(events: Events) -> None:
    """Let a client of the ECR API send WrittenParts; every other call stays as it was."""
    events.register("before-parameter-build.ecr.UploadLayerPart", _set_aside)
    events.register("before-call.ecr.UploadLayerPart", _put_in_place)


def _set_aside(
    params: MutableMapping[str, object], model: OperationModel, context: MutableMapping[str, object], **_: object
) -> None:
    part = params.get(_BLOB)
    if not isinstance(part, WrittenPart):
        return
    if model.service_model.resolved_protocol == "json":  # botocore may choose another one some day
        context[_CONTEXT] = part.body
    else:
        params[_BLOB] = base64.b64decode(json.loads(part.body)[_BLOB])


def _put_in_place(params: MutableMapping[str, object], context: MutableMapping[str, object], **_: object) -> None:
    body = context.pop(_CONTEXT, None)
    if isinstance(body, bytes | bytearray):
        params["body"] = Blocks(body)
