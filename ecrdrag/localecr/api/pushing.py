"""Own PutImage: an image enters a repository whole, with everything it refers to already there.

The API may enter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from ecrdrag.errors import UnsupportedError
from ecrdrag.localecr.api import documents
from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.documents import Document
from ecrdrag.localecr.api.lookup import TAG_PATTERN
from ecrdrag.localecr.api.refusals import (
    image_exists,
    images_missing,
    invalid_parameter,
    layers_missing,
    tag_is_immutable,
    wrong_image_digest,
)
from ecrdrag.localecr.names import ImageName
from ecrdrag.localecr.storage.images import ACTIVE
from ecrdrag.localecr.storage.records import Image, Records, Repository

_MANIFEST: Final = "ImageManifest"


def put_image(call: Call) -> Mapping[str, object]:
    """Keep an image and let a tag stand for it."""
    raw = call.parameters.text("imageManifest").encode()
    tag = _tag(call)
    document = _document(call, raw)
    if call.parameters.text("imageDigest", str(document.digest)) != str(document.digest):
        raise wrong_image_digest(call.key, call.parameters.text("imageDigest"))
    with call.store.metadata.write() as records:
        repository = call.repository(records)
        _check_references(call, records, repository.id, document)
        is_changed = keep(call, records, repository, document, raw)
        _set_tag(call, records, repository, document, tag, is_changed=is_changed)
    return {"image": _image(call, document, tag)}


def _tag(call: Call) -> str:
    tag = call.parameters.text("imageTag")
    if tag and not re.fullmatch(TAG_PATTERN, tag):
        raise invalid_parameter("imageTag", f"must satisfy regular expression '{TAG_PATTERN}'")
    return tag


def _document(call: Call, raw: bytes) -> Document:
    # ECR says "Invalid JSON syntax" of every manifest that it doesn't take: aws/aws-cli#8620, containers-roadmap#2306.
    try:
        media_type = call.parameters.text("imageManifestMediaType")
        document = documents.read(raw, media_type, call.settings.signed_digest)
    except (UnsupportedError, ValueError):
        raise invalid_parameter(_MANIFEST, "Invalid JSON syntax") from None
    if document.layer_count > call.settings.max_layers:
        raise invalid_parameter(_MANIFEST, "Limit on number of layers per image exceeded")
    return document


def _check_references(call: Call, records: Records, repository: int, document: Document) -> None:
    digests = [str(blob.digest) for blob in document.needed_blobs]
    if missing := [digest for digest in digests if records.layer(repository, digest) is None]:
        raise layers_missing(call.key, missing)
    children = [str(child.digest) for child in document.children]
    if missing := [digest for digest in children if records.image(repository, digest) is None]:
        raise images_missing(call.key, missing)


def keep(call: Call, records: Records, repository: Repository, document: Document, raw: bytes) -> bool:
    """Add an image, or take it out of the archive; False when it is there already."""
    if known := records.image(repository.id, str(document.digest)):
        return _restore(call, records, repository, known)
    image = Image(
        digest=str(document.digest),
        media_type=document.media_type,
        artifact_type=document.artifact_type,
        subject=document.subject,
        size=_size(records, repository.id, document),
        pushed=call.now,
        raw=raw,
    )
    records.add_image(repository.id, image, _references(document))
    return True


def _restore(call: Call, records: Records, repository: Repository, image: Image) -> bool:
    """The user guide on pushing an image that is archived: it's "immediately restored and removed from the archive"."""
    if image.status(call.now) == ACTIVE:
        return False
    records.activate_image(repository.id, image.digest, call.now)
    return True


def _size(records: Records, repository: int, document: Document) -> int:
    """Give DescribeImages' imageSizeInBytes: what the manifest says, else what its layers have here."""
    if document.is_measured:
        return document.blob_size or _largest(records, repository, document)
    layers = (records.layer(repository, str(blob.digest)) for blob in document.blobs)
    return sum(layer.size for layer in layers if layer)


def _largest(records: Records, repository: int, document: Document) -> int:
    """The model on imageSizeInBytes: of a list, the size of the largest image in it."""
    found = (records.image(repository, str(child.digest)) for child in document.children)
    return max((image.size for image in found if image), default=0)


def _references(document: Document) -> Iterable[tuple[str, str]]:
    return ((str(one.digest), one.media_type) for one in (*document.needed_blobs, *document.children))


def _set_tag(
    call: Call, records: Records, repository: Repository, document: Document, tag: str, *, is_changed: bool
) -> None:
    digest = str(document.digest)
    holder = records.tagged(repository.id, tag) if tag else ""
    if not is_changed and (holder == digest or not tag):
        raise image_exists(call.key, digest, tag)
    if holder not in ("", digest) and is_immutable(repository, tag):
        raise tag_is_immutable(call.key, tag)
    if tag and holder != digest:
        records.set_tag(repository.id, tag, digest, call.now)


def is_immutable(repository: Repository, tag: str) -> bool:
    """Filters turn the repository's rule around for the tags that they match: the model on ImageTagMutability."""
    mutability = str(repository.settings["imageTagMutability"])
    filters = repository.settings.get("imageTagMutabilityExclusionFilters")
    patterns = [str(one["filter"]) for one in filters] if isinstance(filters, list) else []
    excluded = any(fnmatchcase(tag, pattern) for pattern in patterns)
    return mutability.startswith("IMMUTABLE") != excluded


def _image(call: Call, document: Document, tag: str) -> dict[str, object]:
    return {
        "registryId": call.account,
        "repositoryName": call.key.name,
        "imageId": ImageName(str(document.digest), tag).as_output(),
        "imageManifest": call.parameters.text("imageManifest"),
        "imageManifestMediaType": document.media_type,
    }


OPERATIONS: Final[Mapping[str, Operation]] = {"PutImage": put_image}
