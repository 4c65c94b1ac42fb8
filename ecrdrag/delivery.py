"""Own what a push and a copy share: what a repository lacks, its creation, blobs on their way up, manifests, tags last.

The stories may enter.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final

from ecrdrag.content import BlobSource, Descriptor, Digest, Verifier
from ecrdrag.errors import ConflictError, IntegrityError, RepositoryNotFoundError, TransferError, UnsupportedError
from ecrdrag.manifest import FOREIGN_LAYER_TYPES, Document, Manifest
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Destination, RepositorySettings
from ecrdrag.transfer.crew import side_by_side
from ecrdrag.transfer.progress import Stage
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.transfer.upload import upload
from ecrdrag.tree import Referrer, Tree

log = logging.getLogger(__name__)

# distribution, registry/handlers/app.go: without settings no URL is allowed; release 2.8 answers 500 then.
_FOREIGN_HINT: Final = (
    "the manifest names foreign layers, which docker's registry takes only from URLs that its settings allow: "
    "validation.manifests.urls.allow"
)
# There is no other tag to choose: cosign looks for what is about an image under this one alone.
_CONFLICT_HINT: Final = (
    "the repository holds other signatures, or the like, of {subject} under that tag, which can't be moved: "
    "copy the image, or pull and push it, without --referrers"
)


class Fate(Enum):
    """What becomes of a blob; in a dry run, which moves nothing, it may stay missing."""

    UPLOADED = "uploaded"
    MOUNTED = "mounted"
    EXISTED = "existed"
    LEFT_OUT = "left out"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Delivery:
    """Deliver images to one repository, which messages call by this name; every call is tried as retry says."""

    name: str
    destination: Destination
    retry: RetryPolicy

    def has_repository(self, probe: Digest, create: RepositorySettings | None) -> bool:
        """Ask for the repository by any digest; raise RepositoryNotFoundError unless a missing one may be created."""
        try:
            self.lacking([Descriptor("", probe, 1)])
        except RepositoryNotFoundError:
            if create is None:
                raise
            return False
        return True

    def lacking(self, blobs: Collection[Descriptor]) -> set[Digest]:
        """Say which of the blobs aren't there."""
        return self.retry.insist(lambda: self.destination.missing(blobs), self.name)

    def create_repository(self, settings: RepositorySettings) -> None:
        """Create the repository unless somebody else did so meanwhile."""
        if self.retry.insist(partial(self.destination.create_repository, settings), self.name):
            log.warning("created repository %s", self.name)

    def mount(self, blobs: Sequence[Descriptor], repository: str) -> set[Digest]:
        """Take over from another repository of the same registry what comes, side by side; return what came."""
        came: set[Digest] = set()

        def mount(blob: Descriptor) -> None:
            attempt = partial(self.destination.mount, blob, repository)
            if self.retry.insist(attempt, f"mounting blob {blob.digest}"):
                came.add(blob.digest)

        side_by_side("mount", blobs, mount)
        return came

    def upload(self, blobs: Sequence[Descriptor], source: BlobSource, stage: Stage, jobs: int) -> None:
        """Bring the blobs up, at most jobs of them at once."""
        if blobs:
            with stage("upload") as progress:
                upload(blobs, source, self.destination, jobs=jobs, retry=self.retry, progress=progress)

    def put(self, tree: Tree, tags: Sequence[str | None], referrers: Sequence[Referrer] = ()) -> bool:
        """Put an image whose blobs are there under its tags, or None for none; False when all roots were there so.

        What is about it, with its blobs there too, comes before its tags: nobody finds it by one without signatures.
        """
        for document in tree.documents[:-1]:
            self._put(document, None)
        if not referrers:
            return any([self._put(tree.root, tag) for tag in tags])  # noqa: C419 - all of them
        found = [self._put(tree.root, None)]
        found += [self._put_referrer(referrer) for referrer in referrers]
        return any([*found, *(self._put(tree.root, tag) for tag in tags if tag)])

    def _put_referrer(self, referrer: Referrer) -> bool:
        """Put what is about an image, and warn where cosign's tag stood for something else, which nobody finds then."""
        tag, digest = referrer.tag, referrer.tree.root.digest
        before = self.retry.insist(partial(self.destination.holder, tag), f"tag {tag}") if tag else None
        try:
            is_new = self.put(referrer.tree, [tag])
        except ConflictError as error:
            if tag:
                error.hint = _CONFLICT_HINT.format(subject=referrer.subject)
            raise
        if before not in (None, digest):
            log.warning("%s: tag %s was %s, and is %s now", self.name, tag, before, digest)
        return is_new

    def _put(self, document: Document, tag: str | None) -> bool:
        what = f"the manifest {document.digest}"
        try:
            is_new = self.retry.insist(partial(self.destination.put_manifest, document, tag), what)
        except (TransferError, UnsupportedError) as error:
            if isinstance(document, Manifest) and any(one.media_type in FOREIGN_LAYER_TYPES for one in document.layers):
                error.hint = "\n".join(filter(None, [error.hint, _FOREIGN_HINT]))
            raise
        log.info("%s %s%s", "put" if is_new else "there was", what, f" as {tag}" if tag else "")
        return is_new


def blobs_of(tree: Tree, referrers: Sequence[Referrer] = ()) -> tuple[Descriptor, ...]:
    """List the distinct blobs of an image, then those of what is about it."""
    blobs = [*tree.blobs, *(blob for referrer in referrers for blob in referrer.tree.blobs)]
    return tuple({blob.digest: blob for blob in blobs}.values())


def fates_of(
    tree: Tree,
    held: Collection[Digest],
    missing: Collection[Digest],
    then: Fate,
    referrers: Sequence[Referrer] = (),
) -> Mapping[Digest, Fate]:
    """Say what becomes of each blob of both: left out unless it is held, and if it is missing, then this."""

    def fate(digest: Digest) -> Fate:
        if digest not in held:
            return Fate.LEFT_OUT
        return then if digest in missing else Fate.EXISTED

    return {blob.digest: fate(blob.digest) for blob in blobs_of(tree, referrers)}


def check_root(where: str, tree: Tree, reference: ImageReference) -> None:
    """Raise IntegrityError unless the image has the digest that the reference asks for, if it does."""
    if reference.digest not in (None, tree.root.digest):
        raise IntegrityError(
            f"{where}: the image has digest {tree.root.digest}, not {reference.digest} as {reference} says"
        )


def check_hollow(tree: Tree) -> None:
    """Raise IntegrityError for what says that it has no bytes and has: it is never uploaded, so nobody else looks."""
    for blob in tree.blobs:
        if blob.size == 0:
            Verifier(blob, outgoing=True).finish()
