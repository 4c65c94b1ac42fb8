"""README and CHANGELOG against the program: options, exit codes, references, commands."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from ecrdrag import __version__, errors
from ecrdrag.cli import copy, login, pull, push, serve
from ecrdrag.cli.main import COMMANDS, EXIT_BUG, EXIT_CLOSED_PIPE, EXIT_INTERRUPTED
from ecrdrag.reference import ImageReference

HOME = Path(__file__).parents[2]
README = (HOME / "README.md").read_text(encoding="utf-8")


REACHED = "How registries are reached"


def options_of(command: object) -> set[str]:
    parser = argparse.ArgumentParser(add_help=False)
    command.add_arguments(parser)  # type: ignore[attr-defined]
    return {name for action in parser._actions for name in action.option_strings}


@pytest.mark.parametrize(
    ("title", "command", "elsewhere"),
    [
        ("Pull an image", pull, True),
        ("Push an archive", push, True),
        ("Copy from registry to registry", copy, True),
        ("Docker's logins", login, False),
        ("A local ECR", serve, False),
    ],
)
def test_the_option_table_of_a_command_has_every_option_and_no_other(
    title: str, command: object, elsewhere: bool
) -> None:
    named = options_in(title) | (options_in(REACHED) if elsewhere else set())
    without = {"-u", "--password-stdin"} if command is copy else set()
    assert named - {"-q", "-v"} - without == options_of(command) - {"--output", "--jobs", "--username"}


def options_in(title: str) -> set[str]:
    section = README.partition(f"## {title}\n")[2].partition("\n## ")[0].replace(r"\|", "/")
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `-")]
    return {name for row in rows for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row)}


def test_every_option_of_serve_that_readme_names_is_there() -> None:
    lines = [line.partition("#")[0] for line in README.splitlines() if "ecrdrag serve" in line]
    assert lines
    for line in lines:
        assert set(re.findall(r"--[a-z-]+", line)) <= options_of(serve)


def test_the_exit_codes_are_those_of_the_errors() -> None:
    section = README.partition("## Exit codes\n")[2].partition("\n## ")[0]
    codes = set(map(int, re.findall(r"^\| ([\d]+)[ ,]", section, re.MULTILINE)))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.EcrdragError)]
    assert codes == {0, EXIT_BUG, EXIT_INTERRUPTED} | {kind.exit_code for kind in kinds}
    assert f"{EXIT_INTERRUPTED}, {EXIT_CLOSED_PIPE}" in README


def test_every_reference_in_readme_is_read() -> None:
    hexadecimal = "0" * 64
    found = re.findall(
        r"^ +(?:python3 docker_pull.py |.*docker_push.py \S+ )?((?:ecr\.aws/|\d{12}\.)\S+)(?: --create-repository)?$",
        README,
        re.MULTILINE,
    )
    assert len(found) == 10
    for text in found:
        assert ImageReference.parse(text.replace("…", hexadecimal))


def test_every_file_and_command_that_readme_names_is_there() -> None:
    for name in set(re.findall(r"\b(docker_\w+\.py|requirements\.txt|LICENSE)\b", README)):
        assert (HOME / name).is_file()
    assert set(re.findall(r"ecrdrag (pull|push|serve|\w+) --", README)) <= set(COMMANDS)
    targets = set(re.findall(r"^(\w+):", (HOME / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"make (\w+)(?:`| )", README)) - {"and"} <= targets


@pytest.mark.parametrize("text", [f"## {__version__}"])
def test_the_changelog_knows_this_version(text: str) -> None:
    assert text in (HOME / "CHANGELOG.md").read_text(encoding="utf-8")
