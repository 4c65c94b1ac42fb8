"""Own the API door: one POST of AWS JSON 1.1 is checked, given to its operation, and answered.

The service may enter.
"""

from __future__ import annotations

from typing import Final
from uuid import uuid4

from ecrdrag.localecr.api.call import Caller
from ecrdrag.localecr.api.refusals import Refusal
from ecrdrag.localecr.api.registry import Registry
from ecrdrag.localecr.api.services import ECR, SERVICES, Service
from ecrdrag.localecr.api.signature import SignatureCheck
from ecrdrag.localecr.api.wire import CONTENT_TYPE, read_json, write_output, write_refusal
from ecrdrag.localecr.web.exchange import Answer, BodyTooLarge, Request

_BLOCK: Final = 64 * 1024


class Api:
    """Answer API calls; safe from many threads."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._signatures = SignatureCheck.of(registry.store.keys, registry.settings.clock_skew)

    def __call__(self, request: Request) -> Answer:
        """Answer one call, whatever it is."""
        target = request.headers.get("X-Amz-Target", "")
        prefix, _, name = target.rpartition(".")
        service = next((one for one in SERVICES if prefix == one.target_prefix), ECR)
        try:
            return Answer(200, _headers(), self._run(request, target, service), name)
        except Refusal as refusal:
            summary = f"{name or 'no operation'} {refusal.shape}"
            return Answer(refusal.status, _headers(), write_refusal(refusal, service.name), summary)

    def _run(self, request: Request, target: str, service: Service) -> bytes:
        try:
            body = self._read(request)
        except BodyTooLarge:
            raise Refusal("RequestEntityTooLargeException", "Request Entity Too Large", status=413) from None
        prefix, _, name = target.rpartition(".")
        signed = self._signatures.signed(request, body, self._registry.clock(), service.signing_name)
        if prefix != service.target_prefix or name not in service.model.operation_names:
            raise Refusal(
                "UnknownOperationException", f"{target[:200] or 'No X-Amz-Target header'} is no operation of ECR"
            )
        caller = Caller(signed.account, service.registries(name, signed.region), request.host)
        output = self._registry.run(name, read_json(body), caller, service)
        return write_output(service.operation_model(name), output)

    def _read(self, request: Request) -> bytes:
        """Return the body, but nothing of a stranger's, which mustn't fill the memory; raise BodyTooLarge."""
        limit = self._registry.settings.max_body
        if self._signatures.knows(request) or (request.body.length or 0) > limit:
            return request.body.read_all(limit)
        for block in request.body.blocks(_BLOCK):
            limit -= len(block)
            if limit < 0:
                raise BodyTooLarge("a stranger's body is over the limit")
        return b""


def _headers() -> dict[str, str]:
    return {"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": str(uuid4())}
