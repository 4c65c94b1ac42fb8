"""Put images into a registry over the ECR API with boto3 alone, as any other client would.

The demo and the tests enter.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ecrdrag.content import Digest
from tests.images import Blob, Image, ImageIndex

if TYPE_CHECKING:  # stubs are not installed for the demo
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecr_public import ECRPublicClient


def put_image(ecr: ECRClient | ECRPublicClient, repository: str, image: Image, tag: str | None = None) -> None:
    """Upload what is missing of an image and put its manifest, with a tag or without."""
    for blob in image.blobs.values():
        put_blob(ecr, repository, blob.content)
    _put_manifest(ecr, repository, image.manifest, tag)


def put_index(ecr: ECRClient, repository: str, index: ImageIndex, tag: str | None = None) -> None:
    """Put an index and all the images in it."""
    for image in index.images:
        put_image(ecr, repository, image)
    _put_manifest(ecr, repository, index.manifest, tag)


def put_blob(ecr: ECRClient | ECRPublicClient, repository: str, content: bytes) -> None:
    """Upload a blob in parts of the server's size, unless the repository has it."""
    digest = str(Digest.of(content))
    known = ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=[digest])["layers"][0]
    if known["layerAvailability"] == "AVAILABLE":
        return
    upload = ecr.initiate_layer_upload(repositoryName=repository)
    for start in range(0, len(content), upload["partSize"]):
        put_part(ecr, repository, upload["uploadId"], start, content[start : start + upload["partSize"]])
    with suppress(ecr.exceptions.LayerAlreadyExistsException):  # somebody else was faster
        ecr.complete_layer_upload(repositoryName=repository, uploadId=upload["uploadId"], layerDigests=[digest])


def put_part(ecr: ECRClient | ECRPublicClient, repository: str, upload: str, start: int, part: bytes) -> int:
    """Upload one part and return the last byte that the server has."""
    answer = ecr.upload_layer_part(
        repositoryName=repository,
        uploadId=upload,
        partFirstByte=start,
        partLastByte=start + len(part) - 1,
        layerPartBlob=part,
    )
    return answer["lastByteReceived"]


def _put_manifest(ecr: ECRClient | ECRPublicClient, repository: str, manifest: Blob, tag: str | None) -> None:
    with suppress(ecr.exceptions.ImageAlreadyExistsException):
        ecr.put_image(
            repositoryName=repository,
            imageManifest=manifest.content.decode(),
            imageManifestMediaType=manifest.media_type,
            imageDigest=str(manifest.digest),
            **({"imageTag": tag} if tag else {}),
        )
