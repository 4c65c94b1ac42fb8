"""Own the protocols of the far end: where images come from and where they go to.

registry and the stories may enter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from ecrdrag.content import BlobDestination, BlobSource, Descriptor, Digest, Turn
from ecrdrag.manifest import Document
from ecrdrag.schema1 import Schema1

MOVED_HINT: Final = "the tag has moved to another image: pull by the digest alone, or by the tag alone"


class Source(BlobSource, Protocol):
    """One repository to read from; safe from many threads."""

    def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Document | Schema1:
        """Fetch a manifest or an index, byte for byte; with tag and digest both must agree.

        Raises NotFoundError, AuthError, TransferError, IntegrityError or UnsupportedError.
        """
        ...

    def measure(self, digest: Digest) -> int:
        """Ask how many bytes a blob has, which no document says; raises NotFoundError where it isn't there."""
        ...

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """List what names a document as its subject, each once; raises as manifest() does."""
        ...


class Spared:
    """Be a source that a failure leaves alone, as others are read through it; for what is soon done."""

    def __init__(self, source: Source) -> None:
        self.manifest, self.measure, self.referrers = source.manifest, source.measure, source.referrers
        self.read, self.expect = source.read, source.expect

    def abort(self) -> None:
        """End nothing."""


class Unlimited:
    """Turns for everybody at once."""

    @contextmanager
    def turn(self, end: str) -> Iterator[Turn]:
        """Wait for nothing."""
        yield self

    def moved(self, count: int) -> None:
        """Count nothing."""

    def abort(self) -> None:
        """End nothing, as nobody waits."""


@dataclass(frozen=True, slots=True)
class RepositorySettings:
    """Say how to create a repository; kms_key is a key's id, ARN or alias."""

    immutable: bool = False
    scan_on_push: bool = False
    kms_key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class Destination(BlobDestination, Protocol):
    """One repository to write to; safe from many threads."""

    def put_manifest(self, document: Document, tag: str | None = None) -> bool:
        """Put a document, byte for byte, whose blobs and children are there; False when it was there already.

        Without a tag it has its digest only. Raises ConflictError for an immutable tag that another
        digest holds, and TransientError when another try may help.
        """
        ...

    def holder(self, tag: str) -> Digest | None:
        """Say which document a tag stands for; None where it stands for none, or that can't be known."""
        ...

    def mount(self, blob: Descriptor, repository: str) -> bool:
        """Take a blob over from another repository of the same registry, which holds it; False when it doesn't come.

        No bytes are moved. False is no failure: a registry may not offer it, or not between these two.
        """
        ...

    def create_repository(self, settings: RepositorySettings) -> bool:
        """Create the repository; False when it was there already, as it was then."""
        ...
