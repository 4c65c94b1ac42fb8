"""The commands and options that messages, help texts and README name: each is one that there is."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.cli.main import whole_parser
from tests.localecr import ROOT

SOURCES = sorted((ROOT / "ecrdrag").rglob("*.py"))
NAMED = re.compile(r"`ecrdrag ([^`]+)`")


def texts(path: Path) -> Iterator[str]:
    """Give the texts of a module; what is put into them is a word that stands for anything."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def named() -> dict[str, str]:
    found = {match: path.name for path in SOURCES for text in texts(path) for match in NAMED.findall(text)}
    readme = (ROOT / "README.md").read_text("utf-8").replace("\\|", "|")
    return {**found, **dict.fromkeys(NAMED.findall(readme), "README.md")}


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


WHOLE = whole_parser()


@pytest.mark.parametrize(("line", "place"), sorted(named().items()))
def test_a_command_that_is_named_is_there_with_its_options(line: str, place: str) -> None:
    parser: argparse.ArgumentParser = WHOLE
    words = re.split(r"[\s|]+", line)
    while words and (commands := commands_of(parser)):
        if words[0].isupper():  # any command
            return
        assert words[0] in commands, f"{place} names `ecrdrag {line}`"
        parser = commands[words.pop(0)]
    options = {name for action in parser._actions for name in action.option_strings}
    assert {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= options


def test_some_are_named() -> None:
    assert {"repo ls", "cache-rule ls"} <= set(named())
