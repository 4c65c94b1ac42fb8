"""Own the pull benchmark's cases: which image, over which line, by which tools; and their running, turn by turn.

pull.py and promises.py enter.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.images import PutImage, put_image, uneven
from tests.bench.measuring import MIB, Cost, Failed, measured, typical
from tests.bench.peers import (
    CURL,
    FLUSHED_CURL,
    OURS,
    SKOPEO_OCI,
    WITH_REGISTRY,
    Errand,
    Way,
    aria2c,
    ours,
    ours_by_registry,
    transfer_seconds,
)
from tests.bench.servers import blob_server, client_of, local_ecr, registry, search_path, signed_urls

RATE = 40  # MiB/s of a connection; S3 gives about as much to a stream
LATENCY = 50  # milliseconds
SMALL_LAYERS = 200
_SMALL = 64 * 1024
_BLOCK = 4 * MIB
_WHOLE = 0.99  # of an image's bytes: a tool that unpacks layers saves gzip's own


@dataclass(frozen=True)
class Row:
    """One line of the table: a way to bring an image."""

    image: str
    way: Way


@dataclass(frozen=True)
class Case:
    """A line with its own behaviour, and what is pulled over it; nginx sends the blobs where the line is plain."""

    letter: str
    title: str
    images: Mapping[str, Sequence[int]]
    rows: Sequence[Row]
    line: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    """What all runs of a row took, the bytes that it brought and those it left in files; transfers are seconds."""

    case: str
    image: str
    tool: str
    size: int
    output: int
    costs: Sequence[Cost]
    transfers: Sequence[float]

    @property
    def cost(self) -> Cost:
        return typical(self.costs)

    @property
    def transfer(self) -> float | None:
        return statistics.median(self.transfers) if self.transfers else None


@dataclass
class Stand:
    """Where everything happens: a folder on a disk, where built tools are, tools' versions and what is left out."""

    folder: Path
    shelf: Path
    versions: Mapping[str, str]
    skipped: list[str] = field(default_factory=list)


def cases(mib: int) -> dict[str, Case]:
    """Lay out the four cases, by their letters; the large image has so many MiB."""
    large, larger, single, many = size_name(mib), size_name(4 * mib), f"{size_name(mib)}, 1 layer", "200 × 64 KiB"
    with_all = (ours(16), ours_by_registry(16), CURL, FLUSHED_CURL, aria2c(), *WITH_REGISTRY)
    limited = (ours(8), ours(16), CURL, aria2c(), SKOPEO_OCI)
    found = (
        Case("a", "loopback", {large: uneven(mib)}, [Row(large, way) for way in with_all]),
        Case(
            "b",
            f"each connection {RATE} MiB/s",
            {single: [mib * MIB]},
            [Row(single, way) for way in limited],
            ("--limit-rate", f"{RATE}M"),
        ),
        Case(
            "c",
            f"{LATENCY} ms before each answer",
            {many: [_SMALL] * SMALL_LAYERS},
            [Row(many, ours(16))],
            ("--latency", str(LATENCY)),
        ),
        Case(
            "d",
            "loopback, memory",
            {large: uneven(mib), larger: uneven(4 * mib)},
            [Row(image, ours(jobs)) for jobs in (16, 32) for image in (large, larger)],
        ),
    )
    return {case.letter: case for case in found}


def size_name(mib: int) -> str:
    """Say a size in MiB as people do."""
    return f"{mib // 1024} GiB" if mib % 1024 == 0 else f"{mib} MiB"


def put_images(stand: Stand, wanted: Sequence[Case]) -> dict[str, PutImage]:
    """Put what the cases pull into the local ECR's folder, by the images' names."""
    sizes = {name: sizes for case in wanted for name, sizes in case.images.items()}
    with local_ecr(stand.folder) as environment:
        ecr = client_of(environment)
        put = {}
        for place, name in enumerate(sizes):
            sys.stderr.write(f"making the image {name}\n")
            put[name] = put_image(ecr, f"bench/{place}", sizes[name])
    return put


