"""A command that deletes, on a terminal of its own: what is asked, and what each answer comes to."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecrdrag.localecr import LocalEcr
from tests.flow.scripts import HOME, environment_of
from tests.localecr import client, push_image

_SECONDS = 30


@contextmanager
def terminal(
    folder: Path, environment: dict[str, str], *arguments: str
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run ecrdrag in a session whose terminal it has; give the end where keys are pressed."""
    keys, theirs = pty.openpty()
    opened = 'tty="$0"; exec "$@" <"$tty" >"$tty" 2>&1'  # whereby it becomes the session's terminal
    command = ["sh", "-c", opened, os.ttyname(theirs), sys.executable, "-m", "ecrdrag", *arguments]
    with subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True) as process:
        try:
            yield keys, process
        finally:
            process.kill()
            os.close(keys)
            os.close(theirs)


def shown_until(keys: int, wanted: str) -> str:
    found = b""
    while wanted.encode() not in found:
        assert select.select([keys], [], [], _SECONDS)[0], found
        found += os.read(keys, 4096)
    return found.decode()


@pytest.mark.parametrize(
    ("pressed", "code", "is_there"),
    [(b"y\n", 0, False), (b"n\n", 2, True), (b"\n", 2, True), (b"\x04", 2, True), (b"\x03", 130, True)],
    ids=["yes", "no", "nothing", "end of input", "ctrl-c"],
)
def test_nothing_is_deleted_without_a_yes(
    ecr: LocalEcr, tmp_path: Path, pressed: bytes, code: int, is_there: bool
) -> None:
    with client(ecr) as api:
        api.create_repository(repositoryName="my/app")
        push_image(api, "my/app", tag="1")
        environment = environment_of(ecr, PYTHONPATH=str(HOME), TERM="dumb")
        with terminal(tmp_path, environment, "repo", "delete", "my/app", "--force") as (keys, process):
            asked = shown_until(keys, "go ahead? [y/N] ")
            os.write(keys, pressed)
            assert process.wait(_SECONDS) == code
        assert "will delete my/app in us-west-2" in asked
        assert "1 image" in asked
        there = [one["repositoryName"] for one in api.describe_repositories()["repositories"]]
    assert there == (["my/app"] if is_there else [])
