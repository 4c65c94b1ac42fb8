"""Own the push's half of `make bench`: what it costs on this machine, through both doors, beside its peers.

    python3 -m tests.bench.push [--runs N] [--gib N]

Prints a table in Markdown: medians of rate and CPU seconds per GiB, and the largest peak memory, all of the
client's process alone. docker_push.py goes through the API of a local ECR or its /v2/, a plain loop of boto3 calls
through the API, and the tools of /v2/ that are installed or can be built through that. Every run uploads the same
image to a repository of its own; the ways take turns, so that what else the machine does strikes all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.images import put_image, uneven
from tests.bench.measuring import HOME, Cost, Failed, measured, typical
from tests.bench.peers import Missing, find
from tests.bench.servers import client_of, local_ecr, reference_to, search_path

SHELF = HOME / ".bench" / "bin"  # tools that were built
WANTED = 2.0  # times less CPU than the loop


@dataclass(frozen=True)
class Errand:
    """What is pushed and to which repository, also as /v2/ calls it."""

    archive: Path
    repository: str
    name: str


@dataclass(frozen=True)
class Way:
    """One way to push an image; its command takes the errand."""

    name: str
    program: str
    command: Callable[[Errand], Sequence[str]]


def ours(door: str, *options: str) -> Way:
    """Push through one of the two doors."""

    def command(errand: Errand) -> Sequence[str]:
        fixed = (str(errand.archive), reference_to(errand.repository), "--progress", "none", "--json")
        return (sys.executable, "docker_push.py", *fixed, "--api", door, *options)

    return Way(" ".join(("docker_push.py --api", door, *options)), sys.executable, command)


def loop(name: str, *options: str) -> Way:
    """Push as a short script would."""
    program = (sys.executable, "-m", "tests.bench.plain_push")
    return Way(name, sys.executable, lambda errand: (*program, str(errand.archive), errand.repository, *options))


def _skopeo(errand: Errand) -> Sequence[str]:
    fixed = ("--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false")
    return ("skopeo", *fixed, f"oci-archive:{errand.archive}", f"docker://{errand.name}:1")


def _crane(errand: Errand) -> Sequence[str]:
    return ("crane", "push", "--insecure", str(errand.archive), f"{errand.name}:1")


OURS, LOOP = ours("ecr"), loop("boto3 loop")
WAYS = (
    OURS,
    ours("registry"),
    ours("ecr", "-j", "1"),
    ours("registry", "-j", "1"),
    LOOP,
    loop("boto3 loop, a thread per layer", "--threads"),
    Way("skopeo copy from oci-archive", "skopeo", _skopeo),
    Way("crane push", "crane", _crane),
)


def main(arguments: Sequence[str]) -> int:
    """Measure every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--gib", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ecrdrag-bench-") as folder, local_ecr(Path(folder)) as environment:
        archive = Path(folder, "image.tar")
        put_image(client_of(environment), "bench/image", uneven(options.gib * 1024))
        wanted = (reference_to("bench/image"), "--platform", "linux/amd64", "--progress", "none", "-o", str(archive))
        measured(environment, sys.executable, "docker_pull.py", *wanted)
        environment = logged_in(environment, Path(folder, "home"))
        costs: dict[str, list[Cost]] = {way.name: [] for way in known()}
        for turn in range(options.runs):
            for place, way in enumerate(way for way in WAYS if way.name in costs):
                costs[way.name].append(push(environment, way, archive, f"bench/push-{turn}-{place}"))
    report({way: typical(found) for way, found in costs.items()}, options.gib)
    return 0


def known() -> Sequence[Way]:
    """Give the ways whose programs are here, or can be built, and say which aren't."""
    found = {way.program: find(way.program, SHELF) for way in WAYS if way.program != sys.executable}
    for each in found.values():
        if isinstance(each, Missing):
            sys.stderr.write(f"skipped: {each.why}\n")
    return [way for way in WAYS if not isinstance(found.get(way.program), Missing)]


def logged_in(environment: Mapping[str, str], home: Path) -> Mapping[str, str]:
    """Let the tools of /v2/ in, by what docker keeps of a login."""
    (given,) = client_of(environment).get_authorization_token()["authorizationData"]
    home.mkdir()
    auths = {address(environment): {"auth": given["authorizationToken"]}}
    (home / "config.json").write_text(json.dumps({"auths": auths}))
    path = f"{SHELF}{os.pathsep}{search_path()}"
    own = {"HOME": str(home), "DOCKER_CONFIG": str(home), "REGISTRY_AUTH_FILE": str(home / "config.json"), "PATH": path}
    return {**environment, **own}


def address(environment: Mapping[str, str]) -> str:
    """Say where /v2/ is."""
    return environment["AWS_ENDPOINT_URL_ECR"].removeprefix("http://")


def push(environment: Mapping[str, str], way: Way, archive: Path, repository: str) -> Cost:
    """Push once to a new repository and make sure that every byte of it went."""
    ecr = client_of(environment)
    ecr.create_repository(repositoryName=repository)
    os.sync()  # what the run before left to the disk is not this one's
    try:
        cost = measured(environment, *way.command(Errand(archive, repository, f"{address(environment)}/{repository}")))
    except Failed as failure:
        raise SystemExit(f"{way.name}: {failure}") from None
    details = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": "1"}])["imageDetails"]
    if sum(each["imageSizeInBytes"] for each in details) < archive.stat().st_size * 0.99:
        raise SystemExit(f"{way.name}: the image isn't there")
    return cost


def report(costs: Mapping[str, Cost], gib: int) -> None:
    """Print the table, and how much more the loop costs."""
    print("| way | MiB/s | CPU s/GiB | peak MiB |\n|---|---|---|---|")
    for way, cost in costs.items():
        print(f"| {way} | {gib * 1024 / cost.seconds:,.0f} | {cost.cpu / gib:.2f} | {cost.memory:.1f} |")
    ratio = costs[LOOP.name].cpu / costs[OURS.name].cpu
    print(f"\nThe {LOOP.name} takes {ratio:.2f} times the CPU of {OURS.name}; wanted: at least {WANTED}.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
