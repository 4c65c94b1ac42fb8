"""Own what `inspect` shows to people: a tree of what an image is made of, its config, its layers and what made them.

cli/inspect.py enters. What stands in images is nobody's friend: it is escaped, and cut where it could flood.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from typing import Final, TypeVar
from urllib.parse import urlsplit

from ecrdrag.cli.details import Field, detail_lines
from ecrdrag.cli.json_document import json_text
from ecrdrag.cli.report import size_text
from ecrdrag.cli.streams import MAX_LINE, printable
from ecrdrag.cli.table import Column, Table
from ecrdrag.cli.terminal import Screen
from ecrdrag.cli.values import Kind as Look
from ecrdrag.inspection.anatomy import Config, Facts, InspectedImage, Inspection, Kind, Layer, Part, Step
from ecrdrag.manifest import FOREIGN_LAYER_TYPES, LAYER_TYPES
from ecrdrag.tree import Referrer

_SHORT_DIGEST: Final = len("sha256:") + 12
MAX_ROWS: Final = 1_000  # of a tree; real ones have a dozen
_MAX_ITEMS: Final = 200  # of one list; real images have some dozens
_ALL: Final = "--json shows all"
_TITLE: Final = "org.opencontainers.image.title"  # OCI image spec, annotations.md
_BRANCHES: Final = ("├─ ", "└─ ", "│  ", "   ")
_ASCII_BRANCHES: Final = ("|- ", "`- ", "|  ", "   ")
_SHORT_TYPES: Final = {
    **{kind: f"tar+{compression}" if compression else "tar" for (_, compression), kind in LAYER_TYPES.items()},
    **dict.fromkeys(FOREIGN_LAYER_TYPES, "foreign"),
}
# What builders put around the line of a Dockerfile: docker before BuildKit for what runs nothing, BuildKit after all.
_NO_RUN: Final = re.compile(r"\A/bin/sh -c #\(nop\)\s*")
_BUILDKIT: Final = re.compile(r"\s*# buildkit\Z")
_MAX_HOSTS: Final = 10  # in a message
_TIMES: Final = ("interval", "timeout")
_SECOND: Final = 1e9  # nanoseconds

_Line = TypeVar("_Line")


def inspection_lines(inspection: Inspection, screen: Screen, *, is_cut: bool) -> Iterator[str]:
    """Show all images, a blank line between two."""
    shown = _Shown(screen, is_cut)
    for place, image in enumerate(inspection.images):
        yield from [""] if place else []
        yield from shown.image(image, inspection.where)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the tree: what stands before a part, and what it is called."""

    label: str
    part: Part


@dataclass(frozen=True, slots=True)
class _Made:
    """A layer and the step that made it, one of which may be missing; place counts layers from 1.

    The digest is that of its plain tar where a push makes the layer.
    """

    place: int | None
    layer: Layer | None
    step: Step | None
    digest: str | None = None


