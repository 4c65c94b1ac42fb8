"""A crowd of clients at one local ECR: python3 -m tests.bench.crowd --seconds 120 --clients 32

They push and pull images of twenty layers over the API and over /v2/, and check every digest. Then once more, while
the server is killed and started again; in the end `serve --verify` reads all that is left. Any error is a failure.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import random
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from tests.bench.doors import GONE, REGION, Api, Docker, Wire
from tests.bench.measuring import HOME
from tests.bench.population import make, place, repositories
from tests.bench.servers import clean_environment

SEED = 7
_MOST = 50_000  # images that there may be
_PROCESSES = 4
_PUSHED, _PULLED = 1, 2
_SAMPLE = 0.25  # seconds
_PAUSE = 0.05
_RECOVERY = 15.0  # seconds after the server is back within which a connection may still turn out to be cut
_SHOWN = 5
_PATIENCE = 30.0


@dataclass(frozen=True)
class Task:
    """What one process of clients is given."""

    port: int
    keys: tuple[str, str] = field(repr=False)
    clients: range
    until: float
    images: int
    seed: int


@dataclass
class Board:
    """What the processes share: the next image to push and to pull, and how far each is."""

    pushes: Any
    pulls: Any
    states: Any
    down: Any  # seconds, of the monotonic clock, from which on the server may be away

    @classmethod
    def of(cls, context: SpawnContext) -> Board:
        return cls(
            context.Value(ctypes.c_int, 0),
            context.Value(ctypes.c_int, 0),
            context.Array(ctypes.c_byte, _MOST, lock=False),
            context.Array(ctypes.c_double, 2, lock=False),
        )

    def take_push(self) -> int:
        with self.pushes.get_lock():
            number: int = self.pushes.value
            self.pushes.value += 1
        return number

    def take_pull(self, chance: random.Random) -> int | None:
        """Choose the next image that nobody has pulled yet, if it is there, or any that is."""
        with self.pulls.get_lock():
            number: int = self.pulls.value
            if self.states[number] >= _PUSHED:
                self.pulls.value += 1
                return number
        wish = chance.randrange(max(1, self.pushes.value))
        return wish if self.states[wish] >= _PUSHED else None

    def count(self, state: int) -> int:
        return sum(one >= state for one in self.states[:])

    def is_excused(self, moment: float) -> bool:
        """Tell whether a connection may break at a moment."""
        begin, end = self.down
        return bool(begin) and moment >= begin and (not end or moment <= end + _RECOVERY)


@dataclass
class Account:
    """What clients lived through: seconds by kind of request, what went wrong, how often the kill cut them off."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    cut: int = 0

    def note(self, kind: str, seconds: float) -> None:
        self.seconds.setdefault(kind, []).append(seconds)

    def add(self, other: Account) -> None:
        for kind, seconds in other.seconds.items():
            self.seconds.setdefault(kind, []).extend(seconds)
        self.errors += other.errors
        self.cut += other.cut


