"""Own the members of a tar: found by name, through links that stay inside, and read.

The archive room may enter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from ecrdrag.archive.file import positioned, views_of
from ecrdrag.archive.members import Member, check_range, safe_name, shown
from ecrdrag.archive.walk import Kind, Walk
from ecrdrag.content import Extent
from ecrdrag.errors import ArchiveError

_MAX_LINKS: Final = 16


class TarMembers:
    """Members of a plain tar in a seekable file; the descriptor is closed here, even when this raises.

    Raises ArchiveError when it isn't a tar, is damaged or cut short, or has members that no honest
    archive has: names that lead out of it, names that come twice, sizes beyond its end, too many.
    """

    def __init__(self, descriptor: int, where: str) -> None:
        self.where = where
        self._descriptor = descriptor
        self._file = positioned(descriptor)
        try:
            self._index = Walk(self._file, os.lseek(descriptor, 0, os.SEEK_END), where).index()
        except OSError as error:
            self.close()
            raise ArchiveError(f"{where}: can't be read: {error.strerror or error}") from error
        except BaseException:
            self.close()
            raise

    def find(self, name: str) -> Member | None:
        """Find a file by its name, through links that stay inside; raise ArchiveError for what is no file."""
        key = safe_name(name)
        if key is None or key not in self._index:
            return None
        place = self._behind_links(key)
        entry = self._index[place]
        if entry.kind is not Kind.FILE:
            raise self._refusal(key, place, f"is {entry.kind.value}, not {Kind.FILE.value}")
        return Member(place, entry.size, entry.offset)

    def names(self) -> tuple[str, ...]:
        """List the names of files and links, in the order of the archive."""
        return tuple(name for name, each in self._index.items() if each.kind not in (Kind.FOLDER, Kind.OTHER))

    def read(self, member: Member, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) of a file in order; raise ArchiveError when it ends early."""
        check_range(member, start, stop)
        return views_of(self._file, f"{self.where}: {shown(member.name)}", member.place + start, member.place + stop)

    def extent(self, member: Member) -> Extent:
        """Say where a file's bytes lie in the tar."""
        return Extent(self._descriptor, member.place, member.size, self.where)

    def close(self) -> None:
        """Close the file; no read may be in progress."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)

    def _behind_links(self, name: str) -> str:
        place = name
        for _ in range(_MAX_LINKS + 1):
            entry = self._index[place]
            if entry.kind not in (Kind.SYMLINK, Kind.HARDLINK):
                return place
            # A hard link names its file from the root of the archive, a symbolic one from its own folder.
            folder = place.rpartition("/")[0] if entry.kind is Kind.SYMLINK else ""
            target = _link_target(folder, entry.target)
            if target is None:
                raise self._refusal(name, place, f"is a link that leads out of the archive, to {shown(entry.target)}")
            if target not in self._index:
                raise self._refusal(name, place, f"is a link to {shown(entry.target)}, which is not in the archive")
            place = target
        raise self._refusal(name, name, f"is a link through more than {_MAX_LINKS} links")

    def _refusal(self, name: str, place: str, why: str) -> ArchiveError:
        through = "" if name == place else f" leads to {shown(place)}, which"
        return ArchiveError(f"{self.where}: {shown(name)}{through} {why}")


def _link_target(folder: str, target: str) -> str | None:
    """Say where a link leads that lies in folder; None for out of the archive."""
    if target.startswith("/"):
        return None
    parts: list[str] = []
    for part in f"{folder}/{target}".split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
