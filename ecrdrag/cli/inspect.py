"""Own the command `inspect`: its options, and whether it looks into a registry or into an archive.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
import os
import re
from functools import partial
from typing import Final

from ecrdrag.archive.convert import Conversion
from ecrdrag.cli.archives import check_name, opened
from ecrdrag.cli.arguments import add_aws_arguments, with_default_tags
from ecrdrag.cli.choice import wish_of
from ecrdrag.cli.inspect_json import LINE_COLUMNS, inspection_document, lines_of
from ecrdrag.cli.inspect_text import inspection_lines
from ecrdrag.cli.output import Output, add_format_arguments
from ecrdrag.cli.progress import KINDS, stage_of
from ecrdrag.cli.streams import print_result, write_result
from ecrdrag.cli.terminal import Screen
from ecrdrag.cli.way import add_login_arguments, add_way_arguments, way_of
from ecrdrag.errors import ArchiveError, UsageError
from ecrdrag.inspection.anatomy import Inspection
from ecrdrag.inspection.story import (
    InspectOptions,
    inspect_archive,
    inspect_reference,
    raw_of_archive,
    raw_of_reference,
)
from ecrdrag.reference import DOCKER_HUB, DOCKER_HUB_NAMES, ImageReference
from ecrdrag.transfer.download import DEFAULT_JOBS

DESCRIPTION: Final = """\
Show what an image in a registry, or what is in an archive, is made of: the tree
of its manifests with platforms and attestations, layers and what made them,
sizes, and its config with environment, command, user, ports and labels. No
layer is downloaded.

REF is as for a pull, ARCHIVE as for a push: a file, a folder, or - for standard
input. What is a file or a folder here, or begins with / ./ or ../, is an
archive; all else is a REF.
"""
EPILOG: Final = """\
exit codes: 0 all is shown, 2 usage, 3 credentials, 4 not found, 5 transfer
given up, 6 integrity, 7 archive or disk, 8 unsupported kind of image, 70 a bug,
130 interrupted, 141 closed pipe
"""
_PATHS: Final = re.compile(r"-\Z|\.{0,2}/")
_ENDINGS: Final = re.compile(r"\.(?:tar|tgz|tbz2?|txz|tzst|tar\.(?:gz|bz2|xz|zst))\Z", re.IGNORECASE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what an inspection takes."""
    add = parser.add_argument
    add("name", metavar="REF|ARCHIVE", help="the image, or a file, a folder, or - for standard input")
    add("--image", metavar="NAME", help="which image of the archive, by name or digest (default: all)")
    add(
        "--platform",
        metavar="OS/ARCH[/VARIANT]|all",
        help="whose config and layers are shown of an index (default: this machine's, else the first)",
    )
    add("--referrers", action="store_true", help="ask the registry what is about the image; of archives it is shown")
    add("--raw", action="store_true", help="print the manifest or index, byte for byte; with --platform that image's")
    add("--config", action="store_true", help="with --raw: print the config instead, byte for byte")
    add("--progress", choices=KINDS, default="auto", help="of an archive that has to be unpacked first")
    add_format_arguments(parser)
    add_way_arguments(parser)
    add_login_arguments(parser)
    add_aws_arguments(parser)
    parser.set_defaults(jobs=DEFAULT_JOBS)


def run(arguments: argparse.Namespace) -> int:
    """Look, and print what was seen."""
    _check(arguments)
    output = Output(arguments)
    options = InspectOptions(
        wish=wish_of([arguments.platform] if arguments.platform else None),
        image=arguments.image,
        referrers=arguments.referrers,
    )
    look = _in_archive if is_archive(arguments.name) else _in_registry
    found = look(arguments, options)
    if isinstance(found, bytes):
        write_result(found)
    else:
        _print(found, arguments, output)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    check_name(arguments.name)
    if arguments.name == "-" and arguments.password_stdin:
        raise UsageError("standard input can't be both the archive and the password")
    if arguments.config and not arguments.raw:
        raise UsageError("--config goes with --raw", hint="without both, the config is shown with all else")
    if arguments.raw and (arguments.json or arguments.tsv or arguments.query is not None or arguments.referrers):
        raise UsageError("--raw prints bytes as they are, which no other form goes with")


def _in_archive(arguments: argparse.Namespace, options: InspectOptions) -> Inspection | bytes:
    try:
        with opened(arguments.name, Conversion(), partial(stage_of, arguments)) as archive:
            if arguments.raw:
                return raw_of_archive(archive, options, config=arguments.config)
            return inspect_archive(archive, options)
    except ArchiveError as error:
        is_path = _PATHS.match(arguments.name) or _ENDINGS.search(arguments.name)
        reference = None if is_path else _reference(arguments.name)
        if reference is not None:
            error.hint = "\n".join(
                [*filter(None, [error.hint]), f"the image of this name in a registry is {reference}"]
            )
        raise


def _in_registry(arguments: argparse.Namespace, options: InspectOptions) -> Inspection | bytes:
    from ecrdrag.cli.ends import Ends  # late, as all that loads boto3 or requests

    if options.image is not None:
        raise UsageError("--image chooses one of an archive's images, and REF names one")
    (reference,) = with_default_tags([ImageReference.parse(arguments.name)])
    with Ends(way_of(arguments)) as ends:
        source = ends.source(reference)
        if arguments.raw:
            return raw_of_reference(reference, source, options, config=arguments.config)
        return inspect_reference(reference, source, options)


def is_archive(name: str) -> bool:
    """Tell an archive from a reference: what is there, or is written as a path; what nobody calls an image, too."""
    if _PATHS.match(name) or os.path.lexists(name):
        return True
    if not _ENDINGS.search(name):
        return False
    reference = _reference(name)
    is_hub = reference is not None and reference.registry == DOCKER_HUB
    return reference is None or (is_hub and not name.lower().startswith(tuple(f"{host}/" for host in DOCKER_HUB_NAMES)))


def _reference(name: str) -> ImageReference | None:
    try:
        return ImageReference.parse(name)
    except UsageError:
        return None


def _print(found: Inspection, arguments: argparse.Namespace, output: Output) -> None:
    if arguments.json or arguments.query is not None:
        output.details((), inspection_document(found))
    elif arguments.tsv:
        output.listing("lines", LINE_COLUMNS, lines_of(found), lambda line: {})
    else:
        for line in inspection_lines(found, Screen.of_stdout(), is_cut=not arguments.no_trunc):
            print_result(line)
