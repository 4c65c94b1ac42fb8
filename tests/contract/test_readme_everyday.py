"""README's section of everyday commands against their parsers, and against the notes that it answers line by line."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ecrdrag.cli.main import whole_parser
from tests.contract.test_readme import HOME

SECTION = "## Everyday commands for ECR\n"
GROUPS = ("repo", "image", "registry", "cache-rule")
README = (HOME / "README.md").read_text(encoding="utf-8")
TEXT = README.partition(SECTION)[2].partition("\n## ")[0]


@cache
def parser() -> argparse.ArgumentParser:
    return whole_parser()


def command_lines() -> Iterator[str]:
    """Give what README tells to type: lines of its code blocks, and what stands in its tables."""
    for line in TEXT.splitlines():
        if line.startswith("    ecrdrag "):
            yield line.strip()
        elif line.startswith("| "):
            yield from (found.replace(r"\|", "|") for found in re.findall(r"`[^`]*?\b(ecrdrag [^`)]+)\)?`", line))


def commands_of(name: str) -> dict[str, argparse.ArgumentParser]:
    """Give the commands of a parser, or of a group in it."""
    one = parser() if not name else commands_of("")[name]
    found = next((action for action in one._actions if isinstance(action, argparse._SubParsersAction)), None)
    return dict(found.choices) if found else {}


@pytest.mark.parametrize("line", list(command_lines()))
def test_every_command_line_of_the_section_is_understood(line: str) -> None:
    words = shlex.split(line, comments=True)
    assert words[0] == "ecrdrag"
    parser().parse_args([word.rstrip("…") or "X" for word in words[1:]])


def test_every_everyday_command_is_in_the_table() -> None:
    rows = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")]
    for group in GROUPS:
        for command in commands_of(group):
            named = [
                row for row in rows if f"`{group} {command}" in row or (f"`{group} " in row and f"`{command}" in row)
            ]
            assert named, f"{group} {command}"
    for command in ("tags", "inspect", "completion"):
        assert any(f"`{command}" in row for row in rows), command


def test_every_option_that_the_section_names_is_there() -> None:
    groups = [one for group in GROUPS for one in commands_of(group).values()]
    known = {option for one in groups for option in one._option_string_actions}
    known |= {option for one in commands_of("").values() for option in one._option_string_actions}
    others = ("aws ", "docker ", "oras ")
    ours = [
        line.rsplit(" | ", 1)[-1] if any(f"`{one}" in line or f"({one}" in line for one in others) else line
        for line in TEXT.splitlines()
    ]
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(ours))) <= known


@pytest.mark.parametrize("name", ["CHANGELOG.md"])
def test_the_changelog_names_the_groups(name: str) -> None:
    said = Path(HOME / name).read_text(encoding="utf-8")
    assert all(f"ecrdrag {group}" in said for group in GROUPS)
