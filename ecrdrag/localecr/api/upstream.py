"""Own what the operations want of a registry upstream: a narrow protocol, and fetches that all who wait share.

The operations, the registry and the service may enter. What speaks to a real registry is put in from outside.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Protocol

from ecrdrag.content import Digest


class Upstream(Protocol):
    """One registry to pull from; safe from many threads.

    Methods raise AuthError, NotFoundError, BusyError when it wants fewer requests, TransferError when it can't be
    asked, and IntegrityError or UnsupportedError when what it answers is of no use.
    """

    def logged_in(self, username: str, password: str) -> Upstream:
        """Return the same registry, asked as somebody else."""
        ...

    def check(self) -> None:
        """Ask whether it is there and lets us in."""
        ...

    def digest(self, repository: str, tag: str) -> Digest | None:
        """Tell what a tag stands for without fetching it; None when the registry doesn't say."""
        ...

    def manifest(self, repository: str, reference: str | Digest) -> tuple[bytes, str]:
        """Fetch a manifest or an index by tag or digest, and the media type that the registry gives it."""
        ...

    def blob(self, repository: str, digest: Digest) -> AbstractContextManager[Iterator[memoryview]]:
        """Open a blob: its bytes in order, not verified; a view is valid until the next one is asked for."""
        ...

    def abort(self) -> None:
        """End every request in progress, from any thread; later ones fail."""
        ...


class Upstreams:
    """The registries upstream by the URL that rules give them; safe from many threads."""

    def __init__(self, registries: Mapping[str, Upstream] | None = None) -> None:
        self._registries = dict(registries or {})
        self._lock = threading.Lock()
        self._running: dict[Hashable, Future[None]] = {}

    def find(self, url: str) -> Upstream | None:
        """Return the registry that a rule's upstreamRegistryUrl means, if this server knows where it is."""
        return self._registries.get(url)

    def once(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do work, or wait until another thread that does the same is done; all get what it raises."""
        mine: Future[None] = Future()
        with self._lock:
            running = self._running.setdefault(key, mine)
        if running is not mine:
            running.result()
            return
        try:
            work()
        except BaseException as error:
            self._end(key).set_exception(error)
            raise
        self._end(key).set_result(None)

    def abort(self) -> None:
        """End every request upstream; later ones fail."""
        for registry in self._registries.values():
            registry.abort()

    def _end(self, key: Hashable) -> Future[None]:
        with self._lock:
            return self._running.pop(key)
