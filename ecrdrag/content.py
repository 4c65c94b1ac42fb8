"""Own the words for content: digest, descriptor, platform, and the protocols bytes travel by.

Every room but errors may enter.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from ecrdrag.errors import IntegrityError

# Hex length of each registered algorithm: OCI image spec, descriptor.md, "Registered algorithms".
_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_DIGEST = re.compile(r"(?P<algorithm>[a-z0-9]+(?:[+._-][a-z0-9]+)*):(?P<hex>[0-9a-f]+)")
_PLATFORM_WORD = re.compile(r"[A-Za-z0-9_.-]+")
_NO_ANNOTATIONS: Mapping[str, str] = MappingProxyType({})

# What machines call themselves → (GOARCH, variant): containerd's platforms/database.go.
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
}
# A bare architecture stands for this variant: containerd's platforms.Normalize.
_IMPLIED_VARIANT = {"arm": "v7", "arm64": "v8", "amd64": "v1"}
# Newest first: a machine of one variant runs the older ones too.
_VARIANTS = {"arm": ("v8", "v7", "v6", "v5"), "amd64": ("v4", "v3", "v2", "v1")}


@dataclass(frozen=True, slots=True)
class Digest:
    """Name content by the hash of its bytes: ``sha256:`` and 64 lower-case hex digits."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``algorithm:hex``; raise ValueError for anything but a registered algorithm."""
        match = _DIGEST.fullmatch(text)
        if match is None:
            raise ValueError(f"a digest is sha256: and 64 lower-case hex digits, not {text[:100]!r}")
        algorithm, hexadecimal = match["algorithm"], match["hex"]
        length = _HEX_LENGTH.get(algorithm)
        if length is None:
            raise ValueError(f"digest algorithm {algorithm!r} is not one of {', '.join(_HEX_LENGTH)}")
        if len(hexadecimal) != length:
            raise ValueError(f"a {algorithm} digest has {length} hex digits, not {len(hexadecimal)}")
        return cls(algorithm, hexadecimal)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """Hash data."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, slots=True)
class Platform:
    """Say what a manifest runs on, in Go's words (GOOS, GOARCH) as the OCI image index does."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``os/arch[/variant]``; raise ValueError for anything else."""
        words = text.split("/")
        if len(words) not in (2, 3) or not all(_PLATFORM_WORD.fullmatch(word) for word in words):
            raise ValueError(f"a platform is os/arch or os/arch/variant, such as linux/arm64, not {text!r}")
        named = cls.of_machine(words[1], os=words[0].lower())
        return cls(named.os, named.architecture, words[2].lower() if len(words) == 3 else named.variant)

    @classmethod
    def of_machine(cls, machine: str, *, os: str = "linux") -> Platform:
        """Translate what ``uname -m`` prints."""
        machine = machine.lower()
        architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
        return cls(os, architecture, variant)

    def preference(self, offered: Platform) -> int | None:
        """Rank what is offered for a wish for self: 0 is best, None doesn't run."""
        if (self.os, self.architecture) != (offered.os, offered.architecture):
            return None
        wanted, found = self._full_variant(), offered._full_variant()
        if wanted == found:
            return 0
        older = _VARIANTS.get(self.architecture, ())
        if wanted in older and found in older and older.index(found) > older.index(wanted):
            return older.index(found) - older.index(wanted)
        return None

    def _full_variant(self) -> str:
        return self.variant or _IMPLIED_VARIANT.get(self.architecture, "")

    def __str__(self) -> str:
        return "/".join(word for word in (self.os, self.architecture, self.variant) if word)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Point at content: its type, digest and size in bytes (OCI image spec, descriptor.md).

    artifact_type says what a manifest that isn't an image's holds, empty for none.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=lambda: _NO_ANNOTATIONS, hash=False)
    urls: tuple[str, ...] = ()
    artifact_type: str = ""


@dataclass(frozen=True, slots=True)
class Extent:
    """Place content in a file: size bytes from offset on.

    The file is a path, or an open descriptor, which is good for as long as its owner keeps it open; name is for people.
    """

    file: Path | int
    offset: int
    size: int
    name: str


