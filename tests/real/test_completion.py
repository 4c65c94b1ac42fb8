"""Completion in real shells: the script of each is loaded, and asked as a user does who presses the tab key."""

from __future__ import annotations

import argparse
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.cli import main as cli
from ecrdrag.cli import repo
from ecrdrag.cli.commands import Subcommand
from tests.localecr import ROOT
from tests.real.tools import need
from tests.unit.test_completion import NASTY

pytestmark = pytest.mark.real

SHELLS = ("bash", "zsh", "fish")
# What is typed, and what is offered or filled in: all, or with + at least these.
LINES = [
    ("ecrdrag re", {"registry", "repo"}),
    ("ecrdrag cache-rule ", {"ls", "show", "create", "validate", "delete"}),
    ("ecrdrag repo li", {"lifecycle"}),
    ("ecrdrag pull --progress ", {"auto", "bar", "plain", "none"}),
    ("ecrdrag image rm --un", {"--untagged"}),
    ("ecrdrag completion ", {"bash", "zsh", "fish"}),
    ("ecrdrag push arch", {"archive.tar"}),
    ("ecrdrag inspect arch", {"archive.tar"}),
    ("ecrdrag repo policy app --set pol", {"policy file.json"}),
]
_SECONDS = 20


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files to be found, and a script for each shell."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("archive.tar", "policy file.json"):
        (folder / name).touch()
    for shell in SHELLS:
        (folder / f"script.{shell}").write_text(made_script(shell))
    (folder / "functions").mkdir()
    (folder / "functions" / "_ecrdrag").write_text(made_script("zsh"))
    return folder


def made_script(shell: str, *more: str) -> str:
    command = [sys.executable, "-m", "ecrdrag", "completion", shell, *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


def run(home: Path, *command: str, stdin: str = "") -> str:
    """Run a shell without its user's settings; what it complains of fails the test."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    done = subprocess.run(
        command, input=stdin, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(("line", "offered"), LINES)
def test_bash_offers_what_fits(home: Path, line: str, offered: set[str]) -> None:
    words = "\n".join(f"'{word}'" for word in line.split(" "))
    asked = f"""
        source ./script.bash
        COMP_WORDS=({words})
        COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        $(complete -p ecrdrag | grep -o '_shtab_[a-z]*')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    found = run(home, need("bash"), "--norc", "--noprofile", stdin=asked)
    assert set(found.splitlines()) == offered


@pytest.mark.parametrize(("line", "offered"), LINES)
def test_fish_offers_what_fits(home: Path, line: str, offered: set[str]) -> None:
    asked = f"source ./script.fish; complete -C '{line}'"
    found = run(home, need("fish"), "--no-config", "-c", asked)
    assert {one.partition("\t")[0] for one in found.splitlines()} == offered


class Zsh:
    """An interactive zsh on a terminal, which completes what is typed."""

    def __init__(self, home: Path) -> None:
        self._terminal, self._theirs = pty.openpty()
        opened = 'exec zsh -f -i <"$0" >"$0" 2>&1'  # whereby it is the terminal of a new session
        self._process = subprocess.Popen(
            ["sh", "-c", opened, os.ttyname(self._theirs)],
            cwd=home,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb"},
            start_new_session=True,
        )
        self.ask("PS1= PS2= RPS1=; unsetopt zle prompt_cr prompt_sp; setopt zle\r", "\n")
        self.ask("fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D; echo rea''dy\r", "ready")

    def ask(self, keys: str, wanted: str) -> str:
        """Press keys and give what is shown until what is wanted is, or for as long as that may take."""
        os.write(self._terminal, keys.encode())
        shown, end = "", time.monotonic() + _SECONDS
        while wanted not in shown and (left := end - time.monotonic()) > 0:
            if select.select([self._terminal], [], [], left)[0]:
                shown += os.read(self._terminal, 65536).decode(errors="replace")
        return shown

    def close(self) -> None:
        os.close(self._terminal)
        os.close(self._theirs)
        self._process.wait(_SECONDS)


@pytest.fixture(scope="module")
def zsh(home: Path) -> Iterator[Zsh]:
    need("zsh")
    found = Zsh(home)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("ecrdrag cache-rule val", "validate"),
        ("ecrdrag repo lif", "lifecycle"),
        ("ecrdrag pull --progress pl", "plain"),
        ("ecrdrag image rm --unt", "--untagged"),
        ("ecrdrag push arch", "archive.tar"),
        ("ecrdrag repo policy app --set pol", "policy\\ file.json"),
    ],
)
def test_zsh_fills_in_what_fits(zsh: Zsh, line: str, completed: str) -> None:
    typed = line.rpartition(" ")[2]
    shown = zsh.ask(f"\x15{line}\t", completed.removeprefix(typed))
    assert completed.removeprefix(typed) in shown


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("program", ["ecrdrag", "docker-pull", "docker-push"])
def test_every_script_is_one_that_its_shell_reads(home: Path, shell: str, program: str) -> None:
    assert run(home, need(shell), "-n", stdin=made_script(shell, "--program", program)) == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_texts_with_a_shell_s_own_signs_are_texts_to_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--one", metavar="gzip[:LEVEL]|none", help=f"$(touch harmed) `touch harmed` {NASTY}")
        parser.add_argument("what", metavar="<A:B> | $C", nargs="+", help=NASTY)

    command = Subcommand(f"`touch harmed` {NASTY}", add_arguments, lambda arguments: 0)
    monkeypatch.setattr(repo, "COMMANDS", {"try": command})
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert run(home, need(shell), "-n", stdin=script) == ""
    (home / "nasty").write_text(script)
    load = {
        "bash": "source ./nasty",
        "zsh": 'autoload -Uz compinit; compinit -u -D; eval "$(<nasty)"',
        "fish": "source ./nasty; complete -C 'ecrdrag repo try --'",
    }
    run(home, need(shell), "-c", load[shell])
    assert not (home / "harmed").exists()
