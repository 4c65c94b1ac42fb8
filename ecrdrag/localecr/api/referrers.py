"""Own what refers to an image as its subject: signatures, bills of materials and other artifacts.

The API may enter; /v2/ asks by the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

from ecrdrag import manifest
from ecrdrag.localecr.api.call import Call, Operation, next_token
from ecrdrag.localecr.storage.images import ACTIVE
from ecrdrag.localecr.storage.records import Image

# "Up to 20 results", the model's documentation of ListImageReferrers' maxResults.
_DEFAULT_PAGE: Final = 20


def list_image_referrers(call: Call) -> Mapping[str, object]:
    """List the artifacts of a subject, which need not be there itself."""
    wanted = call.parameters.structure("filter")
    (after,) = call.page_start(1)
    size = call.parameters.number("maxResults", _DEFAULT_PAGE)
    with call.store.metadata.read() as records:
        found = records.referrers(
            call.repository(records).id,
            call.parameters.structure("subjectId").text("imageDigest"),
            artifact_types=wanted.texts("artifactTypes"),
            status=wanted.text("artifactStatus", ACTIVE),
            now=call.now,
            after=after,
            limit=size + 1,
        )
        page = [{**_descriptor(image), "artifactStatus": image.status(call.now)} for image in islice(found, size)]
        is_last = next(found, None) is None
    return {"referrers": page, "nextToken": None if is_last else next_token([str(page[-1]["digest"])])}


def _descriptor(image: Image) -> dict[str, object]:
    """Describe a manifest as the distribution spec's "Listing Referrers" has it: with artifact type and annotations."""
    described: dict[str, object] = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.raw)}
    if image.artifact_type:
        described["artifactType"] = image.artifact_type
    if annotations := _annotations(image.raw):
        described["annotations"] = annotations
    return described


def _annotations(raw: bytes) -> dict[str, str]:
    found = manifest.parse_object(raw, "manifest").get("annotations")
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}


OPERATIONS: Final[Mapping[str, Operation]] = {"ListImageReferrers": list_image_referrers}