class BlobSource(Protocol):
    """Give bytes of blobs; safe from many threads."""

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) in order; a view is valid until the next one is asked for.

        Raises TransientError when another try may help, RangeIgnoredError when the far end
        can only send the whole blob, another EcrdragError when it is no use.
        """
        ...

    def expect(self, blob: Descriptor) -> None:
        """Do ahead what the first read of a blob would wait for, or nothing; raises as read does."""
        ...

    def abort(self) -> None:
        """End every read in progress, from any thread; later reads fail."""
        ...


class BlobSink(Protocol):
    """Take bytes of one blob, in any order, and remember across runs what has landed; safe from many threads.

    Offsets count from the start of the blob.
    """

    def write_at(self, view: memoryview, offset: int) -> None:
        """Write all of view."""
        ...

    def read_at(self, buffer: memoryview, offset: int) -> int:
        """Fill buffer with what was written at offset and return how many bytes came."""
        ...

    def landed(self) -> Sequence[tuple[int, int]]:
        """Give the ranges [start, stop) that an earlier run brought, in order and apart; nobody has verified them."""
        ...

    def note(self, start: int, stop: int) -> None:
        """Remember that bytes [start, stop) have been written."""
        ...

    def forget(self) -> None:
        """Believe nothing any more of what was noted: the bytes were wrong, or come again."""
        ...


@dataclass(frozen=True, slots=True)
class EncodedPart:
    """Hold bytes [start, stop) of a blob in the form in which they travel."""

    start: int
    stop: int
    body: bytes | bytearray


class Turn(Protocol):
    """One request's turn at a far end."""

    def moved(self, count: int) -> None:
        """Count what the request has moved: bytes, or 1 for a call that was answered."""
        ...


class Turns(Protocol):
    """Decide how many requests each far end gets at once; safe from many threads."""

    def turn(self, end: str) -> AbstractContextManager[Turn]:
        """Wait for a turn at end, a host or an action; it ends with the block.

        A BusyError that leaves the block says that the end wants fewer requests at once. Raises
        TransferError after abort.
        """
        ...

    def abort(self) -> None:
        """End all waits, from any thread; there are no turns any more."""
        ...


class BlobUpload(Protocol):
    """Take one blob into a registry: parts in order without a gap, then the completion.

    encode may run in another thread than the rest, and beside it; the rest is for one thread.
    """

    @property
    def part_size(self) -> int:
        """Bytes of every part but the last, at least 1."""
        ...

    def encode(self, start: int, stop: int, views: Iterable[memoryview]) -> EncodedPart:
        """Put bytes [start, stop), which views give in order, into the form in which they travel.

        A view is valid until the next one is asked for.
        """
        ...

    def send(self, part: EncodedPart) -> int:
        """Send a part and return the offset of the next byte that the registry takes.

        Raises PartOffsetError when that was another byte than part.start, UploadLostError when
        the upload has to begin again, another EcrdragError when it is no use.
        """
        ...

    def complete(self) -> None:
        """Make the bytes a blob of the registry; that it exists already is success.

        Raises UploadLostError when the upload isn't known: it may have been completed by a call
        whose answer was lost. Raises IntegrityError when the registry computed another digest.
        """
        ...


class BlobDestination(Protocol):
    """Take blobs; safe from many threads."""

    def missing(self, blobs: Iterable[Descriptor]) -> set[Digest]:
        """Say which of the blobs aren't there."""
        ...

    def begin(self, blob: Descriptor) -> BlobUpload:
        """Begin to upload a blob."""
        ...


class Verifier:
    """Hash a blob in order and compare it with its descriptor at the end; for one thread.

    outgoing says that the bytes are on their way out of here, so that wrong ones are their source's fault.
    """

    def __init__(self, blob: Descriptor, *, outgoing: bool = False) -> None:
        self._blob, self._outgoing = blob, outgoing
        self._hash = hashlib.new(blob.digest.algorithm)
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes hashed so far."""
        return self._size

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._hash.update(data)
        self._size += len(data)

    def finish(self) -> None:
        """Raise IntegrityError unless size and digest are those of the descriptor."""
        blob = self._blob
        if self._size != blob.size:
            raise IntegrityError(f"blob {blob.digest} has {self._size} bytes, its descriptor says {blob.size}")
        found = Digest(blob.digest.algorithm, self._hash.hexdigest())
        if found != blob.digest and self._outgoing:
            raise IntegrityError(
                f"blob {blob.digest} is damaged in its source: what is read there has digest {found}",
                hint="make or fetch the archive again; this blob was not completed in the registry",
            )
        if found != blob.digest:
            raise IntegrityError(
                f"blob {blob.digest} arrived with digest {found}",
                hint="the bytes were changed in the registry or on the way; they are not kept",
            )
