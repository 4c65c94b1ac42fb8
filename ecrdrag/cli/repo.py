"""Own the commands `repo ls` and `repo show`, and which commands `repo` has.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping
from typing import Final

from ecrdrag.cli import repo_changes, repo_policies
from ecrdrag.cli.commands import EXIT_CODES, Subcommand
from ecrdrag.cli.output import Column, Field, Kind, Output, add_format_arguments
from ecrdrag.cli.planes import Planes, add_plane_arguments, reads_several
from ecrdrag.cli.progress import add_counting_arguments
from ecrdrag.cli.repo_count import count
from ecrdrag.cli.repo_places import places, repository_name
from ecrdrag.control.overview import Overview, overview
from ecrdrag.control.policies import Policy
from ecrdrag.control.repositories import NamePattern, Repository, repositories
from ecrdrag.control.usage import Usage
from ecrdrag.errors import AuthError

DESCRIPTION: Final = "List, show, create and delete repositories of ECR, and their policies."
EPILOG: Final = EXIT_CODES
_LS: Final = """\
List repositories by name.

PATTERN is a shell pattern over the whole name, in which * matches slashes too;
without *, ? and [ it is a part of the name.

--count counts the images of each repository, many repositories side by side.
Images in the archive are left out, as ECR leaves them out of its lists; in
JSON they have members of their own. SIZE adds up the sizes of images: a layer
that several images share counts in each of them.
"""
_SHOW: Final = """\
Show all about a repository: what it is, what is in it, its tags and policies.
What the credentials may not read is left out with a warning.
"""

log = logging.getLogger(__name__)


def _add_ls_arguments(parser: argparse.ArgumentParser) -> None:
    pattern = "shell pattern over the name, or a part of it"
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", type=NamePattern.parse, help=pattern)
    parser.add_argument("--count", action="store_true", help="count images, tags and bytes of each")
    add_counting_arguments(parser)
    add_plane_arguments(parser, several=True)
    add_format_arguments(parser)


def _ls(arguments: argparse.Namespace) -> int:
    if arguments.count:
        return count(arguments, with_region=reads_several(arguments))
    output, planes = Output(arguments), Planes(arguments)
    region: list[Column[Repository]] = [Column("REGION", lambda one: one.region)]
    columns: list[Column[Repository]] = [
        *(region if reads_several(arguments) else []),
        Column("NAME", lambda one: one.name, Kind.NAME),
        Column("MUTABILITY", lambda one: one.mutability),
        Column("SCAN", lambda one: one.scanning),
        Column("ENCRYPTION", lambda one: one.encryption),
        Column("CREATED", lambda one: one.created, Kind.AGE),
    ]
    rows = planes.across(lambda plane: repositories(plane, arguments.pattern))
    output.listing("repositories", columns, rows, lambda one: one.document)
    return 0


def _add_show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repository", metavar="REPO", type=repository_name, help="name, ARN or URI")
    add_plane_arguments(parser)
    add_format_arguments(parser)


def _show(arguments: argparse.Namespace) -> int:
    output = Output(arguments)
    ((plane, name),) = places(arguments, [arguments.repository])
    found = overview(plane, name)
    for refusal in found.refusals:
        log.warning("%s", refusal)
    output.details([*_what_it_is(found.repository), *_what_is_in_it(found)], {"repository": found.document})
    return 0


def _what_it_is(one: Repository) -> Iterator[Field]:
    yield Field("Name", one.name)
    yield Field("URI", one.uri)
    yield Field("ARN", one.arn)
    yield Field("Created", one.created, Kind.AGE)
    yield Field("Tag mutability", one.mutability)
    if one.exceptions:
        yield Field("Excluded tags", one.exceptions, Kind.LIST)
    yield Field("Scanning", one.scanning)
    yield Field("Encryption", one.encryption)
    if one.kms_key:
        yield Field("KMS key", one.kms_key)


def _what_is_in_it(found: Overview) -> Iterator[Field]:
    usage = found.usage if isinstance(found.usage, Usage) else None
    yield Field("Images", usage and usage.images, Kind.COUNT)
    if usage and usage.untagged:
        yield Field("Untagged images", usage.untagged, Kind.COUNT)
    if usage and usage.archived:
        yield Field("Archived images", usage.archived, Kind.COUNT)
    yield Field("Tags", usage and usage.tags, Kind.COUNT)
    yield Field("Size", usage and usage.size, Kind.SIZE)
    yield Field("Last push", usage and usage.last_push, Kind.AGE)
    yield Field("Resource tags", found.tags if isinstance(found.tags, Mapping) else None)
    yield Field("Policy", _said(found.policy))
    yield Field("Lifecycle policy", _said(found.lifecycle))


def _said(policy: Policy | AuthError | None) -> object:
    return policy.document if isinstance(policy, Policy) else None


COMMANDS: Final = {
    "ls": Subcommand("list repositories, and count their images", _add_ls_arguments, _ls, _LS),
    "show": Subcommand("show all about a repository", _add_show_arguments, _show, _SHOW),
    **repo_changes.COMMANDS,
    **repo_policies.COMMANDS,
}
