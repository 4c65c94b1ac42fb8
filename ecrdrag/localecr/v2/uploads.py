"""Own uploads over /v2/: begun by POST, fed by PATCH, finished by PUT; bytes go to disk as they come.

The routes of /v2/ may enter. A request's body is one part, of whatever size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Final

from ecrdrag.localecr.api import layers
from ecrdrag.localecr.api.call import Call
from ecrdrag.localecr.api.mounting import mount_layer
from ecrdrag.localecr.api.refusals import Refusal
from ecrdrag.localecr.settings import MEBIBYTE
from ecrdrag.localecr.storage.records import Upload
from ecrdrag.localecr.v2 import answers
from ecrdrag.localecr.v2.answers import Refused
from ecrdrag.localecr.v2.visit import Visit
from ecrdrag.localecr.web.exchange import Answer

_BLOCK: Final = MEBIBYTE
# OCI distribution spec, "Pushing a blob in chunks"; the numbers are those of a file that a disk can hold.
_CONTENT_RANGE: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_TAKE: Final = "UploadLayerPart"


def begin(visit: Visit) -> Answer:
    """Begin an upload, or do without one: mount a blob, or take it whole."""
    visit.ensure_repository()
    if "mount" in visit.query and _mount(visit):
        return _finished(visit, visit.query["mount"])
    upload = visit.run("InitiateLayerUpload").text("uploadId")
    if "digest" in visit.query:
        return _take_whole(visit, upload)
    return Answer(HTTPStatus.ACCEPTED, {**_names(visit, upload), "Range": "0-0"}, summary="upload begun")


def append(visit: Visit) -> Answer:
    """Take the next part."""
    state = _take(visit, visit.word)
    return Answer(visit.manner.patched, _progress(visit, state), summary=f"upload at {state.received}")


def finish(visit: Visit) -> Answer:
    """Take the last part, if one comes, and make the upload a blob."""
    digest = visit.query.get("digest", "")
    if not digest:
        raise Refused(answers.DIGEST_INVALID, "the digest parameter is missing")
    if visit.request.body.length != 0:
        _take(visit, visit.word)
    return _complete(visit, visit.word, digest)


def status(visit: Visit) -> Answer:
    """Tell how far an upload has come."""
    with _calling(visit, visit.word) as call:
        state = layers.upload_state(call)
    return Answer(HTTPStatus.NO_CONTENT, _progress(visit, state), summary=f"upload at {state.received}")


def cancel(visit: Visit) -> Answer:
    """Forget an upload."""
    with _calling(visit, visit.word) as call:
        layers.cancel_upload(call)
    return Answer(HTTPStatus.NO_CONTENT, {}, summary="upload cancelled")


def _mount(visit: Visit) -> bool:
    source = visit.query.get("from", "")
    with visit.calling("InitiateLayerUpload") as call:
        return mount_layer(call, source, visit.query["mount"], freely=visit.manner.mounts_freely)


def _take_whole(visit: Visit, upload: str) -> Answer:
    try:
        _take(visit, upload)
        return _complete(visit, upload, visit.query["digest"])
    except Refused:
        with _calling(visit, upload) as call:
            layers.cancel_upload(call)
        raise


def _take(visit: Visit, upload: str) -> Upload:
    first, blocks = _part(visit)
    with _calling(visit, upload) as call:
        try:
            return layers.take_part(call, blocks, first)
        except Refusal as refusal:
            if refusal.shape != "InvalidLayerPartException":
                raise
            raise _out_of_order(visit, call, refusal) from None


def _out_of_order(visit: Visit, call: Call, refusal: Refusal) -> Refused:
    refused = visit.refused(_TAKE, refusal)
    return Refused(refused.code, refused.message, _progress(visit, layers.upload_state(call)))


def _part(visit: Visit) -> tuple[int | None, Iterator[bytes]]:
    """Return where the body says that it belongs, None when it says nothing, and its bytes, as many as it says."""
    body = visit.request.body
    text = visit.request.headers.get("Content-Range")
    if text is None:
        return None, body.blocks(_BLOCK)
    match = _CONTENT_RANGE.fullmatch(text)
    if match is None:
        raise Refused(answers.WRONG_OFFSET, f"Content-Range is not START-END: {text[:100]!r}")
    first, size = int(match[1]), int(match[2]) - int(match[1]) + 1
    if body.length not in (None, size):
        raise Refused(answers.SIZE_INVALID, "Content-Range and Content-Length disagree")
    return first, _exactly(size, body.blocks(_BLOCK))


def _exactly(size: int, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass blocks on; a body in chunks shows only on its way that it isn't what was announced."""
    for block in blocks:
        size -= len(block)
        if size < 0:
            break
        yield block
    if size:
        raise Refused(answers.SIZE_INVALID, "Content-Range and the body's size disagree")


def _complete(visit: Visit, upload: str, digest: str) -> Answer:
    wanted = {"uploadId": upload, "layerDigests": [digest]}
    visit.run("CompleteLayerUpload", wanted, fine="LayerAlreadyExistsException")
    return _finished(visit, digest)


def _finished(visit: Visit, digest: str) -> Answer:
    headers = {"Location": f"{visit.url}/blobs/{digest}", "Docker-Content-Digest": digest}
    return Answer(HTTPStatus.CREATED, headers, summary="blob")


def _calling(visit: Visit, upload: str) -> AbstractContextManager[Call]:
    """Call what takes a part of an upload; the model wants the part's members, which say nothing here."""
    return visit.calling(_TAKE, {"uploadId": upload, "partFirstByte": 0, "partLastByte": 0, "layerPartBlob": ""})


def _progress(visit: Visit, state: Upload) -> Mapping[str, str]:
    received = state.first_part if visit.manner.stale_range else state.received
    return {**_names(visit, state.id), "Range": f"0-{max(received - 1, 0)}"}


def _names(visit: Visit, upload: str) -> dict[str, str]:
    return {"Location": f"{visit.url}/blobs/uploads/{upload}", "Docker-Upload-UUID": upload}
