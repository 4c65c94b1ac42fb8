"""Own the making of the far ends that a command works with: by which door, as whom, and which connections they share.

The commands that move images enter.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING

from ecrdrag.cli.trust import bundle_of
from ecrdrag.cli.way import Way
from ecrdrag.content import BlobSource
from ecrdrag.credentials.docker_config import DockerKeyring
from ecrdrag.credentials.keyrings import Typed
from ecrdrag.errors import EcrdragError, UsageError
from ecrdrag.reference import PUBLIC_HOSTS, ImageReference
from ecrdrag.registry.auth import Keyring
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import DistributionSource
from ecrdrag.registry.distribution_destination import DistributionDestination
from ecrdrag.registry.ends import Destination, Source
from ecrdrag.registry.foreign import ForeignLayers
from ecrdrag.registry.http import Trust
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.transfer.pace import Paces

if TYPE_CHECKING:
    from ecrdrag.cli.amazon import Amazon

log = logging.getLogger(__name__)


class Ends:
    """Open sources and destinations; what they share is closed with the block."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._stack = ExitStack()
        self._clients: dict[tuple[str, bool], RegistryClient] = {}
        self._paces: dict[str, Paces] = {}
        self._transports: dict[tuple[Trust, bool], tuple[BlobTransport, Paces]] = {}

    def __enter__(self) -> Ends:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def source(self, reference: ImageReference, *, streams: bool = False) -> Source:
        """Open an image's repository to read from it; streams says that each reader reads on and on, as a copy does."""
        transport, turns = self._transport(self._trust(reference), streams=streams)
        if self._reads_by_api(reference):
            return self._amazon.source(reference, transport, turns)
        return DistributionSource(self._client(reference, writes=False), transport, reference, turns)

    def lister(self, reference: ImageReference) -> RegistryClient | None:
        """Open a registry whose lists are read over /v2/; None where they are the ECR API's."""
        return None if self._reads_by_api(reference) else self._client(reference, writes=False)

    def foreign(self) -> BlobSource:
        """Open the way to layers that no registry has; AWS settings have no say there."""
        trust = Trust(bundle_of(os.environ), self._way.ca_file)
        return self._stack.enter_context(
            ForeignLayers(trust=trust, connections=self._way.jobs, turns=Paces(self._way.jobs))
        )

    def destination(self, reference: ImageReference) -> Destination:
        """Open a repository to write to it."""
        # All at once: few and long as the calls of a push are, to find out first what pays would double its time.
        turns = self._paces.setdefault(reference.registry, Paces(self._way.jobs, first=self._way.jobs))
        if self._writes_by_api(reference):
            return self._amazon.destination(reference, turns)
        client = self._client(reference, writes=True)
        is_amazon = reference.ecr is not None or reference.registry in PUBLIC_HOSTS
        create = partial(self._amazon.create, reference) if is_amazon else None
        return DistributionDestination(client, reference, turns, create)

    def _transport(self, trust: Trust, *, streams: bool) -> tuple[BlobTransport, Paces]:
        """Share connections, and the pace at which each host is asked, among all that is read."""
        if (trust, streams) not in self._transports:
            jobs = self._way.jobs
            turns = Paces(jobs, first=jobs if streams else None)
            transport = self._stack.enter_context(BlobTransport(connections=jobs, trust=trust, turns=turns))
            self._transports[trust, streams] = transport, turns
        return self._transports[trust, streams]

    def _reads_by_api(self, reference: ImageReference) -> bool:
        """Choose the API, which needs no token; /v2/ where AWS doesn't know us and docker is logged in."""
        chosen = self._chosen(reference)
        return self._amazon.has_credentials(reference) if chosen is None else chosen

    def _writes_by_api(self, reference: ImageReference) -> bool:
        """Choose /v2/ where it lets us in, as it takes layers as they are; the API takes them in base64."""
        chosen = self._chosen(reference)
        if chosen is not None:
            return chosen
        try:
            self._client(reference, writes=True).check()
        except EcrdragError as error:
            log.info("%s; going through the ECR API", error)
            return True
        return False

    def _chosen(self, reference: ImageReference) -> bool | None:
        """Say whether the API is the door as far as that is beyond choice; None where both may do."""
        if reference.ecr is None and self._way.api == "ecr":
            raise UsageError(f"{reference.registry} is reached over /v2/ alone", hint="leave --api out")
        if reference.ecr is None or self._way.api == "registry":
            return False
        if self._way.api == "ecr":
            return True
        return False if self._way.login else None  # the API knows no such logins

    def _client(self, reference: ImageReference, *, writes: bool) -> RegistryClient:
        key = (reference.registry, writes)
        if key not in self._clients:
            server, keyring = self._who(reference, writes=writes)
            client = RegistryClient(
                server,
                registry=reference.registry,
                keyring=keyring,
                plain_http=self._way.plain_http,
                trust=self._trust(reference),
                connections=self._way.jobs,
            )
            self._clients[key] = self._stack.enter_context(client)
        return self._clients[key]

    def _who(self, reference: ImageReference, *, writes: bool) -> tuple[str, Keyring]:
        """Say where a registry answers and who we are there: as typed, by AWS at Amazon's, else as docker knows us."""
        if self._way.login:
            return reference.server, Typed(self._way.login)
        if reference.ecr is not None:
            return self._amazon.private(reference)
        if reference.registry in PUBLIC_HOSTS:
            return reference.server, self._amazon.public(reference, writes=writes)
        return reference.server, self._docker

    def _trust(self, reference: ImageReference) -> Trust:
        by_aws = reference.ecr is not None and self._way.login is None
        bundle = self._amazon.settings(reference).ca_bundle() if by_aws else bundle_of(os.environ)
        return Trust(bundle, self._way.ca_file)

    @cached_property
    def _docker(self) -> DockerKeyring:
        return DockerKeyring(os.environ)

    @cached_property
    def _amazon(self) -> Amazon:
        from ecrdrag.cli.amazon import Amazon  # late: other registries don't wait for boto3

        return Amazon(self._way, self._docker)
