"""Own the measure of pulls that take more than one image as it is: several into one tar, and layers converted.

    python3 -m tests.bench.kinds [--runs N] [--mib N]

Prints two tables in Markdown, medians of wall clock, CPU seconds, peak memory and bytes written for each byte of the
file. Three images share half of their bytes; crane takes them too, over /v2/ of the same local ECR. A zstd image of
files is pulled as it is, and in other forms. The ways take turns, so that what else the machine does strikes all.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard

from ecrdrag.content import Digest
from ecrdrag.manifest import OCI_CONFIG, OCI_MANIFEST
from tests.bench.gzip import layer_like
from tests.bench.images import put_layer
from tests.bench.measuring import MIB, Cost, measured, typical
from tests.bench.peers import Missing, find
from tests.bench.push import SHELF, address, logged_in
from tests.bench.servers import client_of, local_ecr, reference_to
from tests.images import Blob
from tests.putting import put_blob

if TYPE_CHECKING:  # stubs are not installed for the benchmarks
    from mypy_boto3_ecr import ECRClient

PULL = (sys.executable, "docker_pull.py", "--platform", "linux/amd64", "--progress", "none")
NAMES = ("one", "two", "three")
Commands = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Measured:
    """What a way took in all runs, and how many bytes it left."""

    costs: Sequence[Cost]
    size: int


def main(arguments: Sequence[str]) -> int:
    """Measure all ways and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--mib", type=int, default=512, help="of each image")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ecrdrag-bench-") as folder, local_ecr(Path(folder)) as environment:
        ecr = client_of(environment)
        put_three(ecr, options.mib)
        put_zstd(ecr, options.mib)
        environment = logged_in(environment, Path(folder, "home"))
        output = Path(folder, "output")
        for title, ways in (
            ("three images, half of each shared", several(environment, output)),
            ("zstd", forms(output)),
        ):
            report(f"{title}, {options.mib} MiB each", run_all(environment, output, ways, options.runs))
    return 0


def several(environment: Mapping[str, str], output: Path) -> Commands:
    """Give the ways to bring three images into one tar, and each into its own."""
    ours = [f"{reference_to('bench/several').rpartition(':')[0]}:{name}" for name in NAMES]
    theirs = [f"{address(environment)}/bench/several:{name}" for name in NAMES]
    tar = str(output / "release.tar")
    apart = " && ".join(f'"$@" {name} -o {output}/{place}.tar' for place, name in enumerate(ours))
    ways: dict[str, Sequence[str]] = {
        "`docker_pull.py` A B C": (*PULL, *ours, "-o", tar),
        "`docker_pull.py`, three times": ("sh", "-c", apart, "sh", *PULL),
    }
    crane = find("crane", SHELF)
    if isinstance(crane, Missing):
        sys.stderr.write(f"skipped: {crane.why}\n")
    else:
        ways["`crane pull` A B C"] = ("crane", "pull", "--platform", "linux/amd64", *theirs, tar)
    return ways


def forms(output: Path) -> Commands:
    """Give the ways to bring an image of zstd layers."""
    reference, tar = reference_to("bench/zstd"), str(output / "image.tar")
    return {
        f"`docker_pull.py`{' ' if form else ', as it is'}{' '.join(form)}": (*PULL, reference, *form, "-o", tar)
        for form in ((), ("--layers", "gzip"), ("--layers", "plain"))
    }


def run_all(environment: Mapping[str, str], output: Path, ways: Commands, runs: int) -> Mapping[str, Measured]:
    """Run all ways in turn, so often."""
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    sizes: dict[str, int] = {}
    for turn in range(runs):
        for name, command in ways.items():
            sys.stderr.write(f"run {turn + 1} of {runs}: {name}\n")
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir()
            costs[name].append(measured(environment, *command))
            sizes[name] = sum(path.stat().st_size for path in output.iterdir())
    return {name: Measured(costs[name], sizes[name]) for name in ways}


def report(title: str, found: Mapping[str, Measured]) -> None:
    """Print a table."""
    print(f"| {title}, loopback | seconds | CPU s | peak MiB | MiB | written / size |")
    print("|---|---|---|---|---|---|")
    for name, one in found.items():
        cost = typical(one.costs)
        figures = f"{cost.seconds:.2f} | {cost.cpu:.2f} | {cost.memory:.0f} | {one.size / MIB:.0f}"
        print(f"| {name} | {figures} | {cost.written / one.size:.2f} |")
    print(flush=True)


def put_three(ecr: ECRClient, mib: int) -> None:
    """Put three images of two layers of noise, of which they share one."""
    ecr.create_repository(repositoryName="bench/several")
    shared = put_layer(ecr, "bench/several", mib * MIB // 2, seed="shared")
    for name in NAMES:
        put_manifest(ecr, "bench/several", name, [shared, put_layer(ecr, "bench/several", mib * MIB // 2, seed=name)])


def put_zstd(ecr: ECRClient, mib: int) -> None:
    """Put an image of four layers of files, in zstd."""
    ecr.create_repository(repositoryName="bench/zstd")
    layers = []
    for place in range(4):
        tar = layer_like(mib * MIB // 4 - place * MIB)
        blob = Blob(zstandard.ZstdCompressor(3).compress(tar), "application/vnd.oci.image.layer.v1.tar+zstd")
        put_blob(ecr, "bench/zstd", blob.content)
        layers.append((blob.json, str(Digest.of(tar))))
    put_manifest(ecr, "bench/zstd", "1", layers)


def put_manifest(ecr: ECRClient, repository: str, tag: str, layers: Sequence[tuple[Mapping[str, object], str]]) -> None:
    """Put an image of layers that are there: what a manifest says of each, and the digest of its tar."""
    contents = [content for _, content in layers]
    about = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": contents}}
    config = Blob(json.dumps(about).encode(), OCI_CONFIG)
    put_blob(ecr, repository, config.content)
    said = [layer for layer, _ in layers]
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.json, "layers": said}
    ecr.put_image(repositoryName=repository, imageManifest=json.dumps(manifest), imageTag=tag)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
