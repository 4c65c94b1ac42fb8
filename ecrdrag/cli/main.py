"""Own the way from argv to an exit code: which command, and what its ending becomes.

The doors (docker_pull.py, docker_push.py, python3 -m ecrdrag) enter, and cli/completion.py, which wants all commands
at once. Each command is a module of this room with add_arguments() and run(), imported only when it is asked for; a
group of commands is one with COMMANDS.
"""

from __future__ import annotations

import argparse
import importlib
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NoReturn, cast

from ecrdrag import __version__
from ecrdrag.cli.commands import Command, Group
from ecrdrag.cli.streams import complain, log_to_stderr, mend_streams
from ecrdrag.errors import EcrdragError, UsageError

COMMANDS: Final = {
    "pull": "pull an image from ECR or another registry into a tar",
    "push": "push an archive to ECR or another registry",
    "copy": "copy an image from registry to registry",
    "inspect": "show what an image or an archive is made of",
    "tags": "list the tags of a repository, newest first",
    "repo": "list, show, create and delete repositories of ECR, and their policies",
    "image": "list, show, tag and delete images in ECR",
    "registry": "show the settings of a registry of ECR",
    "cache-rule": "list, show, create, validate and delete pull-through cache rules of ECR",
    "login": "log in to a registry, with a password from AWS or your own",
    "serve": "run a local ECR",
    "completion": "print a script that completes command lines in a shell",
}
EXIT_BUG: Final = 70  # sysexits.h: EX_SOFTWARE
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
EXIT_CLOSED_PIPE: Final = 128 + 13  # SIGPIPE, which Windows doesn't have


class Parser(argparse.ArgumentParser):
    """A parser whose errors look like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message, hint=f"{self.prog} --help lists the options")


def main(arguments: Sequence[str]) -> int:
    """Run `ecrdrag COMMAND …`."""
    if not arguments or arguments[0] in ("-h", "--help", "--version") or arguments[0] not in COMMANDS:
        return _guarded("ecrdrag", False, lambda: _overview(arguments))
    return main_of(arguments[0], arguments[1:], program=f"ecrdrag {arguments[0]}")


def main_of(name: str, arguments: Sequence[str], *, program: str) -> int:
    """Run one command under a program's name and return the exit code."""
    verbose = any(each in ("-v", "-vv", "--verbose") for each in arguments)  # known even if parsing fails
    return _guarded(program, verbose, lambda: _find_and_run(name, arguments, program, verbose))


def _find_and_run(name: str, arguments: Sequence[str], program: str, verbose: bool) -> int:
    """Run a command, or the one of a group that comes first in the arguments, which messages name as well."""
    command = _module_of(name)
    if isinstance(command, Group) and arguments and arguments[0] in command.COMMANDS:
        program = f"{program} {arguments[0]}"
        parser = _parser(command.COMMANDS[arguments[0]], program)
        _declare_one(parser, command.COMMANDS[arguments[0]])
        return _guarded(program, verbose, lambda: _run(parser, arguments[1:]))
    return _run(parser_of(name, program), arguments)


def _run(parser: Parser, arguments: Sequence[str]) -> int:
    parsed = parser.parse_args(arguments)
    log_to_stderr(parser.prog, verbose=parsed.verbose, quiet=parsed.quiet)
    run: Callable[[argparse.Namespace], int] = parsed.run
    return run(parsed)


def parser_of(name: str, program: str) -> Parser:
    """Build the parser of a command, or of a group, under a program's name."""
    command = _module_of(name)
    parser = _parser(command, program)
    _declare(parser, command)
    return parser


def _parser(command: Command | Group, program: str) -> Parser:
    return Parser(
        prog=program,
        description=command.DESCRIPTION,
        epilog=command.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def whole_parser() -> Parser:
    """Build the parser of `ecrdrag` with all its commands, for who wants to look at them."""
    parser, commands = _top()
    for name, summary in COMMANDS.items():
        _declare(commands.add_parser(name, help=summary), _module_of(name))
    return parser


def _top() -> tuple[Parser, argparse._SubParsersAction[Parser]]:
    parser = Parser(prog="ecrdrag", description="Move container images in and out of Amazon ECR without a daemon.")
    _add_version(parser)
    return parser, parser.add_subparsers(dest="command", metavar="COMMAND", required=True)


def _add_version(parser: Parser) -> None:
    parser.add_argument("--version", action="version", version=f"ecrdrag {__version__}")


def _module_of(name: str) -> Command | Group:
    """Import the module of a command, or of a group of commands."""
    return cast("Command | Group", importlib.import_module(f"ecrdrag.cli.{name.replace('-', '_')}"))


def _declare(parser: Parser, command: Command | Group) -> None:
    """Declare what a command takes, or each of a group; what is parsed says which one is to run."""
    _add_version(parser)
    if not isinstance(command, Group):
        _declare_one(parser, command)
        return
    commands = parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    for name, one in command.COMMANDS.items():
        _declare_one(
            commands.add_parser(
                name,
                help=one.summary,
                description=one.DESCRIPTION,
                epilog=one.EPILOG,
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            ),
            one,
        )


def _declare_one(parser: argparse.ArgumentParser, command: Command) -> None:
    command.add_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors on stderr")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; -vv says all")
    parser.set_defaults(run=command.run)


def _overview(arguments: Sequence[str]) -> int:
    parser, commands = _top()
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary)
    parser.parse_args(arguments)
    return 0


def _guarded(program: str, verbose: bool, work: Callable[[], int]) -> int:
    """Turn whatever ends the work into an exit code and a message."""
    mend_streams()
    try:
        return work()
    except SystemExit as done:  # --help and --version
        return done.code if isinstance(done.code, int) else 0
    except EcrdragError as error:
        complain(program, str(error), error.hint, verbose)
        return error.exit_code
    except KeyboardInterrupt:
        with suppress(KeyboardInterrupt):  # who is in a hurry presses twice
            complain(program, "interrupted", "", verbose)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_CLOSED_PIPE
    except Exception as error:  # noqa: BLE001 - the last line of defence
        hint = "" if verbose else "-v shows where"
        complain(program, f"this is a bug in ecrdrag: {type(error).__name__}: {error}", hint, verbose)
        return EXIT_BUG
