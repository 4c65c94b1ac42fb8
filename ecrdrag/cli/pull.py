"""Own the command `pull`, which docker_pull.py is too: its options, and what it prints.

cli/main.py enters.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
from functools import partial
from pathlib import Path
from typing import Final

from ecrdrag.archive.contents import MAX_IMAGES
from ecrdrag.cli.arguments import MAX_JOBS, add_aws_arguments, add_output_arguments, with_default_tags
from ecrdrag.cli.arguments import jobs as jobs_of
from ecrdrag.cli.choice import add_choice_arguments, layers_of, types_of, wish_of
from ecrdrag.cli.lists import references_in
from ecrdrag.cli.progress import stage_of
from ecrdrag.cli.report import blob_document, referrer_document
from ecrdrag.cli.streams import print_result
from ecrdrag.cli.way import add_login_arguments, add_way_arguments, way_of
from ecrdrag.errors import UsageError
from ecrdrag.pull import Pulled, PulledImage, PullOptions, pull
from ecrdrag.reference import ImageReference
from ecrdrag.transfer.download import DEFAULT_JOBS, MAX_CHUNK, MIN_CHUNK

DESCRIPTION: Final = """\
Pull images from Amazon ECR, or any other registry, into one tar that docker
load, podman, containerd and skopeo read.

REF is ecr.aws/arn:aws:ecr:REGION:ACCOUNT:repository/NAME or
ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME, then :TAG, @sha256:DIGEST or both;
any partition, FIPS and dual-stack hosts too. Region and account come out of
REF; credentials and everything else the way the AWS CLI finds them.
public.ecr.aws/ALIAS/NAME needs no AWS account; HOST[:PORT]/NAME is any
registry, with the login that docker has there.
"""
EPILOG: Final = """\
While it runs, the bytes lie in FILE.partial beside FILE, and
FILE.partial.journal says which have landed. When a pull ends early, whatever
ends it, the same command goes on there; every byte is verified before FILE
gets its name.

exit codes: 0 verified and in place, 2 usage, 3 credentials, 4 not found,
5 transfer given up, 6 integrity, 7 archive or disk, 8 unsupported kind of
image, 70 a bug, 130 interrupted, 141 closed pipe; with --keep-going that of
the first REF that can't be had
"""
_MIB: Final = 1024 * 1024
_UNITS: Final = {"": 1, "k": 1024, "m": _MIB}
_SIZE = re.compile(r"(\d{1,12})(?:([km]?)(?:i?b)?)", re.IGNORECASE)

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a pull takes."""
    add = parser.add_argument
    add("references", metavar="REF", nargs="*", help="the images: ARN or registry host form")
    add("--from", metavar="FILE", dest="list", help="take more REFs from FILE, one a line, # for comments; - is stdin")
    where = "where the tar goes; several REFs need it (default for one: NAME-TAG.tar in this folder)"
    add("-o", "--output", metavar="FILE", help=where)
    add_choice_arguments(parser)
    add(
        "--index",
        choices=("original", "subset"),
        default="original",
        help="of several --platform: the index as it is, though not all of it is there, or a new one of these alone "
        "(default: original); without several it changes nothing",
    )
    add("--keep-going", action="store_true", help="leave out REFs that can't be had or converted, and pull the rest")
    jobs = f"connections for layers at most, 1 to {MAX_JOBS} (default: {DEFAULT_JOBS})"
    add("-j", "--jobs", metavar="N", type=jobs_of, default=DEFAULT_JOBS, help=jobs)
    add("--chunk-size", metavar="SIZE", type=_chunk_size, help="1MiB to 20MiB (default: by what is missing)")
    add("--force", action="store_true", help="replace FILE when it holds something else")
    add("--no-resume", action="store_true", help="start over, and leave nothing to resume")
    add_way_arguments(parser)
    add_login_arguments(parser)
    add_aws_arguments(parser)
    add_output_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Pull and print where it is, an image a line."""
    from ecrdrag.cli.ends import Ends  # late, as all that loads boto3 or requests

    types = types_of(arguments.referrers)  # first, as it may have eaten the REF behind it
    references = _references(arguments)
    options = PullOptions(
        wish=wish_of(arguments.platform),
        output=_output(arguments.output),
        jobs=arguments.jobs,
        chunk_size=arguments.chunk_size,
        force=arguments.force,
        resume=not arguments.no_resume,
        types=types,
        layers=layers_of(arguments.layers),
        subset=arguments.index == "subset",
        keep_going=arguments.keep_going,
    )
    stage = partial(stage_of, arguments)
    with Ends(way_of(arguments)) as ends:
        foreign = ends.foreign() if arguments.foreign_layers else None
        pulled = pull(references, ends.source, options, stage, foreign)
    if pulled.existed:
        these = "this image" if len(pulled.images) == 1 else "these images"
        log.warning("%s holds %s already, verified: nothing was downloaded", pulled.path, these)
    named = arguments.list is not None or len(arguments.references) > 1
    print_result(_as_json(pulled) if arguments.json else _as_text(pulled, named=named))
    return pulled.problems[0].error.exit_code if pulled.problems else 0


def _references(arguments: argparse.Namespace) -> list[ImageReference]:
    if arguments.list == "-" and arguments.password_stdin:
        raise UsageError("standard input can't be both the list and the password")
    found = [ImageReference.parse(text) for text in arguments.references]
    found += references_in(arguments.list) if arguments.list is not None else ()
    if not found:
        which = "no image is named" if arguments.list is None else f"{arguments.list} names no image"
        raise UsageError(which, hint="give a REF, or a list of them with --from FILE")
    if len(found) > MAX_IMAGES:
        raise UsageError(f"{len(found)} images are more than the {MAX_IMAGES} that one archive takes")
    return with_default_tags(found)


def _as_text(pulled: Pulled, *, named: bool) -> str:
    """Give path and digest of each image, and its reference too where several were asked for."""
    return "\n".join(
        " ".join([str(pulled.path), str(each.image.tree.root.digest), *([str(reference)] if named else [])])
        for each in pulled.images
        for reference in each.references
    )


def _as_json(pulled: Pulled) -> str:
    """Say of one image all at once; of several each, under "images"."""
    images = [
        {"reference": str(reference), **_image_document(each)}
        for each in pulled.images
        for reference in each.references
    ]
    return json.dumps(
        {
            "path": str(pulled.path),
            "size": pulled.size,
            **(images[0] if len(images) == 1 else {}),
            "images": images,
            "existed": pulled.existed,
            "resumed": pulled.resumed,
            "seconds": round(pulled.seconds, 3),
            "problems": [
                {"reference": str(one.reference), "error": str(one.error), "exitCode": one.error.exit_code}
                for one in pulled.problems
            ],
        }
    )


def _image_document(pulled: PulledImage) -> dict[str, object]:
    tree = pulled.image.tree
    layers = {layer.digest: layer for manifest in tree.manifests for layer in manifest.layers}
    without = {layer.digest for layer in pulled.left_out}
    return {
        "digest": str(tree.root.digest),
        "mediaType": tree.root.media_type,
        "platform": str(pulled.image.platform) if pulled.image.platform else None,
        "manifests": [str(document.digest) for document in tree.documents],
        "layers": [blob_document(layer) for layer in layers.values() if layer.digest not in without],
        "leftOut": [blob_document(layer) for layer in pulled.left_out],
        "referrers": [referrer_document(one) for one in pulled.referrers],
    }


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
