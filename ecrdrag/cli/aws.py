"""Own the building of boto3's clients from the user's AWS settings.

The commands may enter. Profile, credentials, SSO, roles, CA bundle, proxies and endpoint come the
way boto3 reads them; region, FIPS and dual-stack come out of the reference.
"""

from __future__ import annotations

from pathlib import Path

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from ecrdrag import __version__
from ecrdrag.errors import UsageError
from ecrdrag.reference import EcrHost
from ecrdrag.registry.ecr import EcrApi
from ecrdrag.registry.ecr_errors import client_failure
from ecrdrag.registry.transport import CONNECT_TIMEOUT, READ_TIMEOUT

_ATTEMPTS = 8  # in all, unless the user's AWS settings say otherwise; botocore's standard mode makes 3


class AwsSettings:
    """The user's AWS settings under one profile.

    Raises UsageError for a profile that isn't there.
    """

    def __init__(self, profile: str | None, endpoint_url: str | None) -> None:
        self._endpoint_url = endpoint_url
        try:
            self._botocore = botocore.session.Session(profile=profile)
            self._session = boto3.Session(botocore_session=self._botocore)
        except BotoCoreError as error:
            raise client_failure(error) from None

    def ecr(self, host: EcrHost, *, connections: int) -> EcrApi:
        """Build a client for the registry's region; safe from many threads."""
        retries: dict[str, str | int] = {"mode": "standard"}
        if self._botocore.get_config_variable("max_attempts") is None:
            retries["total_max_attempts"] = _ATTEMPTS
        config = Config(
            retries=retries,  # type: ignore[arg-type]
            max_pool_connections=connections,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            user_agent_extra=f"ecrdrag/{__version__}",
            use_fips_endpoint=host.fips or None,
            use_dualstack_endpoint=host.dual_stack or None,
        )
        try:
            return self._session.client(
                "ecr", region_name=host.region, endpoint_url=self._endpoint_url or None, config=config
            )
        except (BotoCoreError, ValueError) as error:  # ValueError: the endpoint is no URL
            raise client_failure(error) from None

    def ca_bundle(self) -> str | bool:
        """Say which certificates to trust: a file or folder, or True for the usual ones.

        Raises UsageError when it isn't there.
        """
        bundle = self._botocore.get_config_variable("ca_bundle")
        if not isinstance(bundle, str) or not bundle:
            return True
        if not Path(bundle).exists():
            raise UsageError(
                f"the CA bundle {bundle} does not exist", hint="check AWS_CA_BUNDLE or the profile's ca_bundle"
            )
        return bundle
