"""Own the measure of one run of a program: the kernel's account of it and of all that it started.

The benchmarks enter.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
HOME = Path(__file__).parents[2]
_LAST_WORDS = 600  # characters of what a failed program complained
# A small process between us and the measured one: a child's peak memory starts at its parent's. ru_oublock counts
# the bytes that a process and its waited-for children made dirty on file systems that have a disk, in blocks of 512
# whatever the disk's are (getrusage(2); task_io_get_oublock in Linux), so temporary files count, and memory doesn't.
_MEASURE = """
import json, os, sys, time
begun = time.monotonic()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.monotonic() - begun
account = seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, usage.ru_oublock * 512
print()
print(json.dumps([os.waitstatus_to_exitcode(status), *account]))
"""


class Failed(Exception):  # noqa: N818 - a measured program did, not the measuring
    """A measured program ended with an error; the message is its last words."""


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds, CPU seconds, peak resident MiB of one process, bytes written; what it printed."""

    seconds: float
    cpu: float
    memory: float
    written: int
    out: str = ""


def typical(costs: Sequence[Cost]) -> Cost:
    """Give the medians of times and bytes, and the largest of memories."""
    return Cost(
        statistics.median(cost.seconds for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        max(cost.memory for cost in costs),
        int(statistics.median(cost.written for cost in costs)),
    )


def measured(environment: Mapping[str, str], *command: str) -> Cost:
    """Run a program to its end, in the project's folder; raise Failed if it ends with an error."""
    with subprocess.Popen(
        [sys.executable, "-c", _MEASURE, *command],
        cwd=HOME,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, complaint = process.communicate()
        except BaseException:  # Ctrl-C as a rule: nothing of the session may outlive us
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise Failed(f"{command[0]} can't be run: {complaint[-_LAST_WORDS:]}")
    out, _, account = output.rstrip("\n").rpartition("\n")
    code, seconds, cpu, memory, written = json.loads(account)
    if code:
        raise Failed(f"{command[0]} ended with {code}: {complaint.strip()[-_LAST_WORDS:]}")
    return Cost(seconds, cpu, memory, written, out)


def python(environment: Mapping[str, str], *command: str) -> Cost:
    """Run a Python program of ours to its end, measured; if it fails, so do we."""
    try:
        return measured(environment, sys.executable, *command)
    except Failed as failure:
        raise SystemExit(f"{command[0]}: {failure}") from None
