"""Own the building of boto3's clients from the user's AWS settings.

The commands may enter. Profile, credentials, SSO, roles, CA bundle, proxies and endpoint come the
way boto3 reads them; region, FIPS and dual-stack come out of the reference.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import xform_name
from botocore.client import BaseClient
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.utils import parse_timestamp

from ecrdrag import __version__
from ecrdrag.cli.trust import bundle_of
from ecrdrag.credentials.identities import Identity, identity_for
from ecrdrag.errors import AuthError, EcrdragError, TransferError, UsageError
from ecrdrag.reference import PUBLIC_HOSTS, EcrHost
from ecrdrag.registry import ecr_parts
from ecrdrag.registry.ecr_api import EcrApi, structure_of
from ecrdrag.registry.ecr_errors import COMMON_CODES, UnansweredError, client_failure
from ecrdrag.registry.ecr_operations import Operations
from ecrdrag.registry.ecr_public import PublicRepositoryApi
from ecrdrag.registry.ecr_token import PrivateTokenApi, PublicTokenApi
from ecrdrag.registry.http import CONNECT_TIMEOUT, READ_TIMEOUT

# In all, unless the user's AWS settings say otherwise. The stories and engines try again by themselves, for longer;
# with more here, an API that never answers would go unmentioned for minutes.
_ATTEMPTS = 4
_PUBLIC_REGION: Final = "us-east-1"  # ECR Public's API answers there: ECR-PUBLIC API reference, GetAuthorizationToken
_ROLE_SESSION: Final = "ecrdrag"  # what CloudTrail shows
_URL_SECRETS: Final = re.compile(r"(?<=://)[^/\s]*@|\?[^\s\"']+")  # the user, and the query
_CREDENTIALS_HINT: Final = "run `aws sts get-caller-identity` with the same profile"


class _EcrClient(EcrApi, PrivateTokenApi, Protocol):
    """All that is used of boto3's ecr client."""


class _PublicClient(PublicRepositoryApi, PublicTokenApi, Protocol):
    """All that is used of boto3's ecr-public client."""


