"""Own what an archive says is in it: images, their names, their blobs, and how a user picks one.

The readers of the archive room and the stories may enter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ecrdrag.archive.members import Members, content_of
from ecrdrag.content import Digest, Extent
from ecrdrag.errors import ArchiveError, UsageError
from ecrdrag.manifest import Document

MAX_IMAGES: Final = 1_000  # in one archive; each costs a read of its config
MAX_REFERRERS: Final = 5_000  # the same; an image may have several, one of each kind for each platform
_SHOWN: Final = 50  # images in a message
# What docker leaves out of a name that people see: distribution/reference, normalize.go.
_DOCKER_HUB: Final = ("docker.io/library/", "docker.io/", "index.docker.io/library/", "index.docker.io/")
# docker shortens a digest to 12 hex digits.
_SHORT_DIGEST: Final = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-f]{12,64})")


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One image of an archive: its names as they are written there, and its digest.

    The digest is the manifest's where the archive has one, else the config's, docker's image ID.
    """

    names: tuple[str, ...]
    digest: Digest

    def __str__(self) -> str:
        return f"{', '.join(self.names) or '(no name)'} {self.digest}"


@dataclass(frozen=True, slots=True)
class ArchivedReferrer:
    """Something of an archive that is about an image, as a signature is: digest is that of its own document.

    subject is the digest of what it is about, which need not be in the archive. It is found by its own subject,
    or by a tag, which then isn't None.
    """

    digest: Digest
    subject: Digest
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob that can be sent: read yields its bytes [start, stop) in order, in any thread."""

    digest: Digest
    extent: Extent
    read: Callable[[int, int], Iterator[memoryview]]

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.extent.size


class Contents(Protocol):
    """What one kind of archive offers; safe from many threads once prepare() has returned."""

    @property
    def images(self) -> tuple[ArchivedImage, ...]:
        """List the images in the archive's order, each once."""
        ...

    @property
    def referrers(self) -> tuple[ArchivedReferrer, ...]:
        """List what is about images, in the archive's order; none of it is among the images."""
        ...

    def size_to_prepare(self, images: Sequence[ArchivedImage]) -> int:
        """Count the bytes that prepare() will read."""
        ...

    def prepare(self, images: Sequence[ArchivedImage], advance: Callable[[int], None]) -> None:
        """Make what the images need and the archive doesn't hold; tell advance how many bytes were read."""
        ...

    def root(self, image: ArchivedImage) -> Digest:
        """Give the digest of the manifest or index that an image is."""
        ...

    def document(self, digest: Digest) -> Document:
        """Give a manifest or an index, held against its digest; raise ArchiveError when it isn't there."""
        ...

    def blob(self, digest: Digest) -> StoredBlob | None:
        """Find a blob; None when it isn't there. What it holds is not verified."""
        ...

    def close(self) -> None:
        """Give back what prepare() took."""
        ...


def choose(images: Sequence[ArchivedImage], wish: str, where: str) -> ArchivedImage | None:
    """Find the image that a user names: by a name, a digest or 12 and more hex digits of one.

    None when there is none; raises UsageError when there are several.
    """
    found = [image for image in images if _is_named(image, wish)]
    if len(found) > 1:
        raise UsageError(f"{where}: --image {wish} fits {len(found)} images", hint=listed(found))
    return found[0] if found else None


def listed(images: Sequence[ArchivedImage]) -> str:
    """Say what is there, an image a line."""
    lines = [str(image) for image in images[:_SHOWN]]
    more = [f"and {len(images) - _SHOWN} more"] if len(images) > _SHOWN else []
    return "\n".join(["the archive holds:", *lines, *more])


def json_of(members: Members, name: str) -> object:
    """Read a JSON file of the archive; raise ArchiveError when it is none or isn't there."""
    member = members.find(name)
    if member is None:
        raise ArchiveError(f"{members.where}: {name} is missing")
    try:
        return json.loads(content_of(members, member))
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{members.where}: {name} is not JSON: {error}") from error


def _is_named(image: ArchivedImage, wish: str) -> bool:
    if (short := _SHORT_DIGEST.fullmatch(wish)) and image.digest.hex.startswith(short["hex"]):
        return True
    return wish in image.names or _familiar(wish) in map(_familiar, image.names)


def _familiar(name: str) -> str:
    """Write a name as docker shows it, always with a tag."""
    for prefix in _DOCKER_HUB:
        if name.startswith(prefix):
            name = name[len(prefix) :]
            break
    return name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
