"""Own the story of a copy: source → manifests → what the destination lacks → blobs → manifests → tag.

The command line may enter; this is also the library's way to copy.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from ecrdrag.archive.compress import Compression
from ecrdrag.content import BlobSource, BlobUpload, Descriptor, Digest, EncodedPart
from ecrdrag.conversion.converter import Converter
from ecrdrag.delivery import Delivery, Fate, check_hollow, check_root, fates_of
from ecrdrag.errors import EcrdragError, IntegrityError, UsageError, located
from ecrdrag.manifest import Document
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Destination, RepositorySettings, Source
from ecrdrag.resolve import Wish
from ecrdrag.schema1 import Schema1
from ecrdrag.survey import Load, Survey, look_at, prepare
from ecrdrag.transfer.progress import Stage
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.transfer.routes import Routes
from ecrdrag.transfer.upload import DEFAULT_UPLOAD_JOBS
from ecrdrag.tree import Referrer, Tree

__all__ = ["Copied", "CopyOptions", "Fate", "Stage", "copy"]

_DAMAGED: Final = "the bytes were changed in that registry or on the way from it; they are not kept"


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """Say how to copy: jobs counts blobs at once; create lets it create a missing repository so.

    A wish takes some platforms' images out of an index; without one all of it is copied. types are those of the
    referrers that come along, none for all, None for no referrers; layers says how they are to be compressed.
    """

    wish: Wish | None = None
    types: Collection[str] | None = None
    layers: Compression | None = None
    jobs: int = DEFAULT_UPLOAD_JOBS
    create: RepositorySettings | None = None
    dry_run: bool = False
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class Copied:
    """Report a copy: what the image is called now, its tree, what is about it, and what became of each blob.

    uploaded and mounted count bytes; in a dry run uploaded counts what is missing. existed says that the destination
    had all of it before, under this tag; a dry run doesn't know.
    """

    reference: ImageReference
    tree: Tree
    referrers: tuple[Referrer, ...]
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
    foreign: BlobSource | None = None,
) -> Copied:
    """Bring an image, or an index with all that it names, into another repository, byte for byte and through no file.

    With a wish for one platform it is that one's image: its digest is then that of its manifest, not that of the index;
    with several it is an index of these alone. The tag is set last; where `to` has none, the image has its digest
    alone. What the destination has isn't read, and what lies in another repository of its own registry is mounted where
    that can be. foreign is where layers come from that no registry has; without it they are left out. Raises
    EcrdragError, which names the end that it comes from; the source is of no use any more then.
    """
    begun = time.monotonic()
    _check_apart(reference, to)
    origin = _Origin(source, reference.name)
    with Converter(options.layers, jobs=options.jobs, retry=options.retry, stage=stage) as converter:
        with located(origin.name, damaged=_DAMAGED):
            found = look_at(reference, origin, Survey(options.wish, options.types, options.retry))
            load = prepare(found, converter, foreign, only_chosen=True, retry=options.retry)
            check_root(origin.name, load.image.tree, to)
            for tree in load.trees:
                check_hollow(tree)
        delivery = Delivery(to.name, _Goal(destination, to.name), options.retry)
        goods = _goods(load, delivery, options.create)
        if options.dry_run:
            return goods.report(to, begun, fate=Fate.MISSING)
        if not goods.exists and options.create is not None:
            delivery.create_repository(options.create)
        mounted = _mount(goods, delivery, _neighbour(reference, to))
        ways = Routes(origin, {**load.elsewhere, **load.here})
        _upload(
            [blob for blob in goods.missing if blob.digest not in mounted], ways, origin.name, delivery, options, stage
        )
    is_new = delivery.put(load.image.tree, [to.tag], load.found.referrers)
    return goods.report(to, begun, fate=Fate.UPLOADED, mounted=mounted, existed=not (goods.missing or is_new))


@dataclass(frozen=True, slots=True)
class _Goods:
    """What goes into the repository: the blobs that belong there, and those that aren't there yet."""

    load: Load
    exists: bool
    blobs: Mapping[Digest, Descriptor]
    missing: tuple[Descriptor, ...]

    def report(
        self, to: ImageReference, begun: float, *, fate: Fate, mounted: Set[Digest] = frozenset(), existed: bool = False
    ) -> Copied:
        """Say what became of it all: fate is that of what was missing and isn't mounted."""
        missing = {blob.digest: blob.size for blob in self.missing}
        taken = sum(missing[digest] for digest in mounted)
        image, referrers = self.load.image, self.load.found.referrers
        fates = fates_of(image.tree, self.blobs, missing, fate, referrers)
        return Copied(
            reference=to,
            tree=image.tree,
            referrers=referrers,
            fates={**fates, **dict.fromkeys(mounted, Fate.MOUNTED)},
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


def _goods(load: Load, delivery: Delivery, create: RepositorySettings | None) -> _Goods:
    exists = delivery.has_repository(load.image.tree.root.digest, create)
    blobs = {blob.digest: blob for blob in load.brought}
    missing = delivery.lacking(blobs.values()) if exists else set(blobs)
    return _Goods(load, exists, blobs, tuple(blob for blob in blobs.values() if blob.digest in missing))


def _mount(goods: _Goods, delivery: Delivery, neighbour: str) -> set[Digest]:
    return delivery.mount([blob for blob in goods.missing if blob.size], neighbour) if neighbour else set()


def _upload(
    blobs: Sequence[Descriptor], source: BlobSource, name: str, delivery: Delivery, options: CopyOptions, stage: Stage
) -> None:
    """Stream the blobs up; what neither end has said is the engine's finding about one of them."""
    try:
        delivery.upload(blobs, source, stage, options.jobs)
    except EcrdragError as error:
        if name not in str(error) and delivery.name not in str(error):
            is_damage = isinstance(error, IntegrityError)  # it hashes what it reads
            error.locate(name if is_damage else delivery.name, hint=_DAMAGED if is_damage else "")
        raise


class _Origin:
    """Be a Source whose errors name it: blobs come from hosts that are called something else."""

    def __init__(self, source: Source, name: str) -> None:
        self._source, self.name = source, name

    def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Document | Schema1:
        with located(self.name, damaged=_DAMAGED):
            return self._source.manifest(tag=tag, digest=digest)

    def measure(self, digest: Digest) -> int:
        with located(self.name):
            return self._source.measure(digest)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        with located(self.name):
            return self._source.referrers(digest)

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        with located(self.name, damaged=_DAMAGED):
            yield from self._source.read(blob, start, stop)

    def expect(self, blob: Descriptor) -> None:
        with located(self.name, damaged=_DAMAGED):
            self._source.expect(blob)

    def abort(self) -> None:
        self._source.abort()


class _Goal:
    """Be a Destination whose errors name it."""

    def __init__(self, destination: Destination, name: str) -> None:
        self._destination, self._name = destination, name

    def missing(self, blobs: Iterable[Descriptor]) -> set[Digest]:
        with located(self._name):
            return self._destination.missing(blobs)

    def begin(self, blob: Descriptor) -> BlobUpload:
        with located(self._name):
            return _Upload(self._destination.begin(blob), self._name)

    def mount(self, blob: Descriptor, repository: str) -> bool:
        with located(self._name):
            return self._destination.mount(blob, repository)

    def put_manifest(self, document: Document, tag: str | None = None) -> bool:
        with located(self._name):
            return self._destination.put_manifest(document, tag)

    def holder(self, tag: str) -> Digest | None:
        with located(self._name):
            return self._destination.holder(tag)

    def create_repository(self, settings: RepositorySettings) -> bool:
        with located(self._name):
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
        with located(self._name):
            return self._upload.send(part)

    def complete(self) -> None:
        with located(self._name):
            self._upload.complete()
