"""Own the way in for archives: a folder, a file or a pipe, compressed or not, becomes Members.

The archive room and the stories may enter. What can't be read where it is goes into a temporary file,
unpacked.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from ecrdrag.archive.decompress import SNIFFED, decompressed, sniff
from ecrdrag.archive.folder import FolderMembers
from ecrdrag.archive.members import KINDS_HINT, Members
from ecrdrag.archive.spool import Spool
from ecrdrag.archive.tar import TarMembers
from ecrdrag.errors import ArchiveError, UsageError

_STDIN: Final = "stdin"
_PIECE: Final = 1024 * 1024
_LAYOUT: Final = "oci-layout"  # OCI image spec, image-layout.md


def open_members(archive: Path | None, stdin: BinaryIO, advance: Callable[[int], None]) -> Members:
    """Open an archive, with None the one that comes from stdin; the caller closes what it gets.

    advance hears of each number of bytes of input that were taken in, while a pipe or something
    compressed is; for what is read where it is, never. Raises ArchiveError, UnsupportedError for zstd
    where no module knows it, and UsageError for a terminal.
    """
    if archive is None:
        return _members(stdin, _STDIN, advance, in_place=_is_whole_file(stdin))
    where = str(archive)
    with _reading(where):
        if archive.is_dir():
            return _layout(archive)
        file = archive.open("rb", buffering=0)
    with file:
        return _members(file, where, advance, in_place=_is_whole_file(file))


def _layout(path: Path) -> Members:
    members = FolderMembers(path)
    if members.find(_LAYOUT) is None:
        raise ArchiveError(f"{path}: is a folder without the file {_LAYOUT}", hint=KINDS_HINT)
    return members


def _members(stream: BinaryIO, where: str, advance: Callable[[int], None], *, in_place: bool) -> Members:
    if stream.isatty():
        raise UsageError(f"{where} is a terminal: pipe an archive in, or name a file")
    head = _head(stream, where)
    kind = sniff(head)
    if kind or not in_place:
        return _spooled(kind, _pieces(head, stream, where, advance), where)
    with _reading(where):
        descriptor = os.dup(stream.fileno())
    return TarMembers(descriptor, where)


def _is_whole_file(stream: BinaryIO) -> bool:
    """Say whether all of a regular file is still to be read; false for what has no descriptor."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode) and stream.tell() == 0
    except (OSError, ValueError):
        return False


def _head(stream: BinaryIO, where: str) -> bytes:
    """Read as much as shows the kind of compression; pipes give it in pieces of any size."""
    head = b""
    with _reading(where):
        while len(head) < SNIFFED and (piece := stream.read(SNIFFED - len(head))):
            head += piece
    return head


def _pieces(head: bytes, stream: BinaryIO, where: str, advance: Callable[[int], None]) -> Iterator[bytes]:
    piece = head
    while piece:
        yield piece
        advance(len(piece))
        with _reading(where):
            piece = stream.read(_PIECE)


def _spooled(kind: str, pieces: Iterable[bytes], where: str) -> Members:
    """Unpack what comes into a temporary file, and open that."""
    spool = Spool(where)
    try:
        for output in decompressed(kind, pieces, where=where):
            spool.write(output)
        with _reading(where):
            descriptor = spool.descriptor()
    finally:
        spool.close()
    return TarMembers(descriptor, where)


@contextmanager
def _reading(where: str) -> Iterator[None]:
    """Turn OSError into ArchiveError."""
    try:
        yield
    except OSError as error:
        raise ArchiveError(f"{where}: can't be read: {error.strerror or error}") from error
