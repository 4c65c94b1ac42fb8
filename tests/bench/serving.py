"""Own the measure of the local ECR as a server of blobs: many clients fetch one at once, from it and from nginx.

    python3 -m tests.bench.serving [--runs N] [--clients N] [--mib N]

Prints a table in Markdown: medians of rate and CPU seconds per GiB, and the peak memory of all of a server's
processes together. Both send the same file of the data folder, which is in the system's memory; the clients are
curl, on the same machine. The servers take turns, so that what else the machine does strikes both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.images import put_image
from tests.bench.measuring import MIB
from tests.bench.servers import blob_server, clean_environment, client_of, local_ecr, signed_urls

OURS, NGINX = "local ECR", "nginx, sendfile"
WANTED = 0.8  # of nginx's rate
_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12  # in /proc/PID/stat behind the name, proc_pid_stat(5)


@dataclass(frozen=True)
class Server:
    """A server that runs: where it has the blob, and its processes."""

    url: str
    processes: frozenset[int]

    @property
    def cpu(self) -> float:
        """CPU seconds since its start."""
        stats = [Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in self.processes]
        return sum(int(stat[_UTIME]) + int(stat[_STIME]) for stat in stats) / _TICKS

    @property
    def memory(self) -> float:
        """The sum of its processes' peaks in MiB; what they share is counted for each."""
        lines = [line for one in self.processes for line in Path(f"/proc/{one}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


@dataclass(frozen=True)
class Run:
    """What one crowd of clients took: seconds on the clock, and of the server's CPU."""

    seconds: float
    cpu: float


def main(arguments: Sequence[str]) -> int:
    """Measure both and print the table; 1 if what is wanted isn't reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--mib", type=int, default=1024, help="size of the blob")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ecrdrag-bench-") as folder, both(Path(folder), options.mib) as servers:
        runs: dict[str, list[Run]] = {name: [] for name in servers}
        for turn in range(-1, options.runs):  # the first turn warms up
            for name, server in servers.items():
                run = fetch(server, options.clients, options.mib)
                runs[name] += [run] if turn >= 0 else []
        return report(runs, servers, options.clients * options.mib)


@contextmanager
def both(folder: Path, mib: int) -> Iterator[Mapping[str, Server]]:
    """Run both servers, neither of which has taken the blob: the local ECR that did so has ended."""
    with local_ecr(folder) as environment:
        image = put_image(client_of(environment), "bench/blob", [mib * MIB])
    digest = max(image.blobs, key=image.blobs.__getitem__)
    with ExitStack() as running:
        before = descendants(os.getpid())
        environment = running.enter_context(local_ecr(folder))
        url = signed_urls(environment, image)[digest]
        ours = Server(url, descendants(os.getpid()) - before)
        front = running.enter_context(blob_server(folder / "nginx", folder / "data", environment))
        parts, address = urlsplit(url), urlsplit(front["AWS_ENDPOINT_URL_ECR"]).netloc
        theirs = Server(parts._replace(netloc=address).geturl(), descendants(os.getpid()) - before - ours.processes)
        yield {OURS: ours, NGINX: theirs}


def descendants(process: int) -> frozenset[int]:
    """Give the processes that a process has started, and those that they have."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    children = {int(child) for task in tasks for child in (task / "children").read_text().split()}
    return frozenset(children.union(*map(descendants, children)))


def fetch(server: Server, clients: int, mib: int) -> Run:
    """Let so many clients fetch the blob at once, and make sure that each gets all of it."""
    command = ["curl", "--silent", "--fail", "--output", "/dev/null", "--write-out", "%{size_download}", server.url]
    cpu, begun = server.cpu, time.monotonic()
    crowd = [subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment()) for _ in range(clients)]
    sizes = [int(client.communicate()[0] or 0) for client in crowd]
    seconds = time.monotonic() - begun
    if min(sizes) < mib * MIB or any(client.returncode for client in crowd):
        raise SystemExit(f"{server.url.partition('?')[0]}: only {min(sizes)} bytes came")
    return Run(seconds, server.cpu - cpu)


def report(runs: Mapping[str, Sequence[Run]], servers: Mapping[str, Server], mib: int) -> int:
    """Print the table, and whether the local ECR is as fast as wanted."""
    rates = {name: statistics.median(mib / run.seconds for run in found) for name, found in runs.items()}
    print("| server | MiB/s | slowest to fastest | CPU s/GiB | peak MiB |\n|---|---|---|---|---|")
    for name, found in runs.items():
        each = sorted(mib / run.seconds for run in found)
        cpu = statistics.median(run.cpu for run in found) / mib * 1024
        memory = servers[name].memory
        print(f"| {name} | {rates[name]:,.0f} | {each[0]:,.0f} to {each[-1]:,.0f} | {cpu:.3f} | {memory:.1f} |")
    ratio = rates[OURS] / rates[NGINX]
    print(f"\nThe {OURS} reaches {ratio:.2f} of nginx's rate; wanted: at least {WANTED}.")
    return int(ratio < WANTED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
