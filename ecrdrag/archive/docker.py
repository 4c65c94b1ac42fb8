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
MAX_CONFIGS_SIZE: Final = 32 * 1024 * 1024  # bytes of all configs; real ones have some KiB
_HEX_NAME: Final = re.compile(r"(?:^|[/:])([0-9a-f]{64})(?:\.json)?$")


@dataclass(frozen=True, slots=True)
class DockerLayer:
    """One layer file, and the digest that the config gives its plain tar."""

    member: Member
    diff_id: Digest


@dataclass(frozen=True, slots=True)
class DockerImage:
    """One image of the archive: its config and that one's digest, which docker calls image ID; layers, bottom first."""

    digest: Digest
    config: Member
    layers: tuple[DockerLayer, ...]


@dataclass(frozen=True, slots=True)
class SavedImage:
    """One image as it lies in the archive: the bytes of its config, and the sizes of its layer files, bottom first."""

    config: bytes
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of manifest.json."""

    config: str
    names: tuple[str, ...]
    layers: tuple[str, ...]
    sources: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Config:
    """What a config file has to say: its digest, and those that it gives the plain tars."""

    digest: Digest
    diff_ids: tuple[Digest, ...]


class DockerArchive:
    """The images that manifest.json lists."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._configs: dict[Member, _Config] = {}  # by file: many entries may share one, or lead to it by links
        self._images: dict[Digest, DockerImage] = {}
        self._names: dict[Digest, dict[str, None]] = {}
        for entry in _entries(members):
            self._add(entry)

    @property
    def images(self) -> tuple[ArchivedImage, ...]:
        """List the images in the order of manifest.json, each once."""
        return tuple(ArchivedImage(tuple(names), digest) for digest, names in self._names.items())

    def image(self, digest: Digest) -> DockerImage:
        """Give the image whose config has this digest; KeyError when there is none."""
        return self._images[digest]

    def saved(self, digest: Digest) -> SavedImage:
        """Read the config of that image; no layer is read."""
        image = self._images[digest]
        return SavedImage(content_of(self._members, image.config), tuple(one.member.size for one in image.layers))

    def _add(self, entry: _Entry) -> None:
        """Take an image; entries of one config, as crane writes for several names, are one image."""
        file, config = self._config(entry.config)
        if len(config.diff_ids) != len(entry.layers):
            raise ArchiveError(
                f"{self._members.where}: {MANIFEST_FILE} names {len(entry.layers)} layers, "
                f"{entry.config} knows {len(config.diff_ids)}"
            )
        files = [self._file(path, "a layer") for path in entry.layers]
        layers = tuple(map(DockerLayer, files, config.diff_ids))
        self._images.setdefault(config.digest, DockerImage(config.digest, file, layers))
        self._names.setdefault(config.digest, {}).update(dict.fromkeys(entry.names))

    def _config(self, path: str) -> tuple[Member, _Config]:
        member = self._file(path, "the config")
        if member not in self._configs:
            if sum(one.size for one in self._configs) + member.size > MAX_CONFIGS_SIZE:
                raise ArchiveError(f"{self._members.where}: the configs have more than {MAX_CONFIGS_SIZE} bytes")
            content = content_of(self._members, member)
            diff_ids = _diff_ids(content, f"{self._members.where}: {path}")
            self._configs[member] = _Config(Digest.of(content), diff_ids)
        self._check_name(path, self._configs[member].digest)
        return member, self._configs[member]

    def _file(self, path: str, what: str) -> Member:
        member = self._members.find(path)
        if member is None:
            raise ArchiveError(f"{self._members.where}: {what} {path} is missing, which {MANIFEST_FILE} names")
        return member

    def _check_name(self, path: str, digest: Digest) -> None:
        named = _HEX_NAME.search(path)
        if named and named[1] != digest.hex:
            raise IntegrityError(f"{self._members.where}: {path} is damaged: its digest is {digest}")


def is_saved_by_docker(members: Members) -> bool:
    """Say whether an archive with an OCI layout in it was made by docker save's own store, 25 and later.

    That invents an OCI manifest of plain layers, which no registry has seen, and alone writes LayerSources
    by the digest of each plain tar (moby, daemon/internal/image/tarexport/save.go); regctl's are by the
    registry's digests.
    """
    if members.find(MANIFEST_FILE) is None:
        return False
    known: dict[Member, frozenset[str]] = {}  # each config file is read once
    return all(_has_plain_sources(members, entry, known) for entry in _entries(members))


def _has_plain_sources(members: Members, entry: _Entry, known: dict[Member, frozenset[str]]) -> bool:
    config = members.find(entry.config) if entry.sources else None
    if config is None:
        return False
    if config not in known:
        diff_ids = _diff_ids(content_of(members, config), f"{members.where}: {entry.config}")
        known[config] = frozenset(map(str, diff_ids))
    return entry.sources == known[config]


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