class ServiceClient:
    """Any of boto3's clients, by the names of its operations."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def call(self, operation: str, parameters: Mapping[str, object]) -> Mapping[str, object]:
        """Call an operation; what botocore tells of the HTTP answer is no part of what the API says.

        Raises ClientError with the HTTP status for its code where a server said yes that isn't AWS's: botocore takes
        any text for an answer without members, but AWS numbers its answers.
        """
        method: Callable[..., Mapping[str, object]] = getattr(self._client, xform_name(operation))
        answer = dict(method(**parameters))
        about = structure_of(answer, "ResponseMetadata")
        answer.pop("ResponseMetadata", None)
        if not answer and not about.get("RequestId"):
            raise ClientError({"Error": {"Code": str(about.get("HTTPStatusCode"))}}, operation)
        return answer

    def accepts(self, operation: str, member: str) -> bool:
        """Say whether an operation takes such a parameter."""
        shape = self._client.meta.service_model.operation_model(operation).input_shape
        return shape is not None and member in shape.members


class AwsSettings:
    """The user's AWS settings under one profile, or of a role that is assumed with them.

    Every method raises UsageError for settings that can't be used. endpoint_url is of the ECR API alone.
    """

    def __init__(self, profile: str | None, endpoint_url: str | None, role_arn: str | None = None) -> None:
        self._endpoint_url = endpoint_url or None
        with _settings_errors():
            self._botocore = _session_of(profile, role_arn)
            self._session = boto3.Session(botocore_session=self._botocore)

    def ecr(self, host: EcrHost, *, connections: int) -> EcrApi:
        """Build a client for the registry's region; safe from many threads.

        Raises AuthError when there are no credentials.
        """
        return self._ecr(host, connections)

    def tokens(self, host: EcrHost) -> PrivateTokenApi:
        """Build a client for passwords of private registries; raises AuthError when there are no credentials."""
        return self._ecr(host, connections=1)

    def public(self) -> _PublicClient:
        """Build a client for ECR Public; raises AuthError when there are no credentials."""
        self._check_credentials(PUBLIC_HOSTS[0])
        with _settings_errors():
            config = _config(self._botocore, connections=1)
            client = self._session.client("ecr-public", region_name=_PUBLIC_REGION, config=config)
            _ = urlsplit(client.meta.endpoint_url).port  # ValueError now rather than in the first call
        return client

    def _ecr(self, host: EcrHost, connections: int) -> _EcrClient:
        self._check_credentials(str(host))
        with _settings_errors():
            config = _config(self._botocore, connections).merge(_variants(host))
            client = self._session.client(
                "ecr", region_name=host.region, endpoint_url=self._endpoint_url, config=config
            )
            ecr_parts.install(client.meta.events)
            _ = urlsplit(client.meta.endpoint_url).port
        return client

    def operations(
        self, region: str, *, host: EcrHost | None = None, service: str = "ecr", connections: int = 1
    ) -> Operations:
        """Build a client of a service for a region, where AWS settings alone or a host name say which variant.

        Of the ECR API it tries each call once, unless AWS settings say otherwise: who calls tries again, and lets
        others have the turn meanwhile. Raises AuthError when there are no credentials.
        """
        self._check_credentials(str(host) if host else region)
        endpoint, attempts = (self._endpoint_url, 1) if service == "ecr" else (None, _ATTEMPTS)
        with _settings_errors():
            config = _config(self._botocore, connections, attempts)
            if host:
                config = config.merge(_variants(host))
            client = self._botocore.create_client(service, region_name=region, endpoint_url=endpoint, config=config)
            _ = urlsplit(client.meta.endpoint_url).port
        return ServiceClient(client)

    @property
    def limits_attempts(self) -> bool:
        """Whether the user says how often a call is tried."""
        with _settings_errors():
            return bool(self._botocore.get_config_variable("max_attempts"))

    def region(self) -> str | None:
        """Say which region the settings name; AWS_REGION is the aws CLI's name for botocore's AWS_DEFAULT_REGION."""
        region = os.environ.get("AWS_REGION") or self._botocore.get_config_variable("region")
        return region if isinstance(region, str) and region else None

    def regions(self, near: str) -> list[str]:
        """List the regions that have ECR in the partition of one of them."""
        with _settings_errors():
            partition = self._botocore.get_partition_for_region(near)
            return list(self._botocore.get_available_regions("ecr", partition))

    def host(self, account: str, region: str) -> EcrHost:
        """Name an account's registry in a region."""
        with _settings_errors():
            return EcrHost(account, region, self._botocore.get_partition_for_region(region))

    def ca_bundle(self) -> str | bool:
        """Say which certificates to trust: a file or folder, or True for the usual ones."""
        setting = self._botocore.get_config_variable("ca_bundle")
        return bundle_of(os.environ, setting if isinstance(setting, str) else None)

    def _check_credentials(self, where: str) -> None:
        """Find those for a registry now: what goes wrong here is not the ECR API's fault."""
        try:
            credentials = self._botocore.get_credentials()
            if credentials is None:
                raise NoCredentialsError
            credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise _at(where, _credentials_failure(error)) from None
        except ClientError as error:
            raise _at(where, _credentials_refusal(error)) from None
        except EcrdragError as error:
            raise _at(where, error) from None
        except Exception as error:  # noqa: BLE001 - whatever a credential process, a token file or a malformed URL brings
            reason = f"the AWS credentials can't be had: {str(error) or type(error).__name__}"
            raise _at(where, AuthError(reason, hint=_CREDENTIALS_HINT)) from None


def settings_for(
    registry: str, profile: str | None, endpoint_url: str | None, environ: Mapping[str, str]
) -> AwsSettings:
    """Build the settings for a registry: those that the user's map has for it, unless a profile is given.

    A profile on the command line beats the map, its role too, as it beats keys in the environment. Raises UsageError
    where the map can't be understood.
    """
    identity = Identity(profile) if profile else identity_for(registry, environ)
    try:
        return AwsSettings(identity.profile, endpoint_url, identity.role_arn)
    except UsageError as error:
        raise _at(registry, error) from None


