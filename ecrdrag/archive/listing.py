"""Own the sorting of what an OCI layout lists: its images, their parts, and what is about them.

archive/layout.py enters. What docker_pull.py found about images stands in a list of its own; other tools put it among
the images: without a name, as oras does, or by the tag that it has in a registry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from ecrdrag.archive.contents import MAX_REFERRERS, ArchivedImage, ArchivedReferrer
from ecrdrag.archive.plan import REFERRERS_FILE
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import ArchiveError, UnsupportedError
from ecrdrag.manifest import INDEX_TYPES, Document, Index
from ecrdrag.reference import fallback_tag

MAX_READ: Final = 64 * 1024 * 1024  # bytes of all documents that are read to sort; real ones have some KiB
# Full names come first: the second annotation is often the tag alone.
_NAMES: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
# The tag of what is about the digest in it: with a suffix it is cosign's (sigstore/cosign, specs/SIGNATURE_SPEC.md),
# without one it is that of a list of referrers (distribution spec, "Referrers Tag Schema").
_TAG: Final = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})(?P<suffix>\.(?:sig|att|sbom))?")
# What cosign save writes has no tags, but this annotation: sigstore/cosign, pkg/oci/layout/index.go.
_KIND: Final = "kind"
_KINDS_OF_IMAGES: Final = ("dev.cosignproject.cosign/image", "dev.cosignproject.cosign/imageIndex")
_SUFFIXES: Final = {
    "dev.cosignproject.cosign/sigs": ".sig",
    "dev.cosignproject.cosign/atts": ".att",
    "dev.cosignproject.cosign/sboms": ".sbom",
}


@dataclass(frozen=True, slots=True)
class Listing:
    """What is listed, each once, in the archive's order."""

    images: tuple[ArchivedImage, ...]
    referrers: tuple[ArchivedReferrer, ...]


@dataclass(frozen=True, slots=True)
class Gist:
    """What a document is about, and what it lists: None for nothing and for what is no index."""

    subject: Digest | None = None
    children: tuple[Digest, ...] | None = None


class Facts:
    """Remember what documents say, of an archive that messages call where; each is read once.

    read gives a document, or raises as Contents.document() does; holds says whether it is there.
    """

    def __init__(self, where: str, read: Callable[[Digest], Document], holds: Callable[[Digest], bool]) -> None:
        self.where, self.read, self.holds = where, read, holds
        self._known: dict[Digest, Gist] = {}
        self._size = 0

    def of(self, digest: Digest) -> Gist:
        """Read what a document says: nothing for one that isn't there, or of a kind that can't be read.

        Both are found out when the document is used. Raises IntegrityError for a damaged one.
        """
        if digest not in self._known:
            try:
                self._known[digest] = self._learned(digest) if self.holds(digest) else Gist()
            except UnsupportedError:
                self._known[digest] = Gist()
        return self._known[digest]

    def _learned(self, digest: Digest) -> Gist:
        document = self.read(digest)
        self._size += len(document.raw)
        if self._size > MAX_READ:
            raise ArchiveError(f"{self.where}: the manifests that it lists have more than {MAX_READ} bytes")
        children = tuple(one.digest for one in document.manifests) if isinstance(document, Index) else None
        return Gist(document.subject.digest if document.subject else None, children)


def sort(entries: Sequence[Descriptor], referrers: Sequence[Descriptor], facts: Facts) -> Listing:
    """Sort the entries of index.json; referrers are our own list. What is there alone is an image in any case.

    Raises ArchiveError for a referrer of nothing and for too many, IntegrityError for a damaged document.
    """
    noted = [_noted(entry, facts) for entry in referrers]
    sorter = _Sorter(entries, facts)
    about = [sorter.referrers(place) for place in range(len(entries))]
    images = _images([entry for entry, found in zip(entries, about, strict=True) if found is None], sorter.parts)
    known = dict.fromkeys([*(one for found in about for one in found or ()), *noted])
    if not images:
        images, known = _images(entries, sorter.parts), dict.fromkeys(noted)
    _check_count(len(known), facts.where)
    return Listing(images, tuple(known))


