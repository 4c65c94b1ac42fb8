"""Own how an image before 2016 becomes one of today: a config made of its history, and a manifest of docker's schema 2.

The conversion room may enter; what layers hold is told to it, so that it reads and writes nothing. Sources: moby,
image/v1/imagev1.go and distribution/pull_v2.go, for the config; containerd, core/remotes/docker/schema1/converter.go,
for which layers are empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from ecrdrag.content import Digest
from ecrdrag.errors import UnsupportedError
from ecrdrag.manifest import DOCKER_CONFIG, DOCKER_MANIFEST, LAYER_TYPES, Manifest, parse
from ecrdrag.resolve import MAX_CONFIG_SIZE
from ecrdrag.schema1 import Schema1

# A gzip of 1024 zero bytes, which docker pushed wherever a layer was to be empty: docker distribution,
# manifest/schema1/config_builder.go. Its digest is that of its bytes, so nobody has to read them.
EMPTY_LAYER: Final = Digest("sha256", "a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4")

# Members of the top entry that are no part of a config: moby's MakeConfigFromV1Config. In any spelling, since Go takes
# RootFS for rootfs, and would believe the wrong one of both.
_LEFT_OUT: Final = frozenset({"id", "parent", "parent_id", "layer_id", "size", "throwaway", "rootfs", "history"})
# Members whose types docker holds an image to when it reads one, of the config itself and of what containers get.
_TOP_TEXTS: Final = ("architecture", "os", "variant", "os.version", "author", "comment", "container", "docker_version")
_TEXTS: Final = ("User", "WorkingDir", "Hostname", "Domainname", "Image", "StopSignal")
_LISTS: Final = ("Env", "OnBuild")
_COMMANDS: Final = ("Cmd", "Entrypoint", "Shell")
_OBJECTS: Final = ("Volumes", "ExposedPorts", "Labels")
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)  # RFC 3339, 5.6

# Go's encoding/json writes these so in every string.
_ESCAPED: Final = {ord(each): f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"}

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """Tell what reading a layer showed: the digest of its plain tar, and the size of the blob as it is stored.

    compression is what decompress.sniff calls it, empty for a plain tar. empty says that the plain tar is nothing but
    zero bytes, or nothing at all.
    """

    diff_id: Digest
    size: int
    compression: str
    empty: bool


def needed(schema1: Schema1) -> tuple[Digest, ...]:
    """Say which blobs have to be read, each once, bottom first; those that are known to be empty don't.

    Raises UnsupportedError for a history that docker could not read either.
    """
    return tuple(dict.fromkeys(step.layer for step in _steps(schema1) if not step.is_known_empty))


def modernised(schema1: Schema1, facts: Mapping[Digest, LayerFacts]) -> tuple[Manifest, bytes]:
    """Make the manifest and the bytes of its config, the same for the same image everywhere.

    facts has all that needed() named. Layers that are empty are left out, which only their history tells then.
    Raises UnsupportedError for what docker could not read either.
    """
    steps = _steps(schema1)
    kept = [step for step in steps if not _is_empty(step, facts)]
    config = _config(schema1, steps, facts)
    layers = [(step.layer, facts[step.layer]) for step in kept]
    return _manifest(config, layers), config


@dataclass(frozen=True, slots=True)
class _Step:
    """One entry of the history, with the layer that it made."""

    layer: Digest
    entry: Mapping[str, object]

    @property
    def is_known_empty(self) -> bool:
        """Whether that needs no look at the layer: pushers said so, in both docker's and containerd's eyes.

        A Size of 0, which containerd believes too and docker doesn't, is no reason not to look.
        """
        return self.layer == EMPTY_LAYER or _value(self.entry, "throwaway", bool, "true or false") is True


def _steps(schema1: Schema1) -> list[_Step]:
    return [_Step(layer, entry) for layer, entry in zip(schema1.layers, schema1.entries(), strict=True)]


def _is_empty(step: _Step, facts: Mapping[Digest, LayerFacts]) -> bool:
    return step.is_known_empty or facts[step.layer].empty


def _config(schema1: Schema1, steps: Sequence[_Step], facts: Mapping[Digest, LayerFacts]) -> bytes:
    top = {name: value for name, value in steps[-1].entry.items() if name.lower() not in _LEFT_OUT}
    _check_types(top)
    platform = schema1.platform
    diff_ids = [str(facts[step.layer].diff_id) for step in steps if not _is_empty(step, facts)]
    config = {
        **top,
        "architecture": _word("architecture", platform.architecture),
        "os": _word("os", platform.os),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [_history(step.entry, is_empty=_is_empty(step, facts)) for step in steps],
    }
    raw = _written({name: config[name] for name in sorted(config)})
    if len(raw) > MAX_CONFIG_SIZE:
        raise UnsupportedError(f"schema 1: the config would have {len(raw)} bytes, over the limit of {MAX_CONFIG_SIZE}")
    return raw


def _written(config: Mapping[str, object]) -> bytes:
    """Write JSON as Go does, so that an image has the ID here that docker's own pull of it gives."""
    try:
        text = json.dumps(config, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.translate(_ESCAPED).encode()
    except (ValueError, RecursionError) as error:
        raise UnsupportedError(f"schema 1: v1Compatibility can't be written as a config: {error}") from None


def _history(entry: Mapping[str, object], *, is_empty: bool) -> dict[str, object]:
    """Write what docker's HistoryFromConfig does; what isn't known is left out."""
    container = _value(entry, "container_config", dict, "an object") or {}
    told = {
        "created": _time(entry),
        "author": _value(entry, "author", str, "a string"),
        "created_by": " ".join(_words(container, "Cmd")),
        "comment": _value(entry, "comment", str, "a string"),
        "empty_layer": is_empty,
    }
    return {name: value for name, value in told.items() if value}


def _manifest(config: bytes, layers: Sequence[tuple[Digest, LayerFacts]]) -> Manifest:
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": DOCKER_CONFIG, "size": len(config), "digest": str(Digest.of(config))},
        "layers": [
            {"mediaType": _layer_type(digest, layer), "size": layer.size, "digest": str(digest)}
            for digest, layer in layers
        ],
    }
    manifest = parse(json.dumps(document, indent=3).encode(), DOCKER_MANIFEST)
    assert isinstance(manifest, Manifest)
    return manifest


