"""Own the walk from an image's root document to all that it needs: manifests, configs, layers.

The stories may enter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import UnsupportedError
from ecrdrag.manifest import Index, Manifest

MAX_DEPTH: Final = 8  # indexes inside indexes; real ones have one or two
MAX_DOCUMENTS: Final = 1_000  # of one image; an index has an entry or two for each platform

Document = Manifest | Index


@dataclass(frozen=True, slots=True)
class Tree:
    """All documents of one image, children before those that name them, the root last."""

    documents: tuple[Document, ...]

    @property
    def root(self) -> Document:
        """The document that the image's digest is of."""
        return self.documents[-1]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The distinct configs and layers, in the order of the documents."""
        manifests = (document for document in self.documents if isinstance(document, Manifest))
        return tuple({blob.digest: blob for manifest in manifests for blob in manifest.blobs}.values())


def grow(root: Document, read: Callable[[Descriptor], Document]) -> Tree:
    """Collect what a root leads to, each document once; read gives the document that a descriptor means.

    Raises UnsupportedError for a tree that is too deep or too large, or where an index says wrong sizes.
    """
    found: dict[Digest, Document] = {}
    _collect(root, read, found, 1)
    return Tree(tuple(found.values()))


def _collect(
    document: Document, read: Callable[[Descriptor], Document], found: dict[Digest, Document], depth: int
) -> None:
    if depth > MAX_DEPTH:
        raise UnsupportedError(f"indexes lie in each other more than {MAX_DEPTH} deep")
    if isinstance(document, Index):
        for entry in document.manifests:
            if entry.digest not in found:
                _collect(read(entry), read, found, depth + 1)
    found[document.digest] = document
    if len(found) > MAX_DOCUMENTS:
        raise UnsupportedError(f"the image has more than {MAX_DOCUMENTS} documents")
