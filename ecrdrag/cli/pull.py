"""Own the command `pull`, which docker_pull.py is too: its options, and what it prints.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import re
from pathlib import Path
from typing import Final

from ecrdrag.cli.arguments import MAX_JOBS, add_aws_arguments, add_output_arguments
from ecrdrag.cli.arguments import jobs as jobs_of
from ecrdrag.cli.progress import display
from ecrdrag.cli.streams import print_result
from ecrdrag.cli.way import add_login_arguments, add_way_arguments, way_of
from ecrdrag.content import Platform
from ecrdrag.errors import UnsupportedError, UsageError
from ecrdrag.pull import Pulled, PullOptions, pull
from ecrdrag.reference import ImageReference
from ecrdrag.resolve import Wish
from ecrdrag.transfer.download import DEFAULT_JOBS, MAX_CHUNK, MIN_CHUNK

DESCRIPTION: Final = """\
Pull an image from Amazon ECR, or any other registry, into one tar that docker load, podman, containerd
and skopeo read.

REF is ecr.aws/arn:aws:ecr:REGION:ACCOUNT:repository/NAME or ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME,
then :TAG, @sha256:DIGEST or both; any partition, FIPS and dual-stack hosts too. Region and account
come out of REF; credentials and everything else the way the AWS CLI finds them. public.ecr.aws/ALIAS/NAME
needs no AWS account; HOST[:PORT]/NAME is any registry, with the login that docker has there.
"""
EPILOG: Final = """\
While it runs, the bytes lie in FILE.partial beside FILE, and FILE.partial.journal says which have landed. When a pull
ends early, whatever ends it, the same command goes on there; every byte is verified before FILE gets its name.

exit codes: 0 verified and in place, 2 usage, 3 credentials, 4 not found, 5 transfer given up,
6 integrity, 7 archive or disk, 8 unsupported kind of image, 70 a bug, 130 interrupted,
141 closed pipe
"""
_MIB: Final = 1024 * 1024
_UNITS: Final = {"": 1, "k": 1024, "m": _MIB}
_SIZE = re.compile(r"(\d{1,12})(?:([km]?)(?:i?b)?)", re.IGNORECASE)

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a pull takes."""
    add = parser.add_argument
    add("reference", metavar="REF", help="the image: ARN or registry host form")
    add("-o", "--output", metavar="FILE", help="where the tar goes (default: NAME-TAG.tar in this folder)")
    add("--platform", metavar="OS/ARCH[/VARIANT]", help="which image of an index (default: linux, this machine's)")
    jobs = f"connections for layers at most, 1 to {MAX_JOBS} (default: {DEFAULT_JOBS})"
    add("-j", "--jobs", metavar="N", type=jobs_of, default=DEFAULT_JOBS, help=jobs)
    add("--chunk-size", metavar="SIZE", type=_chunk_size, help="1MiB to 20MiB (default: by what is missing)")
    add("--force", action="store_true", help="replace FILE when it holds something else")
    add("--no-resume", action="store_true", help="start over, and leave nothing to resume (see below)")
    add_way_arguments(parser)
    add_login_arguments(parser)
    add_aws_arguments(parser)
    add_output_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Pull one image and print where it is."""
    from ecrdrag.cli.ends import Ends  # late, as all that loads boto3 or requests

    reference = ImageReference.parse(arguments.reference)
    options = PullOptions(
        wish=_wish(arguments.platform, platform.machine()),
        output=_output(arguments.output),
        jobs=arguments.jobs,
        chunk_size=arguments.chunk_size,
        force=arguments.force,
        resume=not arguments.no_resume,
    )
    if reference.tag is None and reference.digest is None:
        reference = reference.with_default_tag()
        log.warning("no tag and no digest given: taking :%s", reference.tag)
    with Ends(way_of(arguments)) as ends, display(arguments.progress, quiet=arguments.quiet) as progress:
        pulled = pull(reference, ends.source(reference), options, progress)
    if pulled.existed:
        log.warning("%s holds this image already, verified: nothing was downloaded", pulled.path)
    print_result(_as_json(pulled) if arguments.json else f"{pulled.path} {pulled.image.manifest.digest}")
    return 0


def _as_json(pulled: Pulled) -> str:
    manifest = pulled.image.manifest
    layers = [
        {"digest": str(layer.digest), "size": layer.size, "mediaType": layer.media_type} for layer in manifest.layers
    ]
    return json.dumps(
        {
            "path": str(pulled.path),
            "size": pulled.size,
            "reference": str(pulled.reference),
            "digest": str(manifest.digest),
            "mediaType": manifest.media_type,
            "platform": str(pulled.image.platform),
            "existed": pulled.existed,
            "resumed": pulled.resumed,
            "seconds": round(pulled.seconds, 3),
            "layers": layers,
        }
    )


def _wish(text: str | None, machine: str) -> Wish:
    if text is None:
        return Wish(Platform.of_machine(machine), explicit=False)
    if text == "all":
        raise UnsupportedError(
            "--platform all is not in this version", hint="pull one platform at a time: --platform linux/arm64"
        )
    try:
        return Wish(Platform.parse(text))
    except ValueError as error:
        raise UsageError(f"--platform: {error}") from None


def _output(text: str | None) -> Path | None:
    if text in ("", "-"):
        raise UsageError("-o takes the name of a file", hint="layers arrive in any order, so a pipe can't take them")
    return None if text is None else Path(text)


def _chunk_size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _UNITS[match[2].lower()] if match else 0
    if not MIN_CHUNK <= size <= MAX_CHUNK:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size from 1MiB to 20MiB")
    return size
