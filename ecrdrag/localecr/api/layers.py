"""Own the operations on layers: what is there, uploads in parts, download links.

The API may enter. A layer is known to each repository for itself, whatever the shared bytes on disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

from ecrdrag.content import Digest
from ecrdrag.localecr.api import pullthrough
from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.refusals import (
    empty_upload,
    invalid_parameter,
    layer_archived,
    layer_exists,
    layer_inaccessible,
    layer_not_found,
    layer_too_large,
    part_too_small,
    too_many_parts,
    upload_not_found,
    wrong_first_byte,
    wrong_layer_digest,
)
from ecrdrag.localecr.storage.growing import Growing
from ecrdrag.localecr.storage.records import Layer, Records, Upload

# The pattern of LayerDigest in ECR's model; the list of BatchCheckLayerAvailability isn't held to it there.
_DIGEST: Final = re.compile(r"[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+")


def batch_check_layer_availability(call: Call) -> Mapping[str, object]:
    """Say of each digest whether this repository has it; what is missing is an entry, not a failure."""
    layers: list[dict[str, object]] = []
    failures: list[dict[str, object]] = []
    idle: list[str] = []
    with call.store.metadata.read() as records:
        repository = call.repository(records)
        for digest in call.parameters.texts("layerDigests"):
            if not _DIGEST.fullmatch(digest):
                failures.append(_bad_digest(digest))
            elif layer := records.layer(repository.id, digest):
                idle += [digest] * layer.idle
                layers.append(_found(layer, is_archived=_is_archived(call, records, repository.id, layer)))
            else:
                layers.append({"layerDigest": digest, "layerAvailability": "UNAVAILABLE"})
    if not idle or call.settings.read_only:  # and without a collection of garbage
        return {"layers": layers, "failures": failures}
    # What a client hears to be here has to stay until it can have put its image.
    with call.store.metadata.write() as records:
        records.renew_layers(repository.id, idle)
    return batch_check_layer_availability(call)


def initiate_layer_upload(call: Call) -> Mapping[str, object]:
    """Begin an upload."""
    upload = str(uuid4())
    with call.store.metadata.write() as records:
        records.add_upload(call.repository(records).id, upload, call.now)
    return {"uploadId": upload, "partSize": call.settings.part_size}


def upload_layer_part(call: Call) -> Mapping[str, object]:
    """Take the next part: bytes on disk first, then the acknowledgement in metadata, then the answer."""
    data = call.parameters.blob("layerPartBlob")
    first, last = call.parameters.number("partFirstByte"), call.parameters.number("partLastByte")
    if not data or len(data) != last - first + 1:
        raise invalid_parameter("layerPartBlob", "must hold the bytes from partFirstByte to partLastByte")
    take_part(call, [data], first)
    return {**_upload_name(call), "lastByteReceived": last}


def take_part(call: Call, blocks: Iterable[bytes], first: int | None) -> Upload:
    """Append blocks to an upload as one part that begins at byte first, or wherever the upload is; return its state.

    Raises Refusal, and whatever blocks raises; then nothing has changed.
    """
    with _held(call) as (_, upload, growing):
        if first not in (None, upload.received):
            raise wrong_first_byte(call.key, upload.id, first=first, wanted=upload.received)
        if upload.parts >= call.settings.max_parts:
            raise too_many_parts(call.settings.max_parts)
        size = growing.append(_within(call.settings.max_layer, upload.received, blocks), upload.received)
        if size:
            upload = upload.with_part(size, smallest=call.settings.min_part_size)
            _acknowledge(call, upload)
            growing.acknowledged()
    return upload


def _within(limit: int, received: int, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass blocks on until a layer is too large."""
    for block in blocks:
        received += len(block)
        if received > limit:
            raise layer_too_large(limit)
        yield block


def complete_layer_upload(call: Call) -> Mapping[str, object]:
    """Make a finished upload a layer of the repository, when its digest is one of those that are given."""
    with _held(call) as (repository, upload, growing):
        if not upload.received:
            if not call.settings.empty_layers:
                raise empty_upload(call.key, upload.id)
            growing.append((), 0)
        if upload.too_small:
            raise part_too_small()
        digest = growing.digest(upload.received)
        if str(digest) not in call.parameters.texts("layerDigests"):
            raise wrong_layer_digest()
        with call.store.blobs.placing(digest):
            call.store.blobs.place(growing, digest)
            is_new = _add_layer(call, repository, upload, digest)
        call.store.blobs.discard(upload.id)
    if not is_new:
        raise layer_exists(call.key, str(digest))
    return {**_upload_name(call), "layerDigest": str(digest)}


