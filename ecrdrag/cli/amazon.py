"""Own what the far ends need of Amazon: settings and clients for each of its registries, and who we are there.

cli/ends.py enters when one is named: at all others nobody waits for boto3, or minds AWS settings.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from urllib.parse import urlsplit

from ecrdrag.cli.aws import AwsSettings, settings_for
from ecrdrag.cli.way import Way
from ecrdrag.credentials.keyrings import AwsKeyring, InTurn, Willing
from ecrdrag.errors import AuthError, EcrdragError, UsageError
from ecrdrag.reference import EcrHost, ImageReference
from ecrdrag.registry.auth import Keyring
from ecrdrag.registry.ecr import EcrSource
from ecrdrag.registry.ecr_api import EcrApi
from ecrdrag.registry.ecr_destination import EcrDestination
from ecrdrag.registry.ecr_public import create_public_repository
from ecrdrag.registry.ecr_token import fetch_public_token, fetch_token
from ecrdrag.registry.ends import RepositorySettings
from ecrdrag.registry.http import is_loopback
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.transfer.pace import Paces

log = logging.getLogger(__name__)


class Amazon:
    """Find out who we are at registries of Amazon's; docker is asked where AWS doesn't know us.

    Every method raises UsageError for AWS settings that can't be used, and AuthError where nobody knows us.
    """

    def __init__(self, way: Way, docker: Keyring) -> None:
        self._way, self._docker = way, docker
        self._settings: dict[str, AwsSettings] = {}
        self._apis: dict[EcrHost, EcrApi] = {}
        self._told: set[str] = set()

    def source(self, reference: ImageReference, transport: BlobTransport, turns: Paces) -> EcrSource:
        """Read by the ECR API."""
        return EcrSource(self._api(reference), transport, reference, turns)

    def destination(self, reference: ImageReference, turns: Paces) -> EcrDestination:
        """Write by the ECR API."""
        return EcrDestination(self._api(reference), reference, turns)

    def create(self, reference: ImageReference, settings: RepositorySettings) -> bool:
        """Create a repository, which /v2/ has no word for; False when it was there already."""
        if reference.ecr is None:
            return create_public_repository(self.settings(reference).public(), reference, settings)
        return EcrDestination(self._api(reference), reference).create_repository(settings)

    def settings(self, reference: ImageReference) -> AwsSettings:
        """Give the settings for a registry."""
        name = reference.registry
        if name not in self._settings:
            self._settings[name] = settings_for(name, self._way.profile, self._way.endpoint_url, os.environ)
        return self._settings[name]

    def has_credentials(self, reference: ImageReference) -> bool:
        """Say whether AWS credentials are there for a private registry, or docker's login alone."""
        try:
            self._api(reference)
        except AuthError as error:
            self._check_docker(reference, error)
            return False
        return True

    def public(self, reference: ImageReference, *, writes: bool) -> Keyring:
        """Say who we are in ECR Public, where anybody may read."""
        if self._way.profile:
            self.settings(reference)  # now: one that was asked for is not passed over
        ours = AwsKeyring(lambda: fetch_public_token(self.settings(reference).public(), reference.registry))
        known = InTurn([ours, self._docker])
        return known if writes else Willing(known)

    def private(self, reference: ImageReference) -> tuple[str, Keyring]:
        """Say where a private registry answers over /v2/, and who we are there.

        It is where GetAuthorizationToken says, if that isn't AWS's own name for it.
        """
        host = reference.private
        try:
            api = self.settings(reference).tokens(host)
            keyring = AwsKeyring(lambda: fetch_token(api, host.account, reference.registry))
            endpoint = keyring.token().endpoint
        except EcrdragError as error:
            self._check_docker(reference, error)
            return reference.server, self._docker
        if not endpoint or urlsplit(endpoint).hostname == str(replace(host, fips=False, dual_stack=False)):
            return reference.server, keyring
        self._check_tls(reference, endpoint)
        log.debug("%s is at %s", reference.registry, endpoint)
        return endpoint, keyring

    def _api(self, reference: ImageReference) -> EcrApi:
        host = reference.private
        if host not in self._apis:
            self._apis[host] = self.settings(reference).ecr(host, connections=self._way.jobs)
        return self._apis[host]

    def _check_docker(self, reference: ImageReference, error: EcrdragError) -> None:
        """Raise what keeps AWS from knowing us, unless somebody has logged docker in."""
        try:
            found = self._docker.find(reference.registry)
        except AuthError as another:  # one that has nothing to do with AWS, perhaps
            log.info("docker's login at %s can't be had either: %s", reference.registry, another)
            raise error from None
        if found is None:
            raise error
        if reference.registry not in self._told:
            self._told.add(reference.registry)
            log.info("%s; going on with docker's login", error)

    def _check_tls(self, reference: ImageReference, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme != "https" and not self._way.plain_http and not is_loopback(parts.hostname or ""):
            place = f"{parts.scheme}://{parts.netloc}"
            raise UsageError(f"{reference.registry} is at {place}, without TLS", hint="allow it with --plain-http")
