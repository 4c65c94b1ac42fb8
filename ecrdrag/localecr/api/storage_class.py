"""Own UpdateImageStorageClass: images go into the archive and come back.

The API may enter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.lookup import find_one
from ecrdrag.localecr.api.refusals import storage_class_not_supported
from ecrdrag.localecr.names import ImageName
from ecrdrag.localecr.storage.images import ACTIVATING
from ecrdrag.localecr.storage.records import Image, Records


def update_image_storage_class(call: Call) -> Mapping[str, object]:
    """Archive an image, or restore it, which takes the time that is set; where it is in the class, nothing changes."""
    with call.store.metadata.write() as records:
        repository = call.repository(records).id
        image = find_one(call, records)
        if call.parameters.text("targetStorageClass") == "STANDARD":
            _restore(call, records, repository, image)
        else:
            _archive(call, records, repository, image)
        changed = find_one(call, records)
    return {
        "registryId": call.account,
        "repositoryName": call.key.name,
        "imageId": ImageName(image.digest, call.image_name.tag).as_output(),
        "imageStatus": changed.status(call.now),
    }


def _archive(call: Call, records: Records, repository: int, image: Image) -> None:
    if image.archived:
        return
    if image.status(call.now) == ACTIVATING:
        raise storage_class_not_supported(call.key, image.digest, "it is being restored")
    # Lifecycle policies are held to this: user guide, "Lifecycle policy evaluation rules". Of calls AWS says nothing.
    if holders := [one for one in records.parents(repository, image.digest) if _is_outside(records, repository, one)]:
        raise storage_class_not_supported(call.key, image.digest, f"[{', '.join(holders)}] must be archived before it")
    records.archive_image(repository, image.digest, call.now)


def _is_outside(records: Records, repository: int, digest: str) -> bool:
    image = records.image(repository, digest)
    return image is not None and not image.archived


def _restore(call: Call, records: Records, repository: int, image: Image) -> None:
    if image.archived:
        records.activate_image(repository, image.digest, call.now + call.settings.activation)


OPERATIONS: Final[Mapping[str, Operation]] = {"UpdateImageStorageClass": update_image_storage_class}
