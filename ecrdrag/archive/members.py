"""Own the protocol by which an archive's files are read: by name, from any byte, whatever holds them.

The archive room may enter. Names come from the archive and are lookup keys only: nothing is ever
written to, or read from, a path that an archive made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from ecrdrag.content import Extent
from ecrdrag.errors import ArchiveError

# skopeo and podman read no larger JSON: containers/image, internal/iolimits.
MAX_JSON_SIZE: Final = 4 * 1024 * 1024
MAX_MEMBERS: Final = 100_000  # far above what images need: a docker image has 127 layers at most
MAX_NAME: Final = 4096  # characters; Linux: PATH_MAX
_MAX_SHOWN: Final = 100  # characters of a name in a message
# What to do about a file that is none.
KINDS_HINT: Final = (
    "an archive is a tar as docker_pull.py, docker save, podman save, skopeo or crane writes it, plain or compressed "
    "with gzip, bzip2, xz or zstd; or an OCI image layout, in a tar or a folder"
)


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file of an archive; size in bytes. place is the container's own business."""

    name: str
    size: int
    place: int = 0


class Members(Protocol):
    """The files of one archive; safe from many threads."""

    @property
    def where(self) -> str:
        """What users call the archive."""
        ...

    def find(self, name: str) -> Member | None:
        """Find a file by its name, through links that stay inside the archive; None when there is none.

        Raises ArchiveError when what has the name is no regular file, or a link that leads out of
        the archive or nowhere.
        """
        ...

    def names(self) -> tuple[str, ...]:
        """List the names of files and links, in the order of the archive."""
        ...

    def read(self, member: Member, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) of a file in order; a view is valid until the next one is asked for.

        Raises ArchiveError when the file can't be read or ends early.
        """
        ...

    def extent(self, member: Member) -> Extent:
        """Say where a file's bytes lie on disk, for as long as the archive is open."""
        ...

    def close(self) -> None:
        """Give back what is open; no read may be in progress."""
        ...


def content_of(members: Members, member: Member) -> bytes:
    """Read a small file whole; raise ArchiveError when it is too large for the JSON that it should be."""
    if member.size > MAX_JSON_SIZE:
        raise ArchiveError(
            f"{members.where}: {member.name} has {member.size} bytes, over the limit of {MAX_JSON_SIZE} for JSON"
        )
    return b"".join([bytes(view) for view in members.read(member, 0, member.size)])  # views share one buffer


def safe_name(name: str) -> str | None:
    """Normalise ``./a//b/`` to ``a/b``; None when it isn't the name of something inside an archive."""
    if name.startswith("/") or "\\" in name or "\0" in name or len(name) > MAX_NAME:
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if ".." in parts else "/".join(parts)


def shown(name: str) -> str:
    """Quote a name for a message, printable and of sane length."""
    return f"{name[:_MAX_SHOWN]!r}{'...' if len(name) > _MAX_SHOWN else ''}"


def check_range(member: Member, start: int, stop: int) -> None:
    """Raise ValueError for bytes that a file doesn't have."""
    if not 0 <= start <= stop <= member.size:
        raise ValueError(f"[{start}, {stop}) is not inside the {member.size} bytes of {shown(member.name)}")
