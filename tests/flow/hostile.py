"""Own what hostile archives are made of: words, JSON that no writer writes, headers of tars that lie.

tests/flow/mutants.py, which chooses among them, and test_push_fuzz.py enter.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ecrdrag import manifest as kinds
from ecrdrag.content import Digest
from ecrdrag.schema1 import SCHEMA1_TYPES
from tests.flow.traps import Deed
from tests.images import Blob
from tests.saved import Files, Link, folder_with

Place = tuple[Any, Any]
"""A list or an object of a JSON document, and the index or key of something in it."""

BLOCK: Final = tarfile.BLOCKSIZE
FORMS: Final[tuple[Literal[1, 2], ...]] = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
_CHECKSUM: Final = slice(148, 156)  # POSIX ustar: chksum
_HEIGHT: Final = 20
_HEX_DIGITS: Final = 64

NAMES: Final = (
    "a",
    "/etc/passwd",
    "../../../../etc/passwd",
    "a/../../b",
    "..",
    ".",
    "",
    "./",
    "/",
    "a\\b",
    "..\\..\\b",
    "C:\\b",
    "a\0b",
    "b" * 200,
    "c/" * 150 + "c",
    "d" * 5000,
    "é",
    "\u202e\x1b[31m",
    "\udce9\udcff",  # as Python shows bytes that are no UTF-8
    "index.json",
    "manifest.json",
    "oci-layout",
    "repositories",
    "blobs",
    "blobs/sha256",
)
TYPES: Final = (
    *kinds.MANIFEST_TYPES,
    *kinds.INDEX_TYPES,
    *SCHEMA1_TYPES,
    *kinds.FOREIGN_LAYER_TYPES[:2],
    kinds.OCI_CONFIG,
    kinds.DOCKER_CONFIG,
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.cncf.helm.config.v1+json",
    "application/octet-stream; charset=x",
)
# Texts in angle brackets are what json.dumps() can't write: see written().
WORDS: Final = (
    *TYPES,
    *NAMES,
    "\ud800",
    f"sha256:{'0' * 64}",
    f"sha256:{'0' * 63}",
    f"SHA256:{'0' * 64}",
    f"sha512:{'0' * 128}",
    f"md5:{'0' * 32}",
    f"blobs/sha256/{'0' * 64}",
    "1.0.1",
    "linux",
    "<deep 40>",
    "<deep 900>",
    "<deep 100000>",
    "<objects 950>",
    "<objects 100000>",
    "<digits 4000>",
    "<digits 5000>",
    "<1e999>",
    "<-0>",
    "<2.0>",
)
KEYS: Final = (
    *("schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "platform", "annotations"),
    *("urls", "data", "subject", "artifactType", "fsLayers", "rootfs", "diff_ids", "Config", "Layers", "RepoTags"),
    *("LayerSources", "imageLayoutVersion", "os", "architecture", "org.opencontainers.image.ref.name", "", "\ud800"),
)
NUMBERS: Final = (0, 1, 2, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**400)
# Members of all types that tarfile knows, and of some that nobody does.
MEMBER_TYPES: Final = tuple(bytes((each,)) for each in b"0\x001234567SDKLMNVXxgAZ~\xff")
# What stands before a member: pax records, honest and not.
RECORDS: Final = (
    b"",
    b"6 a=b\n",
    b"6 a=b\n" * 1000,
    b"16 path=../../b\n",
    b"11 path=/b\n",
    b"12 path=a\0b\n",
    b"12 path=\xff\xfe\n",
    b"14 path=index.json\n",
    b"19 path=index.json\n",
    b"99 path=a\n",
    b"0 path=a\n",
    b" path=a\n",
    b"99999999999 path=a\n",
    b"8 path=\n",
    b"9 size=3\n",
    b"8 size=\n",
    b"10 size=-1\n",
    b"28 size=99999999999999999999\n",
    b"11 size=1_0\n",
    b"12 size=0x10\n",
    b"20 linkpath=../../b\n",
    b"22 GNU.sparse.major=1\n",
    b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n21 GNU.sparse.name=b\n",
    b"23 GNU.sparse.size=100\n",
    b"30 mtime=1350244992.023960108\n",
    b"7 a=\0\0\n",
    b"5 =a\n",
    bytes(40),
)
_UNWRITABLE: Final = re.compile(r'"<(deep|objects|digits) (\d+)>"|"<(-?[0-9.e]+)>"')


@dataclass(frozen=True)
class Mutant:
    """An archive and how it is pushed: a tar, or files and what is done to them in a folder.

    story tells what was done to it, for whoever reads a failure.
    """

    story: tuple[str, ...]
    options: tuple[str, ...] = ()
    content: bytes = b""
    is_piped: bool = False
    files: Files = field(default_factory=dict)
    deeds: tuple[tuple[str, Deed], ...] = ()

    def __repr__(self) -> str:
        return f"<mutant: {'; '.join(self.story)}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # hypothesis would write out all of its bytes

    def write(self, path: Path, outside: Path) -> None:
        """Put it on disk; outside is a file that it must not lead to."""
        if not self.files:
            path.write_bytes(self.content)
            return
        folder_with(path, self.files)
        for name, deed in self.deeds:
            with suppress(OSError):  # an earlier deed took the place of its folder
                deed(path / name, outside)


@dataclass(frozen=True)
class Member:
    """A member of a tar; size and patch let its header lie, records are those of pax."""

    name: str
    content: bytes = b""
    type: bytes = tarfile.REGTYPE
    target: str = ""
    size: int | None = None
    records: bytes | None = None
    patch: tuple[int, bytes] | None = None
    form: Literal[1, 2] = tarfile.GNU_FORMAT

    def pack(self) -> bytes:
        """Write its headers and its content."""
        header = tarfile.TarInfo(self.name)
        header.type, header.linkname = self.type, self.target
        header.size = len(self.content) if self.size is None else self.size
        blocks = header.tobuf(self.form, "utf-8", "surrogateescape")
        if self.patch is not None:
            blocks = blocks[:-BLOCK] + summed(overwritten(blocks[-BLOCK:], *self.patch))
        before = b"" if self.records is None else Member("pax", self.records, tarfile.XHDTYPE).pack()
        return before + blocks + self.content + bytes(-len(self.content) % BLOCK)


def members_of(files: Files) -> list[Member]:
    """Make honest members."""
    return [
        Member(name, type=tarfile.SYMTYPE, target=content.target)
        if isinstance(content, Link)
        else Member(name, content)
        for name, content in files.items()
    ]


def overwritten(data: bytes, offset: int, piece: bytes) -> bytes:
    """Put a piece over what is at an offset."""
    return (data[:offset] + piece + data[offset + len(piece) :])[: len(data)]


def summed(header: bytes) -> bytes:
    """Make the checksum of a header block right."""
    blank = overwritten(header, _CHECKSUM.start, b" " * 8)
    return overwritten(blank, _CHECKSUM.start, b"%06o\0 " % sum(blank))


def height(files: Files, name: str) -> int:
    """Count the floors of files below one: those whose digests it names."""
    content = files[name]
    if isinstance(content, Link):
        return 0
    below = [
        other for other, each in files.items() if isinstance(each, bytes) and Digest.of(each).hex.encode() in content
    ]
    return 1 + max((height(files, other) for other in below), default=0)


def rehashed(files: Files, name: str, content: bytes, height: int = 0) -> Files:
    """Put other content under a name, and let all that names its digest name the new one, up to the top.

    What names itself would have no end: beyond any honest height, digests stay wrong.
    """
    before = files[name]
    assert isinstance(before, bytes)
    old, new = Digest.of(before), Digest.of(content)
    if old == new or height > _HEIGHT:
        return files
    renamed = {
        each.replace(old.hex, new.hex): content if each == name else other for each, other in files.items()
    }  # fmt: skip
    for parent, other in list(renamed.items()):
        if isinstance(other, bytes) and old.hex.encode() in other and parent in renamed:
            renamed = dict(rehashed(renamed, parent, _renaming(other, old, new, len(content)), height + 1))
    return renamed


def _renaming(parent: bytes, old: Digest, new: Digest, size: int) -> bytes:
    document = parsed(parent)
    if document is None:
        return parent.replace(old.hex.encode(), new.hex.encode())
    for holder, key in list(places_in(document)):
        if key == "digest" and holder[key] == str(old) and "size" in holder:
            holder["size"] = size
    return json.dumps(document).replace(old.hex, new.hex).encode()


def parsed(content: bytes) -> object:
    """Read JSON; None when it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def places_in(document: Any) -> Iterator[Place]:
    """List every place in a JSON document, from the top down."""
    waiting = [document]
    while waiting:
        holder = waiting.pop(0)
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            yield holder, key
            waiting.append(holder[key])


