"""Run commands of ecrdrag in a test's own process, over a local ECR; knows nothing of pytest but what it patches with.

    desk = Desk(ecr, monkeypatch, capsys)
    assert desk.run("repo", "ls", "--tsv").out == ""

The flow tests enter.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from ecrdrag.cli.main import main
from ecrdrag.localecr import LocalEcr
from tests.flow.scripts import Run


class Desk:
    """Somebody at a command line without a terminal, whose AWS settings lead to that ECR."""

    def __init__(
        self, ecr: LocalEcr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **changes: str
    ) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        for name, value in {**ecr.environment, **changes}.items():
            monkeypatch.setenv(name, value)

    def run(self, *arguments: str, stdin: str = "") -> Run:
        """Run a command to its end."""
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        self._capsys.readouterr()
        code = main(arguments)
        said = self._capsys.readouterr()
        return Run(code, said.out, said.err)

    def json(self, *arguments: str, stdin: str = "") -> Any:
        """Run a command that ends well and read the JSON that it prints."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.code == 0, done.err
        return json.loads(done.out)
