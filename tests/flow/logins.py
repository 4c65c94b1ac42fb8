"""Run `login` as a user does who has a home folder, AWS credentials of a local ECR, and perhaps a docker.

The flow tests of login enter.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from ecrdrag.localecr import LocalEcr
from tests.dockerhome import environment, program
from tests.flow.scripts import HOME, Run, environment_of


class User:
    """Somebody with a home folder, and AWS credentials of a local ECR."""

    def __init__(self, home: Path, ecr: LocalEcr) -> None:
        self.home = home
        self.registry = urlsplit(ecr.endpoint).netloc
        self.environ = environment_of(ecr, **environment(home), PYTHONPATH=str(HOME))
        self.config = home / ".docker" / "config.json"

    def log_in(self, *arguments: str, stdin: str = "", **changes: str) -> Run:
        """Run the command."""
        command = [sys.executable, "-m", "ecrdrag", "login", *arguments]
        env = {**self.environ, **changes}
        ended = subprocess.run(
            command, cwd=self.home, env=env, input=stdin.encode(), capture_output=True, timeout=60, check=False
        )
        return Run(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    @property
    def written(self) -> dict[str, object]:
        document = json.loads(self.config.read_text())
        assert isinstance(document, dict)
        return document

    def docker(self, said: str = "", code: int = 0) -> Path:
        """Put a docker into PATH that notes what it gets, says something on stderr and ends so."""
        noted = self.home / "noted"
        note = f"{{ /usr/bin/env; echo; printf '%s\\n' \"$@\"; echo; /bin/cat; }} >'{noted}'"
        program(
            self.home, "docker", f"{note}\nprintf '{said}' >&2\n[ {code} = 0 ] && echo Login Succeeded\nexit {code}"
        )
        return noted


def noted(file: Path) -> tuple[list[str], list[str], str]:
    """Read what that docker noted: its environment, its arguments and its stdin."""
    environment, arguments, stdin = file.read_text().split("\n\n", 2)
    return environment.splitlines(), arguments.splitlines(), stdin
