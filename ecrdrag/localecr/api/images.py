"""Own the operations on images that are there: get, list, describe, delete.

The API may enter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ecrdrag.localecr.api import documents
from ecrdrag.localecr.api.call import Call, Operation, next_token
from ecrdrag.localecr.api.pushing import TAG_PATTERN
from ecrdrag.localecr.api.refusals import image_not_found
from ecrdrag.localecr.names import ImageName
from ecrdrag.localecr.storage.records import Image, Records

# moto's models.py has this pattern in the text of InvalidImageDigest.
_DIGEST_PATTERN: Final = "[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+"
_ACTIVE: Final = ("", "ACTIVE", "ANY")


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why one of several images could not be handled: code and reason of ImageFailure."""

    code: str
    reason: str

    def about(self, name: ImageName) -> dict[str, object]:
        """Return the ImageFailure structure."""
        return {"imageId": name.as_output(), "failureCode": self.code, "failureReason": self.reason}


# Texts of the user guide and of moto's models.py; those of a bad tag and of a mismatch follow their siblings.
_MISSING: Final = _Failure("MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null")
_BAD_DIGEST: Final = _Failure(
    "InvalidImageDigest",
    f"Invalid request parameters: image digest should satisfy the regex '{_DIGEST_PATTERN}'",
)
_BAD_TAG: Final = _Failure(
    "InvalidImageTag", f"Invalid request parameters: image tag should satisfy the regex '{TAG_PATTERN}'"
)
_NOT_FOUND: Final = _Failure("ImageNotFound", "Requested image not found")
_MISMATCH: Final = _Failure("ImageTagDoesNotMatchDigest", "Requested image tag does not match the requested digest")


def batch_get_image(call: Call) -> Mapping[str, object]:
    """Give manifests as they were pushed; by tag, and only by tag, translated to what is accepted."""
    images: list[dict[str, object]] = []
    failures: list[dict[str, object]] = []
    with call.store.metadata.read() as records:
        repository = call.repository(records).id
        for name in call.image_names:
            found = _find(records, repository, name)
            if isinstance(found, _Failure):
                failures.append(found.about(name))
            else:
                images.append(_image(call, name, found))
    return {"images": images, "failures": failures}


def list_images(call: Call) -> Mapping[str, object]:
    """List tags with their digests, and untagged images."""
    wanted = call.parameters.structure("filter")
    digest, tag = call.page_start(2)
    with call.store.metadata.read() as records:
        repository = call.repository(records).id
        found = records.image_names(
            repository,
            wanted.text("tagStatus", "ANY"),
            after=ImageName(digest, tag),
            limit=call.page_size + 1,
        )
    if wanted.text("imageStatus") not in _ACTIVE:
        found = []
    page = found[: call.page_size]
    token = next_token([page[-1].digest, page[-1].tag]) if len(found) > len(page) else None
    return {"imageIds": [name.as_output() for name in page], "nextToken": token}


def describe_images(call: Call) -> Mapping[str, object]:
    """Describe images: those that are named, or all by pages."""
    call.check_page("imageIds")
    wanted = call.parameters.structure("filter")
    with call.store.metadata.read() as records:
        repository = call.repository(records).id
        if call.image_names:
            named = _named(call, records, repository)
            return {"imageDetails": [_details(call, records, repository, image) for image in named]}
        if wanted.text("imageStatus") not in _ACTIVE:
            return {"imageDetails": []}
        (after,) = call.page_start(1)
        found = records.images(repository, wanted.text("tagStatus", "ANY"), after=after, limit=call.page_size + 1)
        page = found[: call.page_size]
        details = [_details(call, records, repository, image) for image in page]
    return {"imageDetails": details, "nextToken": next_token([page[-1].digest]) if len(found) > len(page) else None}


def batch_delete_image(call: Call) -> Mapping[str, object]:
    """Delete by digest with all tags, or untag; an image goes with its last tag (user guide, "Deleting an image")."""
    deleted: list[ImageName] = []
    failures: list[dict[str, object]] = []
    with call.store.metadata.write() as records:
        repository = call.repository(records).id
        for name in call.image_names:
            found = _find(records, repository, name)
            failure = found if isinstance(found, _Failure) else _delete(records, repository, name, found, deleted)
            if failure:
                failures.append(failure.about(name))
    return {"imageIds": [name.as_output() for name in deleted], "failures": failures}


def _find(records: Records, repository: int, name: ImageName) -> Image | _Failure:
    if not (name.digest or name.tag):
        return _MISSING
    if name.digest and not re.fullmatch(_DIGEST_PATTERN, name.digest):
        return _BAD_DIGEST
    if name.tag and not re.fullmatch(TAG_PATTERN, name.tag):
        return _BAD_TAG
    tagged = records.tagged(repository, name.tag) if name.tag else name.digest
    image = records.image(repository, tagged)
    if image is None:
        return _NOT_FOUND
    return image if name.digest in ("", tagged) else _mismatch(records, repository, name)


def _mismatch(records: Records, repository: int, name: ImageName) -> _Failure:
    return _MISMATCH if records.image(repository, name.digest) else _NOT_FOUND


def _image(call: Call, name: ImageName, image: Image) -> dict[str, object]:
    accepted = () if name.digest else call.parameters.texts("acceptedMediaTypes")
    raw, media_type = documents.translate(image.raw, image.media_type, accepted)
    return {
        "registryId": call.account,
        "repositoryName": call.key.name,
        "imageId": ImageName(image.digest, name.tag).as_output(),
        "imageManifest": raw.decode(),
        "imageManifestMediaType": media_type,
    }


def _named(call: Call, records: Records, repository: int) -> list[Image]:
    found: dict[str, Image] = {}
    for name in call.image_names:
        image = _find(records, repository, name)
        if isinstance(image, _Failure):
            raise image_not_found(call.key, name)
        found[image.digest] = image
    return list(found.values())


def _details(call: Call, records: Records, repository: int, image: Image) -> dict[str, object]:
    return {
        "registryId": call.account,
        "repositoryName": call.key.name,
        "imageDigest": image.digest,
        "imageTags": records.tags(repository, image.digest) or None,
        "imageSizeInBytes": image.size,
        "imagePushedAt": image.pushed,
        "imageManifestMediaType": image.media_type,
        "artifactMediaType": image.artifact_type or None,
        "subjectManifestDigest": image.subject or None,
        "imageStatus": "ACTIVE",
    }


def _delete(
    records: Records, repository: int, name: ImageName, image: Image, deleted: list[ImageName]
) -> _Failure | None:
    tags = records.tags(repository, image.digest)
    if name.tag and tags != [name.tag]:
        records.delete_tag(repository, name.tag)
        deleted.append(ImageName(image.digest, name.tag))
        return None
    if parents := records.parents(repository, image.digest):
        return _Failure(
            "ImageReferencedByManifestList", f"Requested image referenced by manifest list: [{', '.join(parents)}]"
        )
    records.delete_image(repository, image.digest)
    deleted.extend(ImageName(image.digest, tag) for tag in tags or [""])
    return None


OPERATIONS: Final[Mapping[str, Operation]] = {
    "BatchGetImage": batch_get_image,
    "ListImages": list_images,
    "DescribeImages": describe_images,
    "BatchDeleteImage": batch_delete_image,
}
