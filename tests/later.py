"""A local ECR whose clock a test moves on; knows nothing of pytest.

with moving(tmp_path) as (api, clock):
    push_image(api, "app")
    clock.days(3)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr import Settings
from tests.localecr import REGION, client, running

_DAY = 24 * 60 * 60
# The client signs with the real time, which the server finds as far off as the test has moved on.
_ANY_SKEW = 10**9


@dataclass
class Clock:
    """Seconds since 1970, as far ahead as it was moved."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def days(self, count: float) -> None:
        """Move on."""
        self.ahead += count * _DAY


@contextmanager
def moving(data: Path, *, activation: float = 0.0, read_only: bool = False) -> Iterator[tuple[ECRClient, Clock]]:
    """Give a client of a local ECR, and the ECR's clock."""
    clock = Clock()
    settings = Settings(region=REGION, clock_skew=_ANY_SKEW, activation=activation, read_only=read_only)
    with running(data, settings, clock=clock) as ecr, client(ecr) as api:
        yield api, clock
