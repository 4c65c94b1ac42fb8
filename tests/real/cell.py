"""Own the place where foreign tools run: a process and mount namespace whose files are all in one folder.

conftest.py enters. Docker, podman and containerd write to /run, /var/lib, /opt and cgroups whatever flags they get;
in here they may, and when the first process of a namespace ends, the kernel ends all that it left behind.
The network is the machine's own, but a cell may have names of its own for addresses in it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

from tests.real.tools import missing, need

CGROUP = f"ecrdrag-{os.getpid()}"
_COVERED = ("run", "var/lib", "var/tmp", "dev/shm", "opt")
_HOSTS = "etc/hosts"
_ENTER = 'for each in {}; do mount --bind "$0/$each" "/$each" || exit; done; exec "$@"'
_PATIENCE = 60.0  # seconds; a slow machine takes 2
_PAUSE = 0.01
_LOG_TAIL = 4000  # characters
NOTHING: Final = Path(os.devnull)
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Cell:
    """Run tools that see a /run, /var, /dev/shm and /opt of their own; what runs in one cell shares them.

    Without walls, which need root, a tool only gets its own HOME.
    """

    def __init__(
        self,
        folder: Path,
        *,
        walls: bool = True,
        hosts: Mapping[str, str] = _NONE,
        environment: Mapping[str, str] = _NONE,
    ) -> None:
        """Lay out a cell; hosts are addresses by name, and need walls."""
        self.folder = folder
        self._prefix = _namespaces(folder, hosts) if walls else ()
        (folder / "tmp").mkdir()
        self._environment = {
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",  # mount, runc
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "LC_ALL": "C",
            **environment,
        }

    def __enter__(self) -> Cell:
        return self

    def __exit__(self, *error: object) -> None:
        """Remove all that the tools left; nothing runs any more."""
        for cgroup in [*Path("/sys/fs/cgroup").glob(CGROUP), *Path("/sys/fs/cgroup").glob(f"*/{CGROUP}")]:
            for folder, _, _ in os.walk(cgroup, topdown=False):
                Path(folder).rmdir()
        shutil.rmtree(self.folder)

    def run(self, *command: str | Path, stdin: Path = NOTHING) -> str:
        """Run a tool to its end and give what it printed; fail with its complaint if it fails."""
        with stdin.open("rb") as stream:
            done = self._run(command, stream.fileno())
        assert done.returncode == 0, f"{_words(command)} ended with {done.returncode}: {done.stderr.decode()}"
        return done.stdout.decode()

    def refusal(self, *command: str | Path, stdin: Path = NOTHING) -> str:
        """Run a tool that has to fail, and give all that it said."""
        with stdin.open("rb") as stream:
            done = self._run(command, stream.fileno())
        assert done.returncode != 0, f"{_words(command)} went well: {done.stdout.decode()}"
        return (done.stdout + done.stderr).decode()

    @contextmanager
    def piping(self, *command: str | Path) -> Iterator[IO[bytes]]:
        """Run a tool and give the pipe that it writes to; fail if it fails."""
        with subprocess.Popen(
            [*self._prefix, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=self._environment
        ) as process:
            assert process.stdout is not None
            yield process.stdout
        assert process.returncode == 0, f"{_words(command)} ended with {process.returncode}"

    @contextmanager
    def serving(self, *command: str | Path, ready: tuple[str, ...]) -> Iterator[None]:
        """Keep a daemon running, from when the command `ready` succeeds."""
        log = self.folder / "daemon.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*self._prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        try:
            self._wait(process, ready, log, _words(command))
            yield
        finally:
            _stop(process)

    def _run(
        self, command: tuple[str | Path, ...], stdin: int = subprocess.DEVNULL
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self._prefix, *command],
            stdin=stdin,
            capture_output=True,
            env=self._environment,
            timeout=_PATIENCE,
            check=False,
        )

    def _wait(self, process: subprocess.Popen[bytes], ready: tuple[str, ...], log: Path, name: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while self._run(ready).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                state = "doesn't answer" if process.returncode is None else f"ended with {process.returncode}"
                missing(f"{name} {state}:\n{log.read_text(errors='replace')[-_LOG_TAIL:]}")
            time.sleep(_PAUSE)


def is_root() -> bool:
    """Say whether namespaces are ours to make."""
    return os.geteuid() == 0


def _namespaces(folder: Path, hosts: Mapping[str, str]) -> tuple[str, ...]:
    """Give the words that put a command into this folder's namespaces (unshare(1), --kill-child: all of them end)."""
    unshare = _unshare()
    for each in _COVERED:
        if Path("/", each) in folder.parents:
            missing(f"the tools get a /{each} of their own, where our files in {folder} can't be seen: set TMPDIR=/tmp")
        (folder / each).mkdir(parents=True)
    (folder / "var/tmp").chmod(0o1777)
    covered = [*_COVERED, *_own_names(folder, hosts)]
    flags = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    return (unshare, *flags, "--", "sh", "-c", _ENTER.format(" ".join(covered)), str(folder))


def _own_names(folder: Path, hosts: Mapping[str, str]) -> list[str]:
    """Write a hosts(5) that knows more than the machine's own, if anything, and say which file it covers."""
    if not hosts:
        return []
    (folder / _HOSTS).parent.mkdir()
    lines = [f"{address} {name}\n" for name, address in hosts.items()]
    (folder / _HOSTS).write_text(Path("/", _HOSTS).read_text() + "".join(lines))
    return [_HOSTS]


@cache
def _unshare() -> str:
    unshare = need("unshare")
    if not is_root():
        missing("this tool is run as root, which we are not")
    tried = subprocess.run([unshare, "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    return unshare if tried.returncode == 0 else missing(f"namespaces are refused: {tried.stderr.decode()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a daemon as an init would; unshare, which leads its session, waits for it and then ends."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _words(command: tuple[str | Path, ...]) -> str:
    return " ".join(map(str, command))
