"""Own the words for what an image is made of: parts in parts, layers, configs and the steps that made them.

The rest of this room and the commands may enter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final

from ecrdrag.content import Digest, Platform
from ecrdrag.tree import Referrer

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Kind(Enum):
    """What a part is."""

    INDEX = "index"
    IMAGE = "image"
    ATTESTATION = "attestation"
    ARTIFACT = "artifact"
    UNKNOWN = "unknown"  # as its document isn't there, or can't be read


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; its digest is None where a push would make it, its size where nobody says it.

    missing says that it is known not to be there.
    """

    digest: Digest | None
    size: int | None
    media_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)
    urls: tuple[str, ...] = ()
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a history; layer is the place of the layer that it made, from 0, as far as that is known."""

    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    is_empty: bool = False
    layer: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a config says; None is for what it doesn't, odd names the members that aren't of the usual type."""

    platform: Platform
    created: str | None = None
    os_version: str | None = None
    env: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    user: str | None = None
    working_dir: str | None = None
    exposed_ports: tuple[str, ...] | None = None
    volumes: tuple[str, ...] | None = None
    labels: Mapping[str, str] | None = None
    stop_signal: str | None = None
    healthcheck: Mapping[str, object] | None = None
    diff_ids: tuple[str, ...] | None = None
    steps: tuple[Step, ...] | None = None
    odd: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """A config: facts where it was read; problem says why it couldn't be."""

    digest: Digest | None
    size: int | None
    media_type: str
    facts: Facts | None = None
    missing: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """An image, an index or an artifact, as it is alone or as the index around it has it.

    size is that of the document, total that of its config and layers, each blob once; both are None where nobody says
    them. attests is the digest of what it is an attestation of, about that of its subject. problem says why its
    document couldn't be read. An index that comes again, is_repeated, has its parts where it came first.
    """

    kind: Kind
    digest: Digest | None
    media_type: str
    size: int | None
    artifact_type: str = ""
    platform: Platform | None = None
    os_version: str = ""
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)
    about: Digest | None = None
    attests: str = ""
    total: int | None = None
    layers: tuple[Layer, ...] = ()
    config: Config | None = None
    parts: tuple[Part, ...] = ()
    missing: bool = False
    problem: str = ""
    is_repeated: bool = False

    def walk(self) -> Iterator[Part]:
        """Give it and all in it, each before its parts."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """One image: its names, all that it leads to, and the parts whose configs were wanted.

    blobs counts the distinct configs and layers, and total their bytes, where these are known. chosen is the one of
    the parts that stands for the image, as it is for the platform that was wanted. image_id is docker's, where the
    archive has no manifest.
    """

    names: tuple[str, ...]
    root: Part
    chosen: Part | None
    detailed: tuple[Part, ...]
    blobs: int
    total: int | None
    referrers: tuple[Referrer, ...] = ()
    image_id: Digest | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a reference means, or all that was wanted of an archive; where is what users call it."""

    where: str
    is_archive: bool
    images: tuple[InspectedImage, ...]
