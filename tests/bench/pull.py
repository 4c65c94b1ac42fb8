"""Own the pull's half of `make bench`: docker_pull.py beside its peers, on this machine, same server and same blobs.

    python3 -m tests.bench.pull [--runs N] [--mib N] [--json FILE] [--folder DIR] [CASE …]

Cases are a (an image in 8 uneven layers), b (one layer, each connection limited), c (200 small layers, far away) and
d (memory, for that image and for one of four times its size). Prints a table in Markdown: medians over the runs, but
the largest of peak memories; then which promises hold. All figures are of the client alone, from its start to its end.
docker_pull.py flushes its file to the disk; the others don't, but for the row of curl with sync. curl and aria2c don't
hash. Tools of /v2/ get the manifest from docker-registry and are then sent on to the URLs that all others take.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from tests.bench.cases import Case, Result, Stand, cases, put_images, run_case, size_name
from tests.bench.measuring import HOME, MIB, Failed
from tests.bench.peers import Missing, find
from tests.bench.promises import Promise, promises

PROMISED = 1024  # MiB: what the promises are about
_WORK = HOME / ".bench"  # git ignores it; /tmp may be memory, and what is written there isn't counted
_SERVERS = ("nginx", "docker-registry")
_COLUMNS = ("case", "image", "tool", "s", "least–most", "transfer s", "MiB/s", "CPU s", "peak MiB", "written / output")


def main(arguments: Sequence[str]) -> int:
    """Measure every case, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of every tool in every case (default: %(default)s)")
    parser.add_argument("--mib", type=int, default=PROMISED, help="size of the image (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there, too")
    parser.add_argument("--folder", type=Path, metavar="DIR", default=_WORK, help="on a disk (default: .bench)")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="a, b, c or d (default: all)")
    options = parser.parse_args(arguments)
    known = cases(options.mib)
    if unknown := set(options.cases) - set(known):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: servers end, files go
    try:
        measure(options, [case for letter, case in known.items() if letter in (options.cases or known)])
    except KeyboardInterrupt:
        return 130
    except Failed as failure:
        sys.exit(str(failure))
    return 0


def measure(options: argparse.Namespace, wanted: Sequence[Case]) -> None:
    """Run the cases in a folder that goes away again, and report as they end."""
    shelf = _WORK / "bin"
    versions, skipped = look_around(wanted, shelf)
    for folder in (options.folder, *([options.json.parent] if options.json else ())):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=options.folder.absolute()) as folder:
        stand = Stand(Path(folder), shelf, versions, skipped)
        images = put_images(stand, wanted)
        about = describe(versions)
        print(*(f"- {name}: {text}" for name, text in about.items()), "", sep="\n")
        print(row(_COLUMNS), row(["---"] * len(_COLUMNS)), sep="\n", flush=True)
        results = []
        for case in wanted:
            found = run_case(stand, case, images, options.runs)
            print(*(line_of(case, result) for result in found), sep="\n", flush=True)
            results += found
    kept = promises(results)
    print("", *(f"- {promise}" for promise in kept), *(f"- skipped: {each}" for each in skipped), sep="\n")
    if options.mib != PROMISED:
        print(f"\nThe promises are about {size_name(PROMISED)}; of {size_name(options.mib)}, starting up takes more.")
    if options.json:
        whole = {**about, "mib": options.mib, "results": [as_json(result) for result in results]}
        whole |= {"promises": [promise_as_json(promise) for promise in kept], "skipped": skipped}
        options.json.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def look_around(wanted: Sequence[Case], shelf: Path) -> tuple[dict[str, str], list[str]]:
    """Find the programs that the cases use: their versions, and a line for each that isn't to be had."""
    programs = dict.fromkeys(each.way.program for case in wanted for each in case.rows)
    found = {program: find(program, shelf) for program in (*programs, *_SERVERS)}
    versions = {program: each for program, each in found.items() if isinstance(each, str)}
    return versions, [each.why for each in found.values() if isinstance(each, Missing)]


def describe(versions: Mapping[str, str]) -> dict[str, str]:
    """Say where and with what the figures came about."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MIB / 1024
    programs = {**versions, "Python": platform.python_version()}
    return {
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": ", ".join(f"{name} {version}" for name, version in programs.items()),
    }


def line_of(case: Case, result: Result) -> str:
    """Give a result's line of the table."""
    cost, seconds = result.cost, [cost.seconds for cost in result.costs]
    return row(
        (
            f"({case.letter}) {case.title}",
            result.image,
            result.tool,
            f"{cost.seconds:.2f}",
            f"{min(seconds):.2f}–{max(seconds):.2f}",
            "" if result.transfer is None else f"{result.transfer:.2f}",
            f"{result.size / MIB / cost.seconds:,.0f}",
            f"{cost.cpu:.2f}",
            f"{cost.memory:.1f}",
            f"{cost.written / result.output:.2f}",
        )
    )


def row(cells: Sequence[str]) -> str:
    """Join cells to a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def as_json(result: Result) -> dict[str, object]:
    """Give a result with all its runs and without what the tools printed."""
    runs = [{name: value for name, value in asdict(cost).items() if name != "out"} for cost in result.costs]
    for run, seconds in zip(runs, result.transfers, strict=False):
        run["transfer"] = seconds
    about = {"case": result.case, "image": result.image, "tool": result.tool}
    return {**about, "size": result.size, "output": result.output, "runs": runs}


def promise_as_json(promise: Promise) -> dict[str, object]:
    """Give a promise, its figure and whether it holds."""
    about = {"case": promise.case, "what": promise.what, "value": promise.value}
    return {**about, "wanted": promise.wanted, "holds": promise.holds}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
