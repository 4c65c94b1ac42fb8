"""Own the reading of image configs, and of what stands for one in an image before 2016: nothing in them is believed.

The rest of this room enters. Sources: OCI image spec, config.md; moby's image spec v1.2 for Healthcheck; docker
distribution, docs/spec/manifest-v2-1.md, for v1Compatibility.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from ecrdrag.content import Platform
from ecrdrag.conversion.schema1 import EMPTY_LAYER
from ecrdrag.inspection.anatomy import Facts, Step
from ecrdrag.manifest import parse_object
from ecrdrag.schema1 import Schema1

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
# Times in a Healthcheck are nanoseconds: moby's image spec v1.2.
_HEALTH: Final = {
    "Interval": "interval",
    "Timeout": "timeout",
    "StartPeriod": "startPeriod",
    "StartInterval": "startInterval",
    "Retries": "retries",
}


def facts_of(raw: bytes, layers: int) -> Facts:
    """Read the config of an image of so many layers; raise UnsupportedError for what is no JSON object."""
    top = _Members(parse_object(raw, "image config"))
    return replace(_facts(top), steps=_steps(top, layers), odd=tuple(dict.fromkeys(top.odd)))


def facts_of_schema1(schema1: Schema1) -> Facts:
    """Read what docker knew of an image before 2016; each entry of its history has a layer."""
    entries = schema1.entries()
    top = _Members(entries[-1])
    steps = []
    for place, (entry, layer) in enumerate(zip(entries, schema1.layers, strict=True)):
        members = _Members(entry, top.odd)
        command = members.part("container_config").words("Cmd")
        steps.append(
            Step(
                created=members.text("created"),
                created_by=" ".join(command) if command else None,
                author=members.text("author"),
                comment=members.text("comment"),
                is_empty=members.flag("throwaway") or layer == EMPTY_LAYER,
                layer=place,
            )
        )
    facts = replace(_facts(top), platform=schema1.platform, diff_ids=None, steps=tuple(steps))
    return replace(facts, odd=tuple(dict.fromkeys(top.odd)))


def _facts(top: _Members) -> Facts:
    config = top.part("config")
    return Facts(
        platform=Platform(top.text("os") or "", top.text("architecture") or "", top.text("variant") or ""),
        created=top.text("created"),
        os_version=top.text("os.version"),
        env=config.texts("Env"),
        cmd=config.words("Cmd"),
        entrypoint=config.words("Entrypoint"),
        user=config.text("User"),
        working_dir=config.text("WorkingDir"),
        exposed_ports=config.names("ExposedPorts"),
        volumes=config.names("Volumes"),
        labels=config.mapping("Labels"),
        stop_signal=config.text("StopSignal"),
        healthcheck=_healthcheck(config.part("Healthcheck")) if config.has("Healthcheck") else None,
        diff_ids=top.part("rootfs").texts("diff_ids"),
    )


def _healthcheck(members: _Members) -> Mapping[str, object]:
    found: dict[str, object] = {"test": list(members.texts("Test") or ())}
    return found | {ours: number for theirs, ours in _HEALTH.items() if (number := members.number(theirs)) is not None}


def _steps(top: _Members, layers: int) -> tuple[Step, ...] | None:
    """Read the history; which layer a step made can be said where all of them add up."""
    entries = top.entries("history")
    if entries is None:
        return None
    steps = [
        Step(
            created=entry.text("created"),
            created_by=entry.text("created_by"),
            author=entry.text("author"),
            comment=entry.text("comment"),
            is_empty=entry.flag("empty_layer"),
        )
        for entry in entries
    ]
    if sum(not step.is_empty for step in steps) != layers:
        return tuple(steps)
    places = iter(range(layers))
    return tuple(step if step.is_empty else replace(step, layer=next(places)) for step in steps)


class _Members:
    """Read the members of an object; one of another type than it should be is as good as none, and noted as odd."""

    def __init__(self, members: Mapping[str, object], odd: list[str] | None = None) -> None:
        self._members = members
        self.odd: list[str] = [] if odd is None else odd

    def has(self, name: str) -> bool:
        """Say whether it is there, and not null."""
        return self._members.get(name) is not None

    def part(self, name: str) -> _Members:
        """Read an object; an empty one where there is none."""
        found = self._members.get(name)
        if found is not None and not isinstance(found, dict):
            self.odd.append(name)
        return _Members(found if isinstance(found, dict) else _NOTHING, self.odd)

    def entries(self, name: str) -> list[_Members] | None:
        """Read a list of objects."""
        found = self._members.get(name)
        if isinstance(found, list) and all(isinstance(each, dict) for each in found):
            return [_Members(each, self.odd) for each in found]
        self._note(name)
        return None

    def text(self, name: str) -> str | None:
        """Read a string; an empty one says as much as none."""
        found = self._members.get(name)
        if isinstance(found, str):
            return found or None
        self._note(name)
        return None

    def number(self, name: str) -> int | None:
        """Read a whole number."""
        found = self._members.get(name)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
        self._note(name)
        return None

    def flag(self, name: str) -> bool:
        """Read true or false; what isn't there is false."""
        found = self._members.get(name)
        if isinstance(found, bool):
            return found
        self._note(name)
        return False

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Read a list of strings."""
        found = self._members.get(name)
        if isinstance(found, list) and _are_texts(found):
            return tuple(found)
        self._note(name)
        return None

    def words(self, name: str) -> tuple[str, ...] | None:
        """Read a command, which may be one string: docker's StrSlice."""
        found = self._members.get(name)
        return (found,) if isinstance(found, str) else self.texts(name)

    def names(self, name: str) -> tuple[str, ...] | None:
        """Read the names of the members of an object, which is a set in Go."""
        found = self._members.get(name)
        if isinstance(found, dict):
            return tuple(found)
        self._note(name)
        return None

    def mapping(self, name: str) -> Mapping[str, str] | None:
        """Read an object of strings."""
        found = self._members.get(name)
        if isinstance(found, dict) and _are_texts(found.values()):
            return found
        self._note(name)
        return None

    def _note(self, name: str) -> None:
        if self.has(name):
            self.odd.append(name)


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(each, str) for each in values)
