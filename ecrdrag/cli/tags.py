"""Own the command `tags`: its options, where it asks, and what it prints.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from ecrdrag.cli.commands import EXIT_CODES
from ecrdrag.cli.names import repository_of
from ecrdrag.cli.output import Answer, Column, Kind, Output, add_format_arguments
from ecrdrag.cli.planes import Planes, add_plane_arguments
from ecrdrag.cli.way import Way, add_login_arguments, add_way_arguments, way_of
from ecrdrag.control.images import TAGGED, Image, images, tags_in_order
from ecrdrag.control.plane import Plane
from ecrdrag.control.versions import highest_first
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import UsageError
from ecrdrag.hostname import SCHEME, starts_with_host
from ecrdrag.reference import ImageReference
from ecrdrag.transfer.retry import RetryPolicy

if TYPE_CHECKING:
    from ecrdrag.registry.client import RegistryClient

DESCRIPTION: Final = """\
List the tags of a repository, one a line: in ECR, or in any other registry.

REPO is NAME in your own registry of ECR, an ARN or the host form of another
one, public.ecr.aws/ALIAS/NAME, or HOST[:PORT]/NAME anywhere: a first word with
a dot is a host, as in docker.io/library/redis. Where a repository of ECR is
called so, give its ARN or its host form.
"""
EPILOG: Final = f"""\
Tags of ECR come newest image first. ECR keeps the time of an image, not of a
tag: one that was moved back stands where the older image does. All other
registries, and ECR with --api registry, tell no times: there come first the
tags that are versions, highest first (1.10, 1.9, 1.9-rc1, 1), then all others,
such as latest, by the alphabet.

{EXIT_CODES}"""
_INSTEAD: Final = "leave the tag and the digest out"


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag, and in ECR the image that it stands for."""

    tag: str
    image: Image | None = None

    @property
    def document(self) -> Answer:
        """What is known of it, in the words of ECR's API."""
        if self.image is None:
            return {"tag": self.tag}
        found = {"digest": self.image.digest, "pushedAt": self.image.pushed, "region": self.image.region}
        return {"tag": self.tag, **found}


_COLUMNS: Final[list[Column[_Tag]]] = [
    Column("TAG", lambda one: one.tag),
    Column("DIGEST", lambda one: one.image and one.image.digest, Kind.DIGEST),
    Column("PUSHED", lambda one: one.image and one.image.pushed, Kind.AGE),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("repository", metavar="REPO", help="the repository: NAME, ARN or registry host form")
    add_plane_arguments(parser)
    add_way_arguments(parser)
    add_login_arguments(parser)
    add_format_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """List the tags."""
    from ecrdrag.cli.ends import Ends  # late, as all that loads boto3 or requests

    output, planes, way = Output(arguments), Planes(arguments), way_of(arguments)
    name, reference = _named(arguments, planes, way)
    with Ends(way) as ends:
        client = ends.lister(reference) if reference else None
        found = _listed(client, name.repository) if client else _described(planes.of(name), name)
    if output.is_for_people:
        output.lines(one.tag for one in found)
    else:
        output.listing("tags", _COLUMNS[:1] if client else _COLUMNS, found, lambda one: one.document)
    return 0


def _named(arguments: argparse.Namespace, planes: Planes, way: Way) -> tuple[EcrName, ImageReference | None]:
    """Read REPO, also as it is named where /v2/ may be asked; None where nothing but the ECR API will do."""
    text = arguments.repository
    if not (SCHEME.match(text) or starts_with_host(text)):
        name = repository_of(text, instead=_INSTEAD)
        if way.api == "registry" or way.login:
            return name, ImageReference.parse(f"{planes.host(planes.of(name))}/{name}")
        return name, None
    reference = ImageReference.parse(text)
    if reference.tag or reference.digest:
        raise UsageError(f"{text} names an image, and a repository is wanted", hint=_INSTEAD)
    if reference.ecr is None:
        _check_elsewhere(arguments, reference)
    return EcrName(reference.repository, host=reference.ecr), reference


def _check_elsewhere(arguments: argparse.Namespace, reference: ImageReference) -> None:
    for option, value in (("--region", arguments.region), ("--registry-id", arguments.registry_id)):
        if value:
            hint = f"leave it out, or give the ARN of a repository of ECR that is called {arguments.repository}"
            raise UsageError(f"{reference.registry} is no private registry of ECR, which {option} is about", hint=hint)


def _described(plane: Plane, name: EcrName) -> list[_Tag]:
    """Ask the ECR API."""
    found = images(plane, name.repository, tag_status=TAGGED)
    return [_Tag(tag, image) for tag, image in tags_in_order(found)]


def _listed(client: RegistryClient, repository: str) -> list[_Tag]:
    """Ask a registry, again while that may help: a list comes in a few requests."""
    ask = partial(_all_tags, client, repository)
    return [_Tag(tag) for tag in highest_first(RetryPolicy().insist(ask, f"the tags of {repository}"))]


def _all_tags(client: RegistryClient, repository: str) -> list[str]:
    from ecrdrag.registry.distribution_lists import tags

    return list(tags(client, repository))
