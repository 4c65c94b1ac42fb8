"""Own the options that commands share, and how their values are read.

The commands may enter.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import Final

from ecrdrag.cli.progress import KINDS
from ecrdrag.reference import ImageReference

log = logging.getLogger(__name__)

MAX_JOBS: Final = 256
TAKING_LATEST: Final = "no tag and no digest given%s: taking :latest"
_SHOWN: Final = 3  # references in a message


def add_aws_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how the ECR API is reached."""
    parser.add_argument("--profile", metavar="NAME", help="AWS profile (default: AWS_PROFILE, else the default one)")
    parser.add_argument(
        "--endpoint-url", metavar="URL", help="of the ECR API (default: AWS_ENDPOINT_URL_ECR, else Amazon's)"
    )


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is printed."""
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument(
        "--progress", choices=KINDS, default="auto", help="auto: a bar on a terminal, else a line every ten seconds"
    )


def jobs(text: str) -> int:
    """Read how much happens at once."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MAX_JOBS}")
    return int(text)


def with_default_tags(references: Sequence[ImageReference]) -> list[ImageReference]:
    """Let those without tag and digest mean :latest, as docker does, and say so."""
    bare = [each for each in references if each.tag is None and each.digest is None]
    if bare:
        more = " ..." if len(bare) > _SHOWN else ""
        which = "" if len(references) == 1 else f" for {', '.join(map(str, bare[:_SHOWN]))}{more}"
        log.warning(TAKING_LATEST, which)
    return [each.with_default_tag() if each.tag is None and each.digest is None else each for each in references]
