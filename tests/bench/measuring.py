"""Own what the benchmarks share: a large image in a local ECR, and the kernel's account of a process.

The benchmarks enter.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from ecrdrag.manifest import OCI_CONFIG, OCI_MANIFEST
from tests.images import Blob
from tests.putting import put_blob, put_part

if TYPE_CHECKING:  # stubs are not installed for the benchmarks
    from mypy_boto3_ecr import ECRClient

MIB = 1024 * 1024
PART = 10 * MIB
REGION = "us-west-2"
LAYERS = (0.37, 0.21, 0.14, 0.11, 0.08, 0.05, 0.03, 0.01)  # shares of the image's size
HOME = Path(__file__).parents[2]
# A small process between us and the measured one: a child's peak memory starts at its parent's.
MEASURE = """
import json, os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
"""


@dataclass(frozen=True)
class Cost:
    """What one run of a process took: seconds, CPU seconds, peak resident memory in MiB; and what it printed."""

    seconds: float
    cpu: float
    memory: float
    out: str = ""


def typical(costs: Sequence[Cost]) -> Cost:
    """Give the medians of times, and the largest of memories."""
    return Cost(
        statistics.median(cost.seconds for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        max(cost.memory for cost in costs),
    )


def measured(environment: Mapping[str, str], *command: str) -> Cost:
    """Run a Python program to its end, measured by the kernel's account of it."""
    begun = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, *command],
        cwd=HOME,
        env=dict(environment),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds = time.monotonic() - begun
    out, _, account = ended.stdout.rstrip("\n").rpartition("\n")
    code, cpu, memory = json.loads(account)
    if code:
        raise SystemExit(f"{command[0]} ended with {code}")
    return Cost(seconds, cpu, memory, out)


@contextmanager
def local_ecr(folder: Path) -> Iterator[Mapping[str, str]]:
    """Run a local ECR in a process of its own and give the environment that leads to it."""
    command = [sys.executable, "-m", "ecrdrag", "serve", "--data", str(folder / "data"), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        if server.stdout is None:
            raise RuntimeError("no output to read")
        exports = dict(server.stdout.readline().removeprefix("export ").strip().split("=", 1) for _ in range(5))
        try:
            yield {**os.environ, **exports, "AWS_DEFAULT_REGION": REGION, "NO_PROXY": "127.0.0.1"}
        finally:
            server.terminate()


def client_of(environment: Mapping[str, str]) -> ECRClient:
    """Build boto3's client for that local ECR."""
    return boto3.client(
        "ecr",
        region_name=REGION,
        endpoint_url=environment["AWS_ENDPOINT_URL_ECR"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def reference_to(repository: str) -> str:
    """Name the image with tag 1 in a repository of that local ECR."""
    return f"ecr.aws/arn:aws:ecr:{REGION}:123456789012:repository/{repository}:1"


def put_large_image(environment: Mapping[str, str], size: int) -> str:
    """Put an image of size GiB in eight uneven layers of noise, and give its repository's name."""
    ecr = client_of(environment)
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
    return repository


def noise(size: int, *, seed: int) -> Iterator[bytes]:
    """Yield size bytes in parts, no two parts alike."""
    block = bytearray(random.Random(seed).randbytes(PART))
    for number, start in enumerate(range(0, size, PART)):
        block[:8] = number.to_bytes(8, "big")
        yield bytes(block[: size - start])


def pull(environment: Mapping[str, str], repository: str, output: Path, *options: str) -> Cost:
    """Pull once into a new file."""
    fixed = ("--platform", "linux/amd64", "--progress", "none", "-o", str(output))
    return measured(environment, "docker_pull.py", reference_to(repository), *fixed, *options)
