"""Put images into a registry over the ECR API with boto3 alone, as any other client would.

The demo, flow and real tests enter.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.images import Blob, Image, ImageIndex

if TYPE_CHECKING:  # stubs are not installed for the demo
    from mypy_boto3_ecr import ECRClient


def put_image(ecr: ECRClient, repository: str, image: Image, tag: str | None = None, *, account: str = "") -> None:
    """Upload what is missing of an image and put its manifest, with a tag or without."""
    put_blobs(ecr, repository, image.blobs.values(), account=account)
    _put_manifest(ecr, repository, image.manifest, tag, account)


def put_index(ecr: ECRClient, repository: str, index: ImageIndex, tag: str | None = None, *, account: str = "") -> None:
    """Put an index and all the images in it."""
    for image in index.images:
        put_image(ecr, repository, image, account=account)
    _put_manifest(ecr, repository, index.manifest, tag, account)


def put_blobs(ecr: ECRClient, repository: str, blobs: Iterable[Blob], *, account: str = "") -> None:
    """Upload the blobs that the repository doesn't have."""
    registry = {"registryId": account} if account else {}
    for blob in blobs:
        found = ecr.batch_check_layer_availability(
            repositoryName=repository, layerDigests=[str(blob.digest)], **registry
        )
        if found["layers"][0]["layerAvailability"] != "AVAILABLE":
            _upload(ecr, repository, blob, registry)


def _upload(ecr: ECRClient, repository: str, blob: Blob, registry: dict[str, str]) -> None:
    upload = ecr.initiate_layer_upload(repositoryName=repository, **registry)
    size = upload["partSize"]
    for start in range(0, len(blob.content), size):
        part = blob.content[start : start + size]
        ecr.upload_layer_part(
            repositoryName=repository,
            uploadId=upload["uploadId"],
            partFirstByte=start,
            partLastByte=start + len(part) - 1,
            layerPartBlob=part,
            **registry,
        )
    ecr.complete_layer_upload(
        repositoryName=repository, uploadId=upload["uploadId"], layerDigests=[str(blob.digest)], **registry
    )


def _put_manifest(ecr: ECRClient, repository: str, manifest: Blob, tag: str | None, account: str) -> None:
    optional = {key: value for key, value in (("imageTag", tag), ("registryId", account)) if value}
    with suppress(ecr.exceptions.ImageAlreadyExistsException):
        ecr.put_image(
            repositoryName=repository,
            imageManifest=manifest.content.decode(),
            imageManifestMediaType=manifest.media_type,
            imageDigest=str(manifest.digest),
            **optional,
        )
