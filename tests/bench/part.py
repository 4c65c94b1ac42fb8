"""Own the measure of one layer part: CPU seconds of boto3's own call, and of ours, to the same local ECR.

    python3 -m tests.bench.part [--parts N] [MIB …]      sizes of parts, such as 10 or 20

Prints a table in Markdown: medians for one part, encoded and sent from bytes in memory.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import boto3
from mypy_boto3_ecr import ECRClient

from ecrdrag.content import Descriptor, Digest
from ecrdrag.reference import ImageReference
from ecrdrag.registry import ecr_parts
from ecrdrag.registry.ecr_destination import EcrDestination
from tests.bench.servers import local_ecr
from tests.putting import put_part

MIB = 1024 * 1024
VIEW = MIB  # bytes of each view, as a reader of files would give them
REPOSITORY = "bench/parts"
REFERENCE = ImageReference.parse(f"ecr.aws/arn:aws:ecr:us-west-2:123456789012:repository/{REPOSITORY}")
Send = Callable[[int, bytes], None]


def main(arguments: Sequence[str]) -> int:
    """Measure both ways with every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=15)
    parser.add_argument("sizes", nargs="*", type=int, metavar="MIB", default=(10, 20))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ecrdrag-bench-") as folder, local_ecr(Path(folder)) as environment:
        api = client(environment)
        api.create_repository(repositoryName=REPOSITORY)
        print("| part | by | CPU s a part | CPU s a GiB | MiB/s |\n|---|---|---|---|---|")
        for size in options.sizes:
            data = random.Random(size).randbytes(size * MIB)
            for name, begin in (("boto3", boto3_way), ("ecrdrag", our_way)):
                cpu, seconds = measure(begin(api), data, options.parts)
                rate = size / seconds
                print(f"| {size} MiB | {name} | {cpu:.4f} | {cpu * 1024 / size:.2f} | {rate:,.0f} |", flush=True)
    return 0


def client(environment: Mapping[str, str]) -> ECRClient:
    """Give one client for both ways; the hooks don't touch plain bytes."""
    api = boto3.client(
        "ecr",
        region_name="us-west-2",
        endpoint_url=environment["AWS_ENDPOINT_URL_ECR"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    ecr_parts.install(api.meta.events)
    return api


def boto3_way(api: ECRClient) -> Send:
    """Begin an upload and send its parts as boto3's documentation shows."""
    upload = api.initiate_layer_upload(repositoryName=REPOSITORY)["uploadId"]

    def send(start: int, data: bytes) -> None:
        put_part(api, REPOSITORY, upload, start, data)

    return send


def our_way(api: ECRClient) -> Send:
    """Begin an upload and send its parts as a push does."""
    upload = EcrDestination(api, REFERENCE).begin(Descriptor("", Digest.of(b""), 1))

    def send(start: int, data: bytes) -> None:
        whole = memoryview(data)
        views = (whole[place : place + VIEW] for place in range(0, len(data), VIEW))
        upload.send(upload.encode(start, start + len(data), views))

    return send


def measure(send: Send, data: bytes, parts: int) -> tuple[float, float]:
    """Send so many parts, and one before them; give the medians of CPU seconds and of seconds."""
    send(0, data)
    cpu, seconds = [], []
    for number in range(1, parts + 1):
        begun, used = time.perf_counter(), time.process_time()
        send(number * len(data), data)
        cpu.append(time.process_time() - used)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(cpu), statistics.median(seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