class _Shown:
    """Show to people on a screen."""

    def __init__(self, screen: Screen, is_cut: bool) -> None:
        self._screen, self._is_cut = screen, is_cut
        self._now = datetime.now(timezone.utc)
        self._branches = _BRANCHES if screen.can_show("".join(_BRANCHES)) else _ASCII_BRANCHES

    def image(self, image: InspectedImage, where: str) -> Iterator[str]:
        """Show one: what it is, what is in it, the details that are wanted, what is about it."""
        for name in (image.names or (f"(no name) in {where}",))[:_MAX_ITEMS]:
            yield self._screen.bold(self._screen.shown(_cut(name)))
        yield from self._head(image)
        if image.root.parts:
            yield ""
            yield from self._tree(image.root)
        for part in image.detailed:
            yield ""
            yield from self._details(part, is_alone=part is image.root)
        if image.root.kind in (Kind.ARTIFACT, Kind.ATTESTATION):
            yield ""
            yield from self._files(image.root.layers)
        if image.referrers:
            yield ""
            yield from self._referrers(image)

    def _head(self, image: InspectedImage) -> Iterator[str]:
        root = image.root
        yield str(root.digest or image.image_id)
        if root.about:
            yield f"about {root.about}"
        fields = [Field("Media type", root.media_type or "none, as docker's format has no manifest; a push makes one")]
        if root.artifact_type and root.kind is not Kind.IMAGE:
            fields.append(Field("Artifact type", root.artifact_type))
        if root.kind is Kind.IMAGE and root.platform:
            fields.append(Field("Platform", _platform(root)))
        count = f"{image.blobs} blob{'' if image.blobs == 1 else 's'}"
        size = count if image.total is None else f"{size_text(image.total)} in {count}"
        fields.append(Field("Size", size))
        if root.annotations:
            fields.append(Field("Annotations", _block(_pairs(root.annotations))))
        yield from self._fields(fields)

    def _tree(self, root: Part) -> Iterator[str]:
        platforms = {str(part.digest): _platform(part) for part in root.walk() if part.platform}
        rows = list(islice(self._rows(root, "", "", platforms), MAX_ROWS + 1))
        columns: list[Column[_Row]] = [
            Column("PART", lambda row: row.label),
            Column("DIGEST", lambda row: row.part.digest, Look.DIGEST),
            Column("SIZE", lambda row: row.part.total, Look.SIZE),
            Column("LAYERS", lambda row: len(row.part.layers) if row.part.config else None, Look.COUNT),
        ]
        yield from self._table(columns, rows[:MAX_ROWS])
        if len(rows) > MAX_ROWS:
            yield f"and more: {_ALL}"
        for row in rows[:MAX_ROWS]:
            if row.part.problem:
                yield self._screen.shown(_cut(f"{row.part.digest} can't be read: {row.part.problem}"))

    def _rows(self, part: Part, first: str, rest: str, platforms: Mapping[str, str]) -> Iterator[_Row]:
        yield _Row(first + _label(part, platforms), part)
        more, last, go_on, nothing = self._branches
        for place, one in enumerate(part.parts, 1):
            is_last = place == len(part.parts)
            yield from self._rows(
                one, rest + (last if is_last else more), rest + (nothing if is_last else go_on), platforms
            )

    def _details(self, part: Part, *, is_alone: bool) -> Iterator[str]:
        config = part.config
        if not is_alone:
            yield self._screen.bold(self._screen.shown(_cut(_platform(part) or "image")))
            yield str(part.digest)
        fields = _config_fields(config) if config else []
        yield from self._fields(fields)
        yield from [""] if fields else []
        yield from self._layers(part.layers, config)

    def _layers(self, layers: Sequence[Layer], config: Config | None) -> Iterator[str]:
        facts = config.facts if config else None
        steps = facts.steps or () if facts else ()
        made = list(_made(layers, steps, facts.diff_ids or () if facts else ()))
        is_converted = bool(layers) and all(layer.digest is None for layer in layers)
        columns: list[Column[_Made]] = [
            Column("#", lambda one: one.place, Look.COUNT),
            Column("SIZE", lambda one: one.layer and one.layer.size, Look.SIZE),
            Column("DIGEST OF TAR" if is_converted else "DIGEST", lambda one: one.digest, Look.DIGEST),
            Column("TYPE", _type),
            Column("MADE BY", lambda one: _made_by(one.step)),
        ]
        yield from self._table(columns, islice(made, _MAX_ITEMS))
        if len(made) > _MAX_ITEMS:
            yield f"and {len(made) - _MAX_ITEMS} more: {_ALL}"
        if steps and layers and not any(step.layer is not None for step in steps):
            yield f"the history has another number of layers than these {len(layers)}: it doesn't say what made which"
        if hosts := _hosts(layers):
            yield self._screen.shown(_cut(f"foreign layers need not be in a registry; they lie at {', '.join(hosts)}"))

    def _files(self, layers: Sequence[Layer]) -> Iterator[str]:
        columns: list[Column[tuple[int, Layer]]] = [
            Column("#", lambda row: row[0], Look.COUNT),
            Column("SIZE", lambda row: row[1].size, Look.SIZE),
            Column("DIGEST", lambda row: row[1].digest, Look.DIGEST),
            Column("TYPE", lambda row: row[1].media_type + (" (missing)" if row[1].missing else "")),
            Column("NAME", lambda row: _cut(row[1].annotations.get(_TITLE, ""))),
        ]
        yield from self._table(columns, islice(enumerate(layers, 1), _MAX_ITEMS))
        if len(layers) > _MAX_ITEMS:
            yield f"and {len(layers) - _MAX_ITEMS} more: {_ALL}"

    def _referrers(self, image: InspectedImage) -> Iterator[str]:
        known = {str(part.digest): _platform(part) or part.kind.value for part in image.root.walk()}
        columns: list[Column[Referrer]] = [
            Column(
                "REFERRER", lambda one: one.tree.root.descriptor.artifact_type or one.tree.root.media_type, Look.NAME
            ),
            Column("DIGEST", lambda one: one.tree.root.digest, Look.DIGEST),
            Column("ABOUT", lambda one: known.get(str(one.subject), str(one.subject)[:_SHORT_DIGEST])),
            Column("TAG", lambda one: one.tag and f".{one.tag.rpartition('.')[2]}"),
        ]
        yield from self._table(columns, islice(image.referrers, _MAX_ITEMS))
        if len(image.referrers) > _MAX_ITEMS:
            yield f"and {len(image.referrers) - _MAX_ITEMS} more: {_ALL}"

    def _fields(self, fields: Sequence[Field]) -> Iterator[str]:
        return detail_lines(fields, self._screen, self._now, is_cut=self._is_cut)

    def _table(self, columns: Sequence[Column[_Line]], rows: Iterable[_Line]) -> Iterator[str]:
        return Table(columns, self._screen, self._now, is_cut=self._is_cut).lines(rows)


