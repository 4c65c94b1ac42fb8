"""Own the measure of the everyday commands on a big registry, beside what people do with the aws CLI in a shell.

    python3 -m tests.bench.everyday [--part PART …] [--repositories N] [--images N] [--runs N] [--whole-loop]

Prints a table in Markdown for each part: counting 2,000 repositories; how many calls run at once; lists of images; an
ECR that is far away, one that refuses most calls, and what memory grows with. Figures are medians, memory is the peak
of the largest process. The ways of a part take turns, so that what else the machine does strikes all of them. The
loops go over some repositories only, and what that takes is scaled up, unless the whole loop is wanted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench.measuring import Cost, Failed, measured
from tests.bench.servers import local_ecr
from tests.bench.serving import Server, descendants
from tests.bench.throttled import throttled_ecr
from tests.crowded import crowd

MANY, FEWER, LONG, LONGEST = "us-west-2", "eu-central-1", "eu-west-1", "eu-west-2"
GROWING: Final = {"us-east-1": 200, "us-east-2": 2_000, "ca-central-1": 20_000}
"""Regions with so many repositories, of _SMALL images each."""
_SMALL: Final = 5
_ONLY: Final = "crowd/app-00000"  # the repository of a region with one
_LATENCY: Final = 50  # milliseconds
_RATE: Final = 20  # calls a second
_NAMES: Final = "aws ecr describe-repositories --query 'repositories[].repositoryName' --output text | tr '\\t' '\\n'"
_COUNT: Final = 'aws ecr describe-images --query "length(imageDetails)" --output text --repository-name'
_OURS: Final = (sys.executable, "-m", "ecrdrag")
LISTING, LOOP, XARGS = "aws CLI: only the names", "aws CLI in a loop", "aws CLI by xargs -P 8"


@dataclass(frozen=True)
class Way:
    """One way to get at something: its command, the region it asks, and how many it should find, by what it prints."""

    name: str
    command: Sequence[str]
    region: str = MANY
    expected: int = 0
    found: Callable[[str], int] = lambda out: len(out.splitlines())
    covered: float = 1.0
    """The part of the work that it does; its seconds are scaled up."""


@dataclass
class Measured:
    """What the runs of a way took, and of the server's CPU."""

    costs: list[Cost] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return statistics.median(cost.seconds for cost in self.costs)

    @property
    def cpu(self) -> float:
        return statistics.median(cost.cpu for cost in self.costs)

    @property
    def memory(self) -> float:
        return max(cost.memory for cost in self.costs)


Results = Mapping[Way, Measured]


