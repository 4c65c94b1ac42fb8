"""Own a registry upstream that is nothing but two dictionaries, notes what it is asked, and fails when it is told to.

The flow tests of the pull through enter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ecrdrag.content import Digest
from ecrdrag.errors import EcrdragError, NotFoundError, TransferError
from tests.images import Image, ImageIndex

PIECE = 64 * 1024


class FakeUpstream:
    """Give manifests and blobs that a test puts in; before_each sees every question first, and may raise."""

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.logins: list[tuple[str, str]] = []
        self.given = 0
        self.failure: EcrdragError | None = None
        self.before_each: Callable[[str], None] = lambda question: None
        self.aborted = threading.Event()

    def put_image(self, repository: str, image: Image, tag: str = "") -> str:
        """Offer an image by its digest and a tag; return the digest."""
        for digest, blob in image.blobs.items():
            self.blobs[str(digest)] = blob.content
        return self._put(repository, image.manifest.content, image.manifest.media_type, tag)

    def put_index(self, repository: str, index: ImageIndex, tag: str = "") -> str:
        """Offer an index and the images in it."""
        for image in index.images:
            self.put_image(repository, image)
        return self._put(repository, index.manifest.content, index.manifest.media_type, tag)

    def logged_in(self, username: str, password: str) -> FakeUpstream:
        """Note who asks from now on, and be the same registry for all."""
        self.logins.append((username, password))
        return self

    def check(self) -> None:
        self._note("check")

    def digest(self, repository: str, tag: str) -> Digest | None:
        self._note(f"digest {repository}:{tag}")
        return Digest.of(self._find(f"{repository}:{tag}")[0])

    def manifest(self, repository: str, reference: str | Digest) -> tuple[bytes, str]:
        self._note(f"manifest {repository}:{reference}")
        return self._find(f"{repository}:{reference}")

    @contextmanager
    def blob(self, repository: str, digest: Digest) -> Iterator[Iterator[memoryview]]:
        self._note(f"blob {digest}")
        if str(digest) not in self.blobs:
            raise NotFoundError(f"no blob {digest}")
        data = memoryview(self.blobs[str(digest)])
        yield self._pieces(data)

    def abort(self) -> None:
        self.aborted.set()

    def wait_for_abort(self, _question: str) -> None:
        """Hang like a registry that never answers; to be a before_each."""
        assert self.aborted.wait(20)
        raise TransferError("the transfer was stopped")

    def _pieces(self, data: memoryview) -> Iterator[memoryview]:
        for start in range(0, len(data), PIECE):
            self.given += len(data[start : start + PIECE])
            yield data[start : start + PIECE]

    def _put(self, repository: str, raw: bytes, kind: str, tag: str) -> str:
        digest = str(Digest.of(raw))
        for name in (digest, *([tag] if tag else [])):
            self.manifests[f"{repository}:{name}"] = raw, kind
        return digest

    def _find(self, name: str) -> tuple[bytes, str]:
        if name not in self.manifests:
            raise NotFoundError(f"no manifest {name}")
        return self.manifests[name]

    def _note(self, question: str) -> None:
        self.asked.append(question)
        self.before_each(question)
        if self.failure:
            raise self.failure