def _layer_type(digest: Digest, layer: LayerFacts) -> str:
    if layer.compression not in ("", "gzip"):
        raise UnsupportedError(
            f"schema 1: layer {digest} is compressed with {layer.compression}, for which docker's schema 2 has no type"
        )
    return LAYER_TYPES["docker", layer.compression]


# What docker would refuse to read


def _check_types(top: Mapping[str, object]) -> None:
    """Hold the members of a config to the types that docker reads: moby, image/image.go and api/types/container."""
    for member in _TOP_TEXTS:
        _value(top, member, str, "a string")
    for member in ("config", "container_config"):
        part = _value(top, member, dict, "an object") or {}
        for name in _TEXTS:
            _value(part, name, str, "a string")
        for name in (*_LISTS, *_COMMANDS):
            _words(part, name)
        for name in _OBJECTS:
            _value(part, name, dict, "an object")
        if not all(isinstance(text, str) for text in (part.get("Labels") or {}).values()):
            raise _wrong("Labels", "an object of strings")


def _time(entry: Mapping[str, object]) -> str | None:
    found = _value(entry, "created", str, "a string")
    if found and not _TIME.fullmatch(found):
        raise UnsupportedError(f"schema 1: v1Compatibility: created is no time: {found[:40]!r}")
    return found


def _word(member: str, word: str) -> str:
    """Hold a word of a platform to what one is made of."""
    if not _WORD.fullmatch(word):
        raise UnsupportedError(f"schema 1: {member} is {word[:40]!r}, which is no word of a platform")
    return word


def _words(part: Mapping[str, object], member: str) -> list[str]:
    """Read a list of strings; a command may be one string, too: docker's StrSlice."""
    found = part.get(member)
    if isinstance(found, str) and member in _COMMANDS:
        return [found]
    words = _value(part, member, list, "a list of strings") or []
    if not all(isinstance(word, str) for word in words):
        raise _wrong(member, "a list of strings")
    return words


def _value(entry: Mapping[str, object], member: str, kind: type[_Value], words: str) -> _Value | None:
    """Read a member that may be missing or null, as Go's JSON has it."""
    found = entry.get(member)
    if found is not None and not isinstance(found, kind):
        raise _wrong(member, words)
    return found


def _wrong(member: str, words: str) -> UnsupportedError:
    return UnsupportedError(f"schema 1: v1Compatibility: {member} is not {words}")
