"""Own what a push and a copy share: what a repository lacks, its creation, blobs on their way up, manifests last.

The stories may enter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final, TypeVar

from ecrdrag.content import BlobSource, Descriptor, Digest, Verifier
from ecrdrag.errors import IntegrityError, RepositoryNotFoundError
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Destination, RepositorySettings
from ecrdrag.transfer.crew import Crew, one_by_one
from ecrdrag.transfer.progress import Progress
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.transfer.upload import upload
from ecrdrag.tree import Document, Tree

log = logging.getLogger(__name__)

_AT_ONCE: Final = 8  # small calls, which mostly wait for a registry far away

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Give the progress of a stage, which has a name such as upload."""
Task = TypeVar("Task")


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

    def put(self, tree: Tree, tags: Sequence[str | None]) -> bool:
        """Put an image whose blobs are there under its tags, or None for none; False when its root was there so."""
        for document in tree.documents[:-1]:
            self._put(document, None)
        return any([self._put(tree.root, tag) for tag in tags])  # noqa: C419 - all of them

    def _put(self, document: Document, tag: str | None) -> bool:
        what = f"the manifest {document.digest}"
        is_new = self.retry.insist(partial(self.destination.put_manifest, document, tag), what)
        log.info("%s %s%s", "put" if is_new else "there was", what, f" as {tag}" if tag else "")
        return is_new


def side_by_side(
    name: str, tasks: Sequence[Task], do: Callable[[Task], None], abort: Callable[[], None] = lambda: None
) -> None:
    """Do small tasks in a few threads of this name; the first failure ends all, after abort, and is raised."""
    crew = Crew(name, abort)
    crew.run(min(_AT_ONCE, len(tasks)), one_by_one(tasks), do)
    crew.check()


def fates_of(tree: Tree, held: Collection[Digest], missing: Collection[Digest], then: Fate) -> Mapping[Digest, Fate]:
    """Say what becomes of each blob: left out unless it is held, and if it is missing, then this."""

    def fate(digest: Digest) -> Fate:
        if digest not in held:
            return Fate.LEFT_OUT
        return then if digest in missing else Fate.EXISTED

    return {blob.digest: fate(blob.digest) for blob in tree.blobs}


def check_root(where: str, tree: Tree, reference: ImageReference) -> None:
    """Raise IntegrityError unless the image has the digest that the reference asks for, if it does."""
    if reference.digest not in (None, tree.root.digest):
        raise IntegrityError(
            f"{where}: the image has digest {tree.root.digest}, not {reference.digest} as {reference} says"
        )


def check_child(where: str, document: Document, entry: Descriptor) -> None:
    """Raise IntegrityError unless a document has the size that the index around it gives."""
    if len(document.raw) != entry.size:
        raise IntegrityError(f"{where}: {entry.digest} has {len(document.raw)} bytes, its index says {entry.size}")


def check_hollow(tree: Tree) -> None:
    """Raise IntegrityError for what says that it has no bytes and has: it is never uploaded, so nobody else looks."""
    for blob in tree.blobs:
        if blob.size == 0:
            Verifier(blob, outgoing=True).finish()
