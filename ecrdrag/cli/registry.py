"""Own the commands `registry`: their options, and what they print.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from typing import Final

from ecrdrag.cli.commands import EXIT_CODES, Subcommand
from ecrdrag.cli.output import Column, Field, Kind, Output, add_format_arguments
from ecrdrag.cli.planes import Planes, add_plane_arguments, reads_several
from ecrdrag.control.plane import Plane
from ecrdrag.control.registry import Registry, registry

log = logging.getLogger(__name__)

DESCRIPTION: Final = "Show the settings of a registry of ECR: one account's in one region."
EPILOG: Final = EXIT_CODES
_SHOW: Final = """\
Show one's own registry: where it answers, replication, scanning, account
settings, policy, and how many pull-through cache rules and repository creation
templates it has. What the credentials may not read is left out with a warning.

--json prints what `aws ecr describe-registry` prints, and more; of several
regions, {"registries": [{...}, ...]}. What may not be read is null there.
"""
_NOT_ALLOWED: Final = "not allowed"


def _add_show_arguments(parser: argparse.ArgumentParser) -> None:
    add_plane_arguments(parser, several=True)
    add_format_arguments(parser)


def _show(arguments: argparse.Namespace) -> int:
    output, planes = Output(arguments), Planes(arguments)
    if reads_several(arguments):
        output.listing("registries", _COLUMNS, planes.across(_read), lambda one: one.document)
        return 0
    (found,) = planes.across(_read)
    output.details(list(_fields(found)), found.document)
    return 0


def _read(plane: Plane) -> Iterator[Registry]:
    found = registry(plane)
    for error in found.refusals.values():
        log.warning("%s", error)
    yield found


def _fields(found: Registry) -> Iterator[Field]:
    yield Field("Account", found.account or None)
    yield Field("Region", found.region)
    yield Field("Registry", found.host or None)
    yield Field("Endpoints", dict(found.endpoints))
    yield Field("Replication", _said(found, "replicationConfiguration", found.destinations), Kind.LIST)
    yield Field("Scanning", _said(found, "scanningConfiguration", found.scanning))
    yield Field("Settings", found.document["accountSettings"])
    yield Field("Cache rules", _said(found, "pullThroughCacheRuleCount"), Kind.COUNT)
    yield Field("Creation templates", _said(found, "repositoryCreationTemplateCount"), Kind.COUNT)
    yield Field("Policy", _said(found, "policy"))


def _said(found: Registry, part: str, words: object = None) -> object:
    """Say a part in other words, unless it may not be read."""
    if part in found.refusals:
        return _NOT_ALLOWED
    return found.parts[part] if words is None else words


_COLUMNS: Final[list[Column[Registry]]] = [
    Column("REGION", lambda one: one.region),
    Column("ACCOUNT", lambda one: one.account),
    Column("SCANNING", lambda one: _said(one, "scanningConfiguration", one.scanning)),
    Column("REPLICATION", lambda one: _said(one, "replicationConfiguration", one.destinations), Kind.LIST),
    Column("POLICY", lambda one: _said(one, "policy", one.parts["policy"] is not None)),
    Column("CACHE RULES", lambda one: _said(one, "pullThroughCacheRuleCount"), Kind.COUNT),
    Column("TEMPLATES", lambda one: _said(one, "repositoryCreationTemplateCount"), Kind.COUNT),
]

COMMANDS: Final = {"show": Subcommand("show a registry's settings", _add_show_arguments, _show, _SHOW)}
