"""Groups of commands: how one of them is found, what is said when none is, and what all of them share."""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from ecrdrag import errors
from ecrdrag.cli import main as cli
from ecrdrag.cli import repo
from ecrdrag.cli.commands import EXIT_CODES, Group, Subcommand


@pytest.fixture(autouse=True)
def no_handlers_left() -> Iterator[None]:
    yield
    logging.getLogger("ecrdrag").handlers.clear()


def test_a_command_of_a_group_is_run_with_its_own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []

    def run(arguments: argparse.Namespace) -> int:
        seen.append(arguments)
        return 7

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what")

    monkeypatch.setattr(repo, "COMMANDS", {"one": Subcommand("do one", add_arguments, run)})
    assert cli.main(["repo", "one", "thing", "-vv", "-q"]) == 7
    assert (seen[0].what, seen[0].verbose, seen[0].quiet) == ("thing", 2, True)
    assert cli.main(["repo", "one"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["repo"], "ecrdrag repo: the following arguments are required: COMMAND\n  ecrdrag repo --help lists"),
        (["repo", "list"], "ecrdrag repo: argument COMMAND: invalid choice: 'list'"),
        (["repo", "ls", "--nope"], "ecrdrag repo ls: unrecognized arguments: --nope\n  ecrdrag repo ls --help"),
        (["repo", "ls", "--reg", "us-east-1"], "ecrdrag repo ls: unrecognized arguments: --reg"),
        (
            ["cache-rule", "show"],
            "ecrdrag cache-rule show: the following arguments are required: PREFIX\n  ecrdrag cache-rule show --help",
        ),
    ],
)
def test_a_muddle_is_a_usage_error_that_names_the_help(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert "--help lists the options" in err


def test_a_verbose_command_of_a_group_shows_where_it_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise errors.NotFoundError("no such thing", hint="look elsewhere")

    monkeypatch.setattr(repo, "COMMANDS", {"one": Subcommand("do one", lambda parser: None, run)})
    assert cli.main(["repo", "one"]) == 4
    assert capsys.readouterr().err == "ecrdrag repo one: no such thing\n  look elsewhere\n"
    assert cli.main(["repo", "one", "-v"]) == 4
    assert capsys.readouterr().err.count("Traceback") == 1


def test_a_command_alone_is_no_group() -> None:
    assert isinstance(repo, Group)
    assert not isinstance(SimpleNamespace(DESCRIPTION="", EPILOG="", add_arguments=print, run=print), Group)


def test_a_command_of_a_group_is_described_by_its_summary_unless_there_is_more_to_say() -> None:
    plain = Subcommand("list what is there", lambda parser: None, lambda arguments: 0)
    assert (plain.DESCRIPTION, plain.EPILOG) == ("List what is there.", EXIT_CODES)
    assert Subcommand("x", plain.add_arguments, plain.run, "More.\n").DESCRIPTION == "More.\n"


def test_the_whole_parser_has_every_command_and_each_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.whole_parser()
    for words in ([], ["pull"], ["repo"]):
        with pytest.raises(SystemExit):
            parser.parse_args([*words, "--version"])
        assert capsys.readouterr().out.startswith("ecrdrag ")
    parsed = parser.parse_args(["repo", "ls", "-j", "3"])
    assert (parsed.command, parsed.subcommand, parsed.jobs) == ("repo", "ls", 3)


@pytest.mark.parametrize(
    "arguments",
    [
        ["repo", "--help"],
        ["repo", "ls", "--help"],
        ["image", "--help"],
        ["registry", "--help"],
        ["cache-rule", "--help"],
        ["tags", "--help"],
        ["completion", "--help"],
    ],
)
def test_help_waits_for_no_client_of_any_service(arguments: list[str]) -> None:
    clients = {"boto3", "botocore.session", "botocore.client", "urllib3", "requests", "tqdm", "werkzeug", "shtab"}
    code = f"import sys; from ecrdrag.cli.main import main; main({arguments!r}); print({clients!r} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "set()"
