"""Own the building of boto3's clients from the user's AWS settings.

The commands may enter. Profile, credentials, SSO, roles, CA bundle, proxies and endpoint come the
way boto3 reads them; region, FIPS and dual-stack come out of the reference.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, NoCredentialsError

from ecrdrag import __version__
from ecrdrag.errors import AuthError, UsageError
from ecrdrag.reference import EcrHost
from ecrdrag.registry import ecr_parts
from ecrdrag.registry.ecr_api import EcrApi
from ecrdrag.registry.ecr_errors import client_failure
from ecrdrag.registry.http import CONNECT_TIMEOUT, READ_TIMEOUT

_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # what requests looks at, after AWS's own
# In all, unless the user's AWS settings say otherwise. The stories and engines try again by themselves, for longer;
# with more here, an API that never answers would go unmentioned for minutes.
_ATTEMPTS = 4


class AwsSettings:
    """The user's AWS settings under one profile.

    Every method raises UsageError for settings that can't be used.
    """

    def __init__(self, profile: str | None, endpoint_url: str | None) -> None:
        self._endpoint_url = endpoint_url or None
        with _settings_errors():
            self._botocore = botocore.session.Session(profile=profile)
            self._session = boto3.Session(botocore_session=self._botocore)

    def ecr(self, host: EcrHost, *, connections: int) -> EcrApi:
        """Build a client for the registry's region; safe from many threads.

        Raises AuthError when there are no credentials.
        """
        with _settings_errors():
            config = Config(
                retries=self._retries(),  # type: ignore[arg-type]
                max_pool_connections=connections,
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                user_agent_extra=f"ecrdrag/{__version__}",
                use_fips_endpoint=host.fips or None,
                use_dualstack_endpoint=host.dual_stack or None,
            )
            client = self._session.client(
                "ecr", region_name=host.region, endpoint_url=self._endpoint_url, config=config
            )
            ecr_parts.install(client.meta.events)
            _ = urlsplit(client.meta.endpoint_url).port  # ValueError now rather than in the first call
        self._check_credentials()
        return client

    def ca_bundle(self) -> str | bool:
        """Say which certificates to trust: a file or folder, or True for the usual ones."""
        bundle = self._botocore.get_config_variable("ca_bundle") or _first_of(_CA_VARIABLES)
        if not isinstance(bundle, str):
            return True
        folder = bundle if Path(bundle).is_dir() else None
        try:
            ssl.create_default_context(cafile=None if folder else bundle, capath=folder)
        except OSError as error:
            raise UsageError(
                f"the CA bundle {bundle} can't be used: {error.strerror or error}",
                hint=f"check ca_bundle in the profile, {', '.join(('AWS_CA_BUNDLE', *_CA_VARIABLES))}",
            ) from error
        return bundle

    def _retries(self) -> dict[str, str | int]:
        # Asked for itself: where the user says nothing, older botocore answers with its own default, legacy.
        mode = os.environ.get("AWS_RETRY_MODE") or self._botocore.get_scoped_config().get("retry_mode") or "standard"
        limited = self._botocore.get_config_variable("max_attempts")
        return {"mode": mode} if limited else {"mode": mode, "total_max_attempts": _ATTEMPTS}

    def _check_credentials(self) -> None:
        """Find them now: what goes wrong here is not the ECR API's fault."""
        try:
            credentials = self._botocore.get_credentials()
            if credentials is None:
                raise NoCredentialsError
            credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise client_failure(error) from None
        except Exception as error:  # whatever a credential process, a token file or STS brings
            reason = str(error) or type(error).__name__
            raise AuthError(
                f"the AWS credentials can't be had: {reason}",
                hint="run `aws sts get-caller-identity` with the same profile",
            ) from error


@contextmanager
def _settings_errors() -> Iterator[None]:
    """Turn what botocore makes of settings into UsageError; ValueErrors hold URLs, which may hold secrets."""
    try:
        yield
    except BotoCoreError as error:
        raise client_failure(error) from None
    except ValueError:
        raise UsageError(
            "the AWS settings can't be used: a number or the endpoint URL in them is malformed",
            hint="check --endpoint-url, AWS_ENDPOINT_URL_ECR, AWS_MAX_ATTEMPTS and the profile",
        ) from None


def _first_of(names: Sequence[str]) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)
