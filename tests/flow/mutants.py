"""Hostile archives for the fuzz of pushes: honest ones, changed at every level from JSON to the outer compression.

test_push_fuzz.py enters. What is changed below is hashed anew above it: else every change would end at the
same check of a digest.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from hypothesis import strategies as st

from ecrdrag.content import Digest
from tests.flow.honest import BASES, PACKERS, TWO, WISHES
from tests.flow.hostile import (
    BLOCK,
    FORMS,
    KEYS,
    MEMBER_TYPES,
    NAMES,
    NUMBERS,
    RECORDS,
    TYPES,
    WORDS,
    Member,
    Mutant,
    Place,
    height,
    inside_indexes,
    members_of,
    overwritten,
    parsed,
    places_in,
    rehashed,
    with_sha512,
    written,
)
from tests.flow.traps import DEEDS, Deed
from tests.images import Blob
from tests.saved import Files

Thing = TypeVar("Thing")

_TELLING: Final = re.compile(rb'"(layers|manifests|rootfs|Layers)"')
_PADDING: Final = 5 * 1024 * 1024  # bytes of spaces: over every limit for JSON
_COPIES: Final = (1, 2, 40, 600, 2000)
_CHANGES: Final = ("removed", "replaced", "nudged", "copied", "beside", "swapped", "doubled", "referred", "described")
OPTIONS: Final = (
    ("--dry-run",),
    ("--compression", "none"),
    ("--compression", "gzip:1"),
    ("--format", "oci"),
    ("--format", "docker"),
    ("--json",),
    ("-j", "1"),
    ("-q",),
)
_SCALARS: Final = (
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.floats() | st.sampled_from(WORDS) | st.text(max_size=5)
)
_VALUES: Final = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutants(draw: st.DrawFn, level: str) -> Mutant:
    """Draw one that is changed at a level: contents, members, bytes, folder or all."""
    return _Forge(draw, level).mutant()


class _Forge:
    """Make one mutant, choice by choice; the simplest choice comes first, as hypothesis shrinks towards it."""

    def __init__(self, draw: st.DrawFn, level: str) -> None:
        self._draw = draw
        self._level = level
        self._story: list[str] = []

    def mutant(self) -> Mutant:
        """Choose an honest archive, what is done to it, and how it is pushed."""
        files, options = self._base()
        if self._level in ("contents", "all"):
            files = self._other_contents(files)
        options += self._options()
        if (self._level == "folder" or (self._level == "all" and self._chance(4))) and "oci-layout" in files:
            return Mutant(tuple(self._story), options, files=files, deeds=self._deeds(files))
        tar = self._tar(files)
        is_piped = self._chance(5)
        self._story += ["piped"] if is_piped else []
        return Mutant(tuple(self._story), options, tar, is_piped)

    def _pick(self, things: Sequence[Thing]) -> Thing:
        return self._draw(st.sampled_from(things))

    def _number(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))

    def _chance(self, of: int) -> bool:
        """Say yes once in so many times."""
        return self._pick([False] * (of - 1) + [True])

    def _some(self, things: Sequence[Thing], most: int) -> list[Thing]:
        return [self._pick(things) for _ in range(self._number(0, most))] if things else []

    def _tell(self, what: str) -> None:
        self._story.append(what)

    def _base(self) -> tuple[Files, tuple[str, ...]]:
        if self._level == "folder":
            self._tell("an index")
            return BASES["an index"], ()
        if self._chance(12):
            wish = self._pick(WISHES)
            self._tell(f"two images, --image {wish}")
            return TWO, ("--image", wish)
        name = self._pick(list(BASES))
        self._tell(name)
        return BASES[name], ()

    def _options(self) -> tuple[str, ...]:
        chosen = tuple(dict.fromkeys(self._some(OPTIONS, 2)))
        options = tuple(each for option in chosen for each in option)
        self._story += [" ".join(options)] if options else []
        return options

    def _nested(self, files: Files) -> Files:
        depth, width = self._pick([1, 2, 6, 7, 8, 12]), self._pick([1, 2, 50])
        self._tell(f"inside {depth} indexes of {width}")
        return inside_indexes(files, depth, width)

    # The contents of files.

    def _other_contents(self, files: Files) -> Files:
        if "index.json" in files and self._chance(6):
            files = self._nested(files)
        for name in self._targets(files):
            files = self._changed(files, name)
        return files

    def _targets(self, files: Files) -> list[str]:
        """Choose files to change, documents more often than others, and order them from below."""
        names = [
            *files,
            *2 * [name for name, content in files.items() if isinstance(content, bytes) and _TELLING.search(content)],
        ]
        chosen = [self._pick(names) for _ in range(self._pick([1, 1, 2, 3]))]
        return sorted(chosen, key=partial(height, files))

    def _changed(self, files: Files, name: str) -> Files:
        """Change one file, and mostly all that names its digest too."""
        content = files.get(name)
        if not isinstance(content, bytes):
            return files  # a link; or it got another name when a file below was changed
        self._tell(name if len(name) < 30 else f"...{name[-20:]}")
        if self._chance(10):
            return self._under_sha512(files, name)
        document = parsed(content)
        if isinstance(document, dict | list):
            return self._kept(files, name, self._other_json(files, document))
        return self._kept(files, name, self._damaged(content))

    def _kept(self, files: Files, name: str, content: bytes) -> Files:
        if self._chance(6):
            self._tell("not hashed anew")
            return {**files, name: content}
        return rehashed(files, name, content)

    def _under_sha512(self, files: Files, name: str) -> Files:
        """Name what a document names by another digest, as right as the first."""
        content = files[name]
        assert isinstance(content, bytes)
        digests = [f"sha256:{other[-64:]}" for other in files if other[-64:].encode() in content and len(other) >= 64]
        if not digests:
            return files
        old = self._pick(digests)
        files, new = with_sha512(files, old)
        self._tell(f"{old[-20:]} by sha512")
        return rehashed(files, name, content.replace(old.encode(), new.encode()))

    def _other_json(self, files: Files, document: object) -> bytes:
        for _ in range(self._number(1, 2)):
            if places := list(places_in(document)):
                self._change(files, *self._pick(places), places)
        return self._oddly(written(document))

    def _change(self, files: Files, holder: Any, key: Any, places: Sequence[Place]) -> None:
        value = holder[key]
        deed = self._pick(
            ["removed", "replaced", "nudged", "copied", "beside", "swapped", "doubled", "referred", "described"]
        )
        self._tell(f"{key!r} {deed}")
        if deed == "removed":
            del holder[key]
        elif deed == "nudged" and isinstance(value, int):
            holder[key] = self._pick([value + 1, value - 1, -value, 0.5, str(value), *NUMBERS])
        elif deed == "copied" and isinstance(holder, list):
            holder[key:key] = [value] * self._pick(_COPIES)
        elif deed == "beside" and isinstance(holder, dict):
            holder[self._pick(KEYS)] = self._draw(_VALUES)
        elif deed == "swapped":
            other, place = self._pick(places)
            holder[key], other[place] = deepcopy(other[place]), deepcopy(value)  # or one may come to lie in itself
        elif deed == "doubled":
            neighbour = self._pick(list(holder) if isinstance(holder, dict) else range(len(holder)))
            holder[neighbour] = deepcopy(value)
        elif deed == "referred" and isinstance(value, str):
            holder[key] = self._reference(files, value)
        elif deed == "described":
            holder[key] = self._descriptor(files)
        else:
            holder[key] = self._draw(_VALUES)

    def _reference(self, files: Files, value: str) -> str:
        """Name another file in the form in which a value names one, or a hostile word."""
        other = self._pick([*files, *NAMES])
        if not value.startswith("sha256:"):
            return other
        content = files.get(other)
        return str(Digest.of(content)) if isinstance(content, bytes) else f"sha256:{other}"

    def _descriptor(self, files: Files) -> object:
        """Describe any of the files rightly, but for its type."""
        content = self._pick([each for each in files.values() if isinstance(each, bytes)])
        return Blob(content, self._pick(TYPES)).json

    def _oddly(self, text: str) -> bytes:
        """Write a document so that readers may disagree about what it says."""
        way = self._pick([*["utf-8"] * 24, "bom", "utf-16", "twice", "more", "cut", "padded", "bytes"])
        self._story += [way] if way != "utf-8" else []
        if way == "bom":
            return text.encode("utf-8-sig")
        if way == "utf-16":
            return text.encode("utf-16")
        if way == "twice" and text.startswith("{"):
            return f"{{{json.dumps(self._pick(KEYS))}:{written(self._draw(_VALUES))},{text[1:]}".encode()
        if way == "more":
            return text.encode() + self._pick([b"{}", b"\0", b"\n", b"\xff"])
        if way == "padded":
            return text.encode() + b" " * _PADDING
        if way == "bytes":
            return self._damaged(text.encode())
        return text[: self._number(0, len(text))].encode() if way == "cut" else text.encode()

    # The tar, and what is around it.

    def _tar(self, files: Files) -> bytes:
        members = members_of(files)
        for _ in range(self._pick({"members": [1, 2, 3], "all": [0, 1, 2]}.get(self._level, [0]))):
            if members:
                self._tamper(members)
        form = self._pick(FORMS)
        tar = b"".join(replace(member, form=form).pack() for member in members) + bytes(2 * BLOCK)
        if self._level == "bytes" or (self._level == "all" and self._chance(3)):
            return self._packed(self._pick([self._damaged, self._shuffled, bytes])(tar))
        return tar

    def _tamper(self, members: list[Member]) -> None:
        place = self._number(0, len(members) - 1)
        member, other = members[place], self._pick(members)
        tampers: Mapping[str, Callable[[], list[Member]]] = {
            "removed": list,
            "twice": lambda: [member, replace(member, content=self._pick([member.content, b"{}"]))],
            "renamed": lambda: [replace(member, name=self._pick([*NAMES, f"./{member.name}", f"{member.name}/"]))],
            "moved": lambda: [other, member] if other is not member else [member],
            "linked": lambda: self._linked(member, other),
            "typed": lambda: [replace(member, type=self._pick(MEMBER_TYPES))],
            "size": lambda: [replace(member, size=self._pick([len(member.content) + 1, 512, *NUMBERS[:-1]]))],
            "records": lambda: [replace(member, records=self._pick(RECORDS))],
            "patched": lambda: [replace(member, patch=(self._number(0, 511), self._draw(st.binary(max_size=12))))],
        }
        deed = self._pick(list(tampers))
        self._tell(f"member {place} {deed}")
        if deed == "moved" and other is not member:
            members.remove(other)
            place = members.index(member)
        members[place : place + 1] = tampers[deed]()

    def _linked(self, member: Member, other: Member) -> list[Member]:
        """Make a member a link: to another, to itself, out, to nothing, through a chain, or to what it was."""
        kind = self._pick([tarfile.SYMTYPE, tarfile.LNKTYPE])
        up = "../" * member.name.count("/") if kind == tarfile.SYMTYPE else ""
        target = self._pick([f"{up}moved", f"{up}link0", f"{up}{other.name}", member.name, *NAMES, "/dev/zero"])
        self._tell(f"to {target[:30]!r}")
        length = self._pick([1, 14, 15, 16, 17, 1000])
        chain = [Member(f"link{place}", type=kind, target=f"link{place + 1}") for place in range(length)]
        moved = [replace(member, name=name) for name in ("moved", f"link{length}")]
        return [replace(member, content=b"", type=kind, target=target), *moved, *chain]

    def _shuffled(self, tar: bytes) -> bytes:
        """Swap, repeat, clear or drop a run of blocks."""
        count = len(tar) // BLOCK
        start, length, to = self._number(0, count - 1), self._number(1, 4), self._number(0, count)
        run = slice(start * BLOCK, (start + length) * BLOCK)
        before, piece, after = tar[: run.start], tar[run], tar[run.stop :]
        deed = self._pick(["dropped", "repeated", "cleared", "moved"])
        self._tell(f"blocks {start} to {start + length} {deed}")
        if deed == "moved":
            rest = before + after
            return rest[: to * BLOCK] + piece + rest[to * BLOCK :]
        return before + {"dropped": b"", "repeated": piece * 2, "cleared": bytes(len(piece))}[deed] + after

    def _damaged(self, data: bytes) -> bytes:
        """Change, cut, put in or take out some bytes."""
        deed = self._pick(["emptied", "cut", "overwritten", "put in", "taken out", "followed"])
        place = self._number(0, len(data))
        self._tell(f"{deed} at byte {place}")
        piece = self._draw(st.binary(min_size=1, max_size=20))
        if deed == "overwritten":
            return overwritten(data, place, piece)
        if deed == "put in":
            return data[:place] + piece + data[place:]
        if deed == "taken out":
            return data[:place] + data[place + len(piece) :]
        return {"emptied": b"", "cut": data[:place], "followed": data + piece * 100}[deed]

    def _packed(self, tar: bytes) -> bytes:
        kind = self._pick([*[""] * 4, *PACKERS])
        if not kind:
            return tar
        self._tell(kind)
        packed = PACKERS[kind](tar)
        if self._chance(6):
            self._tell("another stream follows")
            packed += PACKERS[self._pick(list(PACKERS))](tar)
        return self._damaged(packed) if self._chance(2) else packed

    # Folders.

    def _deeds(self, files: Files) -> tuple[tuple[str, Deed], ...]:
        names = [*files, "index.json", "oci-layout", "blobs", "blobs/sha256"]
        chosen = [(self._pick(names), self._pick(list(DEEDS))) for _ in range(self._pick([1, 2]))]
        self._story += ["a folder", *(f"{name[-20:]}: {deed}" for name, deed in chosen)]
        return tuple((name, DEEDS[deed]) for name, deed in chosen)
