"""Own the story of a pull: reference → manifest → plan → download → archive in place.

The command line may enter; this is also the library's way to pull.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ecrdrag.archive.check import difference, is_there
from ecrdrag.archive.plan import ArchivePlan, ImageName, plan_image
from ecrdrag.archive.writer import ArchiveWriter, sweep
from ecrdrag.errors import ArchiveError
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Source
from ecrdrag.resolve import Image, Resolver, Wish
from ecrdrag.transfer.download import DEFAULT_JOBS, MIB, Download, download
from ecrdrag.transfer.progress import Progress
from ecrdrag.transfer.retry import RetryPolicy

log = logging.getLogger(__name__)

_NAME_LIMIT: Final = 200  # characters; file systems allow 255 bytes, and a suffix must fit
_SHORT_HEX: Final = 12  # hex digits, as docker shortens a digest


@dataclass(frozen=True, slots=True)
class PullOptions:
    """Say how to pull.

    output None names the file after the image. jobs counts connections; chunk_size is in bytes,
    None lets what is still missing decide. force lets it replace an existing file. resume lets it go on
    with what an earlier run left beside it, and leave the like when it fails.
    """

    wish: Wish
    output: Path | None = None
    jobs: int = DEFAULT_JOBS
    chunk_size: int | None = None
    force: bool = False
    resume: bool = True
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class Pulled:
    """Report a pull: the archive's path and size in bytes, and what is in it.

    resumed bytes of it were there from an earlier run; the layers took so many seconds, verified.
    """

    path: Path
    size: int
    reference: ImageReference
    image: Image
    existed: bool
    resumed: int = 0
    seconds: float = 0.0


def pull(reference: ImageReference, source: Source, options: PullOptions, progress: Progress | None = None) -> Pulled:
    """Bring one image into one archive, verified; where it already is, only check it.

    Raises EcrdragError; then there is no file at the output path that was not there before.
    """
    image = Resolver(source, options.retry).resolve(reference, options.wish)
    plan = plan_image(image.manifest, image.config, ImageName.of(reference))
    path = options.output or Path(default_name(reference))
    if _already_there(path, plan, options.force):
        sweep(path)
        return Pulled(path, plan.total_size, reference, image, existed=True)
    resumed, seconds = _write(path, plan, source, options, progress)
    return Pulled(path, plan.total_size, reference, image, existed=False, resumed=resumed, seconds=seconds)


def default_name(reference: ImageReference) -> str:
    """Name a file after an image: last part of the repository, tag or short digest, ``.tar``."""
    version = reference.tag or (reference.digest.hex[:_SHORT_HEX] if reference.digest else "latest")
    name = f"{reference.repository.rpartition('/')[2]}-{version}"
    return f"{name[:_NAME_LIMIT]}.tar"


def _already_there(path: Path, plan: ArchivePlan, force: bool) -> bool:
    if not is_there(path):
        return False
    how = difference(path, plan)
    if how and not path.is_file():
        raise ArchiveError(f"{path} {how}", hint="give another file with -o")
    if how and not force:
        raise ArchiveError(f"{path} exists and {how}", hint="replace it with --force, or give another file with -o")
    return not how


def _write(
    path: Path, plan: ArchivePlan, source: Source, options: PullOptions, progress: Progress | None
) -> tuple[int, float]:
    """Write the archive; return how many bytes an earlier run had brought, and the seconds that the rest took."""
    with ArchiveWriter(path, plan, replace=options.force, resume=options.resume) as archive:
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
