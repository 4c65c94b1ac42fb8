"""Own the index of a tar: where the content of each member lies, by headers that are believed in nothing.

The archive room may enter; the folder next door shares the rule for names.

tarfile decodes header blocks here, but it doesn't walk: in Pythons that we run on, a pax header of 128 KiB
makes it take 4 GiB, one of 1 MiB hours, and a negative size eternity (CVE-2024-6232, CVE-2025-8194).
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ecrdrag.archive.file import PositionedFile, positioned, views_of
from ecrdrag.archive.members import KINDS_HINT, MAX_JSON_SIZE, Member
from ecrdrag.archive.plan import BLOCK
from ecrdrag.errors import ArchiveError

MAX_MEMBERS: Final = 100_000  # far above what images need: a docker image has 127 layers at most
_MAX_EXTENSION: Final = 1024 * 1024  # one long name, or one set of pax records
_MAX_EXTENSIONS: Final = 64 * 1024 * 1024  # all of them
_MAX_NAME: Final = 4096  # Linux: PATH_MAX
_MAX_LINKS: Final = 16
_MAX_SHOWN: Final = 100  # characters of a name in a message

# POSIX pax: "length key=value\n", where length counts the whole record.
_PAX_LENGTH: Final = re.compile(rb"([0-9]{1,7}) ")
_PAX_SIZE: Final = re.compile(r"[0-9]{1,20}")
_PAX_SPARSE: Final = "GNU.sparse."
_PAX_KEYS: Final = ("path", "linkpath", "size")
_PAX: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG: Final = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
# GNU tar: offsets of the byte that says whether a block with more of the map of a sparse file follows.
_SPARSE_MORE, _SPARSE_STILL_MORE = 482, 504


class _Kind(Enum):
    FILE = "a regular file"
    SYMLINK = "a symbolic link"
    HARDLINK = "a hard link"
    SPARSE = "a sparse file"
    FOLDER = "a folder"
    OTHER = "a device, a pipe or another special file"


# As tarfile and Go's archive/tar: no content follows these, whatever their size says.
_WITHOUT_CONTENT: Final = {
    tarfile.SYMTYPE: _Kind.SYMLINK,
    tarfile.LNKTYPE: _Kind.HARDLINK,
    tarfile.DIRTYPE: _Kind.FOLDER,
    tarfile.CHRTYPE: _Kind.OTHER,
    tarfile.BLKTYPE: _Kind.OTHER,
    tarfile.FIFOTYPE: _Kind.OTHER,
}
_WITH_CONTENT: Final = {
    tarfile.REGTYPE: _Kind.FILE,
    tarfile.AREGTYPE: _Kind.FILE,
    tarfile.CONTTYPE: _Kind.FILE,
    tarfile.GNUTYPE_SPARSE: _Kind.SPARSE,
}


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: _Kind
    offset: int
    size: int
    target: str  # of a link, as the archive has it


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
            self._index = _Walk(self._file, os.lseek(descriptor, 0, os.SEEK_END), where).index()
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
        if entry.kind is not _Kind.FILE:
            raise self._refusal(key, place, f"is {entry.kind.value}, not {_Kind.FILE.value}")
        return Member(place, entry.size, entry.offset)

    def names(self) -> tuple[str, ...]:
        """List the names of files and links, in the order of the archive."""
        return tuple(name for name, each in self._index.items() if each.kind not in (_Kind.FOLDER, _Kind.OTHER))

    def read(self, member: Member, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) of a file in order; raise ArchiveError when it ends early."""
        check_range(member, start, stop)
        return views_of(self._file, f"{self.where}: {shown(member.name)}", member.place + start, member.place + stop)

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
            if entry.kind not in (_Kind.SYMLINK, _Kind.HARDLINK):
                return place
            # A hard link names its file from the root of the archive, a symbolic one from its own folder.
            folder = place.rpartition("/")[0] if entry.kind is _Kind.SYMLINK else ""
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


