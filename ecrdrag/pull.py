"""Own the story of a pull: references → documents → plan → download → archive in place.

The command line may enter; this is also the library's way to pull.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ecrdrag.archive.check import difference, is_there
from ecrdrag.archive.compress import Compression
from ecrdrag.archive.plan import ArchivePlan, ImageName, PlannedImage, PlannedReferrer, plan_archive
from ecrdrag.archive.writer import ArchiveWriter, sweep
from ecrdrag.content import BlobSource, Descriptor, Digest
from ecrdrag.conversion.converter import Converter
from ecrdrag.errors import ArchiveError, EcrdragError, UsageError
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Source, Spared
from ecrdrag.resolve import Image, Wish
from ecrdrag.survey import Found, Load, Problem, Survey, all_problems, prepare, survey
from ecrdrag.transfer.download import DEFAULT_JOBS, MIB, Download, download
from ecrdrag.transfer.progress import Stage
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.transfer.routes import Routes
from ecrdrag.tree import Referrer

log = logging.getLogger(__name__)

_NAME_LIMIT: Final = 200  # characters; file systems allow 255 bytes, and a suffix must fit
_SHORT_HEX: Final = 12  # hex digits, as docker shortens a digest


@dataclass(frozen=True, slots=True)
class PullOptions:
    """Say how to pull.

    output None names the file after the one image. jobs counts connections; chunk_size is in bytes,
    None lets what is still missing decide. force lets it replace an existing file. resume lets it go on
    with what an earlier run left beside it, and leave the like when it fails. types are those of the referrers that
    come along, none for all, None for no referrers. layers says how they are to be compressed, None as they are.
    subset has an index of several platforms written anew, without the others. keep_going pulls what can be had.
    """

    wish: Wish
    output: Path | None = None
    jobs: int = DEFAULT_JOBS
    chunk_size: int | None = None
    force: bool = False
    resume: bool = True
    types: Collection[str] | None = None
    layers: Compression | None = None
    subset: bool = False
    keep_going: bool = False
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class PulledImage:
    """Report one image: what it was asked for by, and what is about it; left_out are layers that aren't in the file."""

    references: tuple[ImageReference, ...]
    image: Image
    referrers: tuple[Referrer, ...]
    left_out: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Pulled:
    """Report a pull: the archive's path and size in bytes, what is in it, and what couldn't be had.

    resumed bytes of it were there from an earlier run; the layers took so many seconds, verified.
    """

    path: Path
    size: int
    images: tuple[PulledImage, ...]
    problems: tuple[Problem, ...]
    existed: bool
    resumed: int = 0
    seconds: float = 0.0


def pull(
    references: Sequence[ImageReference],
    open_source: Callable[[ImageReference], Source],
    options: PullOptions,
    stage: Stage,
    foreign: BlobSource | None = None,
) -> Pulled:
    """Bring images into one archive, verified; where it already is, only check it.

    foreign is where layers come from that no registry has; without it they are left out. Raises EcrdragError; then
    there is no file at the output path that was not there before.
    """
    path = _path_for(references, options)
    found, problems = survey(references, open_source, Survey(options.wish, options.types, options.retry))
    if problems and not (options.keep_going and found):
        raise all_problems(problems, len(found) + len(problems))
    with ExitStack() as stack:
        loads, more = _loads(found, lambda: stack.enter_context(_converter(options, stage)), foreign, options)
        problems = tuple(sorted([*problems, *more], key=lambda problem: references.index(problem.reference)))
        if not loads:
            raise all_problems(problems, len(problems))
        for problem in problems:
            log.error("%s", problem)
        cargo = _Cargo(loads)
        plan = cargo.plan()
        if _already_there(path, plan, options.force):
            sweep(path)
            return Pulled(path, plan.total_size, cargo.images, problems, existed=True)
        resumed, seconds = _write(path, plan, cargo.source, options, stage)
    return Pulled(path, plan.total_size, cargo.images, problems, existed=False, resumed=resumed, seconds=seconds)


def default_name(reference: ImageReference) -> str:
    """Name a file after an image: last part of the repository, tag or short digest, ``.tar``."""
    version = reference.tag or (reference.digest.hex[:_SHORT_HEX] if reference.digest else "latest")
    name = f"{reference.repository.rpartition('/')[2]}-{version}"
    return f"{name[:_NAME_LIMIT]}.tar"


def _converter(options: PullOptions, stage: Stage) -> Converter:
    return Converter(options.layers, jobs=options.jobs, retry=options.retry, stage=stage)


def _loads(
    found: Sequence[Found], converters: Callable[[], Converter], foreign: BlobSource | None, options: PullOptions
) -> tuple[list[Load], list[Problem]]:
    """Prepare one image after the other; where that is wished, one that can't be prepared is no reason to stop."""
    loads: list[Load] = []
    problems: list[Problem] = []
    converter = converters()
    for each in found:
        try:
            loads.append(_prepared(each, converter, foreign, options))
        except EcrdragError as error:  # noqa: PERF203 - to go on
            if not options.keep_going:
                raise
            problems.append(Problem(each.reference, error))
            converter = converters()  # one that has failed converts nothing more
    return loads, problems


def _prepared(found: Found, converter: Converter, foreign: BlobSource | None, options: PullOptions) -> Load:
    spared = replace(found, source=Spared(found.source)) if options.keep_going else found
    load = prepare(spared, converter, foreign, only_chosen=options.subset, retry=options.retry)
    _say_what_docker_does(load)
    return replace(load, found=replace(load.found, source=found.source))


