"""Own the part of ``serve`` that offers archives: which are named, what is in them, and what is said about it.

cli/serve.py enters.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ecrdrag.archive.compress import Compression
from ecrdrag.archive.convert import Conversion
from ecrdrag.cli.archives import check_name, opened
from ecrdrag.cli.progress import display
from ecrdrag.errors import ArchiveError, UsageError
from ecrdrag.offer import offer
from ecrdrag.shelf import Shelf
from ecrdrag.transfer.progress import Progress


def add_archive_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is served: archives, or a folder."""
    parser.add_argument(
        "archives",
        metavar="ARCHIVE",
        nargs="*",
        help="offer what is in archives: files or folders of the kinds that push takes, or - for standard input. "
        "Plain tars and folders are read where they lie; docker's own format is read through once before, to check "
        "its layers. What is compressed, or comes through a pipe, is unpacked first, into a temporary file that has "
        "its full size (TMPDIR says where). What is about an image, as signatures are, is among its referrers. Nothing "
        "can be changed, and pulls over /v2/ need no login",
    )
    parser.add_argument("--data", metavar="DIR", type=Path, help="folder that keeps all, to push to and pull from")


def check_what(arguments: argparse.Namespace) -> None:
    """Refuse archives together with a folder, and neither."""
    if bool(arguments.archives) == (arguments.data is not None):
        wrong = "not both: nothing is kept of archives" if arguments.archives else "none is named"
        raise UsageError(f"serve takes archives, or a folder with --data; {wrong}")
    if arguments.archives and (arguments.verify or arguments.upstream):
        option = "--verify" if arguments.verify else "--upstream"
        raise UsageError(f"{option} goes with --data, not with archives: nothing is kept of them, and nothing added")
    for name in arguments.archives:
        check_name(name)
    if arguments.archives.count("-") > 1:
        raise UsageError("- is standard input, which can be read only once")


@contextmanager
def shelf_of(names: Sequence[str], *, quiet: bool) -> Iterator[Shelf | None]:
    """Open archives, for as long as they are served, and say what they offer; None for no archives."""

    def stage(label: str) -> AbstractContextManager[Progress]:
        return display("auto", quiet=quiet, label=label)

    plain = Conversion(Compression(None))  # docker's layers are served as they lie there
    with ExitStack() as stack:
        archives = [stack.enter_context(opened(name, plain, stage)) for name in names]
        yield offer(archives, stage) if archives else None


@contextmanager
def data_of(folder: Path | None) -> Iterator[Path]:
    """Give the folder that a user named, else one that is gone afterwards."""
    if folder is not None:
        yield folder
        return
    try:
        temporary = TemporaryDirectory(prefix="ecrdrag-serve-")
    except OSError as error:
        raise ArchiveError(f"can't make a temporary folder: {error}", hint="name one with room in TMPDIR") from error
    with temporary as name:
        yield Path(name)


def listing(shelf: Shelf, endpoint: str) -> str:
    """Say an image a line by which name it is pulled, and what its digest is."""
    host = endpoint.partition("//")[2]
    return "".join(f"{host}/{image}  {image.digest}\n" for image in shelf.images)
