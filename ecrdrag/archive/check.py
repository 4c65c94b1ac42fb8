"""Own the question whether a file on disk is already the archive of a plan.

The stories may enter.
"""

from __future__ import annotations

import os
from pathlib import Path

from ecrdrag.archive.file import PositionedFile, positioned
from ecrdrag.archive.plan import ArchivePlan
from ecrdrag.content import Descriptor, Verifier
from ecrdrag.errors import ArchiveError, IntegrityError

_BUFFER_SIZE = 1024 * 1024


def is_there(path: Path) -> bool:
    """Say whether something has that name; raise ArchiveError when that can't be known."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ArchiveError(f"can't read {path}: {error.strerror or error}") from error
    return True


def difference(path: Path, plan: ArchivePlan) -> str:
    """Say in words how the file differs from the plan, after hashing every blob; "" if it doesn't.

    Raises ArchiveError when the file can't be read.
    """
    try:
        if not path.is_file():
            return "is not a regular file"
        if path.stat().st_size != plan.total_size:
            return "holds another image or no image"
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            return _content_difference(positioned(descriptor), plan)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ArchiveError(f"can't read {path}: {error.strerror or error}") from error


def _content_difference(file: PositionedFile, plan: ArchivePlan) -> str:
    buffer = memoryview(bytearray(_BUFFER_SIZE))
    for offset, piece in plan.known_pieces():
        if _read(file, offset, len(piece)) != piece:
            return "holds another image or no image"
    for blob, offset in plan.blobs:
        if not _is_whole(file, blob, offset, buffer):
            return f"holds this image with a damaged blob {blob.digest}"
    return ""


def _read(file: PositionedFile, offset: int, size: int) -> bytes:
    buffer = memoryview(bytearray(size))
    done = 0
    while done < size and (count := file.read_at(buffer[done:], offset + done)):
        done += count
    return bytes(buffer[:done])


def _is_whole(file: PositionedFile, blob: Descriptor, offset: int, buffer: memoryview) -> bool:
    verifier = Verifier(blob)
    while wanted := min(blob.size - verifier.size, len(buffer)):
        count = file.read_at(buffer[:wanted], offset + verifier.size)
        if count == 0:
            return False
        verifier.update(buffer[:count])
    try:
        verifier.finish()
    except IntegrityError:
        return False
    return True
