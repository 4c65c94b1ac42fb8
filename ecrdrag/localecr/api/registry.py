"""Own the running of operations, for whoever asks: the API door, and /v2/, which at AWS stands before the API too.

The API door, /v2/ and the service may enter.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ecrdrag.localecr.api import templates
from ecrdrag.localecr.api.call import Call, Caller
from ecrdrag.localecr.api.refusals import Refusal
from ecrdrag.localecr.api.services import ECR, Service
from ecrdrag.localecr.api.upstream import Upstreams
from ecrdrag.localecr.api.wire import check_input
from ecrdrag.localecr.s3.links import Links
from ecrdrag.localecr.settings import Settings
from ecrdrag.localecr.storage.store import Store

_log = logging.getLogger(__name__)

# What changes something; the rest reads. AWS names its operations so that the verb says it.
_READING: Final = ("BatchCheck", "BatchGet", "Describe", "Get", "List", "Validate")


@dataclass(frozen=True, slots=True)
class Registry:
    """Run operations on one store; safe from many threads."""

    store: Store
    settings: Settings
    links: Links
    clock: Callable[[], float] = time.time
    upstreams: Upstreams = field(default_factory=Upstreams)

    def run(self, name: str, document: object, caller: Caller, service: Service = ECR) -> Mapping[str, object]:
        """Check an operation's input and run it; raise Refusal, of the kinds that the model lets it raise."""
        operation = service.operations.get(name)
        if operation is None:
            why = service.gaps.get(name, "")
            raise Refusal(
                "UnsupportedOperationException",
                f"The local ECR doesn't emulate {name}{': ' if why else ''}{why}",
                status=501,
            )
        call = self.call(name, document, caller, service)
        try:
            if name in self.settings.create_on_push:
                templates.create_on_push(call)
            return operation(call)
        except Refusal as refusal:
            if refusal.shape in service.errors_of(name):
                raise
            _log.exception("%s raised an error that it can't have", name)
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer
            _log.exception("%s failed", name)
        raise Refusal(service.failure, f"The local ECR failed in {name}; its log says why", status=500)

    def call(self, name: str, document: object, caller: Caller, service: Service = ECR) -> Call:
        """Check an operation's input; raise Refusal."""
        parameters = check_input(service.operation_model(name), document, service.refuse_input)
        if self.settings.read_only and not name.startswith(_READING):
            raise Refusal(
                "AccessDeniedException",
                f"User: arn:aws:iam::{caller.account}:root is not authorized to perform: {service.name}:{name}: "
                "this local ECR is read-only",
            )
        return Call(parameters, caller, self.clock(), self.store, self.settings, self.links, self.upstreams)
