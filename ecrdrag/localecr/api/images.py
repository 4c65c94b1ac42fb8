"""Own the operations on images that are there: get, list, describe, delete.

The API may enter.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ecrdrag.localecr.api import documents, pullthrough
from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.lookup import INACCESSIBLE, Failure, find
from ecrdrag.localecr.api.refusals import image_not_found
from ecrdrag.localecr.api.wire import Parameters
from ecrdrag.localecr.names import ImageName
from ecrdrag.localecr.settings import HOUR
from ecrdrag.localecr.storage.images import ACTIVE, ANY
from ecrdrag.localecr.storage.records import Image, Records

_log = logging.getLogger(__name__)

# "At least once every 24 hours", the model on lastRecordedPullTime, and no oftener: users see times up to a day old.
_PULL_RECORDED: Final = 24 * HOUR


def batch_get_image(call: Call) -> Mapping[str, object]:
    """Give manifests as they were pushed; by tag, and only by tag, translated to what is accepted."""
    images: list[dict[str, object]] = []
    failures: list[dict[str, object]] = []
    pulled: list[Image] = []
    missing = pullthrough.refresh(call)
    with call.store.metadata.read() as records:
        # The repository of a rule comes with its first image.
        known = records.repository(call.key) if missing else call.repository(records)
        repository = known.id if known else 0
        for name in call.image_names:
            found = missing.get(name) or _pullable(call, records, repository, name)
            if isinstance(found, Failure):
                failures.append(found.about(name))
            else:
                images.append(_image(call, name, found))
                pulled.append(found)
    _record_pulls(call, repository, pulled)
    return {"images": images, "failures": failures}


def list_images(call: Call) -> Mapping[str, object]:
    """List tags with their digests, and untagged images."""
    wanted = call.parameters.structure("filter")
    digest, tag = call.page_start(2)
    with call.store.metadata.read() as records:
        found = records.image_names(
            call.repository(records).id,
            wanted.text("tagStatus", ANY),
            status=wanted.text("imageStatus", ACTIVE),
            now=call.now,
            after=ImageName(digest, tag),
            limit=call.page_limit,
        )
    page, token = call.page(found, lambda name: [name.digest, name.tag])
    return {"imageIds": [name.as_output() for name in page], "nextToken": token}


def describe_images(call: Call) -> Mapping[str, object]:
    """Describe images: those that are named, or all by pages."""
    call.check_page("imageIds")
    wanted = call.parameters.structure("filter")
    with call.store.metadata.read() as records:
        repository = call.repository(records).id
        if call.image_names:
            named = _named(call, records, repository)
            details = _details(call, named, {one.digest: records.tags(repository, one.digest) for one in named})
            return {"imageDetails": [one for one in details if _passes(one, wanted)]}
        (after,) = call.page_start(1)
        found = records.images(
            repository,
            wanted.text("tagStatus", ANY),
            status=wanted.text("imageStatus", ACTIVE),
            now=call.now,
            after=after,
            limit=call.page_limit,
        )
        page, token = call.page(found, lambda image: [image.digest])
        tags = records.tags_between(repository, page[0].digest, page[-1].digest) if page else {}
    return {"imageDetails": _details(call, page, tags), "nextToken": token}


def batch_delete_image(call: Call) -> Mapping[str, object]:
    """Delete by digest with all tags, or untag; an image goes with its last tag (user guide, "Deleting an image").

    What refers to it as its subject stays: at AWS lifecycle policies take that away, within 24 hours.
    """
    deleted: list[ImageName] = []
    failures: list[dict[str, object]] = []
    with call.store.metadata.write() as records:
        repository = call.repository(records).id
        for name in call.image_names:
            found = find(records, repository, name)
            failure = found if isinstance(found, Failure) else _delete(records, repository, name, found, deleted)
            if failure:
                failures.append(failure.about(name))
    return {"imageIds": [name.as_output() for name in deleted], "failures": failures}


def _pullable(call: Call, records: Records, repository: int, name: ImageName) -> Image | Failure:
    found = find(records, repository, name)
    if isinstance(found, Image) and found.status(call.now) != ACTIVE:
        return INACCESSIBLE
    return found


def _record_pulls(call: Call, repository: int, pulled: Iterable[Image]) -> None:
    """Note pulls: one short write for each image and day, none where nothing may change."""
    due = {image.digest for image in pulled if call.now - image.pulled_at >= _PULL_RECORDED}
    if not due or call.settings.read_only:
        return
    try:
        with call.store.metadata.write() as records:
            records.record_pulls(repository, due, call.now)
    except sqlite3.Error as error:  # a full disk, say, which is no reason not to give what is there
        _log.warning("a pull of %s isn't noted: %s", call.key.name, error)


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
        image = find(records, repository, name)
        if isinstance(image, Failure):
            raise image_not_found(call.key, name)
        found[image.digest] = image
    return list(found.values())


def _passes(details: Mapping[str, object], wanted: Parameters) -> bool:
    """Hold a named image to a filter that is given; without one it is described in the archive too (user guide)."""
    tag_status = "TAGGED" if details["imageTags"] else "UNTAGGED"
    return wanted.text("tagStatus", ANY) in (ANY, tag_status) and (
        wanted.text("imageStatus", ANY) in (ANY, details["imageStatus"])
    )


def _details(call: Call, images: Sequence[Image], tags: Mapping[str, list[str]]) -> list[dict[str, object]]:
    """Describe images, whose tags are given by digest."""
    place = {"registryId": call.account, "repositoryName": call.key.name}
    return [{**place, **_described(image, call.now), "imageTags": tags.get(image.digest) or None} for image in images]


def _described(image: Image, now: float) -> dict[str, object]:
    return {
        "imageDigest": image.digest,
        "imageSizeInBytes": image.size,
        "imagePushedAt": image.pushed,
        "imageManifestMediaType": image.media_type,
        "artifactMediaType": image.artifact_type or None,
        "lastRecordedPullTime": image.pulled_at or None,
        "subjectManifestDigest": image.subject or None,
        "imageStatus": image.status(now),
        "lastArchivedAt": image.archived_at or None,
        "lastActivatedAt": (image.activated_at or None) if image.activated_at <= now else None,
    }


def _delete(
    records: Records, repository: int, name: ImageName, image: Image, deleted: list[ImageName]
) -> Failure | None:
    tags = records.tags(repository, image.digest)
    if name.tag and tags != [name.tag]:
        records.delete_tag(repository, name.tag)
        deleted.append(ImageName(image.digest, name.tag))
        return None
    if parents := records.parents(repository, image.digest):
        return Failure(
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