class _Walk:
    """Go through a tar once, header by header, never backwards."""

    def __init__(self, file: PositionedFile, size: int, where: str) -> None:
        self._file = file
        self._size = size
        self._where = where
        self._position = 0
        self._members = 0
        self._extensions = 0  # bytes that extensions have taken
        self._records: dict[str, str] | None = None  # what extensions say of the next member, if there are any
        self._index: dict[str, _Entry] = {}

    def index(self) -> dict[str, _Entry]:
        """Place every member; raise ArchiveError or OSError."""
        if self._size == 0:
            raise self._error("is empty", hint=KINDS_HINT)
        while (header := self._next_header()) is not None:
            if header.type in _PAX or header.type in _LONG:
                self._extend(header)
            else:
                self._add(header)
        if self._records is not None:
            raise self._error(f"the tar is damaged: no member follows the extended header before byte {self._position}")
        return self._index

    def _next_header(self) -> tarfile.TarInfo | None:
        start = self._position
        block = self._read(start, BLOCK)
        if not block.strip(b"\0"):
            # POSIX ustar: two zero blocks end an archive. Some writers leave out one, or both.
            if self._read(start + BLOCK, BLOCK).strip(b"\0"):
                raise self._damaged(start)
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError, OverflowError) as error:
            if start == 0:
                raise self._error("is not a tar archive", hint=KINDS_HINT) from error
            if len(block) < BLOCK:
                raise self._cut_short(f"there is half a header at byte {start}") from error
            raise self._damaged(start) from error
        self._position += BLOCK
        return header

    def _extend(self, header: tarfile.TarInfo) -> None:
        """Take what stands before a member's own header, and for that member only: long names, pax records."""
        start = self._position
        if not 0 <= header.size <= _MAX_EXTENSION:
            raise self._error(f"the extended header before byte {start} has {header.size} bytes")
        self._spend(BLOCK + _padded(header.size))
        payload = self._read(start, header.size)
        if len(payload) < header.size:
            raise self._cut_short(f"there is half an extended header at byte {start}")
        self._position += _padded(header.size)
        if header.type in _LONG:
            records = {_LONG[header.type]: _text(payload.partition(b"\0")[0])}
        else:
            records = self._pax_records(payload, start)
        if header.type != tarfile.XGLTYPE:
            self._records = {**(self._records or {}), **records}
        elif records:
            raise self._error(f"a global header at byte {start} gives all members one {shown(next(iter(records)))}")

    def _pax_records(self, payload: bytes, start: int) -> dict[str, str]:
        """Read records as strictly as Go's archive/tar does, and keep those that matter."""
        records: dict[str, str] = {}
        position = 0
        while position < len(payload):
            length = _PAX_LENGTH.match(payload, position)
            stop = position + int(length[1]) if length else 0
            record = payload[length.end() : stop] if length else b""
            key, equals, value = record.partition(b"=")
            if not equals or stop > len(payload) or not value.endswith(b"\n"):
                raise self._damaged(start)
            name = _text(key)
            if name in _PAX_KEYS or name.startswith(_PAX_SPARSE):
                records[name] = _text(value[:-1])
            position = stop
        return records

    def _add(self, header: tarfile.TarInfo) -> None:
        records, self._records = self._records or {}, None
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise self._error(f"has more than {MAX_MEMBERS} members")
        text = records.get("GNU.sparse.name") or records.get("path") or header.name
        name = safe_name(text)
        if name is None:
            raise self._error(f"the name of member {shown(text)} is unsafe: absolute, with .. or \\, or too long")
        self._skip_sparse_map(header)
        kind, size = self._kind(header, text, records), self._content_size(header, name, records)
        entry = _Entry(kind, self._position, size, records.get("linkpath") or header.linkname)
        if len(entry.target) > _MAX_NAME:
            raise self._error(f"the target of link {shown(name)} has {len(entry.target)} characters")
        self._position += _padded(size)
        self._keep(name, entry)

    def _keep(self, name: str, entry: _Entry) -> None:
        if entry.kind is _Kind.FOLDER and (name == "" or self._is_folder(name)):
            return
        if name == "":
            raise self._error(f"a member before byte {self._position} is no folder, and has no name")
        if name in self._index:
            if self._is_same(self._index[name], entry):
                return
            raise self._error(f"member {shown(name)} is there twice")
        self._index[name] = entry

    def _is_same(self, one: _Entry, other: _Entry) -> bool:
        """Know a small file that comes again: crane writes a config once for each name of its image."""
        if (one.kind, other.kind, one.size) != (_Kind.FILE, _Kind.FILE, other.size) or one.size > MAX_JSON_SIZE:
            return False
        return self._read(one.offset, one.size) == self._read(other.offset, other.size)

    def _is_folder(self, name: str) -> bool:
        return name in self._index and self._index[name].kind is _Kind.FOLDER

    def _kind(self, header: tarfile.TarInfo, name: str, records: dict[str, str]) -> _Kind:
        kind = _WITHOUT_CONTENT.get(header.type) or _WITH_CONTENT.get(header.type, _Kind.OTHER)
        if kind is _Kind.FILE and name.endswith("/"):  # as before POSIX
            return _Kind.FOLDER
        if kind is _Kind.FILE and any(key.startswith(_PAX_SPARSE) for key in records):
            return _Kind.SPARSE
        return kind

    def _content_size(self, header: tarfile.TarInfo, name: str, records: dict[str, str]) -> int:
        size = header.size
        if text := records.get("size"):
            size = int(text) if _PAX_SIZE.fullmatch(text) else -1
        if size < 0:
            raise self._error(f"the size of member {shown(name)} is no size")
        if header.type in _WITHOUT_CONTENT:
            return 0
        if self._position + size > self._size:
            raise self._cut_short(f"member {shown(name)} needs {size} bytes from byte {self._position}")
        return size

    def _skip_sparse_map(self, header: tarfile.TarInfo) -> None:
        """Pass the blocks in which GNU tar goes on with the map of a sparse file."""
        if header.type != tarfile.GNUTYPE_SPARSE:
            return
        more = self._read(self._position - BLOCK, BLOCK)[_SPARSE_MORE]
        while more:
            self._spend(BLOCK)
            block = self._read(self._position, BLOCK)
            if len(block) < BLOCK:
                raise self._cut_short(f"the map of a sparse file goes on at byte {self._position}")
            self._position += BLOCK
            more = block[_SPARSE_STILL_MORE]

    def _spend(self, size: int) -> None:
        self._extensions += size
        if self._extensions > _MAX_EXTENSIONS:
            raise self._error(f"has more than {_MAX_EXTENSIONS} bytes of extended headers")

    def _read(self, offset: int, size: int) -> bytes:
        buffer = memoryview(bytearray(size))
        done = 0
        while done < size and (count := self._file.read_at(buffer[done:], offset + done)):
            done += count
        return bytes(buffer[:done])

    def _error(self, what: str, *, hint: str = "") -> ArchiveError:
        return ArchiveError(f"{self._where}: {what}", hint=hint)

    def _damaged(self, offset: int) -> ArchiveError:
        return self._error(f"the tar is damaged: what is at byte {offset} is no header")

    def _cut_short(self, what: str) -> ArchiveError:
        return self._error(f"the tar is cut short: {what}, and the end at byte {self._size}")


def safe_name(name: str) -> str | None:
    """Normalise ``./a//b/`` to ``a/b``; None when it isn't the name of something inside an archive."""
    if name.startswith("/") or "\\" in name or "\0" in name or len(name) > _MAX_NAME:
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if ".." in parts else "/".join(parts)


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


def shown(name: str) -> str:
    """Quote a name for a message, printable and of sane length."""
    return f"{name[:_MAX_SHOWN]!r}{'...' if len(name) > _MAX_SHOWN else ''}"


def check_range(member: Member, start: int, stop: int) -> None:
    """Raise ValueError for bytes that a file doesn't have."""
    if not 0 <= start <= stop <= member.size:
        raise ValueError(f"[{start}, {stop}) is not inside the {member.size} bytes of {shown(member.name)}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
