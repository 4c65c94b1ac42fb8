"""Own the command `copy`: its options, and what it prints.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from ecrdrag.cli.arguments import MAX_JOBS, add_aws_arguments, add_output_arguments, with_default_tags
from ecrdrag.cli.arguments import jobs as jobs_of
from ecrdrag.cli.choice import add_choice_arguments, layers_of, types_of, wish_of
from ecrdrag.cli.new_repository import add_repository_arguments, repository_settings
from ecrdrag.cli.progress import stage_of
from ecrdrag.cli.report import blob_lines, image_document, name_text, referrer_text, size_text
from ecrdrag.cli.streams import print_result
from ecrdrag.cli.way import Way, add_way_arguments, way_of
from ecrdrag.copy import Copied, CopyOptions, copy
from ecrdrag.reference import ImageReference
from ecrdrag.resolve import Wish
from ecrdrag.transfer.upload import DEFAULT_UPLOAD_JOBS

DESCRIPTION: Final = """\
Copy an image from one registry to another, or to another repository, account,
region or partition, without a file between: an index with all its platforms,
byte for byte, so that the digest stays. Several --platform make a new index of
these; --referrers takes signatures, attestations and SBOMs along.

SRC and DST are as for a pull; DST without a tag gets that of SRC. What DST has
already is not read, and inside one registry layers are mounted where it can.
Logins are those of AWS and docker; for another AWS account at one end give a
profile there, or map registries to profiles in ~/.config/ecrdrag/config.toml.
"""
EPILOG: Final = """\
exit codes: 0 all is in the registry, 2 usage, 3 credentials, 4 not found,
5 transfer given up, 6 integrity, 7 local disk, 8 unsupported kind of image,
9 the tag is immutable, 70 a bug, 130 interrupted, 141 closed pipe
"""

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a copy takes."""
    add = parser.add_argument
    add("source", metavar="SRC", help="the image")
    add("destination", metavar="DST", help="where it goes")
    add_choice_arguments(parser, default="all of it")
    jobs = f"layers at once, 1 to {MAX_JOBS} (default: {DEFAULT_UPLOAD_JOBS})"
    add("-j", "--jobs", metavar="N", type=jobs_of, default=DEFAULT_UPLOAD_JOBS, help=jobs)
    add("--dry-run", action="store_true", help="say what is missing there, and change nothing")
    add_repository_arguments(parser)
    add_way_arguments(parser)
    add("--src-profile", metavar="NAME", help="AWS profile for SRC (default: --profile)")
    add("--dst-profile", metavar="NAME", help="AWS profile for DST (default: --profile)")
    add("--src-plain-http", action="store_true", help="--plain-http for SRC alone")
    add("--dst-plain-http", action="store_true", help="--plain-http for DST alone")
    add_aws_arguments(parser)
    add_output_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Copy and print what is at the destination now."""
    from ecrdrag.cli.ends import Ends  # late, as all that loads boto3 or requests

    source, destination = _references(arguments.source, arguments.destination)
    options = CopyOptions(
        wish=_wish(arguments.platform),
        types=types_of(arguments.referrers),
        layers=layers_of(arguments.layers),
        jobs=arguments.jobs,
        create=repository_settings(arguments),
        dry_run=arguments.dry_run,
    )
    way = way_of(arguments)
    there = _way(way, source, arguments.src_profile, arguments.src_plain_http)
    here = _way(way, destination, arguments.dst_profile, arguments.dst_plain_http)
    with Ends(there) as far, Ends(here) as near:
        copied = copy(
            source,
            far.source(source, streams=True),
            destination,
            near.destination(destination),
            options,
            partial(stage_of, arguments),
            far.foreign() if arguments.foreign_layers else None,
        )
    if copied.existed:
        log.warning("%s is there already: nothing was copied", copied.reference)
    print_result(_as_json(copied) if arguments.json else _as_text(copied))
    return 0


def _way(way: Way, reference: ImageReference, profile: str | None, plain_http: bool) -> Way:
    """Say how one of the ends is reached; a door is chosen where there are two."""
    return replace(
        way,
        api=way.api if reference.ecr else "auto",
        profile=profile or way.profile,
        plain_http=plain_http or way.plain_http,
    )


def _references(source: str, destination: str) -> tuple[ImageReference, ImageReference]:
    found, to = ImageReference.parse(source), ImageReference.parse(destination)
    (found,) = with_default_tags([found])
    return found, to if to.tag or to.digest else replace(to, tag=found.tag)


def _wish(texts: Sequence[str] | None) -> Wish | None:
    wish = wish_of(texts)
    return None if wish.everything or not wish.explicit else wish


def _as_text(copied: Copied) -> str:
    """Name the image, then what is about it; before a copy, what is missing of each."""
    lines = [name_text(copied.reference, copied.tree)]
    lines += blob_lines(copied.tree, copied.fates) if copied.dry_run else ()
    for referrer in copied.referrers:
        lines.append(referrer_text(copied.reference, referrer))
        lines += blob_lines(referrer.tree, copied.fates) if copied.dry_run else ()
    if copied.dry_run:
        lines.append(f"would copy {size_text(copied.uploaded)} at most")
    return "\n".join(lines)


def _as_json(copied: Copied) -> str:
    return json.dumps(
        {
            **image_document([copied.reference], copied.tree, copied.fates, copied.referrers),
            "dryRun": copied.dry_run,
            "existed": copied.existed,
            "bytes": copied.uploaded,
            "mounted": copied.mounted,
            "seconds": round(copied.seconds, 3),
        }
    )