def _label(part: Part, platforms: Mapping[str, str]) -> str:
    """Call a part what people know it by."""
    if part.kind is Kind.ATTESTATION:
        name = f"attestation of {platforms.get(part.attests, part.attests or 'nothing that is named')}"
    elif part.kind is Kind.ARTIFACT:
        name = part.artifact_type or part.media_type
    elif part.kind is Kind.INDEX:
        name = f"index {_platform(part)}".rstrip()
    else:
        name = _platform(part) or part.kind.value
    why = "missing" if part.missing else "can't be read" if part.problem else "see above" if part.is_repeated else ""
    return _cut(f"{name} ({why})" if why else name)


def _platform(part: Part) -> str:
    return f"{part.platform or ''} {part.os_version}".strip()


def _config_fields(config: Config) -> list[Field]:
    if config.facts:
        return _fields(config.facts)
    return [Field("Config", "is missing" if config.missing else _cut(f"can't be read: {config.problem}"))]


def _fields(facts: Facts) -> list[Field]:
    """Choose what is worth a line."""
    fields = {
        "Created": facts.created,
        "User": facts.user,
        "Working dir": facts.working_dir,
        "Entrypoint": _command(facts.entrypoint),
        "Cmd": _command(facts.cmd),
        "Env": _block(facts.env or ()),
        "Ports": ", ".join(facts.exposed_ports or ()),
        "Volumes": _block(facts.volumes or ()),
        "Labels": _block(_pairs(facts.labels or {})),
        "Stop signal": facts.stop_signal,
        "Healthcheck": _healthcheck(facts.healthcheck),
        "Not as usual": ", ".join(facts.odd),
    }
    blocks = ("Env", "Volumes", "Labels")
    return [Field(title, text if title in blocks else _cut(text)) for title, text in fields.items() if text]


def _command(words: Sequence[str] | None) -> str:
    return json_text(list(words)) if words else ""


def _healthcheck(told: Mapping[str, object] | None) -> str:
    if told is None:
        return ""
    numbers = {name: value for name, value in told.items() if isinstance(value, int)}
    said = [f"{name} {value / _SECOND:g} s" if name in _TIMES else f"{name} {value}" for name, value in numbers.items()]
    return ", ".join([json_text(told.get("test")), *said])


def _made(layers: Sequence[Layer], steps: Sequence[Step], diff_ids: Sequence[str]) -> Iterator[_Made]:
    """Put layers and steps into the order in which they were made; layers first where nobody knows that."""

    def made(place: int, step: Step | None) -> _Made:
        layer = layers[place]
        known = str(layer.digest) if layer.digest else diff_ids[place] if place < len(diff_ids) else None
        return _Made(place + 1, layer, step, known)

    if not any(step.layer is not None for step in steps):
        yield from (made(place, None) for place in range(len(layers)))
    for step in steps:
        yield _Made(None, None, step) if step.layer is None else made(step.layer, step)


def _type(made: _Made) -> str:
    layer = made.layer
    if layer is None:
        return "empty" if made.step and made.step.is_empty else ""
    name = _SHORT_TYPES.get(layer.media_type, layer.media_type)
    if not name and made.step and made.step.is_empty:  # before 2016 what is empty has a layer too
        name = "empty"
    return f"{name} (missing)".lstrip() if layer.missing else name


def _made_by(step: Step | None) -> str:
    """Say it as the Dockerfile did."""
    if step is None:
        return ""
    text = step.created_by or step.comment or ""
    return _cut(" ".join(_BUILDKIT.sub("", _NO_RUN.sub("", text)).split()))


def _hosts(layers: Sequence[Layer]) -> list[str]:
    """Name hosts alone: a URL may hold a signature, or be none."""
    return list(dict.fromkeys(_host(url) for layer in layers for url in layer.urls))[:_MAX_HOSTS]


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "nowhere"
    except ValueError:
        return "nowhere"


def _pairs(members: Mapping[str, str]) -> list[str]:
    return [f"{name}={text}" for name, text in members.items()]


def _block(items: Sequence[str]) -> str:
    """Put each on a line of its own, and not more lines than a person reads."""
    more = [f"and {len(items) - _MAX_ITEMS} more: {_ALL}"] if len(items) > _MAX_ITEMS else []
    return "\n".join([*map(_cut, items[:_MAX_ITEMS]), *more])


def _cut(text: str) -> str:
    """Keep to one line of sane length."""
    shown = printable(text[:MAX_LINE])
    return shown if len(text) <= MAX_LINE else f"{shown}..."
