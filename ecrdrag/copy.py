"""Own the story of a copy: source → manifests → what the destination lacks → blobs → manifests → tag.

The command line may enter; this is also the library's way to copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ecrdrag.content import BlobUpload, Descriptor, Digest, EncodedPart
from ecrdrag.delivery import Delivery, Fate, Stage, check_child, check_hollow, check_root, fates_of, side_by_side
from ecrdrag.errors import EcrdragError, IntegrityError, NotFoundError, UsageError
from ecrdrag.manifest import FOREIGN_LAYER_TYPES, Index
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Destination, RepositorySettings, Source
from ecrdrag.resolve import Resolver, Wish
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.transfer.upload import DEFAULT_UPLOAD_JOBS
from ecrdrag.tree import MAX_DEPTH, MAX_DOCUMENTS, MAX_SIZE, Document, Tree, grow

__all__ = ["Copied", "CopyOptions", "Fate", "Stage", "copy"]

_DAMAGED: Final = "the bytes were changed in that registry or on the way from it; they are not kept"


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """Say how to copy: jobs counts blobs at once; create lets it create a missing repository so.

    A wish takes one platform's image out of an index; without one all of it is copied.
    """

    wish: Wish | None = None
    jobs: int = DEFAULT_UPLOAD_JOBS
    create: RepositorySettings | None = None
    dry_run: bool = False
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class Copied:
    """Report a copy: what the image is called now, its tree, and what became of each blob.

    uploaded and mounted count bytes; in a dry run uploaded counts what is missing. existed says that the destination
    had all of it before, under this tag; a dry run doesn't know.
    """

    reference: ImageReference
    tree: Tree
    fates: Mapping[Digest, Fate]
    uploaded: int
    mounted: int
    seconds: float
    existed: bool
    dry_run: bool


def copy(
    reference: ImageReference,
    source: Source,
    to: ImageReference,
    destination: Destination,
    options: CopyOptions,
    stage: Stage,
) -> Copied:
    """Bring an image, or an index with all that it names, into another repository, byte for byte and through no file.

    With a wish it is one platform's image: its digest is then that of its manifest, not that of the index. The tag is
    set last; where `to` has none, the image has its digest alone. What the destination has isn't read, and what lies in
    another repository of its own registry is mounted where that can be. Raises EcrdragError, which names the end that
    it comes from; the source is of no use any more then.
    """
    begun = time.monotonic()
    _check_apart(reference, to)
    origin = _Origin(source, reference.name)
    with _named(origin.name, _DAMAGED):
        tree = _tree(reference, origin, options)
        check_root(origin.name, tree, to)
        check_hollow(tree)
    delivery = Delivery(to.name, _Goal(destination, to.name), options.retry)
    load = _load(tree, delivery, options.create)
    if options.dry_run:
        return load.report(to, begun, fate=Fate.MISSING)
    if not load.exists and options.create is not None:
        delivery.create_repository(options.create)
    mounted = _mount(load, delivery, _neighbour(reference, to))
    _upload([blob for blob in load.missing if blob.digest not in mounted], origin, delivery, options, stage)
    is_new = delivery.put(tree, [to.tag])
    return load.report(to, begun, fate=Fate.UPLOADED, mounted=mounted, existed=not (load.missing or is_new))


@dataclass(frozen=True, slots=True)
class _Load:
    """What goes into the repository: the image, the blobs that belong there, and those that aren't there yet."""

    tree: Tree
    exists: bool
    blobs: Mapping[Digest, Descriptor]
    missing: tuple[Descriptor, ...]

    def report(
        self, to: ImageReference, begun: float, *, fate: Fate, mounted: Set[Digest] = frozenset(), existed: bool = False
    ) -> Copied:
        """Say what became of it all: fate is that of what was missing and isn't mounted."""
        missing = {blob.digest: blob.size for blob in self.missing}
        taken = sum(missing[digest] for digest in mounted)
        return Copied(
            reference=to,
            tree=self.tree,
            fates={**fates_of(self.tree, self.blobs, missing, fate), **dict.fromkeys(mounted, Fate.MOUNTED)},
            uploaded=sum(missing.values()) - taken,
            mounted=taken,
            seconds=time.monotonic() - begun,
            existed=existed,
            dry_run=fate is Fate.MISSING,
        )


def _check_apart(reference: ImageReference, to: ImageReference) -> None:
    """Refuse a copy onto itself; another tag in the same repository is none."""
    is_one_place = (_home(reference), reference.repository) == (_home(to), to.repository)
    if is_one_place and to.tag in (None, reference.tag):
        raise UsageError(f"{reference} and {to} are the same image", hint="give another tag, or another repository")


def _home(reference: ImageReference) -> tuple[str, ...]:
    """Say which registry it is, whatever it is called: ECR's have a FIPS and a dual-stack name too."""
    ecr = reference.ecr
    return (ecr.account, ecr.region) if ecr else (reference.server,)


def _neighbour(reference: ImageReference, to: ImageReference) -> str:
    """Name the repository that blobs can be mounted from; empty when there is none."""
    is_beside = _home(reference) == _home(to) and reference.repository != to.repository
    return reference.repository if is_beside else ""


def _tree(reference: ImageReference, origin: _Origin, options: CopyOptions) -> Tree:
    """Fetch every document that is to be copied."""
    if options.wish is None:
        what = f"the manifest {reference.digest or reference.tag}"
        root = options.retry.insist(lambda: origin.manifest(tag=reference.tag, digest=reference.digest), what)
    else:
        root = Resolver(origin, options.retry).resolve(reference, options.wish).manifest
    fetch = partial(_child, origin, options.retry)
    found = _gathered(root, fetch, origin.abort)
    return grow(root, lambda entry: found.get(entry.digest) or fetch(entry))


