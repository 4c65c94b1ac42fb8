"""Own which services there are: the model, the names on the wire and the operations of each.

The registry, the API door and tests may enter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from botocore.model import OperationModel, ServiceModel

from ecrdrag.localecr.api import (
    accounts,
    images,
    layers,
    lifecycle,
    policies,
    public,
    pushing,
    referrers,
    replication,
    repositories,
    rules,
    scanning,
    statuses,
    storage_class,
    tagging,
    templates,
    tokens,
)
from ecrdrag.localecr.api.call import Operation
from ecrdrag.localecr.api.refusals import unsupported_command
from ecrdrag.localecr.api.wire import service_model
from ecrdrag.localecr.names import PUBLIC

GAPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "StartImageScan": "it has no scanner, and findings made up would be worse than none",
        "PutSigningConfiguration": "it has no AWS Signer to sign images with",
        **dict.fromkeys(
            (
                "StartReplicationBackfill",
                "StopReplicationBackfill",
                "DescribeReplicationBackfillResults",
                "ListReplicationBackfills",
            ),
            "it stores a replication configuration but copies no images",
        ),
    }
)
"""Operations of ECR that aren't emulated, and why not."""


@dataclass(frozen=True, slots=True)
class Service:
    """One of AWS's services as this server has it; gaps says of each operation that isn't here why not."""

    name: str
    operations: Mapping[str, Operation]
    gaps: Mapping[str, str]
    home: str = ""
    """The only region whose API answers, for all registries in public; empty where each region has its own."""

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

    def registries(self, operation: str, region: str) -> str:
        """Return the region of the registries that a call to a region is about; raise UnsupportedCommandException."""
        if self.home and region != self.home:
            raise unsupported_command(operation, self.home)
        return PUBLIC if self.home else region

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
            **lifecycle.OPERATIONS,
            **referrers.OPERATIONS,
            **storage_class.OPERATIONS,
            **policies.OPERATIONS,
            **tagging.OPERATIONS,
            **scanning.OPERATIONS,
            **replication.OPERATIONS,
            **statuses.OPERATIONS,
            **accounts.OPERATIONS,
            **rules.OPERATIONS,
            **templates.OPERATIONS,
        }
    ),
    GAPS,
)
ECR_PUBLIC: Final = Service("ecr-public", MappingProxyType(public.OPERATIONS), MappingProxyType({}), home=public.HOME)
SERVICES: Final = (ECR, ECR_PUBLIC)
