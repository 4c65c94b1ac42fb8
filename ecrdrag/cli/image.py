"""Own the commands `image`: those that read, their options and what they print; the others have rooms of their own.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ecrdrag.cli import image_removal, image_tagging
from ecrdrag.cli.commands import EXIT_CODES, Subcommand
from ecrdrag.cli.names import image_or_latest, repository_of
from ecrdrag.cli.output import Answer, Column, Field, Kind, Output, add_format_arguments
from ecrdrag.cli.planes import Planes, add_plane_arguments, reads_several
from ecrdrag.cli.report import blob_document
from ecrdrag.content import Descriptor, Digest
from ecrdrag.control.image_details import ImageDetails, details_of
from ecrdrag.control.image_types import type_words
from ecrdrag.control.images import ACTIVE, TAGGED, UNTAGGED, Image, Order, images, ordered
from ecrdrag.control.plane import Plane
from ecrdrag.control.versions import highest_first
from ecrdrag.manifest import Index
from ecrdrag.registry.ecr_api import number_of, structure_of, text_of

DESCRIPTION: Final = "List, show, tag and delete images in ECR."
EPILOG: Final = EXIT_CODES
_LS: Final = """\
List the images of a repository, newest first. With --sort none they come as
ECR lists them, at once and in little memory. Of several regions each is put in
order by itself.

An index, which stands for one image on several platforms, counts as large as
the largest of these, which are in the list too, mostly without a tag.
"""
_SHOW: Final = """\
Show one image: how ECR describes it, the platforms of an index or the layers
of an image, and what refers to it, such as signatures.

REF is NAME, an ARN or the host form, then :TAG or @sha256:DIGEST. The image's
manifest is read for it, which ECR may take for a pull. `ecrdrag inspect` tells
what the image is made of.
"""
_STATUSES: Final = ("active", "archived", "activating", "any")


def _add_ls_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repository", metavar="REPO", help="name, ARN or URI")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--tagged", dest="tag_status", action="store_const", const=TAGGED, help="only those with a tag")
    which.add_argument("--untagged", dest="tag_status", action="store_const", const=UNTAGGED, help="those without")
    status = "which are wanted; archived ones are in the archive of ECR (default: active)"
    parser.add_argument("--status", choices=_STATUSES, default="active", help=status)
    orders = "newest first, largest first, by tags as versions, or as ECR lists them (default: pushed)"
    parser.add_argument("--sort", choices=[order.value for order in Order], default=Order.PUSHED.value, help=orders)
    add_plane_arguments(parser, several=True)
    add_format_arguments(parser)


def _ls(arguments: argparse.Namespace) -> int:
    output, planes = Output(arguments), Planes(arguments)
    name = repository_of(arguments.repository, instead=f"`ecrdrag image show {arguments.repository}` shows the image")
    status = "" if arguments.status == "active" else arguments.status.upper()

    def read(plane: Plane) -> Iterator[Image]:
        found = images(plane, name.repository, tag_status=arguments.tag_status or "", image_status=status)
        yield from ordered(found, Order(arguments.sort))

    columns = _columns(with_status=bool(status), with_region=not name.host and reads_several(arguments))
    output.listing("imageDetails", columns, planes.across(read, name), _listed)
    return 0


def _columns(*, with_status: bool, with_region: bool) -> list[Column[Image]]:
    columns: list[Column[Image]] = [
        Column("TAGS", lambda one: highest_first(one.tags), Kind.LIST),
        Column("DIGEST", lambda one: one.digest, Kind.DIGEST),
        Column("SIZE", lambda one: one.size, Kind.SIZE),
        Column("TYPE", lambda one: one.type),
        Column("PUSHED", lambda one: one.pushed, Kind.AGE),
        Column("LAST PULL", lambda one: one.pulled, Kind.AGE),
    ]
    if with_status:
        columns.append(Column("STATUS", lambda one: one.status.lower()))
    if with_region:
        columns.append(Column("REGION", lambda one: one.region))
    return columns


def _listed(image: Image) -> Answer:
    return {**image.answer, "region": image.region}


def _add_show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="REF", help="the image: REPO:TAG or REPO@DIGEST")
    add_plane_arguments(parser)
    add_format_arguments(parser)


def _show(arguments: argparse.Namespace) -> int:
    output = Output(arguments)
    name = image_or_latest(arguments.image)
    details = details_of(Planes(arguments).of(name), name)
    output.details(list(_fields(details)), {"imageDetails": [_shown(details)]})
    return 0


def _fields(details: ImageDetails) -> Iterator[Field]:
    image = details.image
    yield Field("Repository", image.repository)
    yield Field("Region", image.region)
    yield Field("Account", text_of(image.answer, "registryId"))
    yield Field("Digest", image.digest)
    yield Field("Tags", highest_first(image.tags), Kind.LIST)
    yield Field("Type", image.type)
    yield Field("Media type", image.media_type)
    yield Field("Artifact type", image.artifact_type or None)
    yield Field("Subject", image.subject or None)
    yield Field("Size", image.size, Kind.SIZE)
    yield Field("Pushed", image.pushed, Kind.AGE)
    yield Field("Last pull", image.pulled, Kind.AGE)
    if image.status not in ("", ACTIVE):
        yield Field("Status", image.status.lower())
    if scan := _scan(image.answer):
        yield Field("Scan", scan)
    yield from _made_of(details)
    yield Field("Referrers", _grouped(map(_referrer, details.referrers)))


def _made_of(details: ImageDetails) -> Iterator[Field]:
    if isinstance(details.document, Index):
        yield Field("Platforms", _grouped((child.words, str(child.entry.digest)) for child in details.children))
    elif details.document is not None:
        yield Field("Layers", len(details.layers), Kind.COUNT)


def _referrer(entry: Answer) -> tuple[str, str]:
    return type_words(text_of(entry, "mediaType"), text_of(entry, "artifactType")), text_of(entry, "digest")


def _grouped(pairs: Iterable[tuple[str, str]]) -> Mapping[str, list[str]] | None:
    """Give what has one name together; None for nothing."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found or None


def _scan(answer: Answer) -> str:
    """Say what ECR says of a scan, as far as it does: newer scans have an operation of their own (the model)."""
    status = text_of(structure_of(answer, "imageScanStatus"), "status").lower().replace("_", " ")
    counts = structure_of(structure_of(answer, "imageScanFindingsSummary"), "findingSeverityCounts")
    found = ", ".join(f"{number_of(counts, severity)} {severity.lower()}" for severity in counts)
    return ": ".join(filter(None, (status, found)))


def _shown(details: ImageDetails) -> Answer:
    """Add members of our own to what DescribeImages says."""
    made_of: dict[str, object] = {}
    if isinstance(details.document, Index):
        made_of["platforms"] = [
            {**blob_document(child.entry), "platform": child.platform or None} for child in details.children
        ]
    elif details.document is not None:
        made_of["layers"] = [_layer(layer) for layer in details.layers]
    return {**_listed(details.image), **made_of, "referrers": list(details.referrers)}


def _layer(layer: Descriptor | Digest) -> Answer:
    return {"digest": str(layer)} if isinstance(layer, Digest) else blob_document(layer)


COMMANDS: Final = {
    "ls": Subcommand("list the images of a repository", _add_ls_arguments, _ls, _LS),
    "show": Subcommand("show one image", _add_show_arguments, _show, _SHOW),
    "tag": image_tagging.COMMAND,
    "rm": image_removal.COMMAND,
}
