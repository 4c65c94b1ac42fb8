"""Own which services there are: the model, the names on the wire and the operations of each.

The registry, the API door and tests may enter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from botocore.model import OperationModel, ServiceModel

from ecrdrag.localecr.api import images, layers, pushing, repositories, tokens
from ecrdrag.localecr.api.call import Operation
from ecrdrag.localecr.api.wire import service_model

GAPS: Final[Mapping[str, str]] = MappingProxyType({})
"""Operations of ECR that aren't emulated, and why not."""


@dataclass(frozen=True, slots=True)
class Service:
    """One of AWS's services as this server has it; gaps says of each operation that isn't here why not."""

    name: str
    operations: Mapping[str, Operation]
    gaps: Mapping[str, str]

    @property
    def model(self) -> ServiceModel:
        """Botocore's model of the service."""
        return service_model(self.name)

    @property
    def target_prefix(self) -> str:
        """What X-Amz-Target begins with."""
        return str(self.model.metadata["targetPrefix"])

    @property
    def signing_name(self) -> str:
        """The service in a signature's scope; botocore takes the endpoint's name where the model names none."""
        return str(self.model.metadata.get("signingName", self.name))

    def operation_model(self, name: str) -> OperationModel:
        """Return the model of an operation that the service has."""
        return self.model.operation_model(name)


ECR: Final = Service(
    "ecr",
    MappingProxyType(
        {
            **tokens.OPERATIONS,
            **repositories.OPERATIONS,
            **layers.OPERATIONS,
            **pushing.OPERATIONS,
            **images.OPERATIONS,
        }
    ),
    GAPS,
)
SERVICES: Final = (ECR,)
