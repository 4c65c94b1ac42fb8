"""Own the files of an archive that is a folder on disk: an OCI image layout.

The intake may enter. The folder is as hostile as any archive: links are followed only as long as they
stay inside it, and nothing but a regular file is ever opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ecrdrag.archive.file import positioned, views_of
from ecrdrag.archive.members import MAX_MEMBERS, Member, check_range, safe_name, shown
from ecrdrag.content import Extent
from ecrdrag.errors import ArchiveError

# A pipe or a link that takes the place of a file must neither hold us up nor be followed.
_OPEN_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


class FolderMembers:
    """Members of a folder, opened anew for each read; a member's place is its inode.

    Raises ArchiveError when the folder can't be entered.
    """

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        with self._disk_errors("can't be read"):
            self._root = Path(os.path.realpath(path, strict=True))

    def find(self, name: str) -> Member | None:
        """Find a file by its name, through links that stay inside; raise ArchiveError for what is no file."""
        key = safe_name(name)
        if key is None or not _is_encodable(key):
            return None
        path = self._root / key
        with self._disk_errors(f"{shown(key)} can't be read"):
            try:
                real = Path(os.path.realpath(path, strict=True))
            except (FileNotFoundError, NotADirectoryError) as error:
                if os.path.lexists(path):
                    raise self._error(f"{shown(key)} is a link to what is not in the archive") from error
                return None
            except RecursionError as error:  # some Pythons follow links so
                raise self._error(f"{shown(key)} is a link through too many links") from error
            found = real.lstat()
        if not real.is_relative_to(self._root):
            raise self._error(f"{shown(key)} is a link that leads out of the archive")
        if not stat.S_ISREG(found.st_mode):
            raise self._error(f"{shown(key)} is not a regular file")
        return Member(real.relative_to(self._root).as_posix(), found.st_size, found.st_ino)

    def names(self) -> tuple[str, ...]:
        """List the names of files and links, sorted, as the disk has no order."""
        names: list[str] = []
        folders, entries = [""], 0
        while folders:
            for name, entry in self._scan(folders.pop()):
                entries += 1
                if entries > MAX_MEMBERS:
                    raise self._error(f"has more than {MAX_MEMBERS} files and folders")
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif entry.is_symlink() or entry.is_file():
                    names.append(name)
        return tuple(sorted(names))

    def read(self, member: Member, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) of a file in order; raise ArchiveError when it is no more what was found."""
        check_range(member, start, stop)
        return self._read(member, start, stop)

    def extent(self, member: Member) -> Extent:
        """Say where a file is; who opens it by its path has to see that it is still the same."""
        return Extent(self._root / member.name, 0, member.size, f"{self.where}: {shown(member.name)}")

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _read(self, member: Member, start: int, stop: int) -> Iterator[memoryview]:
        with self._opened(member) as descriptor:
            yield from views_of(positioned(descriptor), f"{self.where}: {shown(member.name)}", start, stop)

    @contextmanager
    def _opened(self, member: Member) -> Iterator[int]:
        with self._disk_errors(f"{shown(member.name)} can't be read"):
            descriptor = os.open(self._root / member.name, _OPEN_FLAGS)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or (found.st_size, found.st_ino) != (member.size, member.place):
                raise self._error(f"{shown(member.name)} was changed while the archive was read")
            yield descriptor
        finally:
            os.close(descriptor)

    def _scan(self, folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield what a folder holds, but for names that find() takes for no names."""
        with self._disk_errors(f"{shown(folder or '.')} can't be read"), os.scandir(self._root / folder) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if safe_name(name) == name:
                    yield name, entry

    @contextmanager
    def _disk_errors(self, what: str) -> Iterator[None]:
        """Turn OSError into ArchiveError that says what could not be done."""
        try:
            yield
        except OSError as error:
            raise self._error(f"{what}: {error.strerror or error}") from error

    def _error(self, what: str) -> ArchiveError:
        return ArchiveError(f"{self.where}: {what}")


def _is_encodable(name: str) -> bool:
    """Say whether a file can have the name at all: JSON can spell half characters, no disk can."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True
