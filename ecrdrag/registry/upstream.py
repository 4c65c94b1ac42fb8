"""Own a registry as another one pulls from it: manifests and blobs of any repository, streamed.

The command line may enter; what it makes is handed to the local ECR, as its Upstream. OCI distribution spec.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import requests

from ecrdrag.content import Digest
from ecrdrag.errors import IntegrityError, UnsupportedError
from ecrdrag.manifest import INDEX_TYPES, MANIFEST_TYPES, MAX_MANIFEST_SIZE
from ecrdrag.registry.auth import Login
from ecrdrag.registry.client import RegistryClient

Connect = Callable[[Login], RegistryClient]
"""Makes a client of the same registry that asks as somebody else; who gave this function closes it."""
ACCEPT: Final = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))


def pull_scope(repository: str) -> str:
    """Name what is asked for, as distribution's docs/content/spec/auth/scope.md has it."""
    return f"repository:{repository}:pull"


def digest_in(response: requests.Response) -> Digest | None:
    """Read the digest that a registry says it sends; None when it doesn't say."""
    with suppress(ValueError):
        return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    return None


class UpstreamRegistry:
    """Read from any repository of one registry; safe from many threads."""

    def __init__(self, client: RegistryClient, connect: Connect | None = None) -> None:
        self._client = client
        self._connect = connect
        self._lock = threading.Lock()
        self._others: dict[Login, UpstreamRegistry] = {}
        self._aborted = False

    def logged_in(self, username: str, password: str) -> UpstreamRegistry:
        """Return the same registry, asked as somebody else; the same one for the same login."""
        login = Login(username, password)
        with self._lock:
            if login not in self._others:
                if self._connect is None:
                    raise UnsupportedError(f"{self._client.host} can't be asked with another login than its own")
                self._others[login] = UpstreamRegistry(self._connect(login))
            if self._aborted:
                self._others[login].abort()
            return self._others[login]

    def check(self) -> None:
        """Ask whether it is a registry and lets us in."""
        self._client.check()

    def digest(self, repository: str, tag: str) -> Digest | None:
        """Tell what a tag stands for without fetching it; None when the registry doesn't say."""
        with self._manifest("HEAD", repository, tag) as response:
            return digest_in(response)

    def manifest(self, repository: str, reference: str | Digest) -> tuple[bytes, str]:
        """Fetch a manifest or an index by tag or digest, verified where a digest is known, and its media type."""
        with self._manifest("GET", repository, reference) as response:
            raw = self._client.read(response, MAX_MANIFEST_SIZE)
            known = reference if isinstance(reference, Digest) else digest_in(response)
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if known and Digest.of(raw, known.algorithm) != known:
            raise IntegrityError(f"{self._client.host} sent a manifest of {repository} that isn't {known}")
        return raw, media_type

    @contextmanager
    def blob(self, repository: str, digest: Digest) -> Iterator[Iterator[memoryview]]:
        """Open a blob: its bytes in order, not verified; a view is valid until the next one is asked for."""
        what = f"blob {digest} of {repository}"
        with self._client.ask(
            "GET", f"{repository}/blobs/{digest}", scope=pull_scope(repository), what=what
        ) as response:
            yield self._client.views(response)

    def abort(self) -> None:
        """Wake every thread that waits for bytes; later requests fail at once."""
        with self._lock:
            self._aborted = True
            clients = [self, *self._others.values()]
        for one in clients:
            one._client.abort()

    @contextmanager
    def _manifest(self, method: str, repository: str, reference: str | Digest) -> Iterator[requests.Response]:
        path, what = f"{repository}/manifests/{reference}", f"{repository} {reference}"
        with self._client.ask(
            method, path, scope=pull_scope(repository), what=what, headers={"Accept": ACCEPT}
        ) as response:
            yield response