def run_case(stand: Stand, case: Case, images: Mapping[str, PutImage], runs: int) -> list[Result]:
    """Run all rows of a case in turn, so often; what else the machine does strikes all of them."""
    rows = [row for row in case.rows if row.way.program in stand.versions]
    if any(row.way.needs_registry for row in rows) and not {"nginx", "docker-registry"} <= set(stand.versions):
        stand.skipped.append(f"case {case.letter}: /v2/ needs nginx and docker-registry")
        rows = [row for row in rows if not row.way.needs_registry]
    results: dict[Row, Result] = {}
    with _line(stand, case) as environment, ExitStack() as registries:
        errands = {name: _errand(stand, case, images[name], environment, registries) for name in case.images}
        for image in (images[name] for name in case.images):
            _warm(stand.folder / "data", image)
        for turn in range(runs):
            for row in list(rows):
                sys.stderr.write(f"case {case.letter}, run {turn + 1} of {runs}: {row.way.name}, {row.image}\n")
                try:
                    result = _run_once(stand, case, row, errands[row.image], images[row.image], environment)
                except Failed as failure:
                    if row.way.program == OURS:
                        raise
                    stand.skipped.append(f"case {case.letter}: {row.way.name}: {' '.join(str(failure).split())}")
                    rows.remove(row)
                    results.pop(row, None)
                else:
                    results[row] = _joined(results.get(row), result)
    return list(results.values())


@contextmanager
def _line(stand: Stand, case: Case) -> Iterator[Mapping[str, str]]:
    """Serve what was put, the way that the case wants; the environment is the clients'."""
    with ExitStack() as stack:
        environment = stack.enter_context(local_ecr(stand.folder, *case.line))
        if not case.line and "nginx" in stand.versions:
            front = blob_server(stand.folder / f"blobs-{case.letter}", stand.folder / "data", environment)
            environment = stack.enter_context(front)
        path = f"{stand.shelf}{os.pathsep}{search_path()}"
        own = {"PATH": path, "HOME": str(stand.folder / "home"), "TMPDIR": str(stand.folder / "tmp")}
        yield {**environment, **own}


def _errand(stand: Stand, case: Case, image: PutImage, environment: Mapping[str, str], registries: ExitStack) -> Errand:
    urls = signed_urls(environment, image)
    served = ""
    if any(row.way.needs_registry for row in case.rows) and {"nginx", "docker-registry"} <= set(stand.versions):
        folder = stand.folder / f"registry-{case.letter}"
        served = registries.enter_context(registry(folder, image, urls))
    return Errand(image.repository, urls, served, stand.folder / "output")


def _run_once(
    stand: Stand, case: Case, row: Row, errand: Errand, image: PutImage, environment: Mapping[str, str]
) -> Result:
    for name in ("output", "tmp", "home"):
        shutil.rmtree(stand.folder / name, ignore_errors=True)
        (stand.folder / name).mkdir()
    os.sync()  # what the run before left to the disk is not this one's
    cost = measured(environment, *row.way.command(errand))
    output = sum(path.stat().st_size for path in errand.output.rglob("*") if path.is_file())
    if output < image.size * _WHOLE:
        raise Failed(f"left {output} bytes of {image.size}")
    transfer = transfer_seconds(row.way, cost.out)
    transfers = [] if transfer is None else [transfer]
    return Result(case.letter, row.image, row.way.name, image.size, output, [cost], transfers)


def _joined(before: Result | None, last: Result) -> Result:
    if before is None:
        return last
    costs, transfers = [*before.costs, *last.costs], [*before.transfers, *last.transfers]
    return Result(last.case, last.image, last.tool, last.size, last.output, costs, transfers)


def _warm(data: Path, image: PutImage) -> None:
    """Read all blobs once, so that no run waits for the server's disk."""
    for digest in image.blobs:
        with (data / "blobs" / digest.replace(":", "/")).open("rb", buffering=0) as file:
            while file.read(_BLOCK):
                pass