class _Role(CredentialProvider):
    """Credentials of a role, assumed with those of another session, and assumed again before they expire."""

    METHOD = "assume-role"

    def __init__(self, source: botocore.session.Session, role_arn: str) -> None:
        super().__init__(source)
        self._role_arn = role_arn

    def load(self) -> DeferredRefreshableCredentials:
        source = self.session.get_credentials()
        if source is None:
            raise NoCredentialsError
        config = _config(self.session, connections=1)
        create = partial(self.session.create_client, region_name=self._region(), config=config)
        session = {"RoleSessionName": _ROLE_SESSION}
        fetcher = AssumeRoleCredentialFetcher(create, source, self._role_arn, extra_args=session)
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)

    def _region(self) -> str:
        """Choose whose STS to ask: the user's own region's, unless the role is in another partition."""
        partition = self._role_arn.split(":")[1]
        own = self.session.get_config_variable("region")
        if isinstance(own, str) and own and self.session.get_partition_for_region(own) == partition:
            return own
        known = {each["id"]: each["outputs"] for each in self.session.get_data("partitions")["partitions"]}
        if partition not in known:
            raise UsageError(f"the role {self._role_arn} is in no partition of AWS: {', '.join(known)}")
        return str(known[partition]["implicitGlobalRegion"])


def moment_of(value: str | float) -> datetime:
    """Read a time in an answer, in UTC where the API counts seconds since 1970.

    botocore does that in local time, with a zone of its own for each: of many images that is a third of all work.
    """
    if isinstance(value, int | float):
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(value, timezone.utc)
    return parse_timestamp(value)  # type: ignore[arg-type] # a number too, which its stub doesn't know


def _session_of(profile: str | None, role_arn: str | None) -> botocore.session.Session:
    session = botocore.session.Session(profile=profile)
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=moment_of)
    if role_arn:
        role = _Role(botocore.session.Session(profile=profile), role_arn)
        session.register_component("credential_provider", CredentialResolver([role]))
    return session


def _at(where: str, error: EcrdragError) -> EcrdragError:
    """Say for which registry, and leave out what is secret in a URL."""
    return type(error)(f"{where}: {_URL_SECRETS.sub('', str(error))}", hint=error.hint)


def _credentials_failure(error: BotoCoreError) -> EcrdragError:
    """Build the error for what botocore raises where it looks for credentials; it was not ECR that didn't answer."""
    failure = client_failure(error)
    if not isinstance(failure, TransferError):
        return failure
    reason = str(failure).replace("the ECR API", "the API")
    return type(failure)(f"the AWS credentials can't be had: {reason}", hint=_CREDENTIALS_HINT)


def _credentials_refusal(error: ClientError) -> EcrdragError:
    """Build the error for what STS or SSO refuse, or can't do now."""
    answer = error.response.get("Error", {})
    code, message = answer.get("Code", "Unknown"), answer.get("Message", "")
    kind, hint = COMMON_CODES.get(code, (AuthError, _CREDENTIALS_HINT))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    kind = UnansweredError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else kind
    refused = f"{error.operation_name} was refused: {message or 'no reason given'} ({code})"
    return kind(f"the AWS credentials can't be had: {refused}", hint=hint)


def _variants(host: EcrHost) -> Config:
    return Config(use_fips_endpoint=host.fips or None, use_dualstack_endpoint=host.dual_stack or None)


def _config(session: botocore.session.Session, connections: int, attempts: int = _ATTEMPTS) -> Config:
    """Say how to call, in the user's words where there are any."""
    # Asked for itself: where the user says nothing, older botocore answers with its own default, legacy.
    mode = os.environ.get("AWS_RETRY_MODE") or session.get_scoped_config().get("retry_mode") or "standard"
    limited = session.get_config_variable("max_attempts")
    retries = {"mode": mode} if limited else {"mode": mode, "total_max_attempts": attempts}
    return Config(
        retries=retries,  # type: ignore[arg-type]
        max_pool_connections=connections,
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        user_agent_extra=f"ecrdrag/{__version__}",
    )


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
