"""Own `make bench`: what a pull costs in time and memory, on this machine, from the local ECR.

    python3 -m tests.bench.pull [--runs N] [CASE …]      cases such as 1GiB/j32 or 4GiB/j16

Prints a table in Markdown: medians of seconds, rate and CPU seconds, and the largest peak memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3

from ecrdrag.manifest import OCI_CONFIG, OCI_MANIFEST
from tests.images import Blob
from tests.putting import put_blob, put_part

MIB = 1024 * 1024
PART = 10 * MIB
LAYERS = (0.37, 0.21, 0.14, 0.11, 0.08, 0.05, 0.03, 0.01)  # shares of the image's size
DEFAULT_CASES = ("1GiB/j16", "1GiB/j32", "4GiB/j16", "4GiB/j32")
HOME = Path(__file__).parents[2]
# A small process between us and the measured one: a child's peak memory starts at its parent's.
MEASURE = """
import json, os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
"""
CASE = re.compile(r"(\d+)GiB/j(\d+)")


@dataclass(frozen=True)
class Cost:
    """What one run of docker_pull.py took: seconds, CPU seconds, peak resident memory in MiB."""

    seconds: float
    cpu: float
    memory: float


def main(arguments: Sequence[str]) -> int:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("cases", nargs="*", metavar="CASE", default=DEFAULT_CASES)
    options = parser.parse_args(arguments)
    cases = [(int(match[1]), int(match[2])) for case in options.cases if (match := CASE.fullmatch(case))]
    with tempfile.TemporaryDirectory(prefix="ecrdrag-bench-") as folder, local_ecr(Path(folder)) as environment:
        for size in sorted({size for size, _ in cases}):
            put_large_image(environment, size)
        print("| image | -j | seconds | MiB/s | CPU s | peak MiB |\n|---|---|---|---|---|---|")
        for size, jobs in cases:
            costs = [pull(Path(folder), environment, size, jobs) for _ in range(options.runs)]
            seconds = statistics.median(cost.seconds for cost in costs)
            cpu = statistics.median(cost.cpu for cost in costs)
            memory = max(cost.memory for cost in costs)
            rate = size * 1024 / seconds
            print(f"| {size} GiB | {jobs} | {seconds:.2f} | {rate:,.0f} | {cpu:.2f} | {memory:.1f} |", flush=True)
    return 0


@contextmanager
def local_ecr(folder: Path) -> Iterator[Mapping[str, str]]:
    """Run a local ECR in a process of its own and give the environment that leads to it."""
    command = [sys.executable, "-m", "ecrdrag", "serve", "--data", str(folder / "data"), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        if server.stdout is None:
            raise RuntimeError("no output to read")
        exports = dict(server.stdout.readline().removeprefix("export ").strip().split("=", 1) for _ in range(5))
        yield {**os.environ, **exports, "NO_PROXY": "127.0.0.1"}
        server.terminate()


def put_large_image(environment: Mapping[str, str], size: int) -> None:
    """Put an image of size GiB in eight uneven layers of noise."""
    ecr = boto3.client(
        "ecr",
        region_name="us-west-2",
        endpoint_url=environment["AWS_ENDPOINT_URL_ECR"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    repository = f"bench/{size}gib"
    ecr.create_repository(repositoryName=repository)
    layers = []
    for place, share in enumerate(LAYERS):
        upload = ecr.initiate_layer_upload(repositoryName=repository)["uploadId"]
        found, sent = hashlib.sha256(), 0
        for part in noise(int(size * 1024 * MIB * share), seed=place):
            put_part(ecr, repository, upload, sent, part)
            found.update(part)
            sent += len(part)
        digest = f"sha256:{found.hexdigest()}"
        ecr.complete_layer_upload(repositoryName=repository, uploadId=upload, layerDigests=[digest])
        layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": sent})
    config = Blob(json.dumps({"os": "linux", "architecture": "amd64", "size": size}).encode(), OCI_CONFIG)
    put_blob(ecr, repository, config.content)
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.json, "layers": layers}
    ecr.put_image(repositoryName=repository, imageManifest=json.dumps(manifest), imageTag="1")


def noise(size: int, *, seed: int) -> Iterator[bytes]:
    """Yield size bytes in parts, no two parts alike."""
    block = bytearray(random.Random(seed).randbytes(PART))
    for number, start in enumerate(range(0, size, PART)):
        block[:8] = number.to_bytes(8, "big")
        yield bytes(block[: size - start])


def pull(folder: Path, environment: Mapping[str, str], size: int, jobs: int) -> Cost:
    """Pull once into a new file, measured by the kernel's account of it."""
    output = folder / "out.tar"
    reference = f"ecr.aws/arn:aws:ecr:us-west-2:123456789012:repository/bench/{size}gib:1"
    options = ["--platform", "linux/amd64", "--progress", "none", "-j", str(jobs), "-o", str(output)]
    command = [sys.executable, str(HOME / "docker_pull.py"), reference, *options]
    begun = time.monotonic()
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], env=dict(environment), stdout=subprocess.PIPE, text=True, check=True
    )
    seconds = time.monotonic() - begun
    code, cpu, memory = json.loads(measured.stdout.splitlines()[-1])
    if code:
        raise SystemExit(f"docker_pull.py ended with {code}")
    output.unlink()
    return Cost(seconds, cpu, memory)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
