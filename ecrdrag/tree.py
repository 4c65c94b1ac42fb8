"""Own the walk from an image's root document to all that it needs: manifests, configs, layers.

The stories may enter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import IntegrityError, UnsupportedError
from ecrdrag.manifest import Document, Index, Manifest

MAX_DEPTH: Final = 8  # indexes inside indexes; real ones have one or two
MAX_SIZE: Final = 32 * 1024 * 1024  # bytes of all documents of one image, which are kept; real ones have some KiB
MAX_DOCUMENTS: Final = 1_000  # of one image; an index has an entry or two for each platform


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
        return tuple({blob.digest: blob for manifest in self.manifests for blob in manifest.blobs}.values())

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """The documents that are images or artifacts, not indexes."""
        return tuple(document for document in self.documents if isinstance(document, Manifest))


@dataclass(frozen=True, slots=True)
class Referrer:
    """Something about an image that isn't in it: a signature, an attestation, an SBOM.

    subject is the digest of what it is about. It is found by its own subject, or by a tag, which then isn't None.
    """

    tree: Tree
    subject: Digest
    tag: str | None = None


def grow(root: Document, read: Callable[[Descriptor], Document | None]) -> Tree:
    """Collect what a root leads to, each document once; read gives what a descriptor means, or None to leave it out.

    Raises UnsupportedError for a tree that is too deep or too large, or that names content by anything but
    sha256, and IntegrityError where documents disagree about the size of a blob.
    """
    documents: list[Document] = []
    size = 0
    for document in _collect(root, read, {}, 1):
        documents.append(document)
        size += len(document.raw)
        if size > MAX_SIZE:
            raise UnsupportedError(f"the manifests of the image have more than {MAX_SIZE} bytes")
    tree = Tree(tuple(documents))
    _check_blobs(tree)
    return tree


def _collect(
    document: Document, read: Callable[[Descriptor], Document | None], seen: dict[Digest, int], depth: int
) -> Iterator[Document]:
    if depth > MAX_DEPTH:
        raise UnsupportedError(f"indexes lie in each other more than {MAX_DEPTH} deep")
    seen[document.digest] = len(document.raw)
    if len(seen) > MAX_DOCUMENTS:
        raise UnsupportedError(f"the image has more than {MAX_DOCUMENTS} documents")
    for entry in document.manifests if isinstance(document, Index) else ():
        check_algorithm(entry)
        if entry.digest in seen:
            _check_size(f"{entry.digest}", seen[entry.digest], entry)
        elif (child := read(entry)) is not None:
            yield from _collect(child, read, seen, depth + 1)
    yield document


def _check_blobs(tree: Tree) -> None:
    sizes: dict[Digest, int] = {}
    for manifest in tree.manifests:
        for blob in manifest.blobs:
            check_algorithm(blob)
            if sizes.setdefault(blob.digest, blob.size) != blob.size:
                raise IntegrityError(
                    f"blob {blob.digest} is given two sizes, {sizes[blob.digest]} and {blob.size}",
                    hint="the image is damaged where it comes from: have it built or saved again",
                )


def check_child(where: str, document: Document, entry: Descriptor) -> None:
    """Raise IntegrityError unless a document has the digest and the size that the index around it gives."""
    if document.digest != entry.digest:
        raise IntegrityError(f"{where}: asked for {entry.digest}, and {document.digest} came")
    _check_size(f"{where}: {entry.digest}", len(document.raw), entry)


def _check_size(what: str, size: int, entry: Descriptor) -> None:
    if size != entry.size:
        raise IntegrityError(f"{what} has {size} bytes, its index says {entry.size}")


def check_algorithm(entry: Descriptor) -> None:
    """Raise UnsupportedError unless content is named by its sha256: ECR, and nearly every registry, has no other."""
    if entry.digest.algorithm != "sha256":
        raise UnsupportedError(f"{entry.digest} is named by {entry.digest.algorithm}: only sha256 is supported")
