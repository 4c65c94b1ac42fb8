"""Own what the tests of passwords on disk need: a clock, an AWS, the cache between, and somebody who holds its lock.

They enter.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ecrdrag.credentials.cache import TokenCache
from ecrdrag.errors import EcrdragError
from ecrdrag.registry.auth import EcrToken, Login

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
CALLER = "c0ffee" * 10
HOUR = 3600.0
START = 1_000_000.0
FILE = f"{REGISTRY}-{CALLER[:32]}"


@dataclass
class World:
    """A clock that is moved, AWS that gives a new password for 12 hours each time, and the cache between."""

    folder: Path
    now: float = START
    calls: int = 0
    fails: EcrdragError | None = None

    @property
    def cache(self) -> TokenCache:
        """A new process's view."""
        return TokenCache(self.folder, clock=lambda: self.now, patience=0.5)

    def fetch(self) -> EcrToken:
        self.calls += 1
        if self.fails:
            raise self.fails
        return EcrToken(Login("AWS", f"password-{self.calls}"), self.now + 12 * HOUR)

    def get(self, registry: str = REGISTRY, caller: str = CALLER) -> str:
        return self.cache.login(registry, caller, self.fetch).password

    @property
    def file(self) -> Path:
        return self.folder / "tokens" / f"{FILE}.json"


@contextmanager
def held(world: World) -> Iterator[None]:
    """Be somebody else who renews the password."""
    descriptor = os.open(world.file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
