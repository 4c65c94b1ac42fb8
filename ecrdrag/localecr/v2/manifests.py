"""Own manifests over /v2/: got and looked at by tag and digest, put, deleted.

The routes of /v2/ may enter. Raw bytes pass through as they are.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from ecrdrag.content import Digest
from ecrdrag.localecr.api import documents
from ecrdrag.localecr.api.call import Call
from ecrdrag.localecr.api.wire import Parameters
from ecrdrag.localecr.v2 import answers
from ecrdrag.localecr.v2.answers import Refused
from ecrdrag.localecr.v2.visit import Visit, failure
from ecrdrag.localecr.web.exchange import Answer, BodyTooLarge
from ecrdrag.manifest import MAX_MANIFEST_SIZE

_GET: Final = "BatchGetImage"
_DELETE: Final = "BatchDeleteImage"
# MediaTypeList in ECR's model has at most so many.
_MAX_TYPES: Final = 100
# What docker pushed manifests as before they had types of their own.
_VAGUE: Final = ("", "application/json")


def get(visit: Visit) -> Answer:
    """Give a manifest, or to HEAD its headers."""
    image = _find(visit)
    headers = {"Content-Type": image.text("imageManifestMediaType")}
    if visit.manner.get_tells_digest or visit.request.method == "HEAD":
        headers["Docker-Content-Digest"] = image.structure("imageId").text("imageDigest")
    return Answer(HTTPStatus.OK, headers, image.text("imageManifest").encode(), "manifest")


def put(visit: Visit) -> Answer:
    """Keep a manifest under its tag, or under its digest alone."""
    raw = _body(visit)
    visit.ensure_repository()
    members: dict[str, object] = {**_image_id(visit)}
    kind = _kind(visit, raw)
    if kind:
        members["imageManifestMediaType"] = kind
    visit.run("PutImage", {"imageManifest": _text(raw), **members}, fine="ImageAlreadyExistsException")
    document = documents.read(raw, kind, visit.registry.settings.signed_digest)
    digest = str(document.digest)
    location = {"Location": f"{visit.url}/manifests/{digest}", "Docker-Content-Digest": digest}
    headers = {**location, **_subject(document.subject)}
    return Answer(HTTPStatus.CREATED, headers, summary="manifest put")


def delete(visit: Visit) -> Answer:
    """Delete a tag, or an image with all its tags."""
    if visit.manner.deletes_freely:
        with visit.calling(_DELETE, {"imageIds": [_image_id(visit)]}) as call:
            _delete_freely(call, visit.word)
    elif refused := failure(visit, _DELETE, visit.run(_DELETE, {"imageIds": [_image_id(visit)]})):
        raise refused
    return Answer(HTTPStatus.ACCEPTED, {}, summary="manifest deleted")


def _kind(visit: Visit, raw: bytes) -> str:
    """Say as what a manifest is pushed."""
    kind = visit.request.headers.get("Content-Type", "").partition(";")[0].strip()
    return (documents.unsaid_type(raw) or kind) if kind in _VAGUE else kind


def _find(visit: Visit) -> Parameters:
    members: dict[str, object] = {"imageIds": [_image_id(visit)]}
    if visit.manner.translates and (accepted := _accepted(visit)):
        members["acceptedMediaTypes"] = accepted
    output = visit.run(_GET, members)
    if refused := failure(visit, _GET, output):
        raise refused
    (image,) = output.structures("images")
    return image


def _accepted(visit: Visit) -> list[str]:
    """Return the media types that the client names; none at all when it takes any."""
    texts = visit.request.headers.getlist("Accept")
    types = [one.partition(";")[0].strip() for text in texts for one in text.split(",")]
    return [] if "*/*" in types else [one for one in types if one][:_MAX_TYPES]


def _delete_freely(call: Call, word: str) -> None:
    """Do as the specification has it: a tag goes alone, an image whoever refers to it."""
    with call.store.metadata.write() as records:
        repository = call.repository(records).id
        found = records.image(repository, word if _is_digest(word) else records.tagged(repository, word))
        if found is None:
            raise Refused(answers.MANIFEST_UNKNOWN, "Requested image not found")
        if _is_digest(word):
            records.delete_image(repository, word)
        else:
            records.delete_tag(repository, word)


def _body(visit: Visit) -> bytes:
    try:
        return visit.request.body.read_all(MAX_MANIFEST_SIZE)
    except BodyTooLarge as error:
        raise Refused(answers.MANIFEST_TOO_LARGE, str(error)) from None


def _text(raw: bytes) -> str:
    """Return the manifest as the API takes it; what is no UTF-8 is no JSON either, and gets the answer to that."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "\x00"


def _subject(text: str) -> dict[str, str]:
    """Say that the registry has noted what the image is about; the manifest may call anything a digest."""
    try:
        return {"OCI-Subject": str(Digest.parse(text))}
    except ValueError:
        return {}


def _image_id(visit: Visit) -> dict[str, str]:
    return {"imageDigest" if _is_digest(visit.word) else "imageTag": visit.word}


def _is_digest(word: str) -> bool:
    """Tell a digest from a tag, which has no colon."""
    return ":" in word
