"""Own the reading of docker's archive format: manifest.json, and the config and layer files it names.

archive/convert.py and archive/reader.py enter. Written by docker save, podman save, skopeo and crane:
moby's image spec v1.2, "Combined Image JSON + Filesystem Changeset Format". It holds no manifest as
registries have them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ecrdrag.archive.contents import MAX_IMAGES, ArchivedImage, json_of
from ecrdrag.archive.members import Member, Members, content_of
from ecrdrag.content import Digest
from ecrdrag.errors import ArchiveError, IntegrityError, UnsupportedError
from ecrdrag.manifest import parse_object

MANIFEST_FILE: Final = "manifest.json"
_HEX_NAME: Final = re.compile(r"(?:^|[/:])([0-9a-f]{64})(?:\.json)?$")


@dataclass(frozen=True, slots=True)
class DockerLayer:
    """One layer file, and the digest that the config gives its plain tar."""

    member: Member
    diff_id: Digest


@dataclass(frozen=True, slots=True)
class DockerImage:
    """One image of the archive: names, the bytes of its config, its layers, bottom first."""

    names: tuple[str, ...]
    config: bytes
    layers: tuple[DockerLayer, ...]

    @property
    def digest(self) -> Digest:
        """The config's digest, which docker calls image ID."""
        return Digest.of(self.config)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of manifest.json."""

    config: str
    names: tuple[str, ...]
    layers: tuple[str, ...]
    sources: frozenset[str]


class DockerArchive:
    """The images that manifest.json lists."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._entries = _entries(members)
        self._images = {image.digest: image for image in map(self._image, self._entries)}

    @property
    def images(self) -> tuple[ArchivedImage, ...]:
        """List the images in the order of manifest.json, each once."""
        return tuple(ArchivedImage(image.names, digest) for digest, image in self._images.items())

    def image(self, digest: Digest) -> DockerImage:
        """Give the image whose config has this digest; KeyError when there is none."""
        return self._images[digest]

    def _image(self, entry: _Entry) -> DockerImage:
        config = content_of(self._members, self._file(entry.config, "the config"))
        self._check_name(entry.config, config)
        diff_ids = _diff_ids(config, f"{self._members.where}: {entry.config}")
        if len(diff_ids) != len(entry.layers):
            raise ArchiveError(
                f"{self._members.where}: {MANIFEST_FILE} names {len(entry.layers)} layers, "
                f"{entry.config} knows {len(diff_ids)}"
            )
        files = [self._file(path, "a layer") for path in entry.layers]
        names = tuple(dict.fromkeys(self._all_names(entry.config)))
        return DockerImage(names, config, tuple(map(DockerLayer, files, diff_ids)))

    def _all_names(self, config: str) -> list[str]:
        """Join the names of entries with one config: docker and podman write one, others may write several."""
        return [name for entry in self._entries if entry.config == config for name in entry.names]

    def _file(self, path: str, what: str) -> Member:
        member = self._members.find(path)
        if member is None:
            raise ArchiveError(f"{self._members.where}: {what} {path} is missing, which {MANIFEST_FILE} names")
        return member

    def _check_name(self, path: str, config: bytes) -> None:
        named = _HEX_NAME.search(path)
        if named and named[1] != Digest.of(config).hex:
            raise IntegrityError(f"{self._members.where}: {path} is damaged: its digest is {Digest.of(config)}")


def is_saved_by_docker(members: Members) -> bool:
    """Say whether an archive with an OCI layout in it was made by docker save's own store, 25 and later.

    That invents an OCI manifest of plain layers, which no registry has seen, and alone writes LayerSources
    by the digest of each plain tar (moby, daemon/internal/image/tarexport/save.go); regctl's are by the
    registry's digests.
    """
    if members.find(MANIFEST_FILE) is None:
        return False
    return all(_has_plain_sources(members, entry) for entry in _entries(members))


def _has_plain_sources(members: Members, entry: _Entry) -> bool:
    config = members.find(entry.config) if entry.sources else None
    if config is None:
        return False
    diff_ids = _diff_ids(content_of(members, config), f"{members.where}: {entry.config}")
    return entry.sources == frozenset(map(str, diff_ids))


def _entries(members: Members) -> tuple[_Entry, ...]:
    document = json_of(members, MANIFEST_FILE)
    where = f"{members.where}: {MANIFEST_FILE}"
    if not isinstance(document, list) or not 0 < len(document) <= MAX_IMAGES:
        raise ArchiveError(f"{where} is no list of 1 to {MAX_IMAGES} images")
    return tuple(_entry(entry, where) for entry in document)


def _entry(entry: object, where: str) -> _Entry:
    if not isinstance(entry, Mapping) or not isinstance(config := entry.get("Config"), str):
        raise ArchiveError(f"{where}: an entry has no Config")
    layers = _texts(entry.get("Layers"), f"{where}: Layers")
    sources = entry.get("LayerSources")
    known = frozenset(sources) if isinstance(sources, Mapping) else frozenset()
    return _Entry(config, _texts(entry.get("RepoTags"), f"{where}: RepoTags"), layers, known)


def _texts(value: object, what: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ArchiveError(f"{what} is no list of strings")
    return tuple(value)


def _diff_ids(config: bytes, where: str) -> tuple[Digest, ...]:
    try:
        root = parse_object(config, "image config").get("rootfs")
    except UnsupportedError as error:
        raise UnsupportedError(f"{where}: {error}") from error
    found = root.get("diff_ids") if isinstance(root, Mapping) else None
    if found is None:
        raise UnsupportedError(f"{where}: the config has no rootfs.diff_ids, as before docker 1.10")
    try:
        return tuple(map(Digest.parse, _texts(found, f"{where}: rootfs.diff_ids")))
    except ValueError as error:
        raise ArchiveError(f"{where}: rootfs.diff_ids: {error}") from error
