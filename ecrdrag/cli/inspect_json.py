"""Own what `inspect --json` prints, and the lines of its --tsv.

cli/inspect.py enters. One document, whose members are always there, null where nothing is known:

    {"reference" or "archive": what was asked for, "images": [IMAGE, …]}

IMAGE     is a PART, the document that the image's digest is of, and more:
  references       its names: the reference, or those in the archive
  imageId          the config's digest, in docker's format alone, which has no manifest
  totalSize        bytes of all distinct configs and layers;  blobs  how many they are
  selected         {digest, platform, osVersion} of the image for the platform that was wanted: what follows is of it
  layers, config, history                of an artifact its own; null where there is none
  manifests        [PART, …], what an index names, in its order; [] of anything else
  referrers        [{digest, mediaType, size, artifactType, subject, tag}, …]: what an archive has, a registry if asked
PART      kind (index, image, attestation, artifact, unknown), digest, mediaType, size (of the document), artifactType,
          platform ("linux/arm64"), osVersion, annotations, subject (the digest of what it is about), attests (the
          digest of what it is an attestation of), totalSize, missing, problem (why it can't be read), repeated (an
          index that came before, with its manifests), layers, config, history, manifests
LAYER     digest, mediaType, size, annotations, urls (without their queries, which may hold signatures), missing
CONFIG    digest, mediaType, size, missing, problem; created, os, architecture, variant, osVersion, env, cmd,
          entrypoint, user, workingDir, exposedPorts, volumes, labels, stopSignal, healthcheck {test, interval, timeout,
          startPeriod, startInterval, retries; in nanoseconds}, diffIds: null but for the image that is selected, or
          for each image with --platform all; odd: the names of members that aren't of the usual type
history   [{created, createdBy, author, comment, emptyLayer, layer: the place of the layer it made, from 0}, …]

Missing says that something is known not to be there: an archive knows of all, a registry is asked about documents and
foreign layers. Times are as they stand in the config.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from ecrdrag.cli.output import Column
from ecrdrag.cli.report import referrer_document
from ecrdrag.content import Digest
from ecrdrag.inspection.anatomy import Config, InspectedImage, Inspection, Layer, Part, Step
from ecrdrag.tree import Referrer

Document = dict[str, object]


def inspection_document(inspection: Inspection) -> Document:
    """Give all of it."""
    what = "archive" if inspection.is_archive else "reference"
    return {what: inspection.where, "images": [_image(image) for image in inspection.images]}


def _image(image: InspectedImage) -> Document:
    root, chosen = image.root, image.chosen
    return {
        "references": list(image.names),
        "imageId": _text(image.image_id),
        **_description(root),
        "totalSize": image.total,
        "blobs": image.blobs,
        "selected": _selected(chosen) if chosen else None,
        **_contents(chosen or root),
        "manifests": [_part(one) for one in root.parts],
        "referrers": [_referrer(one) for one in image.referrers],
    }


def _selected(part: Part) -> Document:
    return {"digest": _text(part.digest), "platform": _text(part.platform), "osVersion": part.os_version or None}


def _part(part: Part) -> Document:
    return {
        **_description(part),
        "totalSize": part.total,
        "missing": part.missing,
        "problem": part.problem or None,
        "repeated": part.is_repeated,
        **_contents(part),
        "manifests": [_part(one) for one in part.parts],
    }


def _description(part: Part) -> Document:
    """Give what a document says of itself."""
    return {
        "kind": part.kind.value,
        "digest": _text(part.digest),
        "mediaType": part.media_type or None,
        "size": part.size,
        "artifactType": part.artifact_type or None,
        "platform": _text(part.platform),
        "osVersion": part.os_version or None,
        "annotations": dict(part.annotations),
        "subject": _text(part.about),
        "attests": part.attests or None,
    }


def _contents(part: Part) -> Document:
    """Give what a manifest has, and an index hasn't."""
    config = part.config
    return {
        "layers": None if config is None else [_layer(layer) for layer in part.layers],
        "config": None if config is None else _config(config),
        "history": _history(config) if config else None,
    }


def _layer(layer: Layer) -> Document:
    return {
        "digest": _text(layer.digest),
        "mediaType": layer.media_type or None,
        "size": layer.size,
        "annotations": dict(layer.annotations),
        "urls": [_without_query(url) for url in layer.urls],
        "missing": layer.missing,
    }


def _config(config: Config) -> Document:
    facts = config.facts
    return {
        "digest": _text(config.digest),
        "mediaType": config.media_type or None,
        "size": config.size,
        "missing": config.missing,
        "problem": config.problem or None,
        "created": facts and facts.created,
        "os": (facts and facts.platform.os) or None,
        "architecture": (facts and facts.platform.architecture) or None,
        "variant": (facts and facts.platform.variant) or None,
        "osVersion": facts and facts.os_version,
        "env": facts and facts.env,
        "cmd": facts and facts.cmd,
        "entrypoint": facts and facts.entrypoint,
        "user": facts and facts.user,
        "workingDir": facts and facts.working_dir,
        "exposedPorts": facts and facts.exposed_ports,
        "volumes": facts and facts.volumes,
        "labels": facts and facts.labels,
        "stopSignal": facts and facts.stop_signal,
        "healthcheck": facts and facts.healthcheck,
        "diffIds": facts and facts.diff_ids,
        "odd": facts and facts.odd,
    }


def _history(config: Config) -> list[Document] | None:
    if config.facts is None or config.facts.steps is None:
        return None
    return [_step(step) for step in config.facts.steps]


def _step(step: Step) -> Document:
    return {
        "created": step.created,
        "createdBy": step.created_by,
        "author": step.author,
        "comment": step.comment,
        "emptyLayer": step.is_empty,
        "layer": step.layer,
    }


def _referrer(referrer: Referrer) -> Document:
    return {**referrer_document(referrer), "size": len(referrer.tree.root.raw)}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _without_query(url: str) -> str:
    """Leave out what may hold a signature or a login."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of --tsv: a document, a config or a layer, and the digest of the document that names it."""

    kind: str
    digest: Digest | None
    size: int | None
    media_type: str
    platform: str = ""
    parent: Digest | None = None


def _columns() -> list[Column[Line]]:
    return [
        Column("KIND", lambda line: line.kind),
        Column("PLATFORM", lambda line: line.platform),
        Column("DIGEST", lambda line: line.digest),
        Column("SIZE", lambda line: line.size),
        Column("MEDIA TYPE", lambda line: line.media_type),
        Column("IN", lambda line: line.parent),
    ]


LINE_COLUMNS: Final = _columns()


def lines_of(inspection: Inspection) -> Iterator[Line]:
    """List all that images are made of, each document before what it names."""
    for image in inspection.images:
        yield from _lines(image.root, None)


def _lines(part: Part, parent: Digest | None) -> Iterator[Line]:
    platform = str(part.platform) if part.platform else ""
    yield Line(part.kind.value, part.digest, part.size, part.media_type, platform, parent)
    if part.config and part.config.digest:
        yield Line("config", part.config.digest, part.config.size, part.config.media_type, platform, part.digest)
    for layer in part.layers:
        yield Line("layer", layer.digest, layer.size, layer.media_type, platform, part.digest)
    for one in part.parts:
        yield from _lines(one, part.digest)
