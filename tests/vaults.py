"""Talk to a local ECR's Secrets Manager with real boto3; knows nothing of pytest.

with secrets_client(ecr) as secrets:
    arn = keep_login(secrets, "hub", "me", "token")
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from ecrdrag.localecr import LocalEcr
from tests.localecr import REGION

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

PREFIX = "ecr-pullthroughcache/"


def secrets_client(
    ecr: LocalEcr, *, region: str = REGION, keys: tuple[str, str] | None = None
) -> AbstractContextManager[SecretsManagerClient]:
    """Give a boto3 client of a local ECR's Secrets Manager."""
    return secrets_client_for(ecr.endpoint, keys or ecr.credentials, region=region)


@contextmanager
def secrets_client_for(endpoint: str, keys: tuple[str, str], *, region: str = REGION) -> Iterator[SecretsManagerClient]:
    """Give a boto3 client for an endpoint; no retries, so that a test sees the first answer."""
    api = boto3.client(
        "secretsmanager",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        yield api
    finally:
        api.close()


def login(username: str, token: str) -> str:
    """Write what the secret of a pull-through cache rule holds."""
    return json.dumps({"username": username, "accessToken": token})


def keep_login(api: SecretsManagerClient, name: str, username: str = "me", token: str = "a-token") -> str:
    """Create the secret of a pull-through cache rule, and return its ARN."""
    return api.create_secret(Name=f"{PREFIX}{name}", SecretString=login(username, token))["ARN"]
