"""Own the pull's half of `make bench`: what it costs in time and memory, on this machine, from the local ECR.

    python3 -m tests.bench.pull [--runs N] [CASE …]      cases such as 1GiB/j32 or 4GiB/j16

Prints a table in Markdown: medians of seconds, rate and CPU seconds, and the largest peak memory.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.measuring import Cost, local_ecr, pull, put_large_image, typical

DEFAULT_CASES = ("1GiB/j16", "1GiB/j32", "4GiB/j16", "4GiB/j32")
CASE = re.compile(r"(\d+)GiB/j(\d+)")


def main(arguments: Sequence[str]) -> int:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("cases", nargs="*", metavar="CASE", default=DEFAULT_CASES)
    options = parser.parse_args(arguments)
    cases = [(int(match[1]), int(match[2])) for case in options.cases if (match := CASE.fullmatch(case))]
    with tempfile.TemporaryDirectory(prefix="ecrdrag-bench-") as folder, local_ecr(Path(folder)) as environment:
        repositories = {size: put_large_image(environment, size) for size in sorted({size for size, _ in cases})}
        print("| image | -j | seconds | MiB/s | CPU s | peak MiB |\n|---|---|---|---|---|---|")
        for size, jobs in cases:
            cost = typical([pull_once(environment, repositories[size], folder, jobs) for _ in range(options.runs)])
            rate = size * 1024 / cost.seconds
            print(
                f"| {size} GiB | {jobs} | {cost.seconds:.2f} | {rate:,.0f} | {cost.cpu:.2f} | {cost.memory:.1f} |",
                flush=True,
            )
    return 0


def pull_once(environment: Mapping[str, str], repository: str, folder: str, jobs: int) -> Cost:
    """Pull into a file that goes away again."""
    output = Path(folder, "out.tar")
    cost = pull(environment, repository, output, "-j", str(jobs))
    output.unlink()
    return cost


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
