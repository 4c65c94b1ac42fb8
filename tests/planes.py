"""Make control planes over a local ECR, as the command line does, for tests of the stories in a test's own process.

with running(tmp_path) as ecr, plane(ecr) as app:
    assert list(repositories(app)) == []
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ecrdrag.cli.aws import ServiceClient
from ecrdrag.control.plane import TRIES, Plane
from ecrdrag.localecr import LocalEcr
from ecrdrag.registry.ecr_operations import EcrOperations
from ecrdrag.transfer.pace import Paces
from ecrdrag.transfer.retry import RetryPolicy
from tests.localecr import REGION, client

JOBS = 8


def at_once(tries: int = TRIES) -> RetryPolicy:
    """Try again so often, without waiting."""
    return RetryPolicy(tries, sleep=lambda _seconds: None)


@contextmanager
def plane(
    ecr: LocalEcr,
    *,
    region: str = REGION,
    account: str | None = None,
    keys: tuple[str, str] | None = None,
    retry: RetryPolicy | None = None,
    jobs: int = JOBS,
) -> Iterator[Plane]:
    """Give the plane of an account's registry, by default the caller's own, that leaves no socket behind."""
    with client(ecr, region=region, keys=keys) as api:
        operations = EcrOperations(ServiceClient(api), account, Paces(jobs))
        yield Plane(operations, region, account, jobs=jobs, retry=retry or at_once())