def written(document: object) -> str:
    """Write JSON, and more than that: depth, digits and numbers that texts in angle brackets stand for."""
    return _UNWRITABLE.sub(_unwritable, json.dumps(document))


def _unwritable(match: re.Match[str]) -> str:
    kind, count, number = match.groups()
    if number:
        return str(number)
    before, after = {"deep": ("[", "]"), "objects": ('{"a":', "}"), "digits": ("9", "")}[kind]
    return before * int(count) + ("1" if kind == "objects" else "") + after * int(count)


def with_sha512(files: Files, digest: str) -> tuple[Files, str]:
    """Keep a blob under its other digest too, and give that; the same digest when there is no such blob."""
    content = files.get(f"blobs/sha256/{digest[-_HEX_DIGITS:]}")
    if not isinstance(content, bytes):
        return files, digest
    other = Digest.of(content, "sha512")
    return {**files, f"blobs/sha512/{other.hex}": content}, str(other)


def inside_indexes(files: Files, depth: int, width: int) -> Files:
    """Put indexes around the first image of a layout, each with several entries for the one below."""
    top = json.loads(_bytes(files["index.json"]))
    entry, found = top["manifests"][0], dict(files)
    for _ in range(depth):
        document = {"schemaVersion": 2, "mediaType": kinds.OCI_INDEX, "manifests": [entry] * width}
        index = Blob(json.dumps(document).encode(), kinds.OCI_INDEX)
        found[f"blobs/sha256/{index.digest.hex}"], entry = index.content, index.json
    top["manifests"][0] = entry
    return {**found, "index.json": json.dumps(top).encode()}


def _bytes(content: bytes | Link) -> bytes:
    assert isinstance(content, bytes)
    return content
