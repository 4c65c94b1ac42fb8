"""Own the command `push`, which docker_push.py is too.

cli/main.py enters. Pushing comes in a later version; until then the command says so.
"""

from __future__ import annotations

import argparse
from typing import Final

from ecrdrag.errors import UnsupportedError

DESCRIPTION: Final = "Push an archive to Amazon ECR. This version can't yet: it pulls only."
EPILOG: Final = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a push will take."""
    parser.add_argument("archive", metavar="ARCHIVE", help="a tar that docker_pull.py wrote")
    parser.add_argument("reference", metavar="REF", nargs="?", help="where to push it")


def run(arguments: argparse.Namespace) -> int:
    """Refuse."""
    raise UnsupportedError(
        f"{arguments.archive} can't be pushed: this version pulls only",
        hint="docker, podman and skopeo can push an archive that docker_pull.py wrote",
    )