class _Sorter:
    """Find what is about images among entries, by what all of them say."""

    def __init__(self, entries: Sequence[Descriptor], facts: Facts) -> None:
        self._entries, self._facts = entries, facts
        self._names = _names(entries)
        self._signed = _signed(entries)
        self._count = 0
        self._members = [self._members_of(entry) for entry in entries]
        self.parts = _parts(entries, facts)

    def referrers(self, place: int) -> Sequence[ArchivedReferrer] | None:
        """Say what the entry there adds to the referrers; None for an image or a part of one."""
        entry = self._entries[place]
        if tag := _tag(entry):
            return [_tagged(entry, tag[0], tag["hex"])] if tag["suffix"] else self._members[place]
        suffix = _SUFFIXES.get(entry.annotations.get(_KIND, ""))
        if suffix and (image := self._signed.get(_name(entry))):
            return [_tagged(entry, f"{fallback_tag(image)}{suffix}", image.hex)]
        if self._names[entry.digest] or entry.digest in self.parts:
            return None
        subject = self._facts.of(entry.digest).subject
        return [ArchivedReferrer(entry.digest, subject)] if subject else None

    def _members_of(self, entry: Descriptor) -> Sequence[ArchivedReferrer] | None:
        """Give what a list of referrers lists, as far as it is there; None for what is no such list."""
        tag = _tag(entry)
        if not tag or tag["suffix"] or (children := self._facts.of(entry.digest).children) is None:
            return None
        self._count += len(children)
        _check_count(self._count, self._facts.where)
        subject = Digest("sha256", tag["hex"])
        held = [digest for digest in children if self._facts.holds(digest)]
        is_list = all(self._facts.of(digest).subject == subject for digest in held)
        return [ArchivedReferrer(digest, subject) for digest in held] if is_list else None


def _noted(entry: Descriptor, facts: Facts) -> ArchivedReferrer:
    """Read an entry of our own list: it has a tag of cosign's, or its document says what it is about."""
    name, tag = _name(entry), _tag(entry)
    if tag and tag["suffix"] and tag[0] == name:
        return _tagged(entry, name, tag["hex"])
    subject = None if name else facts.of(entry.digest).subject
    if subject is None:
        facts.read(entry.digest)  # so that the error says what is wrong with it
        raise ArchiveError(f"{facts.where}: {REFERRERS_FILE}: nothing says what {entry.digest} is about")
    return ArchivedReferrer(entry.digest, subject)


def _tagged(entry: Descriptor, tag: str, about: str) -> ArchivedReferrer:
    return ArchivedReferrer(entry.digest, Digest("sha256", about), tag)


def _images(entries: Sequence[Descriptor], parts: Set[Digest]) -> tuple[ArchivedImage, ...]:
    """Give each image once with all its names.

    What has no name and is in a listed index is a part of that one: oras lists such parts too.
    """
    names = _names(entries)
    return tuple(ArchivedImage(found, digest) for digest, found in names.items() if found or digest not in parts)


def _parts(entries: Sequence[Descriptor], facts: Facts) -> Set[Digest]:
    """Name what the listed indexes lead to themselves; nothing where that doesn't matter."""
    names = _names(entries)
    if len(names) == 1 or all(names.values()):
        return frozenset()
    listed = {entry.digest for entry in entries if entry.media_type in INDEX_TYPES}
    return {child for digest in listed for child in facts.of(digest).children or ()}


def _check_count(count: int, where: str) -> None:
    if count > MAX_REFERRERS:
        raise ArchiveError(f"{where} lists {count} referrers, more than {MAX_REFERRERS}")


def _signed(entries: Sequence[Descriptor]) -> Mapping[str, Digest]:
    """Find the image that cosign's signatures of the same name, or without one, are about, where it is the only one."""
    found: dict[str, set[Digest]] = {}
    for entry in entries:
        if entry.annotations.get(_KIND) in _KINDS_OF_IMAGES and entry.digest.algorithm == "sha256":
            found.setdefault(_name(entry), set()).add(entry.digest)
    return {name: min(digests, key=str) for name, digests in found.items() if len(digests) == 1}


def _names(entries: Sequence[Descriptor]) -> Mapping[Digest, tuple[str, ...]]:
    names: dict[Digest, dict[str, None]] = {}
    for entry in entries:
        names.setdefault(entry.digest, {}).update(dict.fromkeys([_name(entry)] if _name(entry) else []))
    return {digest: tuple(found) for digest, found in names.items()}


def _name(entry: Descriptor) -> str:
    return next((entry.annotations[key] for key in _NAMES if entry.annotations.get(key)), "")


def _tag(entry: Descriptor) -> re.Match[str] | None:
    """Read the tag of what is about something: the whole name, or what follows its last colon."""
    return _TAG.fullmatch(_name(entry).rpartition(":")[2])
