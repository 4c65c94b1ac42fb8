"""Scripts for shells: from the parsers of all commands, whatever their texts hold, and what is said without shtab."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys

import pytest
import shtab

from ecrdrag.cli import main as cli
from ecrdrag.cli import repo
from ecrdrag.cli.commands import Subcommand

SHELLS = ("bash", "zsh", "fish")


def script(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["completion", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_knows_every_command_and_option(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    text = script(capsys, shell)
    for name in (*cli.COMMANDS, "lifecycle", "validate", "scan-on-push", "dry-run", "progress"):
        assert re.search(rf"\b{name}\b", text), name


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("program", ["docker-pull", "docker-push"])
def test_the_programs_of_one_command_have_scripts_too(
    capsys: pytest.CaptureFixture[str], shell: str, program: str
) -> None:
    text = script(capsys, shell, "--program", program)
    assert program in text
    assert "chunk-size" in text or program == "docker-push"
    assert "cache-rule" not in text
    assert text == script(capsys, shell, "--program", program)


def test_a_file_is_completed_where_the_name_of_an_argument_says_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", metavar="REF|ARCHIVE")
        for name, metavar in (("--one", "FILE"), ("--two", "PROFILE"), ("--three", None), ("--four", ("K", "FILE"))):
            parser.add_argument(name, metavar=metavar, nargs=2 if isinstance(metavar, tuple) else None)

    monkeypatch.setattr(repo, "COMMANDS", {"try": Subcommand("try it", add_arguments, lambda arguments: 0)})
    text = script(capsys, "bash")
    found = re.findall(rf"^_shtab_ecrdrag_repo_try_(\w+)_COMPGEN={shtab.FILE['bash']}$", text, re.MULTILINE)
    assert found == ["pos_0", "__one", "__four"]


NASTY = 'it\'s 100%% "so" `x` $HOME $(x) [a:b] {c} \\ | ; <d> * ~ -- é'


@pytest.mark.parametrize("shell", SHELLS)
def test_texts_with_a_shell_s_own_signs_do_no_harm(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--one", metavar="gzip[:LEVEL]|none", help=NASTY)
        group.add_argument("--two", choices=("a", "b"), help=NASTY)
        parser.add_argument("what", metavar="<A:B> | $C", nargs="+", help=NASTY)

    command = Subcommand(NASTY, add_arguments, lambda arguments: 0, NASTY)
    monkeypatch.setattr(repo, "COMMANDS", {"try": command})
    text = script(capsys, shell)
    assert "[:LEVEL]" not in text
    assert "<A:B>" not in text


def test_without_shtab_it_is_said_how_to_install_it() -> None:
    code = (
        "import sys; sys.modules['shtab'] = None; "
        "from ecrdrag.cli.main import main; sys.exit(main(['completion', 'zsh']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "made by shtab, which isn't installed\n  install it: pip install 'shtab>=1.13'" in ended.stderr
    assert "the extra `completion`" in ended.stderr


@pytest.mark.parametrize("arguments", [[], ["tcsh"], ["bash", "--program", "docker"]])
def test_an_unknown_shell_or_program_is_a_usage_error(arguments: list[str]) -> None:
    assert cli.main(["completion", *arguments]) == 2


def test_a_script_is_made_without_clients_of_services() -> None:
    code = (
        "import sys; from ecrdrag.cli.main import main; main(['completion', 'bash']); "
        "print({'boto3', 'botocore.session', 'tqdm', 'werkzeug'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "set()"
