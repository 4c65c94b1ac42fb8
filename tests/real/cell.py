"""Own the place where foreign tools run: a process and mount namespace whose files are all in one folder.

conftest.py enters. Docker, podman and containerd write to /run, /var/lib, /opt and cgroups whatever flags they get;
in here they may, and when the first process of a namespace ends, the kernel ends all that it left behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from tests.real.tools import missing, need

CGROUP = f"ecrdrag-{os.getpid()}"
_COVERED = ("run", "var/lib", "var/tmp", "dev/shm", "opt")
_ENTER = 'for each in {}; do mount --bind "$0/$each" "/$each" || exit; done; exec "$@"'.format(" ".join(_COVERED))
_PATIENCE = 60.0  # seconds; a slow machine takes 2
_PAUSE = 0.01
_LOG_TAIL = 4000  # characters


class Cell:
    """Run tools that see a /run, /var, /dev/shm and /opt of their own; what runs in one cell shares them.

    Without walls, which need root, a tool only gets its own HOME.
    """

    def __init__(self, folder: Path, *, walls: bool = True) -> None:
        self.folder = folder
        self._prefix = _namespaces(folder) if walls else ()
        (folder / "tmp").mkdir()
        self._environment = {
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",  # mount, runc
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "LC_ALL": "C",
        }

    def __enter__(self) -> Cell:
        return self

    def __exit__(self, *error: object) -> None:
        """Remove all that the tools left; nothing runs any more."""
        for cgroup in [*Path("/sys/fs/cgroup").glob(CGROUP), *Path("/sys/fs/cgroup").glob(f"*/{CGROUP}")]:
            for folder, _, _ in os.walk(cgroup, topdown=False):
                Path(folder).rmdir()
        shutil.rmtree(self.folder)

    def run(self, *command: str | Path, stdin: Path = Path(os.devnull)) -> str:
        """Run a tool to its end and give what it printed; fail with its complaint if it fails."""
        with stdin.open("rb") as stream:
            done = self._run(command, stream.fileno())
        assert done.returncode == 0, f"{_words(command)} ended with {done.returncode}: {done.stderr.decode()}"
        return done.stdout.decode()

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


def _namespaces(folder: Path) -> tuple[str, ...]:
    """Give the words that put a command into this folder's namespaces (unshare(1), --kill-child: all of them end)."""
    unshare = _unshare()
    for each in _COVERED:
        if Path("/", each) in folder.parents:
            missing(f"the tools get a /{each} of their own, where our files in {folder} can't be seen: set TMPDIR=/tmp")
        (folder / each).mkdir(parents=True)
    (folder / "var/tmp").chmod(0o1777)
    flags = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    return (unshare, *flags, "--", "sh", "-c", _ENTER, str(folder))


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
