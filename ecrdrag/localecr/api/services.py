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
    secret_lists,
    secret_lives,
    secret_tags,
    secrets,
    statuses,
    storage_class,
    tagging,
    templates,
    tokens,
)
from ecrdrag.localecr.api.call import Operation
from ecrdrag.localecr.api.refusals import invalid_parameter, unsupported_command
from ecrdrag.localecr.api.secret_refusals import invalid_value
from ecrdrag.localecr.api.wire import Refuse, service_model
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
SECRET_GAPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("CancelRotateSecret", "RotateSecret"), "it has no functions that could give a secret another value"
        ),
        **dict.fromkeys(
            (
                "AssociateCrossAccountReplica",
                "DisassociateCrossAccountReplica",
                "RemoveRegionsFromReplication",
                "ReplicateSecretToRegions",
                "StopReplicationToReplica",
            ),
            "it keeps a secret in one account and region",
        ),
        **dict.fromkeys(
            (
                "DeleteResourcePolicy",
                "GetResourcePolicy",
                "ListResourcePolicies",
                "PutResourcePolicy",
                "ValidateResourcePolicy",
            ),
            "everybody with a key pair of an account may use all of its secrets",
        ),
        **dict.fromkeys(
            ("BatchGetSecretValue", "GetRandomPassword", "ListSecretVersionIds", "UpdateSecretVersionStage"),
            "it keeps secrets for pull-through cache rules, which need no more than the other operations",
        ),
    }
)
"""Operations of Secrets Manager that aren't emulated, and why not."""


@dataclass(frozen=True, slots=True)
class Service:
    """One of AWS's services as this server has it; gaps says of each operation that isn't here why not."""

    name: str
    operations: Mapping[str, Operation]
    gaps: Mapping[str, str]
    home: str = ""
    """The only region whose API answers, for all registries in public; empty where each region has its own."""
    common: frozenset[str] = frozenset()
    """Errors that each operation has beside those that the model names with it."""
    refuse_input: Refuse = invalid_parameter
    failure: str = "ServerException"
    """The error that says that the server is at fault."""

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

    def errors_of(self, name: str) -> frozenset[str]:
        """Name the errors that an operation can have."""
        return self.common | {shape.name for shape in self.operation_model(name).error_shapes}

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
SECRETS_MANAGER: Final = Service(
    "secretsmanager",
    MappingProxyType(
        {**secrets.OPERATIONS, **secret_lists.OPERATIONS, **secret_lives.OPERATIONS, **secret_tags.OPERATIONS}
    ),
    SECRET_GAPS,
    common=frozenset({"ValidationException"}),  # Secrets Manager API reference, "Common Error Types"
    refuse_input=invalid_value,
    failure="InternalServiceError",
)
SERVICES: Final = (ECR, ECR_PUBLIC, SECRETS_MANAGER)