def get_download_url_for_layer(call: Call) -> Mapping[str, object]:
    """Give a link to a blob that an image of this repository refers to."""
    digest = call.parameters.text("layerDigest")
    with call.store.metadata.read() as records:
        repository = call.repository(records).id
        layer = records.layer(repository, digest)
        is_archived = layer is not None and _is_archived(call, records, repository, layer)
    if layer is None and pullthrough.fetch_layer(call, digest):
        return get_download_url_for_layer(call)
    if layer is None:
        raise layer_not_found(call.key, digest)
    if not (layer.referenced or call.settings.loose_layers):
        raise layer_inaccessible()
    if is_archived:
        raise layer_archived()
    url = call.links.make(call.caller.host, call.key, Digest.parse(digest), call.now)
    return {"downloadUrl": url, "layerDigest": digest}


def upload_state(call: Call) -> Upload:
    """Tell how far an upload has come."""
    return _find(call)[1]


def cancel_upload(call: Call) -> None:
    """Forget an upload."""
    with _held(call) as (_, upload, _growing):
        with call.store.metadata.write() as records:
            records.delete_upload(upload.id)
        call.store.blobs.discard(upload.id)


def delete_layer(call: Call, digest: str) -> None:
    """Take a layer out of its repository, also one that images refer to; its bytes stay for others."""
    with call.store.metadata.write() as records:
        if not records.delete_layer(call.repository(records).id, digest):
            raise layer_not_found(call.key, digest)


@contextmanager
def _held(call: Call) -> Iterator[tuple[int, Upload, Growing]]:
    """Hold the upload that is meant, in the state that it has once nobody else holds it."""
    with call.store.blobs.growing(_upload_id(call)) as growing:
        repository, upload = _find(call)
        try:
            yield repository, upload, growing
        except FileNotFoundError:
            _find(call)  # It went with its repository in this moment, or else something is really wrong.
            raise


def _find(call: Call) -> tuple[int, Upload]:
    name = _upload_id(call)
    with call.store.metadata.read() as records:
        repository = call.repository(records)
        upload = records.upload(repository.id, name)
    if upload is None:
        raise upload_not_found(call.key, name)
    return repository.id, upload


def _upload_id(call: Call) -> str:
    return call.parameters.text("uploadId").lower()


def _acknowledge(call: Call, state: Upload) -> None:
    with call.store.metadata.write() as records:
        taken = records.advance_upload(state, call.now)
    if not taken:  # Its repository was deleted meanwhile, and this part may have made the file anew.
        call.store.blobs.discard(state.id)
        raise upload_not_found(call.key, state.id)


def _add_layer(call: Call, repository: int, upload: Upload, digest: Digest) -> bool:
    with call.store.metadata.write() as records:
        if not records.delete_upload(upload.id):
            raise upload_not_found(call.key, upload.id)
        is_new = records.layer(repository, str(digest)) is None
        if is_new:
            records.add_layer(repository, str(digest), upload.received, call.now)
        else:
            records.renew_layers(repository, [str(digest)])
    return is_new


def _upload_name(call: Call) -> dict[str, object]:
    return {
        "registryId": call.account,
        "repositoryName": call.key.name,
        "uploadId": call.parameters.text("uploadId"),
    }


def _is_archived(call: Call, records: Records, repository: int, layer: Layer) -> bool:
    return layer.referenced and not records.is_pullable(repository, layer.digest, call.now)


def _found(layer: Layer, *, is_archived: bool) -> dict[str, object]:
    availability = "ARCHIVED" if is_archived else "AVAILABLE"
    entry: dict[str, object] = {"layerDigest": layer.digest, "layerAvailability": availability, "layerSize": layer.size}
    return {**entry, "mediaType": layer.media_type} if layer.media_type else entry


def _bad_digest(digest: str) -> dict[str, object]:
    if not digest:
        return {"layerDigest": digest, "failureCode": "MissingLayerDigest", "failureReason": "Missing layer digest"}
    reason = f"Invalid request parameters: layer digest should satisfy the regex '{_DIGEST.pattern}'"
    return {"layerDigest": digest, "failureCode": "InvalidLayerDigest", "failureReason": reason}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "BatchCheckLayerAvailability": batch_check_layer_availability,
    "InitiateLayerUpload": initiate_layer_upload,
    "UploadLayerPart": upload_layer_part,
    "CompleteLayerUpload": complete_layer_upload,
    "GetDownloadUrlForLayer": get_download_url_for_layer,
}
