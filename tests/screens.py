"""Run ecrdrag as on a terminal of so many columns, and hold what it shows against a golden file.

text = screen(["repo", "ls"], environment_of(ecr), 80)
check_golden("repo-ls-80", text)
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Final

HOME: Final = Path(__file__).resolve().parent.parent
GOLDENS: Final = HOME / "tests" / "goldens"
RENEW: Final = "GOLDEN_RENEW"  # environment variable: 1 writes the files anew
_LINES: Final = 50
_SECONDS: Final = 60
_TIME: Final = re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d")  # same length in, same length out
_PORT: Final = re.compile(r"\b127\.0\.0\.1:\d+")


def screen(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    columns: int,
    *,
    stdin: str | None = None,
    code: int = 0,
    cwd: Path | None = None,
) -> str:
    """Return what `python -m ecrdrag …` writes to a terminal of so many columns as its stdout, ANSI kept.

    stderr is a pipe; stdin is one that holds the text, or is closed. Fails where the exit code is another.
    """
    ours, theirs = pty.openpty()
    _make_plain(theirs, columns)
    found: list[bytes] = []
    reader = Thread(target=_read_all, args=(ours, found))
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "ecrdrag", *arguments],
            cwd=cwd,
            env={"PYTHONPATH": str(HOME), "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment},
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(theirs)
    reader.start()
    with process:
        _, complaints = process.communicate(stdin, _SECONDS)
        reader.join()
    shown = b"".join(found).decode()
    assert process.returncode == code, f"ecrdrag {' '.join(arguments)} ended with {process.returncode}: {complaints}"
    return shown


def check_golden(name: str, text: str) -> None:
    """Hold a text against tests/goldens/NAME.txt. Times of day and ports of this machine may differ."""
    steady = _PORT.sub("127.0.0.1:PORT", _TIME.sub("2026-11-21T15:27:53", text))
    path = GOLDENS / f"{name}.txt"
    if os.environ.get(RENEW) == "1":
        path.write_text(steady, encoding="utf-8")
    renewal = f"if this is meant: {RENEW}=1 pytest, then read what git diff says of tests/goldens"
    assert path.exists(), f"there is no {path.name}; {renewal}"
    assert steady == path.read_text(encoding="utf-8"), f"{path.name} says otherwise; {renewal}"


def _make_plain(terminal: int, columns: int) -> None:
    """Set the size, and let \\n stay \\n."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, columns, 0, 0))
    settings = termios.tcgetattr(terminal)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(terminal, termios.TCSANOW, settings)


def _read_all(terminal: int, found: list[bytes]) -> None:
    """Read until nobody has the other end; Linux says so by EIO."""
    with os.fdopen(terminal, "rb", buffering=0) as stream:
        try:
            while data := stream.read(65536):
                found.append(data)
        except OSError:
            return
