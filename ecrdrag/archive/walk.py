"""Own the walk through a tar: what each member is and where its content lies, by headers that are believed in nothing.

tar.py enters.

tarfile decodes header blocks here, but it doesn't walk: in Pythons that we run on, a pax header of 128 KiB
makes it take 4 GiB, one of 1 MiB hours, and a negative size eternity (CVE-2024-6232, CVE-2025-8194).
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ecrdrag.archive.file import PositionedFile
from ecrdrag.archive.members import KINDS_HINT, MAX_JSON_SIZE, MAX_MEMBERS, MAX_NAME, safe_name, shown
from ecrdrag.archive.plan import BLOCK
from ecrdrag.errors import ArchiveError

_MAX_EXTENSION: Final = 1024 * 1024  # one long name, or one set of pax records
_MAX_EXTENSIONS: Final = 64 * 1024 * 1024  # all of them

# POSIX pax: "length key=value\n", where length counts the whole record.
_PAX_LENGTH: Final = re.compile(rb"([0-9]{1,7}) ")
_PAX_SIZE: Final = re.compile(r"[0-9]{1,20}")
_PAX_SPARSE: Final = "GNU.sparse."
_PAX_KEYS: Final = ("path", "linkpath", "size")
_PAX: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG: Final = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
# GNU tar: offsets of the byte that says whether a block with more of the map of a sparse file follows.
_SPARSE_MORE, _SPARSE_STILL_MORE = 482, 504


class Kind(Enum):
    """What a member is, in words for a message."""

    FILE = "a regular file"
    SYMLINK = "a symbolic link"
    HARDLINK = "a hard link"
    SPARSE = "a sparse file"
    FOLDER = "a folder"
    OTHER = "a device, a pipe or another special file"


# As tarfile and Go's archive/tar: no content follows these, whatever their size says.
_WITHOUT_CONTENT: Final = {
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.DIRTYPE: Kind.FOLDER,
    tarfile.CHRTYPE: Kind.OTHER,
    tarfile.BLKTYPE: Kind.OTHER,
    tarfile.FIFOTYPE: Kind.OTHER,
}
_WITH_CONTENT: Final = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.GNUTYPE_SPARSE: Kind.SPARSE,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One member: size bytes of content from offset on."""

    kind: Kind
    offset: int
    size: int
    target: str  # of a link, as the archive has it


class Walk:
    """Go through a tar once, header by header, never backwards."""

    def __init__(self, file: PositionedFile, size: int, where: str) -> None:
        self._file = file
        self._size = size
        self._where = where
        self._position = 0
        self._members = 0
        self._extensions = 0  # bytes that extensions have taken
        self._records: dict[str, str] | None = None  # what extensions say of the next member, if there are any
        self._index: dict[str, Entry] = {}

    def index(self) -> dict[str, Entry]:
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
        entry = Entry(kind, self._position, size, records.get("linkpath") or header.linkname)
        if len(entry.target) > MAX_NAME:
            raise self._error(f"the target of link {shown(name)} has {len(entry.target)} characters")
        self._position += _padded(size)
        self._keep(name, entry)

    def _keep(self, name: str, entry: Entry) -> None:
        if entry.kind is Kind.FOLDER and (name == "" or self._is_folder(name)):
            return
        if name == "":
            raise self._error(f"a member before byte {self._position} is no folder, and has no name")
        if name in self._index:
            if self._is_same(self._index[name], entry):
                return
            raise self._error(f"member {shown(name)} is there twice")
        self._index[name] = entry

    def _is_same(self, one: Entry, other: Entry) -> bool:
        """Know a small file that comes again: crane writes a config once for each name of its image."""
        if (one.kind, other.kind, one.size) != (Kind.FILE, Kind.FILE, other.size) or one.size > MAX_JSON_SIZE:
            return False
        return self._read(one.offset, one.size) == self._read(other.offset, other.size)

    def _is_folder(self, name: str) -> bool:
        return name in self._index and self._index[name].kind is Kind.FOLDER

    def _kind(self, header: tarfile.TarInfo, name: str, records: dict[str, str]) -> Kind:
        kind = _WITHOUT_CONTENT.get(header.type) or _WITH_CONTENT.get(header.type, Kind.OTHER)
        if kind is Kind.FILE and name.endswith("/"):  # as before POSIX
            return Kind.FOLDER
        if kind is Kind.FILE and any(key.startswith(_PAX_SPARSE) for key in records):
            return Kind.SPARSE
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


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