def _gathered(
    root: Document, fetch: Callable[[Descriptor], Document], abort: Callable[[], None]
) -> Mapping[Digest, Document]:
    """Fetch what a root leads to, level by level, each side by side; what is too much is left for grow() to refuse."""
    found: dict[Digest, Document] = {root.digest: root}

    def keep(entry: Descriptor) -> None:
        found[entry.digest] = fetch(entry)

    level = [root]
    for _ in range(MAX_DEPTH):
        entries = _unseen(level, found)[: MAX_DOCUMENTS - len(found)]
        size = sum(len(document.raw) for document in found.values()) + sum(entry.size for entry in entries)
        if not entries or size > MAX_SIZE:
            break
        side_by_side("manifest", entries, keep, abort)
        level = [found[entry.digest] for entry in entries]
    return found


def _unseen(level: Iterable[Document], found: Collection[Digest]) -> list[Descriptor]:
    entries = (entry for document in level if isinstance(document, Index) for entry in document.manifests)
    distinct = {entry.digest: entry for entry in entries if entry.digest.algorithm == "sha256"}
    return [entry for digest, entry in distinct.items() if digest not in found]


def _child(origin: _Origin, retry: RetryPolicy, entry: Descriptor) -> Document:
    try:
        document = retry.insist(lambda: origin.manifest(digest=entry.digest), f"the manifest {entry.digest}")
    except NotFoundError as error:
        place = f" for {entry.platform}" if entry.platform else ""
        raise NotFoundError(
            f"{error}: the image{place} that its index names",
            hint="the index isn't whole there: copy one platform of it with --platform",
        ) from error
    check_child(origin.name, document, entry)
    return document


def _load(tree: Tree, delivery: Delivery, create: RepositorySettings | None) -> _Load:
    exists = delivery.has_repository(tree.root.digest, create)
    blobs = {blob.digest: blob for blob in tree.blobs if blob.media_type not in FOREIGN_LAYER_TYPES}
    missing = delivery.lacking(blobs.values()) if exists else set(blobs)
    return _Load(tree, exists, blobs, tuple(blob for blob in blobs.values() if blob.digest in missing))


def _mount(load: _Load, delivery: Delivery, neighbour: str) -> set[Digest]:
    return delivery.mount([blob for blob in load.missing if blob.size], neighbour) if neighbour else set()


def _upload(
    blobs: Sequence[Descriptor], origin: _Origin, delivery: Delivery, options: CopyOptions, stage: Stage
) -> None:
    """Stream the blobs up; what neither end has said is the engine's finding about one of them."""
    try:
        delivery.upload(blobs, origin, stage, options.jobs)
    except EcrdragError as error:
        if origin.name not in str(error) and delivery.name not in str(error):
            is_damage = isinstance(error, IntegrityError)  # it hashes what it reads
            _name(error, origin.name if is_damage else delivery.name, _DAMAGED if is_damage else "")
        raise


@contextmanager
def _named(name: str, damaged: str = "") -> Iterator[None]:
    """Let errors say at which end they arise; damaged is the hint to those about bytes that don't do so."""
    try:
        yield
    except EcrdragError as error:
        if name not in str(error):
            _name(error, name, damaged if isinstance(error, IntegrityError) else "")
        raise


def _name(error: EcrdragError, name: str, hint: str) -> None:
    """Put a name before what an error says; it stays the error that it is, as engines and exit codes go by its kind."""
    error.args = (f"{name}: {error}",)
    error.hint = hint or error.hint


class _Origin:
    """Be a Source whose errors name it: blobs come from hosts that are called something else."""

    def __init__(self, source: Source, name: str) -> None:
        self._source, self.name = source, name

    def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Document:
        with _named(self.name, _DAMAGED):
            return self._source.manifest(tag=tag, digest=digest)

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        with _named(self.name, _DAMAGED):
            yield from self._source.read(blob, start, stop)

    def expect(self, blob: Descriptor) -> None:
        with _named(self.name, _DAMAGED):
            self._source.expect(blob)

    def abort(self) -> None:
        self._source.abort()


class _Goal:
    """Be a Destination whose errors name it."""

    def __init__(self, destination: Destination, name: str) -> None:
        self._destination, self._name = destination, name

    def missing(self, blobs: Iterable[Descriptor]) -> set[Digest]:
        with _named(self._name):
            return self._destination.missing(blobs)

    def begin(self, blob: Descriptor) -> BlobUpload:
        with _named(self._name):
            return _Upload(self._destination.begin(blob), self._name)

    def mount(self, blob: Descriptor, repository: str) -> bool:
        with _named(self._name):
            return self._destination.mount(blob, repository)

    def put_manifest(self, document: Document, tag: str | None = None) -> bool:
        with _named(self._name):
            return self._destination.put_manifest(document, tag)

    def create_repository(self, settings: RepositorySettings) -> bool:
        with _named(self._name):
            return self._destination.create_repository(settings)


class _Upload:
    """Be a BlobUpload whose errors name the destination; those of encode are its source's."""

    def __init__(self, upload: BlobUpload, name: str) -> None:
        self._upload, self._name = upload, name
        self.encode = upload.encode

    @property
    def part_size(self) -> int:
        return self._upload.part_size

    def send(self, part: EncodedPart) -> int:
        with _named(self._name):
            return self._upload.send(part)

    def complete(self) -> None:
        with _named(self._name):
            self._upload.complete()
