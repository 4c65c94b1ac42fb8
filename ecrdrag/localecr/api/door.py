"""Own the API door: one POST of AWS JSON 1.1 is checked, given to its operation, and answered.

The service may enter.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final
from uuid import uuid4

from botocore.model import OperationModel

from ecrdrag.localecr.api import images, layers, pushing, repositories, tokens
from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.refusals import Refusal
from ecrdrag.localecr.api.signature import SignatureCheck
from ecrdrag.localecr.api.wire import CONTENT_TYPE, read_input, service_model, write_output, write_refusal
from ecrdrag.localecr.s3.links import Links
from ecrdrag.localecr.settings import Settings
from ecrdrag.localecr.storage.store import Store
from ecrdrag.localecr.web.exchange import Answer, BodyTooLarge, Request

_log = logging.getLogger(__name__)

TARGET_PREFIX: Final = "AmazonEC2ContainerRegistry_V20150921"

OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {
        **tokens.OPERATIONS,
        **repositories.OPERATIONS,
        **layers.OPERATIONS,
        **pushing.OPERATIONS,
        **images.OPERATIONS,
    }
)


class Api:
    """Answer API calls on one store; safe from many threads."""

    def __init__(self, store: Store, settings: Settings, links: Links, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._settings = settings
        self._links = links
        self._clock = clock
        self._signatures = SignatureCheck(store.keys.key_id, store.keys.secret, settings.clock_skew)

    def __call__(self, request: Request) -> Answer:
        """Answer one call, whatever it is."""
        target = request.headers.get("X-Amz-Target", "")
        name = target.rpartition(".")[2]
        try:
            return self._success(name, self._run(request, target))
        except Refusal as refusal:
            return self._refused(name, refusal)

    def _run(self, request: Request, target: str) -> bytes:
        try:
            body = request.body.read_all(self._settings.max_body)
        except BodyTooLarge:
            raise Refusal("RequestEntityTooLargeException", "Request Entity Too Large", status=413) from None
        now = self._clock()
        region = self._signatures.region_of(request, body, now)
        model = _operation_model(target)
        operation = OPERATIONS.get(model.name)
        if operation is None:
            raise Refusal("UnsupportedOperationException", f"The local ECR doesn't emulate {model.name}", status=501)
        parameters = read_input(model, body)
        call = Call(parameters, region, request.host, now, self._store, self._settings, self._links)
        return _run_operation(operation, call, model)

    def _success(self, name: str, body: bytes) -> Answer:
        return Answer(200, _headers(), body, name)

    def _refused(self, name: str, refusal: Refusal) -> Answer:
        return Answer(refusal.status, _headers(), write_refusal(refusal), f"{name or 'no operation'} {refusal.shape}")


def _operation_model(target: str) -> OperationModel:
    prefix, _, name = target.rpartition(".")
    model = service_model()
    if prefix != TARGET_PREFIX or name not in model.operation_names:
        raise Refusal("UnknownOperationException", f"{target[:200] or 'No X-Amz-Target header'} is no operation of ECR")
    return model.operation_model(name)


def _run_operation(operation: Operation, call: Call, model: OperationModel) -> bytes:
    """Run an operation; what the model doesn't let it raise becomes ECR's ServerException."""
    try:
        return write_output(model, operation(call))
    except Refusal as refusal:
        if refusal.shape in {shape.name for shape in model.error_shapes}:
            raise
        _log.exception("%s raised an error that it can't have", model.name)
    except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer
        _log.exception("%s failed", model.name)
    raise Refusal("ServerException", f"The local ECR failed in {model.name}; its log says why", status=500)


def _headers() -> dict[str, str]:
    return {"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": str(uuid4())}