def main(arguments: Sequence[str]) -> int:
    """Measure the parts that are wanted and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--part", choices=list(PARTS), action="append", help="measure this one only (may be repeated)")
    add("--repositories", type=int, default=2_000)
    add("--images", type=int, default=50, help="in each repository")
    add("--fewer", type=int, default=400, help="repositories of the ECR that is far away or refuses calls")
    add("--long", type=int, nargs=2, default=(10_000, 100_000), help="images of the two longest repositories")
    add("--growing", type=int, default=1, help="divide by this the repositories that memory is measured with")
    add("--sample", type=int, default=40, help="repositories that a loop goes over")
    add("--whole-loop", action="store_true", help="let the loops go over all repositories, once")
    add("--runs", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ecrdrag-bench-") as folder:
        for part in options.part or PARTS:
            print(f"\n### {part}\n", flush=True)
            PARTS[part](Path(folder), options)
    return 0


def counting(folder: Path, options: argparse.Namespace) -> None:
    """Count the images of all repositories: our forms of it, and loops."""
    fill(folder, MANY, options.repositories, options.images)
    ways = [
        count("repo ls --count --tsv", options, "--count", "--tsv"),
        Way("repo ls --count --json", ours("repo", "ls", "--count", "--json"), MANY, total(options), counted_in_json),
        Way("repo ls --count, for people", ours("repo", "ls", "--count"), MANY, options.repositories + 1),
        Way("repo ls, for people", ours("repo", "ls"), MANY, options.repositories + 1),
        Way("repo ls --tsv", ours("repo", "ls", "--tsv"), MANY, options.repositories),
        *loops(MANY, options.repositories, options),
    ]
    with served(folder) as measure:
        results = measure(ways, options.runs)
    print_table(results, options.repositories)
    for loop in (way for way in ways if way.name in (LOOP, XARGS)):
        ratio = scaled(loop, results) / results[ways[0]].seconds
        print(f"\n{loop.name}: {ratio:,.0f} times the seconds of {ways[0].name}.")


def side_by_side(folder: Path, options: argparse.Namespace) -> None:
    """Count with more and more calls at once."""
    fill(folder, MANY, options.repositories, options.images)
    ways = [count(f"-j {jobs}", options, "--count", "--tsv", "-j", str(jobs)) for jobs in (1, 4, 16, 32)]
    with served(folder) as measure:
        print_table(measure(ways, options.runs), options.repositories)


def listing(folder: Path, options: argparse.Namespace) -> None:
    """List the images of long repositories."""
    ways = []
    for region, images in zip((LONG, LONGEST), options.long, strict=True):
        fill(folder, region, 1, images)
        for words in (("--tsv", "--sort", "name"), ("--tsv",), ()):
            name = f"{images:,} images: image ls {' '.join(words) or '(for people)'}"
            ways.append(Way(name, ours("image", "ls", _ONLY, *words), region, images + (not words)))
        ways += [Way(f"{images:,} images: tags", ours("tags", _ONLY), region, images), *as_listed(region, images)]
    with served(folder) as measure:
        print_table(measure(ways, options.runs), 0)


def far(folder: Path, options: argparse.Namespace) -> None:
    """Count in an ECR whose every answer takes a while: how many calls run at once decides, and how much is asked."""
    fill(folder, FEWER, options.fewer, options.images)
    fill(folder, LONG, 1, options.long[0])
    images = options.fewer * options.images
    ways = [
        Way(f"-j {jobs}", ours("repo", "ls", "--count", "--tsv", "-j", str(jobs)), FEWER, images, counted_in_lines)
        for jobs in (1, 4, 16, 32, 64)
    ]
    with served(folder, "--latency", str(_LATENCY)) as measure:
        results = measure([*ways, *loops(FEWER, options.fewer, options)], options.runs)
        listed = measure(as_listed(LONG, options.long[0]), options.runs)
    print(f"{_LATENCY} ms before every answer. {options.fewer:,} repositories of {options.images} images:\n")
    print_table(results, options.fewer)
    print("\nOne repository:\n")
    print_table(listed, 0)


def throttled(folder: Path, options: argparse.Namespace) -> None:
    """Count in an ECR that refuses calls beyond a rate: nothing may fail, and no time be lost."""
    fill(folder, FEWER, options.fewer, options.images)
    images, ideal = options.fewer * options.images, (options.fewer + 1 - _RATE) / _RATE
    ways = [
        Way(f"-j {jobs}", ours("repo", "ls", "--count", "--tsv", "-j", str(jobs)), FEWER, images, counted_in_lines)
        for jobs in (1, 4, 16, 64)
    ]
    results: dict[Way, Measured] = {way: Measured() for way in ways}
    for way in ways * options.runs:
        with throttled_ecr(folder / "data", _RATE) as (environment, refusals):
            results[way].costs.append(run(way, environment))
            results[way].refused.append(refusals())
    print(f"At most {_RATE} calls a second; {options.fewer:,} repositories take {ideal:.0f} s at the least.\n")
    print("| way | seconds | of the ideal | calls refused | CPU s | peak MiB |\n|---|---|---|---|---|---|")
    for way, found in results.items():
        refused = statistics.median(found.refused)
        costs = f"{found.seconds:.1f} | {found.seconds / ideal:.2f} | {refused:.0f} | {found.cpu:.1f}"
        print(f"| {way.name} | {costs} | {found.memory:.1f} |")


def growing(folder: Path, options: argparse.Namespace) -> None:
    """Count more and more repositories: memory should stay as it is."""
    ways = []
    for region, most in GROWING.items():
        repositories = max(1, most // options.growing)
        fill(folder, region, repositories, _SMALL)
        command, images = ours("repo", "ls", "--count", "--tsv"), repositories * _SMALL
        ways.append(Way(f"{repositories:,} × {_SMALL} images", command, region, images, counted_in_lines))
    with served(folder) as measure:
        print_table(measure(ways, 1), 0)


PARTS: Final[Mapping[str, Callable[[Path, argparse.Namespace], None]]] = {
    "counting": counting,
    "side-by-side": side_by_side,
    "listing": listing,
    "far": far,
    "throttled": throttled,
    "growing": growing,
}


def ours(*words: str) -> Sequence[str]:
    """Give a command line of ours that says nothing but its result."""
    return (*_OURS, *words, "--quiet")


def count(name: str, options: argparse.Namespace, *words: str) -> Way:
    """Give a way of ours to count all."""
    return Way(name, ours("repo", "ls", *words), MANY, total(options), counted_in_lines)


def loops(region: str, repositories: int, options: argparse.Namespace) -> list[Way]:
    """Give what people do without us: names, then a call for each; and the names alone, to scale it by."""
    if not shutil.which("aws"):
        return []
    sample = repositories if options.whole_loop else min(options.sample, repositories)
    images = sample * options.images
    head = f"{_NAMES} | head -n {sample}"
    each = f"{head} | while read -r name; do {_COUNT} $name; done"
    eight = f"{head} | xargs -P 8 -I NAME sh -c 'echo $({_COUNT} NAME)'"  # echo writes a line at once, aws doesn't
    return [
        Way(LISTING, ("bash", "-c", _NAMES), region, repositories),
        Way(LOOP, ("bash", "-c", each), region, images, sum_of_lines, sample / repositories),
        Way(XARGS, ("bash", "-c", eight), region, images, sum_of_lines, sample / repositories),
    ]


def as_listed(region: str, images: int) -> list[Way]:
    """Give what lists the images of the only repository of a region in ECR's order: ours, and the aws CLI."""
    listed = ours("image", "ls", _ONLY, "--tsv", "--sort", "none")
    ways = [Way(f"{images:,} images: image ls --tsv --sort none", listed, region, images)]
    query = ("--query", "imageDetails[].[imageDigest]", "--output", "text")
    if aws := shutil.which("aws"):
        described = (aws, "ecr", "describe-images", "--repository-name", _ONLY, *query)
        ways.append(Way(f"{images:,} images: aws ecr describe-images", described, region, images))
    return ways


