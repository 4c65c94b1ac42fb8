"""Own the push's half of `make bench`: what it costs on this machine, beside a plain loop of boto3 calls.

    python3 -m tests.bench.push [--runs N] [--gib N]

Prints a table in Markdown: medians of rate and CPU seconds per GiB, and the largest peak memory, all of the
client's process alone. Every run uploads the same image to a repository of its own; the ways take turns,
so that what else the machine does strikes all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.images import put_image, uneven
from tests.bench.measuring import Cost, python, typical
from tests.bench.servers import client_of, local_ecr, reference_to

OURS, LOOP = "docker_push.py, default -j", "boto3 loop"
WAYS: Mapping[str, tuple[str, ...]] = {
    "docker_push.py -j 1": ("docker_push.py", "-j", "1"),
    OURS: ("docker_push.py",),
    LOOP: ("tests.bench.plain_push",),
    "boto3 loop, a thread per layer": ("tests.bench.plain_push", "--threads"),
}
WANTED = 2.0  # times less CPU than the loop


def main(arguments: Sequence[str]) -> int:
    """Measure every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--gib", type=int, default=1)
    options = parser.parse_args(arguments)
    costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="ecrdrag-bench-") as folder, local_ecr(Path(folder)) as environment:
        archive = Path(folder, "image.tar")
        put_image(client_of(environment), "bench/image", uneven(options.gib * 1024))
        wanted = (reference_to("bench/image"), "--platform", "linux/amd64", "--progress", "none", "-o", str(archive))
        python(environment, "docker_pull.py", *wanted)
        for turn in range(options.runs):
            for place, way in enumerate(WAYS):
                costs[way].append(push(environment, way, archive, f"bench/push-{turn}-{place}"))
    report({way: typical(found) for way, found in costs.items()}, options.gib)
    return 0


def push(environment: Mapping[str, str], way: str, archive: Path, repository: str) -> Cost:
    """Push once to a new repository and make sure that every byte of it went."""
    ecr = client_of(environment)
    ecr.create_repository(repositoryName=repository)
    program, *options = WAYS[way]
    if program == "docker_push.py":
        fixed = (str(archive), reference_to(repository), "--progress", "none", "--json")
        cost = python(environment, program, *fixed, *options)
        sent = json.loads(cost.out)["bytes"]
        if sent < archive.stat().st_size * 0.99:
            raise SystemExit(f"{way}: only {sent} bytes were uploaded")
    else:
        cost = python(environment, "-m", program, str(archive), repository, *options)
    if not ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "1"}])["images"]:
        raise SystemExit(f"{way}: the image isn't there")
    return cost


def report(costs: Mapping[str, Cost], gib: int) -> None:
    """Print the table, and how much more the loop costs."""
    print("| way | MiB/s | CPU s/GiB | peak MiB |\n|---|---|---|---|")
    for way, cost in costs.items():
        print(f"| {way} | {gib * 1024 / cost.seconds:,.0f} | {cost.cpu / gib:.2f} | {cost.memory:.1f} |")
    ratio = costs[LOOP].cpu / costs[OURS].cpu
    print(f"\nThe {LOOP} takes {ratio:.2f} times the CPU of {OURS}; wanted: at least {WANTED}.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
