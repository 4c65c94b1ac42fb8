"""Own the narrow part of the ECR API that this program speaks, in the API's own words.

The registry's ends and the command line, which builds the client, may enter. boto3's client fulfils
EcrApi by its form; the dictionaries have the form of the structures in ECR's model.
"""

# ruff: noqa: N803 - the API's own words

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, Protocol, TypedDict

from ecrdrag.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from ecrdrag.schema1 import SCHEMA1_TYPES

# Without all four, ECR would translate what is stored, and the digest would no longer hold.
ACCEPTED_TYPES: Final = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)
# What is stored comes as it is where that is accepted, whatever else is: user guide, image-manifest-formats.
PULLED_TYPES: Final = (*ACCEPTED_TYPES, *SCHEMA1_TYPES)


class ImageId(TypedDict, total=False):
    """Name an image to the ECR API: ImageIdentifier of its model."""

    imageDigest: str
    imageTag: str


class Subject(TypedDict):
    """Name what is referred to: SubjectIdentifier of the model."""

    imageDigest: str


class Tag(TypedDict):
    """Label a repository."""

    Key: str
    Value: str


class Scanning(TypedDict, total=False):
    """Say when images are scanned: ImageScanningConfiguration of the model."""

    scanOnPush: bool


class _EncryptionType(TypedDict):
    encryptionType: Literal["AES256", "KMS", "KMS_DSSE"]


class Encryption(_EncryptionType, total=False):
    """Say by which key images are encrypted: EncryptionConfiguration of the model."""

    kmsKey: str


class NewRepository(TypedDict, total=False):
    """Say what else a new repository is to be; what is left out is ECR's default."""

    imageTagMutability: Literal["IMMUTABLE"]
    imageScanningConfiguration: Scanning
    encryptionConfiguration: Encryption
    tags: Sequence[Tag]


class EcrManifestApi(Protocol):
    """What both ends use."""

    def batch_get_image(
        self,
        *,
        registryId: str,
        repositoryName: str,
        imageIds: Sequence[ImageId],
        acceptedMediaTypes: Sequence[str],
    ) -> Mapping[str, object]:
        """Fetch manifests; what is missing is listed in "failures"."""
        ...


class EcrPullApi(EcrManifestApi, Protocol):
    """What a Source uses."""

    def get_download_url_for_layer(
        self,
        *,
        registryId: str,
        repositoryName: str,
        layerDigest: str,
    ) -> Mapping[str, object]:
        """Mint a URL for one blob, good for an hour."""
        ...

    def list_image_referrers(
        self,
        *,
        registryId: str,
        repositoryName: str,
        subjectId: Subject,
        maxResults: int,
        nextToken: str = ...,
    ) -> Mapping[str, object]:
        """List a page of what refers to an image, which has not been archived."""
        ...


class EcrPushApi(EcrManifestApi, Protocol):
    """What a Destination uses."""

    def batch_check_layer_availability(
        self,
        *,
        registryId: str,
        repositoryName: str,
        layerDigests: Sequence[str],
    ) -> Mapping[str, object]:
        """Say of each digest whether the repository has it."""
        ...

    def initiate_layer_upload(self, *, registryId: str, repositoryName: str) -> Mapping[str, object]:
        """Begin an upload."""
        ...

    def upload_layer_part(
        self,
        *,
        registryId: str,
        repositoryName: str,
        uploadId: str,
        partFirstByte: int,
        partLastByte: int,
        layerPartBlob: bytes,
    ) -> Mapping[str, object]:
        """Send bytes of an upload; partLastByte is the last one's offset, not the one behind it."""
        ...

    def complete_layer_upload(
        self,
        *,
        registryId: str,
        repositoryName: str,
        uploadId: str,
        layerDigests: Sequence[str],
    ) -> Mapping[str, object]:
        """Make an upload a blob of the repository."""
        ...

    def put_image(
        self,
        *,
        registryId: str,
        repositoryName: str,
        imageManifest: str,
        imageManifestMediaType: str,
        imageDigest: str,
        imageTag: str = ...,
    ) -> Mapping[str, object]:
        """Keep a manifest or an index, and let a tag stand for it."""
        ...

    def create_repository(
        self,
        *,
        registryId: str,
        repositoryName: str,
        imageTagMutability: Literal["IMMUTABLE"] = ...,
        imageScanningConfiguration: Scanning = ...,
        encryptionConfiguration: Encryption = ...,
        tags: Sequence[Tag] = ...,
    ) -> Mapping[str, object]:
        """Create a repository."""
        ...


class EcrApi(EcrPullApi, EcrPushApi, Protocol):
    """What is used of boto3's ECR client; its methods are safe from many threads."""


# botocore reads an empty or cut body of a 200 as an answer without members, and holds none to its type.


def text_of(answer: Mapping[str, object], member: str) -> str:
    """Give a member that should be text; empty when it isn't."""
    value = answer.get(member)
    return value if isinstance(value, str) else ""


def number_of(answer: Mapping[str, object], member: str) -> int | None:
    """Give a member that should be a whole number; None when it isn't."""
    value = answer.get(member)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def time_of(answer: Mapping[str, object], member: str) -> datetime | None:
    """Give a member that should be a point in time; None when it isn't."""
    value = answer.get(member)
    return value if isinstance(value, datetime) else None


def structure_of(answer: Mapping[str, object], member: str) -> Mapping[str, object]:
    """Give a member that should be a structure; an empty one when it isn't."""
    value = answer.get(member)
    return value if isinstance(value, Mapping) else {}


def structures_of(answer: Mapping[str, object], member: str) -> list[Mapping[str, object]]:
    """Give the structures in a member that should be a list of them."""
    value = answer.get(member)
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