class _Cargo:
    """All that goes into the archive: references of one image are its names, and blobs of several come once."""

    def __init__(self, loads: Sequence[Load]) -> None:
        self._loads = loads
        brought = {blob.digest for load in loads for blob in load.brought}
        # What one image has to do without, another's registry may hold.
        self._left_out = {blob.digest for load in loads for blob in load.left_out} - brought
        by_digest: dict[Digest, list[Load]] = {}
        for load in loads:
            by_digest.setdefault(load.image.tree.root.digest, []).append(load)
        self.images = tuple(_pulled(alike, self._left_out) for alike in by_digest.values())
        _check_names(self.images)
        _check_tags(self.images)

    @property
    def source(self) -> BlobSource:
        """Read every blob from where it is: here, else from a registry that has it, else from where strangers say."""
        elsewhere = {digest: way for load in self._loads for digest, way in load.elsewhere.items()}
        here = {digest: way for load in self._loads for digest, way in load.here.items()}
        far = {
            blob.digest: load.found.source
            for load in reversed(self._loads)
            for blob in load.brought
            if blob.digest not in load.here and blob.digest not in load.elsewhere
        }
        return Routes(self._loads[0].found.source, {**elsewhere, **far, **here})

    def plan(self) -> ArchivePlan:
        """Lay out the archive."""
        return plan_archive(
            [
                PlannedImage(_names(each.references), each.image.tree.documents, each.image.manifest)
                for each in self.images
            ],
            [PlannedReferrer(one.tree.documents, one.tag) for image in self.images for one in image.referrers],
            known={digest: content for load in self._loads for digest, content in load.image.configs.items()},
            without=self._left_out,
        )


def _names(references: Sequence[ImageReference]) -> tuple[ImageName, ...]:
    """Name an image by its references, some of which may come to the same: with a digest, or as an ARN."""
    return tuple(dict.fromkeys(map(ImageName.of, references)))


def _pulled(alike: Sequence[Load], without: Set[Digest]) -> PulledImage:
    referrers = {(one.tree.root.digest, one.tag): one for load in alike for one in load.found.referrers}
    references = tuple(load.found.reference for load in alike)
    left_out = tuple(blob for blob in alike[0].left_out if blob.digest in without)
    image = min(alike, key=lambda load: str(load.found.reference)).image  # whichever comes first, the bytes stay
    return PulledImage(references, image, tuple(referrers.values()), left_out)


def _check_names(images: Sequence[PulledImage]) -> None:
    """Refuse two images of one name: docker would keep whichever came last."""
    owners: dict[str, tuple[PulledImage, ImageReference]] = {}
    for image in images:
        for reference in image.references:
            name = str(ImageName.of(reference))
            owner, first = owners.setdefault(name, (image, reference))
            if owner is not image:
                raise UsageError(
                    f"{first} and {reference} are two images, and both would be called {name} in the archive",
                    hint="pull one of them into a file of its own",
                )


def _check_tags(images: Sequence[PulledImage]) -> None:
    """Refuse two referrers of one tag, as of one image signed in two repositories: a push would lose the first."""
    owners: dict[str, Referrer] = {}
    for image in images:
        for one in image.referrers:
            first = owners.setdefault(one.tag, one) if one.tag else one
            if first.tree.root.digest != one.tree.root.digest:
                raise UsageError(
                    f"{', '.join(map(str, image.references))}: {first.tree.root.digest} and {one.tree.root.digest} are "
                    f"both tagged {one.tag}, in different repositories",
                    hint="pull one of the images into a file of its own",
                )


def _say_what_docker_does(load: Load) -> None:
    image, reference = load.image, load.found.reference
    if image.manifest is None:
        kind = image.tree.root.descriptor.artifact_type
        what = f"is no container image, but of type {kind}" if kind else "holds no container image"
        log.warning("%s %s: docker load can't make an image of it", reference, what)
    elif any(layer.media_type.endswith("zstd") for layer in image.manifest.layers):
        log.warning("%s has zstd layers, which docker reads from version 23 on: --layers gzip converts them", reference)


def _path_for(references: Sequence[ImageReference], options: PullOptions) -> Path:
    if options.output is None and len(set(references)) > 1:
        raise UsageError("several images need a name for their file", hint="say where they go with -o FILE")
    return options.output or Path(default_name(references[0]))


def _already_there(path: Path, plan: ArchivePlan, force: bool) -> bool:
    if not is_there(path):
        return False
    how = difference(path, plan)
    if how and not path.is_file():
        raise ArchiveError(f"{path} {how}", hint="give another file with -o")
    if how and not force:
        raise ArchiveError(f"{path} exists and {how}", hint="replace it with --force, or give another file with -o")
    return not how


def _write(path: Path, plan: ArchivePlan, source: BlobSource, options: PullOptions, stage: Stage) -> tuple[int, float]:
    """Write the archive; return how many bytes an earlier run had brought, and the seconds that the rest took."""
    with (
        ArchiveWriter(path, plan, replace=options.force, resume=options.resume) as archive,
        stage("") as progress,
    ):
        resumed, begun = archive.landed, time.monotonic()
        if resumed:
            log.warning("going on where an earlier run ended, with %.1f MiB that it brought", resumed / MIB)
        download(
            [Download(blob, archive.sink(offset)) for blob, offset in plan.blobs],
            source,
            jobs=options.jobs,
            chunk_size=options.chunk_size,
            retry=options.retry,
            progress=progress,
        )
        seconds = time.monotonic() - begun
        archive.commit()
    return resumed, seconds
