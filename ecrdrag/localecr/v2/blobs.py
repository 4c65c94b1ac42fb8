"""Own blobs over /v2/: is it there, where is it, away with it.

The routes of /v2/ may enter.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from ecrdrag.localecr.api import layers
from ecrdrag.localecr.v2 import answers
from ecrdrag.localecr.v2.answers import Refused
from ecrdrag.localecr.v2.auth import Challenged
from ecrdrag.localecr.v2.visit import Visit, failure
from ecrdrag.localecr.web.exchange import Answer

_CHECK: Final = "BatchCheckLayerAvailability"


def head(visit: Visit) -> Answer:
    """Tell whether a blob is there, and its size."""
    if visit.manner.hidden_heads and visit.is_anonymous:
        raise Challenged(visit.manner.challenge.format(base=visit.base))
    output = visit.run(_CHECK, {"layerDigests": [visit.word]})
    if refused := failure(visit, _CHECK, output):
        raise refused
    (layer,) = output.structures("layers")
    if layer.text("layerAvailability") != "AVAILABLE":
        raise Refused(answers.BLOB_UNKNOWN, "blob unknown to registry")
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(layer.number("layerSize")),
        "Docker-Content-Digest": visit.word,
    }
    return Answer(HTTPStatus.OK, headers, summary="blob")


def get(visit: Visit) -> Answer:
    """Send the client to where the bytes are."""
    url = visit.run("GetDownloadUrlForLayer", {"layerDigest": visit.word}).text("downloadUrl")
    return Answer(HTTPStatus.TEMPORARY_REDIRECT, {"Location": url}, summary="blob elsewhere")


def delete(visit: Visit) -> Answer:
    """Take a blob out of the repository, where the dialect has that."""
    if not visit.manner.deletes_freely:
        raise Refused(answers.UNSUPPORTED, "The operation is unsupported.")
    with visit.calling("InitiateLayerUpload") as call:
        layers.delete_layer(call, visit.word)
    return Answer(HTTPStatus.ACCEPTED, {}, summary="blob deleted")
