"""Own a local ECR that knows two registries upstream, and Secrets Manager there, for tests of pull-through cache rules.

The flow tests of `cache-rule` and `registry` enter.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from mypy_boto3_ecr import ECRClient
from mypy_boto3_secretsmanager import SecretsManagerClient

from ecrdrag.cli.aws import ServiceClient
from ecrdrag.control.plane import Plane
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.registry.secrets_manager import Secrets
from tests.fake_upstream import FakeUpstream
from tests.localecr import ACCOUNT, REGION, Recorder, client
from tests.planes import plane

OTHER = "999999999999"
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
NAME = "ecr-pullthroughcache/hub"
TOKEN = 't0ken-"of\\mine-é'


@dataclass
class Ruled:
    """The server, its clients, and the registry that stands for Quay and for Docker Hub."""

    ecr: LocalEcr
    api: ECRClient
    vault: SecretsManagerClient
    plane: Plane
    secrets: Secrets
    upstream: FakeUpstream
    recorder: Recorder

    def login_in(self, secret: str) -> object:
        """Read what a secret holds."""
        return json.loads(self.vault.get_secret_value(SecretId=secret)["SecretString"])

    def prefixes(self) -> list[str]:
        """Name the rules that there are."""
        return [
            one["ecrRepositoryPrefix"] for one in self.api.describe_pull_through_cache_rules()["pullThroughCacheRules"]
        ]


@contextmanager
def ruled(folder: Path, *, age: int = 0) -> Iterator[Ruled]:
    """Run it; its clock is so many seconds slow, so that all in it looks as old."""
    upstream, recorder = FakeUpstream(), Recorder()
    settings = Settings(region=REGION, accounts=(ACCOUNT, OTHER), clock_skew=age + 900)
    registries = {"quay.io": upstream, "registry-1.docker.io": upstream}
    with (
        LocalEcr(
            folder, settings=settings, wrap=recorder.wrap, clock=lambda: time.time() - age, upstreams=registries
        ) as ecr,
        client(ecr) as api,
        vault_of(ecr) as vault,
        plane(ecr) as app,
    ):
        yield Ruled(ecr, api, vault, app, Secrets(ServiceClient(vault), REGION), upstream, recorder)


@contextmanager
def vault_of(ecr: LocalEcr) -> Iterator[SecretsManagerClient]:
    """Give a boto3 client of Secrets Manager there; no retries, so that a test sees the first answer."""
    key_id, secret = ecr.credentials
    vault = boto3.client(
        "secretsmanager",
        endpoint_url=ecr.endpoint,
        region_name=REGION,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        yield vault
    finally:
        vault.close()
