"""Own the command `push`, which docker_push.py is too: its options, and what it prints.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from functools import partial
from typing import Final

from ecrdrag.archive.compress import Compression, require
from ecrdrag.archive.convert import FORMATS, Conversion
from ecrdrag.cli.archives import check_name, opened
from ecrdrag.cli.arguments import MAX_JOBS, add_aws_arguments, add_output_arguments, with_default_tags
from ecrdrag.cli.arguments import jobs as jobs_of
from ecrdrag.cli.new_repository import add_repository_arguments, repository_settings
from ecrdrag.cli.progress import stage_of
from ecrdrag.cli.report import blob_lines, image_document, name_text, referrer_text, size_text
from ecrdrag.cli.streams import print_result
from ecrdrag.cli.way import add_login_arguments, add_way_arguments, way_of
from ecrdrag.errors import UsageError
from ecrdrag.push import Pushed, PushedImage, PushOptions, push
from ecrdrag.reference import ImageReference
from ecrdrag.transfer.upload import DEFAULT_UPLOAD_JOBS

DESCRIPTION: Final = """\
Push an archive to Amazon ECR, or any other registry: a tar that
docker_pull.py, docker save, podman save, skopeo or crane wrote, also
compressed, or an OCI image layout in a tar or a folder.

ARCHIVE is a file, a folder, or - for standard input. REF is as for a pull;
without it, every image goes to the name that the archive has for it. Where the
archive holds the registry's manifest, the digest stays as it was; docker's own
format holds none, so layers are compressed and a manifest is made, always the
same one.

What the archive holds about an image, such as signatures, attestations and
SBOMs, goes into the same repository, byte for byte, before the image has its
tag. Helm charts and other artifacts are pushed as images are.
"""
EPILOG: Final = """\
exit codes: 0 all is in the registry, 2 usage, 3 credentials, 4 not found,
5 transfer given up, 6 integrity, 7 archive or disk, 8 unsupported kind of image,
9 the tag is immutable, 70 a bug, 130 interrupted, 141 closed pipe
"""

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a push takes."""
    add = parser.add_argument
    add("archive", metavar="ARCHIVE", help="a file, a folder, or - for standard input")
    add("reference", metavar="REF", nargs="?", help="where it goes (default: the names in the archive)")
    add("--image", metavar="NAME", help="which image of the archive, by name or digest (default: all)")
    add(
        "--compression",
        metavar="gzip[:LEVEL]|igzip[:LEVEL]|none",
        type=_compression,
        help="of docker's plain layers (default: gzip); igzip is far quicker, but the digest can differ "
        "with the version of ISA-L and the kind of CPU",
    )
    add("--format", choices=FORMATS, help="of the manifest made for docker's format (default: docker)")
    jobs = f"layers at once, 1 to {MAX_JOBS} (default: {DEFAULT_UPLOAD_JOBS})"
    add("-j", "--jobs", metavar="N", type=jobs_of, default=DEFAULT_UPLOAD_JOBS, help=jobs)
    add("--dry-run", action="store_true", help="say what would be uploaded, and change nothing")
    add_repository_arguments(parser)
    add_way_arguments(parser)
    add_login_arguments(parser)
    add_aws_arguments(parser)
    add_output_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Push and print what is in the registry now."""
    from ecrdrag.cli.ends import Ends  # late, as all that loads boto3 or requests

    check_name(arguments.archive)
    if arguments.archive == "-" and arguments.password_stdin:
        raise UsageError("standard input can't be both the archive and the password")
    reference = _reference(arguments.reference)
    options = PushOptions(
        image=arguments.image, jobs=arguments.jobs, create=repository_settings(arguments), dry_run=arguments.dry_run
    )
    stage = partial(stage_of, arguments)
    conversion = Conversion(arguments.compression or Compression(), arguments.format)
    require(conversion.compression)
    with Ends(way_of(arguments)) as ends, opened(arguments.archive, conversion, stage) as archive:
        if not archive.is_converted and (arguments.compression or arguments.format):
            log.warning("%s: --compression and --format change nothing: its manifests are kept", archive.where)
        pushed = push(archive, reference, ends.destination, options, stage)
    print_result(_as_json(pushed) if arguments.json else _as_text(pushed))
    return 0


def _reference(text: str | None) -> ImageReference | None:
    if text is None:
        return None
    (reference,) = with_default_tags([ImageReference.parse(text)])
    return reference


def _as_text(pushed: Pushed) -> str:
    lines = [line for image in pushed.images for line in _lines(image, pushed.dry_run)]
    lines += _referrer_lines(pushed)
    if pushed.dry_run:
        lines.append(f"would upload {size_text(pushed.uploaded)}")
    return "\n".join(lines)


def _lines(image: PushedImage, dry_run: bool) -> Iterator[str]:
    for reference in image.references:
        yield name_text(reference, image.tree)
    if dry_run:
        yield from blob_lines(image.tree, image.fates)


def _referrer_lines(pushed: Pushed) -> Iterator[str]:
    """Name what is about images once in each repository, behind them all."""
    seen: set[str] = set()
    for image in pushed.images:
        for referrer in image.referrers:
            name = referrer_text(image.references[0], referrer)
            if name not in seen:
                yield name
                yield from blob_lines(referrer.tree, image.fates) if pushed.dry_run else ()
            seen.add(name)


def _as_json(pushed: Pushed) -> str:
    return json.dumps(
        {
            "images": [
                image_document(image.references, image.tree, image.fates, image.referrers) for image in pushed.images
            ],
            "dryRun": pushed.dry_run,
            "bytes": pushed.uploaded,
            "seconds": round(pushed.seconds, 3),
        }
    )


def _compression(text: str) -> Compression:
    try:
        return Compression.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