def total(options: argparse.Namespace) -> int:
    """Say how many images there are in all."""
    return int(options.repositories * options.images)


def counted_in_lines(out: str) -> int:
    """Add up the second column of ours."""
    return sum(int(line.split("\t")[1]) for line in out.splitlines())


def counted_in_json(out: str) -> int:
    """Add up what the document says."""
    return sum(one["imageCount"] for one in json.loads(out)["repositories"])


def sum_of_lines(out: str) -> int:
    """Add up what a loop prints."""
    return sum(map(int, out.split()))


def fill(folder: Path, region: str, repositories: int, images: int) -> None:
    """Put repositories into a region, unless they are there."""
    done = folder / region
    if not done.exists():
        crowd(folder / "data", repositories=repositories, images=images, region=region)
        done.touch()


@contextmanager
def served(folder: Path, *options: str) -> Iterator[Callable[[Sequence[Way], int], Results]]:
    """Serve what is there, and give what measures ways by turns."""
    before = descendants(os.getpid())
    with local_ecr(folder, *options) as environment:
        server = Server(environment["AWS_ENDPOINT_URL_ECR"], descendants(os.getpid()) - before)

        def measure(ways: Sequence[Way], runs: int) -> Results:
            results: dict[Way, Measured] = {way: Measured() for way in ways}
            run(Way("warm up", ours("repo", "ls", "--tsv"), "us-gov-west-1"), environment)
            for _ in range(runs):
                for way in ways:
                    cpu = server.cpu
                    results[way].costs.append(run(way, environment))
                    results[way].served.append(server.cpu - cpu)
            return results

        yield measure


def run(way: Way, environment: Mapping[str, str]) -> Cost:
    """Go a way once, and make sure that it found all."""
    settings = {"AWS_DEFAULT_REGION": way.region, "AWS_REGION": way.region, "AWS_PAGER": ""}
    try:
        cost = measured({**environment, **settings}, *way.command)
    except Failed as failure:
        raise SystemExit(f"{way.name}: {failure}") from None
    if (found := way.found(cost.out)) != way.expected:
        raise SystemExit(f"{way.name}: found {found:,} where there are {way.expected:,}")
    return cost


def scaled(way: Way, results: Results) -> float:
    """Say how long a way takes, or would take if it went on for the rest as it did for a part."""
    seconds = results[way].seconds
    if way.covered == 1:
        return seconds
    (names,) = (found.seconds for other, found in results.items() if other.name == LISTING)
    return names + max(0.0, seconds - names) / way.covered


def print_table(results: Results, repositories: int) -> None:
    """Print what ways took; scaled where they did a part of it."""
    print("| way | seconds | ms a repository | CPU s | peak MiB | server's CPU s |\n|---|---|---|---|---|---|")
    for way, found in results.items():
        seconds, part = scaled(way, results), way.covered != 1
        note = f", scaled from {way.covered * repositories:.0f} repositories" if part else ""
        each = f"{seconds * 1000 / repositories:.2f}" if repositories else ""
        costs = "" if part else f"{found.cpu:.1f}"
        serving = "" if part else f"{statistics.median(found.served):.1f}"
        print(f"| {way.name}{note} | {seconds:,.1f} | {each} | {costs} | {found.memory:.1f} | {serving} |", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
