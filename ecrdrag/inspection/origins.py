"""Own where documents and configs are read from, a registry or an archive: what isn't there is a NotFoundError at both.

The rest of this room enters. All that is given out has been held against its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Protocol

from ecrdrag.aim import archived_referrers
from ecrdrag.archive.contents import ArchivedReferrer
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import NotFoundError, UnsupportedError
from ecrdrag.manifest import FOREIGN_LAYER_TYPES, Document
from ecrdrag.reference import ImageReference
from ecrdrag.referrers import referrers_of
from ecrdrag.registry.ends import Source, Spared
from ecrdrag.schema1 import Schema1
from ecrdrag.transfer.crew import side_by_side
from ecrdrag.transfer.download import fetch
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.tree import Referrer, Tree, grow

ReadChild = Callable[[Descriptor], Document | None]


class Origin(Protocol):
    """Give what images are made of; safe from many threads."""

    @property
    def where(self) -> str:
        """What users call it."""
        ...

    def document(self, entry: Descriptor) -> Document:
        """Read a manifest or an index by its digest; raises NotFoundError, UnsupportedError and IntegrityError."""
        ...

    def content(self, config: Descriptor) -> bytes:
        """Read a small blob, whose size the caller has bounded; raises NotFoundError and IntegrityError."""
        ...

    def lacking(self, layers: Sequence[Descriptor]) -> Set[Digest]:
        """Name the layers that are known not to be there."""
        ...

    def referrers(self, tree: Tree, read: ReadChild, keep: Callable[[int], None]) -> tuple[Referrer, ...]:
        """List what is about the documents of a tree.

        read gives what is inside an index, None where it isn't there; keep hears of the bytes of all others.
        """
        ...


class RegistryOrigin:
    """One repository; referrers are looked for where asks_about says so, as that takes many requests."""

    def __init__(self, source: Source, reference: ImageReference, retry: RetryPolicy, *, asks_about: bool) -> None:
        self._source, self._reference, self._retry, self._asks_about = source, reference, retry, asks_about

    @property
    def where(self) -> str:
        """The repository's name."""
        return self._reference.name

    def root(self) -> Document | Schema1:
        """Read what the reference names."""
        tag, digest = self._reference.tag, self._reference.digest
        return self._retry.insist(
            lambda: self._source.manifest(tag=tag, digest=digest), f"the manifest {digest or tag or ''}".rstrip()
        )

    def document(self, entry: Descriptor) -> Document:
        """Ask for it by its digest."""
        what = f"the manifest {entry.digest}"
        found = self._retry.insist(lambda: self._source.manifest(digest=entry.digest), what)
        if isinstance(found, Schema1):
            raise UnsupportedError("a schema 1 manifest, which has no place in an index")
        return found

    def content(self, config: Descriptor) -> bytes:
        """Fetch it."""
        return fetch(config, Spared(self._source), retry=self._retry)

    def lacking(self, layers: Sequence[Descriptor]) -> Set[Digest]:
        """Ask about foreign layers alone: registries hold all others, if not those."""
        foreign = {layer.digest for layer in layers if layer.media_type in FOREIGN_LAYER_TYPES}
        return foreign - set(self.sizes(sorted(foreign, key=str)))

    def sizes(self, blobs: Sequence[Digest]) -> Mapping[Digest, int]:
        """Ask for the sizes of those that are there."""
        found: dict[Digest, int] = {}

        def ask(digest: Digest) -> None:
            try:
                found[digest] = self._retry.insist(lambda: self._source.measure(digest), f"blob {digest}")
            except NotFoundError:
                return

        side_by_side("sizes", blobs, ask)
        return found

    def referrers(self, tree: Tree, read: ReadChild, keep: Callable[[int], None]) -> tuple[Referrer, ...]:
        """Ask about each document."""
        if not self._asks_about:
            return ()
        return referrers_of(tree.documents, self._source, self._reference.name, (), self._retry)


class ArchiveOrigin:
    """One archive, whose manifests are kept byte for byte."""

    def __init__(self, archive: ArchiveReader) -> None:
        self._archive = archive

    @property
    def where(self) -> str:
        """The archive's name."""
        return self._archive.where

    def document(self, entry: Descriptor) -> Document:
        """Read it."""
        self._check_there(entry)
        return self._archive.manifest(digest=entry.digest)

    def content(self, config: Descriptor) -> bytes:
        """Read it whole."""
        self._check_there(config)
        return fetch(config, self._archive)

    def lacking(self, layers: Sequence[Descriptor]) -> Set[Digest]:
        """Look whether they are there, and have their sizes."""
        return {layer.digest for layer in layers if not self._archive.holds(layer)}

    def referrers(self, tree: Tree, read: ReadChild, keep: Callable[[int], None]) -> tuple[Referrer, ...]:
        """Take what the archive has about them."""

        def grown(one: ArchivedReferrer) -> Tree:
            root = self._archive.manifest(digest=one.digest)
            keep(len(root.raw))
            return grow(root, read)

        return archived_referrers(tree, self._archive.referrers, grown)

    def _check_there(self, entry: Descriptor) -> None:
        if not self._archive.holds(entry):
            raise NotFoundError(f"{self.where}: {entry.digest} is missing")
