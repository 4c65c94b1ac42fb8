"""Own the command `completion`: a script for a shell, made by shtab from the parsers of all commands.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Final

from ecrdrag.cli.commands import EXIT_CODES
from ecrdrag.cli.main import parser_of, whole_parser
from ecrdrag.cli.streams import print_result
from ecrdrag.errors import UsageError

DESCRIPTION: Final = """\
Print a script that completes command lines in a shell. It knows all commands, options and their choices, and where a
file is wanted; it asks no registry.

bash:  ecrdrag completion bash > ~/.local/share/bash-completion/completions/ecrdrag
zsh:   ecrdrag completion zsh > "${fpath[1]}/_ecrdrag"
fish:  ecrdrag completion fish > ~/.config/fish/completions/ecrdrag.fish
"""
EPILOG: Final = EXIT_CODES
_SHELLS: Final = ("bash", "zsh", "fish")
_WHOLE: Final = "ecrdrag"
_COMMANDS: Final = {"docker-pull": "pull", "docker-push": "push"}  # programs that are one command each: setup.cfg
_FILES: Final = ("FILE", "ARCHIVE")  # what arguments are called that name a file
_INSTALL: Final = "install it: pip install 'shtab>=1.13'; the extra `completion` of ecrdrag brings it too"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    parser.add_argument("shell", choices=_SHELLS, help="whose script it is to be")
    programs = (_WHOLE, *_COMMANDS)
    parser.add_argument("--program", choices=programs, default=_WHOLE, help=f"what is completed (default: {_WHOLE})")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    try:
        import shtab  # late: it is an extra
    except ImportError:
        raise UsageError("scripts for shells are made by shtab, which isn't installed", hint=_INSTALL) from None
    program: str = arguments.program
    parser = whole_parser() if program == _WHOLE else parser_of(_COMMANDS[program], program)
    for action in _actions(parser):
        _prepare(action, shtab.FILE)
    print_result(shtab.complete(parser, shell=arguments.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Give the options and arguments of a parser and of all its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def _prepare(action: argparse.Action, file: object) -> None:
    """Say where files are completed, and leave in names what no shell takes for syntax: zsh has colons for that."""
    words = re.findall(r"[A-Za-z0-9]+", str(action.metavar or ""))
    if any(word in _FILES for word in words):
        vars(action)["complete"] = file  # where shtab looks for it
    if words:
        action.metavar = "-".join(words)
