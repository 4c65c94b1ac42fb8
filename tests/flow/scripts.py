"""Run docker_pull.py and the other doors as a user does: a process, its streams, its exit code.

The flow tests enter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ecrdrag.localecr import LocalEcr

HOME = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    """What a process printed and how it ended."""

    code: int
    out: str
    err: str


def environment_of(ecr: LocalEcr | None, **changes: str) -> dict[str, str]:
    """Build a clean environment that leads AWS clients to the local ECR."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SYSTEMROOT") if name in os.environ}
    found = {"AWS_EC2_METADATA_DISABLED": "true", "PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **found, **(ecr.environment if ecr else {}), **changes}


def command_of(script: str, *arguments: str) -> list[str]:
    """Build the command line of a script in place, or of ``ecrdrag``, which takes PYTHONPATH."""
    return [sys.executable, *(("-m", script) if script == "ecrdrag" else (str(HOME / script),)), *arguments]


def run(script: str, *arguments: str, cwd: Path, env: dict[str, str], stdin: str = "") -> Run:
    """Run a script to its end."""
    command = command_of(script, *arguments)
    ended = subprocess.run(
        command, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    return Run(ended.returncode, ended.stdout, ended.stderr)
