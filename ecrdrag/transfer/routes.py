"""Own the ways of blobs that come from several sources at once: each from its own.

The stories may enter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ecrdrag.content import BlobSource, Descriptor, Digest


class Routes:
    """Be one BlobSource for blobs of many; those without a way of their own come from the first source."""

    def __init__(self, first: BlobSource, others: Mapping[Digest, BlobSource]) -> None:
        self._first, self._others = first, others

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) of a blob; a view is valid until the next one is asked for."""
        return self._of(blob).read(blob, start, stop)

    def expect(self, blob: Descriptor) -> None:
        """Do ahead what the first read of a blob would wait for."""
        self._of(blob).expect(blob)

    def abort(self) -> None:
        """End every read in progress, at every source."""
        for source in {id(each): each for each in (self._first, *self._others.values())}.values():
            source.abort()

    def _of(self, blob: Descriptor) -> BlobSource:
        return self._others.get(blob.digest, self._first)
