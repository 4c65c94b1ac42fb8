"""docker_pull.py with standard streams that are closed, full or strict: the exit code stays the truth."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from ecrdrag.localecr import LocalEcr
from tests.flow.conftest import HOST
from tests.flow.scripts import Run, command_of, environment_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")

APP = f"{HOST}/my/app"
AMD64 = ("--platform", "linux/amd64")


def pull(ecr: LocalEcr, folder: Path, redirection: str, *arguments: str, **changes: str) -> Run:
    """Run docker_pull.py in a shell that redirects its streams."""
    ended = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *command_of("docker_pull.py", *arguments)],
        cwd=folder,
        env=environment_of(ecr, **changes),
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        check=False,
    )
    return Run(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize(
    ("redirection", "code", "out", "err"),
    [
        (">&-", 0, "", ""),
        ("2>&-", 0, "app-1.2.tar sha256:", ""),
        ("<&- >&- 2>&-", 0, "", ""),
        (">/dev/full", 7, "", "docker_pull.py: can't print the result: No space left on device"),
        ("2>/dev/full", 0, "app-1.2.tar sha256:", ""),
    ],
)
def test_a_pull_without_one_of_its_streams_still_puts_the_archive_in_place(
    stocked: LocalEcr, tmp_path: Path, redirection: str, code: int, out: str, err: str
) -> None:
    ended = pull(stocked, tmp_path, redirection, f"{APP}:1.2", *AMD64)
    assert ended.code == code, ended.err
    assert (ended.out.startswith(out), bool(ended.out)) == (True, bool(out))
    assert (ended.err.startswith(err), bool(ended.err)) == (True, bool(err))
    assert [path.name for path in tmp_path.iterdir()] == ["app-1.2.tar"]


@pytest.mark.parametrize("columns", [0, 100])
def test_a_terminal_shows_a_bar_of_bytes_and_layers(stocked: LocalEcr, tmp_path: Path, columns: int) -> None:
    terminal, stderr = os.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        fcntl.ioctl(stderr, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        command = command_of("docker_pull.py", f"{APP}:noise", *AMD64)
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment_of(stocked), stdout=subprocess.PIPE, stderr=stderr
        ) as process:
            os.close(stderr)
            shown = b"".join(iter(lambda: read_screen(screen), b"")).decode()
    assert process.returncode == 0
    last = shown.rstrip().splitlines()[-1].rpartition("\r")[2]
    assert last.startswith("100%|")
    assert last.endswith("layers 4/4]")


def read_screen(screen: io.FileIO) -> bytes:
    try:
        return screen.read(4096) or b""
    except OSError:  # Linux says EIO when the other end is closed
        return b""


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_a_message_that_nobody_can_read_changes_no_exit_code(
    stocked: LocalEcr, tmp_path: Path, redirection: str
) -> None:
    assert pull(stocked, tmp_path, redirection, "Nonsense") == Run(2, "", "")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_file_name_that_stdout_can_not_show_is_escaped(stocked: LocalEcr, tmp_path: Path, encoding: str) -> None:
    name = "ü-\udcff.tar"
    ended = pull(stocked, tmp_path, "", f"{APP}:1.2", "-o", name, *AMD64, PYTHONIOENCODING=encoding, PYTHONUTF8="1")
    assert (ended.code, [path.name for path in tmp_path.iterdir()]) == (0, [name]), ended.err
    assert "\\udcff.tar sha256:" in ended.out
