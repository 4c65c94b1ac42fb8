"""Own calls of the ECR API by the name of an operation, for all that isn't the moving of images.

The stories about registries and the command line, which builds the client, may enter. Names of operations and
members are those of botocore's model; a contract test holds all that are used against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ecrdrag.content import Turns
from ecrdrag.errors import TransferError
from ecrdrag.registry.ecr_errors import translated

Answer = Mapping[str, object]


class Operations(Protocol):
    """One AWS service in one region, by botocore's model; safe from many threads."""

    def call(self, operation: str, parameters: Mapping[str, object]) -> Answer:
        """Call an operation, such as DescribeImages; raises what botocore raises."""
        ...

    def accepts(self, operation: str, member: str) -> bool:
        """Say whether an operation takes such a parameter."""
        ...


class EcrOperations:
    """Call a registry's operations, each kind of them at the pace that the registry bears."""

    def __init__(self, operations: Operations, account: str | None, turns: Turns) -> None:
        """Speak about the registry of an account; None is the caller's own."""
        self._operations, self._account, self._turns = operations, account, turns

    def call(self, operation: str, where: str, parameters: Mapping[str, object]) -> Answer:
        """Call an operation; raises our errors, which begin with where, BusyError where it wants fewer calls."""
        meant = {name: value for name, value in parameters.items() if value is not None}
        with self._turns.turn(operation) as turn, translated(where):
            if self._account and self._operations.accepts(operation, "registryId"):
                meant["registryId"] = self._account
            answer = self._operations.call(operation, meant)
            turn.moved(1)
        if not isinstance(answer, Mapping):
            raise TransferError(f"{where}: {operation} was answered with no structure")
        return answer
