"""Own the commands `repo create` and `repo delete`.

cli/repo.py enters.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from ecrdrag.cli.commands import Subcommand
from ecrdrag.cli.consent import add_consent_arguments, agreed
from ecrdrag.cli.new_repository import add_settings_arguments, settings_of
from ecrdrag.cli.output import Output, add_format_arguments
from ecrdrag.cli.planes import add_plane_arguments
from ecrdrag.cli.policy_files import STDIN, policy_in
from ecrdrag.cli.repo_places import Step, one_by_one, places, repository_name, usage_text
from ecrdrag.control.creation import Wanted, create_as_wanted
from ecrdrag.control.deletion import Doomed, look_up
from ecrdrag.control.policies import ACCESS, LIFECYCLE
from ecrdrag.control.usage import Usage
from ecrdrag.errors import ConflictError, UsageError

_SHOWN: Final = 10  # repositories in a message
_CREATE: Final = """\
Create repositories, all with the same settings. The files of policies are read
before anything is created; one of them may be - for standard input.

The result is the URI of each, or with --json {"repository": {...}} as the aws
CLI has it; of several REPOs, {"repositories": [{...}, ...]}.
"""
_DELETE: Final = """\
Delete repositories. All are looked up before the first one is deleted, and one
that holds images is deleted with --force only: they go with it.

The result is the name of each, or with --json {"repository": {...}} as the aws
CLI has it; of several REPOs, {"repositories": [{...}, ...]}.
"""


def _add_create_arguments(parser: argparse.ArgumentParser) -> None:
    _add_names(parser, "name, ARN or URI of what isn't there yet")
    new = parser.add_argument_group("what it is to be")
    add_settings_arguments(new.add_argument)
    new.add_argument("--policy", metavar="FILE", help="who may use it: a JSON file, or - for standard input")
    new.add_argument("--lifecycle", metavar="FILE", help="which images expire: a JSON file, or -")
    add_plane_arguments(parser)
    add_consent_arguments(parser)
    add_format_arguments(parser)


def _create(arguments: argparse.Namespace) -> int:
    output, wanted = Output(arguments), _wanted(arguments)
    todo = places(arguments, arguments.repositories)
    will = [f"create {plane.where(name)}{_qualities(wanted)}" for plane, name in todo]
    if not agreed(arguments, will, loses=False):
        return 0
    steps = [Step(plane.where(name), partial(create_as_wanted, plane, name, wanted)) for plane, name in todo]
    one_by_one(arguments, output, steps, lambda made: made.uri)
    return 0


def _wanted(arguments: argparse.Namespace) -> Wanted:
    settings = settings_of(arguments)
    files = [(arguments.policy, ACCESS), (arguments.lifecycle, LIFECYCLE)]
    given = [(name, kind) for name, kind in files if name is not None]
    if [name for name, _ in given].count(STDIN) > 1:
        raise UsageError("--policy and --lifecycle can't both be standard input")
    return Wanted(settings, tuple(policy_in(name, kind) for name, kind in given))


def _qualities(wanted: Wanted) -> str:
    return "".join(f", {quality}" for quality in _said(wanted))


def _said(wanted: Wanted) -> Iterator[str]:
    settings = wanted.settings
    if settings.immutable:
        yield "with immutable tags"
    if settings.scan_on_push:
        yield "scanned on push"
    if settings.kms_key:
        yield f"encrypted by {settings.kms_key}"
    if settings.tags:
        yield f"tagged {', '.join(f'{key}={value}' for key, value in settings.tags.items())}"
    for policy in wanted.policies:
        yield f"with a {policy.kind.name}"


def _add_delete_arguments(parser: argparse.ArgumentParser) -> None:
    _add_names(parser, "name, ARN or URI")
    parser.add_argument("--force", action="store_true", help="delete the images in it too")
    add_plane_arguments(parser)
    add_consent_arguments(parser)
    add_format_arguments(parser)


def _delete(arguments: argparse.Namespace) -> int:
    output = Output(arguments)
    doomed = look_up(places(arguments, arguments.repositories))
    if not arguments.force:
        _check_empty(doomed)
    if not agreed(arguments, [f"delete {one.where}{_contents(one)}" for one in doomed]):
        return 0
    steps = [Step(one.where, partial(one.delete, force=arguments.force)) for one in doomed]
    one_by_one(arguments, output, steps, lambda gone: gone.name)
    return 0


def _check_empty(doomed: Sequence[Doomed]) -> None:
    """Raise ConflictError that says what would go."""
    full = [
        f"{one.where} is not empty: {usage_text(one.found)} would go with it"
        for one in doomed
        if isinstance(one.found, Usage) and one.found.everything
    ]
    if full:
        more = [f"and {len(full) - _SHOWN:,} more that are not empty"] if len(full) > _SHOWN else []
        hint = "\n".join([*full[1:_SHOWN], *more, "--force deletes the images too"])
        raise ConflictError(full[0], hint=hint)


def _contents(one: Doomed) -> str:
    if not isinstance(one.found, Usage):
        return ", and whatever is in it: these credentials may not count its images"
    return f", with {usage_text(one.found)}" if one.found.everything else ", which is empty"


def _add_names(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("repositories", metavar="REPO", nargs="+", type=repository_name, help=text)


COMMANDS: Final = {
    "create": Subcommand("create repositories", _add_create_arguments, _create, _CREATE),
    "delete": Subcommand("delete repositories", _add_delete_arguments, _delete, _DELETE),
}
