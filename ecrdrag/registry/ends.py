"""Own the protocol of the far end that images come from.

registry and the stories may enter. The end that images go to joins it with push.
"""

from __future__ import annotations

from typing import Protocol

from ecrdrag.content import BlobSource, Digest
from ecrdrag.manifest import Index, Manifest


class Source(BlobSource, Protocol):
    """One repository to read from; safe from many threads."""

    def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Manifest | Index:
        """Fetch a manifest or an index, byte for byte; with tag and digest both must agree.

        Raises NotFoundError, AuthError, TransferError, IntegrityError or UnsupportedError.
        """
        ...