class Client:
    """One of the crowd: pushes and pulls by turns, through either door."""

    def __init__(self, number: int, task: Task, board: Board) -> None:
        self.account = Account()
        self._chance = random.Random(f"{task.seed} {number}")
        self._task, self._board = task, board
        self._wire = Wire(task.port, self.account.note)
        self._api = Api(self._wire, *task.keys)
        self._docker: Docker | None = None

    def run(self) -> None:
        """Go on until the time is over and all images were pushed and pulled."""
        while time.monotonic() < self._task.until or self._board.pulls.value < self._task.images:
            pull = self._board.take_pull(self._chance) if self._chance.random() < 0.5 else None
            number = self._board.take_push() if pull is None else pull
            while not self._insist(number, is_push=pull is None):
                time.sleep(_PAUSE)
            self._board.states[number] = max(self._board.states[number], _PUSHED if pull is None else _PULLED)
            if len(self.account.errors) > _SHOWN:
                return
        self._wire.close()

    def _insist(self, number: int, *, is_push: bool) -> bool:
        """Do it; False when the server went away and it has to be done again."""
        try:
            door = self._door()
            door.push(make(number, self._task.seed)) if is_push else door.pull(*place(number), number)
        except GONE as error:
            if self._board.is_excused(time.monotonic()):
                self.account.cut += 1
                return False
            self.account.errors.append(f"image {number}: {error!r}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self.account.errors.append(f"image {number}: {error!r}")
        return True

    def _door(self) -> Api | Docker:
        if self._chance.random() < 0.5:
            return self._api
        self._docker = self._docker or Docker(self._wire, self._api.password())
        return self._docker


def clients(task: Task, board: Board, results: Any) -> None:
    """Be several clients in threads; the entry of a process."""
    crowd = [Client(number, task, board) for number in task.clients]
    threads = [threading.Thread(target=client.run) for client in crowd]
    for thread in threads:
        thread.start()
    whole = Account()
    for thread, client in zip(threads, crowd, strict=True):
        thread.join()
        whole.add(client.account)
    results.put(whole)


class Server:
    """A serve process on one folder and port; each start leaves its complaints in a file."""

    def __init__(self, folder: Path, profile: str) -> None:
        self.folder = folder
        self.port = 0
        self.keys = ("", "")
        self._profile = profile
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [*shlex.split(self._profile), sys.executable, "-m", "ecrdrag", "serve"]
        options = ["--data", str(self.folder / "data"), "--listen", f"127.0.0.1:{self.port}", "--region", REGION]
        with (self.folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, *options], cwd=HOME, env=clean_environment(), stdout=subprocess.PIPE, stderr=log, text=True
            )
        exports: dict[str, str] = {}
        for line in self._process.stdout or ():
            name, _, value = line.removeprefix("export ").strip().partition("=")
            exports[name] = shlex.split(value)[0]
            if name == "AWS_DEFAULT_REGION":
                break
        self.port = int(exports["AWS_ENDPOINT_URL_ECR"].rpartition(":")[2])
        self.keys = exports["AWS_ACCESS_KEY_ID"], exports["AWS_SECRET_ACCESS_KEY"]

    def kill(self) -> None:
        """End it as a power cut would."""
        process = self._alive()
        process.kill()
        process.wait(_PATIENCE)

    def stop(self) -> None:
        process = self._alive()
        process.terminate()
        process.wait(_PATIENCE)

    def memory(self) -> float:
        """Return its resident mebibytes."""
        status = Path(f"/proc/{self._alive().pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024

    def cpu(self) -> float:
        """Return the seconds that it has computed."""
        fields = Path(f"/proc/{self._alive().pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def verify(self) -> tuple[int, str]:
        command = [sys.executable, "-m", "ecrdrag", "serve", "--verify", "--data", str(self.folder / "data")]
        ended = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
        return ended.returncode, (ended.stdout + ended.stderr).strip()

    def _alive(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the server isn't running")
        return self._process


@contextmanager
def sampled(server: Server) -> Iterator[list[float]]:
    """Note the server's memory every so often while the block runs."""
    samples: list[float] = [server.memory()]
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(_SAMPLE):
            samples.append(server.memory())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def phase(server: Server, board: Board, options: argparse.Namespace, *, killing: bool) -> Account:
    """Let the crowd in for a while; kill the server in the middle of it, or don't."""
    context = multiprocessing.get_context("spawn")
    seconds = options.seconds / 2 if killing else options.seconds
    results = context.Queue()
    share = -(-options.clients // _PROCESSES)
    until = time.monotonic() + seconds
    images = options.images if not killing else 0
    processes = [
        context.Process(
            target=clients,
            args=(Task(server.port, server.keys, each, until, images, options.seed), board, results),
        )
        for each in (range(options.clients)[start : start + share] for start in range(0, options.clients, share))
    ]
    for process in processes:
        process.start()
    if killing:
        time.sleep(seconds / 2)
        board.down[0] = time.monotonic()
        server.kill()
        server.start()
        board.down[1] = time.monotonic()
    whole = Account()
    for _ in processes:
        whole.add(results.get())
    for process in processes:
        process.join()
    return whole


def table(account: Account, seconds: float) -> str:
    """Print counts and times by kind of request."""
    lines = [f"{'request':34} {'count':>8} {'per s':>8} {'p50 ms':>9} {'p99 ms':>9} {'max ms':>9}"]
    for kind, times in sorted(account.seconds.items()):
        ranked = sorted(times)
        marks = [ranked[int(share * (len(ranked) - 1))] * 1000 for share in (0.5, 0.99, 1)]
        lines.append(f"{kind:34} {len(ranked):8} {len(ranked) / seconds:8.1f} " + " ".join(f"{m:9.1f}" for m in marks))
    total = sum(map(len, account.seconds.values()))
    lines.append(f"{'all':34} {total:8} {total / seconds:8.1f}")
    return "\n".join(lines)


def memory_line(samples: Sequence[float]) -> str:
    marks = [samples[int(share * (len(samples) - 1))] for share in (0, 0.25, 0.5, 0.75, 1)]
    return "VmRSS MiB at 0/25/50/75/100 %: " + " ".join(f"{m:.1f}" for m in marks) + f", peak {max(samples):.1f}"


def report(title: str, account: Account, seconds: float, board: Board) -> None:
    errors: Mapping[str, int] = Counter(account.errors)
    print(f"\n{title}: {seconds:.1f} s, {board.count(_PUSHED)} images pushed, {board.count(_PULLED)} of them pulled")
    print(table(account, seconds))
    print(f"errors: {len(account.errors)}; cut by the kill: {account.cut}")
    for text in list(errors)[:_SHOWN]:
        print(f"  {text}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--images", type=int, default=1000, help="that are pushed and pulled at least")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--folder", type=Path, help="where the data goes (default: a temporary folder)")
    parser.add_argument("--profile", default="", help="a command to run the server under, such as a profiler")
    parser.add_argument("--no-kill", action="store_true", help="leave the second phase out")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        return crowd(Server(Path(folder), options.profile), options)


def crowd(server: Server, options: argparse.Namespace) -> int:
    """Run both phases and the check; return the exit code."""
    server.start()
    board = Board.of(multiprocessing.get_context("spawn"))
    api = Api(Wire(server.port, lambda kind, seconds: None), *server.keys)
    for name in repositories():
        api.call("CreateRepository", {"repositoryName": name})
    api.wire.close()
    began, cpu = time.monotonic(), server.cpu()
    with sampled(server) as samples:
        first = phase(server, board, options, killing=False)
    seconds = time.monotonic() - began
    report("pushing and pulling", first, seconds, board)
    print(f"{memory_line(samples)}; server's CPU {server.cpu() - cpu:.1f} s of {seconds:.1f} s")
    errors = len(first.errors)
    if not options.no_kill:
        began = time.monotonic()
        second = phase(server, board, options, killing=True)
        report("with a kill in the middle", second, time.monotonic() - began, board)
        errors += len(second.errors)
    server.stop()
    code, said = server.verify()
    print(f"\nserve --verify: {code}: {said[-2000:]}")
    print((server.folder / "server.log").read_text()[-2000:])
    return 1 if errors or code else 0


if __name__ == "__main__":
    sys.exit(main())
