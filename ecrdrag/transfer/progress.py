"""Own the protocol by which engines tell how it goes.

The engines, the stories and whoever shows progress may enter.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from ecrdrag.content import Descriptor


class Progress(Protocol):
    """Hear how it goes; called from many threads once it has begun."""

    def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
        """Note that so many bytes in so many blobs have to move; None when nobody knows, as with a pipe.

        landed bytes of size are there from an earlier run.
        """
        ...

    def advance(self, size: int) -> None:
        """Count size more bytes as landed; negative when bytes were lost."""
        ...

    def blob_done(self, blob: Descriptor) -> None:
        """Note that a blob is whole and verified."""
        ...


class Silence:
    """Progress for nobody."""

    def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
        """Do nothing."""

    def advance(self, size: int) -> None:
        """Do nothing."""

    def blob_done(self, blob: Descriptor) -> None:
        """Do nothing."""


Stage = Callable[[str], AbstractContextManager[Progress]]
"""Give the progress of a stage, which has a name such as upload."""
