"""Own one request at /v2/ on its way: who asks, about which repository, and the operations of the API behind it.

Every handler of /v2/ gets one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ecrdrag.localecr.api.call import Call, Caller
from ecrdrag.localecr.api.refusals import Refusal
from ecrdrag.localecr.api.registry import Registry
from ecrdrag.localecr.api.wire import Parameters
from ecrdrag.localecr.names import RepositoryKey
from ecrdrag.localecr.v2.answers import Refused
from ecrdrag.localecr.v2.dialects import Manner
from ecrdrag.localecr.web.exchange import Answer, Request

_CREATE: Final = "CreateRepository"
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Visit:
    """What a handler works with; name is the repository as the client calls it, key as the records do."""

    request: Request
    registry: Registry
    manner: Manner
    caller: Caller
    name: str
    key: RepositoryKey
    word: str
    """What follows the repository: a tag or a digest, an upload."""
    query: Mapping[str, str]
    is_anonymous: bool

    @property
    def base(self) -> str:
        """The URL that the client knows this server by."""
        return f"{self.registry.settings.scheme}://{self.request.host}"

    @property
    def url(self) -> str:
        """The URL of the repository."""
        return f"{self.base}/v2/{self.name}"

    def run(self, operation: str, members: Mapping[str, object] = _NOTHING, *, fine: str = "") -> Parameters:
        """Run an operation on the repository; an error of the shape fine gives an empty output."""
        try:
            return _read(self.registry.run(operation, self._document(members), self.caller))
        except Refusal as refusal:
            if refusal.shape == fine:
                return Parameters({})
            raise self.refused(operation, refusal) from None

    @contextmanager
    def calling(self, operation: str, members: Mapping[str, object] = _NOTHING) -> Iterator[Call]:
        """Give a call of an operation, for what /v2/ does by itself under this operation's rules."""
        try:
            yield self.registry.call(operation, self._document(members), self.caller)
        except Refusal as refusal:
            raise self.refused(operation, refusal) from None

    def refused(self, operation: str, refusal: Refusal) -> Refused:
        """Translate a refusal of the API's."""
        return Refused(self.manner.code(operation, refusal.shape), refusal.message)

    def ensure_repository(self) -> None:
        """Create the repository where a push does that."""
        if not self.manner.creates_repositories:
            return
        with self.registry.store.metadata.read() as records:
            missing = records.repository(self.key) is None
        if missing:
            self.run(_CREATE, fine="RepositoryAlreadyExistsException")

    def _document(self, members: Mapping[str, object]) -> dict[str, object]:
        named = {"repositoryName": self.key.name} if self.key.name else {}
        return {"registryId": self.key.account, **named, **members}


def failure(visit: Visit, operation: str, output: Parameters) -> Refused | None:
    """Return what an output that holds failures of single things is refused with."""
    for one in output.structures("failures"):
        return Refused(visit.manner.code(operation, one.text("failureCode")), one.text("failureReason"))
    return None


Act = Callable[[Visit], Answer]
"""A handler of one method of one path."""


def _read(output: Mapping[str, object]) -> Parameters:
    return Parameters({name: _typed(value) for name, value in output.items() if value is not None})


def _typed(value: object) -> object:
    if isinstance(value, Mapping):
        return _read(value)
    return [_typed(one) for one in value] if isinstance(value, list) else value
