"""Own what a registry gives out that holds nothing itself: images by repository and tag, and where their blobs lie.

The stories and localecr may enter: the ones fill a shelf, the other serves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ecrdrag.content import Digest, Extent
from ecrdrag.manifest import Document


@dataclass(frozen=True, slots=True)
class Label:
    """Say by what an image is found: a repository and a tag, or its digest where there is no tag."""

    repository: str
    tag: str | None

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.tag else self.repository


@dataclass(frozen=True, slots=True)
class ShelfImage:
    """One image under one label: all its documents, children before those that name them, the root last."""

    label: Label
    documents: tuple[Document, ...]

    @property
    def digest(self) -> Digest:
        """The root's digest, which is the image's."""
        return self.documents[-1].digest

    def __str__(self) -> str:
        return str(self.label) if self.label.tag else f"{self.label}@{self.digest}"


@dataclass(frozen=True, slots=True)
class Shelf:
    """All that is given out. No two images have the same repository and tag; blobs lie there while they are served."""

    images: tuple[ShelfImage, ...]
    blobs: Mapping[Digest, Extent]
