"""Own what an inspection has read: documents, each once, the facts of configs, and why some can't be had.

The rest of this room enters. Damaged bytes end everything; what isn't there, or is of no known kind, is noted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ecrdrag.content import Descriptor, Digest, Platform
from ecrdrag.errors import NotFoundError, UnsupportedError
from ecrdrag.inspection.anatomy import Config
from ecrdrag.inspection.configs import facts_of
from ecrdrag.inspection.origins import Origin
from ecrdrag.manifest import ATTESTED, Document, Index, Manifest, is_attestation
from ecrdrag.resolve import MAX_CONFIG_SIZE
from ecrdrag.transfer.crew import side_by_side
from ecrdrag.tree import MAX_DEPTH, MAX_DOCUMENTS, MAX_SIZE, Referrer, Tree, check_algorithm, check_child, grow

# Bytes of all documents and configs of all images, which are kept; real ones have some KiB.
MAX_KEPT: Final = 256 * 1024 * 1024
_MAX_TEXT: Final = 500  # characters of what is wrong with something, which may quote it
ONE_BY_ONE: Final = "look at one image at a time, with --image"


@dataclass(frozen=True, slots=True)
class Gap:
    """Why a document can't be shown: it isn't there, or the text says what is wrong with it."""

    missing: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """One image and what it runs on, as far as that is known."""

    platform: Platform | None
    manifest: Manifest


class Library:
    """Read documents and configs from an origin."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self._documents: dict[Digest, Document] = {}
        self._gaps: dict[Digest, Gap] = {}
        self._configs: dict[tuple[Digest, int], Config] = {}
        self._kept = 0
        self._lock = threading.Lock()

    def tree(self, root: Document) -> Tree:
        """Read all that a root leads to, as far as it can be had; raises as grow() does for too much of it."""
        self._keep(len(root.raw))
        self._gather(root)
        return grow(root, self.child)

    def child(self, entry: Descriptor) -> Document | None:
        """Give what an index names; None where there is a gap."""
        if entry.digest not in self._documents and entry.digest not in self._gaps:
            self._bring(entry)
        found = self._documents.get(entry.digest)
        if found is not None:
            check_child(self.origin.where, found, entry)
        return found

    def referrers(self, tree: Tree) -> tuple[Referrer, ...]:
        """List what is about the documents of a tree."""
        return self.origin.referrers(tree, self.child, self._keep)

    def gap(self, digest: Digest) -> Gap:
        """Say why a document isn't there."""
        return self._gaps[digest]

    def offers(self, root: Document, platform: Platform | None = None) -> tuple[Offer, ...]:
        """List the images that a root leads to, in order, each index once; configs say what indexes don't."""
        return tuple(self._offers(root, platform, set()))

    def _offers(self, root: Document, platform: Platform | None, seen: set[Digest]) -> Iterable[Offer]:
        if isinstance(root, Manifest):
            if root.is_image:
                yield Offer(platform or self.platform(root), root)
            return
        seen.add(root.digest)
        for entry in root.manifests:
            child = None if attests(entry) else self.child(entry)
            if child is not None and child.digest not in seen:
                yield from self._offers(child, entry.platform, seen)

    def platform(self, manifest: Manifest) -> Platform | None:
        """Say what an image runs on, as far as its config does; None for what is no image."""
        facts = self.config(manifest).facts if manifest.is_image else None
        return facts.platform if facts and facts.platform.os else None

    def config(self, manifest: Manifest) -> Config:
        """Read the facts of a config, once."""
        key = (manifest.config.digest, len(manifest.layers))
        if key not in self._configs:
            self._configs[key] = self._config(manifest)
        return self._configs[key]

    def content(self, manifest: Manifest) -> bytes:
        """Read a config; raises UnsupportedError for one that is too large, and as its origin does."""
        config = manifest.config
        if config.size > MAX_CONFIG_SIZE:
            raise UnsupportedError(f"a config of {config.size} bytes is over the limit of {MAX_CONFIG_SIZE}")
        self._keep(config.size)
        return self.origin.content(config)

    def _config(self, manifest: Manifest) -> Config:
        told = told_of(manifest.config)
        try:
            return replace(told, facts=facts_of(self.content(manifest), len(manifest.layers)))
        except NotFoundError:
            return replace(told, missing=True)
        except UnsupportedError as error:
            return replace(told, problem=str(error)[:_MAX_TEXT])

    def _gather(self, root: Document) -> None:
        """Fetch level by level, each side by side."""
        level: Sequence[Document] = [root]
        seen: set[Digest] = {root.digest}
        for _ in range(MAX_DEPTH):
            entries = list(_unseen(level, seen))
            if len(seen) > MAX_DOCUMENTS or sum(entry.size for entry in entries) > MAX_SIZE:
                limits = f"{MAX_DOCUMENTS} documents, or {MAX_SIZE} bytes of them"
                raise UnsupportedError(f"{self.origin.where}: the image has more than {limits}")
            new = [entry for entry in entries if entry.digest not in self._documents and entry.digest not in self._gaps]
            side_by_side("manifest", new, self._bring)
            level = [self._documents[entry.digest] for entry in entries if entry.digest in self._documents]

    def _bring(self, entry: Descriptor) -> None:
        try:
            found = self.origin.document(entry)
        except NotFoundError:
            self._gaps[entry.digest] = Gap(missing=True)
        except UnsupportedError as error:
            self._gaps[entry.digest] = Gap(missing=False, text=str(error)[:_MAX_TEXT])
        else:
            self._keep(len(found.raw))
            self._documents[entry.digest] = found

    def _keep(self, size: int) -> None:
        with self._lock:
            self._kept += size
        if self._kept > MAX_KEPT:
            raise UnsupportedError(
                f"{self.origin.where}: documents and configs have more than {MAX_KEPT} bytes", hint=ONE_BY_ONE
            )


def attests(entry: Descriptor) -> bool:
    """Tell whether an entry of an index is an attestation, by its platform or by what it says that it is about."""
    return is_attestation(entry) or ATTESTED in entry.annotations


def told_of(config: Descriptor) -> Config:
    """Say of a config what its manifest does."""
    return Config(config.digest, config.size, config.media_type)


def _unseen(level: Sequence[Document], seen: set[Digest]) -> Iterable[Descriptor]:
    for document in level:
        for entry in document.manifests if isinstance(document, Index) else ():
            check_algorithm(entry)
            if entry.digest not in seen:
                seen.add(entry.digest)
                yield entry
