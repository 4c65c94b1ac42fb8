"""Own what the API says no with: ECR's error names, texts and members.

The operations, the signature check and the wire format may enter. Texts come from AWS answers that
users pasted into public issues, each named beside its function; "moto" marks texts known only from moto's models.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from ecrdrag.localecr.names import ImageName, RepositoryKey


class Refusal(Exception):  # noqa: N818 - what a client gets, not a fault of ours
    """An error answer: the error's shape name, its text and its other members."""

    def __init__(self, shape: str, message: str, *, status: int = HTTPStatus.BAD_REQUEST, **members: object) -> None:
        super().__init__(f"{shape}: {message}")
        self.shape = shape
        self.message = message
        self.status = int(status)
        self.members = members


def invalid_parameter(place: str, constraint: str) -> Refusal:
    """Refuse a value; awslabs/amazon-ecr-containerd-resolver and google/go-containerregistry#681 show the text."""
    return Refusal(
        "InvalidParameterException", f"Invalid parameter at '{place}' failed to satisfy constraint: '{constraint}'"
    )


def repository_not_found(key: RepositoryKey) -> Refusal:
    """Refuse: moto, and the distribution answer in aws/containers-roadmap#1970."""
    return Refusal(
        "RepositoryNotFoundException",
        f"The repository with name '{key.name}' does not exist in the registry with id '{key.account}'",
    )


def registry_not_found(asked: str) -> Refusal:
    """Refuse a registry of ECR Public; the text follows its siblings, AWS's own is not public."""
    return Refusal("RegistryNotFoundException", f"The registry with id '{asked}' does not exist")


def unsupported_command(operation: str, region: str) -> Refusal:
    """Refuse a call of ECR Public in another region: codeship-library/aws-utilities#117."""
    return Refusal("UnsupportedCommandException", f"{operation} command is only supported in {region}.")


def repository_exists(key: RepositoryKey) -> Refusal:
    """Refuse: metaps/genova#164."""
    return Refusal(
        "RepositoryAlreadyExistsException",
        f"The repository with name '{key.name}' already exists in the registry with id '{key.account}'",
    )


def repository_not_empty(key: RepositoryKey) -> Refusal:
    """Refuse: moto."""
    return Refusal(
        "RepositoryNotEmptyException",
        f"The repository with name '{key.name}' in registry with id '{key.account}' "
        "cannot be deleted because it still contains images",
    )


def upload_not_found(key: RepositoryKey, upload: str) -> Refusal:
    """Refuse; the text follows its siblings, AWS's own is not public."""
    return Refusal("UploadNotFoundException", f"The upload with id '{upload}' {_in(key)} does not exist")


def wrong_first_byte(key: RepositoryKey, upload: str, *, first: int, wanted: int) -> Refusal:
    """Refuse a part that doesn't follow the last one: apple/containerization#790."""
    return Refusal(
        "InvalidLayerPartException",
        f"First byte of the layer part is {first} instead of {wanted}",
        registryId=key.account,
        repositoryName=key.name,
        uploadId=upload,
        lastValidByteReceived=wanted - 1,
    )


def too_many_parts(limit: int) -> Refusal:
    """Refuse one part too many; the quota is public, AWS's text isn't."""
    return Refusal("LimitExceededException", f"The maximum number of layer parts ({limit}) has been reached")


def layer_too_large(limit: int) -> Refusal:
    """Refuse a layer of too many bytes; the quota is public, AWS's text isn't."""
    return Refusal("LimitExceededException", f"The maximum layer size ({limit} bytes) has been reached")


def part_too_large(limit: int) -> Refusal:
    """Refuse a part over the quota of public registries; the quota is public, AWS's text isn't."""
    return Refusal("LimitExceededException", f"The maximum size of a layer part ({limit} bytes) is exceeded")


def empty_upload(key: RepositoryKey, upload: str) -> Refusal:
    """Refuse: devcontainers/cli#814."""
    return Refusal(
        "EmptyUploadException",
        f"The upload with id '{upload}' {_in(key)} cannot be completed because it does not have any parts",
    )


def part_too_small() -> Refusal:
    """Refuse: dotnet/sdk-container-builds#424."""
    return Refusal("LayerPartTooSmallException", "All layer parts except the last part should be at least 5MB")


def wrong_layer_digest() -> Refusal:
    """Refuse: dotnet/sdk-container-builds#424 and #472."""
    return Refusal("InvalidLayerException", "None of the provided layer digests match the calculated layer digest")


def layer_exists(key: RepositoryKey, digest: str) -> Refusal:
    """Refuse; the text follows its siblings, AWS's own is not public."""
    return Refusal("LayerAlreadyExistsException", f"The layer with digest '{digest}' already exists {_in(key)}")


def layer_not_found(key: RepositoryKey, digest: str) -> Refusal:
    """Refuse a download: monken/aws-ecr-public#11."""
    return Refusal(
        "LayersNotFoundException",
        f"The layer with digest '{digest}' does not exist within the repository with name '{key.name}' "
        f"in the registry with id '{key.account}'",
    )


def layer_inaccessible() -> Refusal:
    """Refuse a download of what no image refers to: the model's documentation of LayerInaccessibleException."""
    return Refusal(
        "LayerInaccessibleException",
        "The specified layer is not available because it is not associated with an image. "
        "Unassociated image layers may be cleaned up at any time.",
    )


def layers_missing(key: RepositoryKey, digests: Iterable[str]) -> Refusal:
    """Refuse an image whose layers aren't there: ECR-facing issues of many builders show this text."""
    return Refusal("LayersNotFoundException", f"Layers with digests '{_list(digests)}' {_required(key)}")


def images_missing(key: RepositoryKey, digests: Iterable[str]) -> Refusal:
    """Refuse an index whose images aren't there, in the words of its sibling."""
    return Refusal("ReferencedImagesNotFoundException", f"Images with digests '{_list(digests)}' {_required(key)}")


def wrong_image_digest(key: RepositoryKey, digest: str) -> Refusal:
    """Refuse: google/go-containerregistry#1568."""
    return Refusal(
        "ImageDigestDoesNotMatchException",
        f"The image with digest '{digest}' in repository '{key.name}' and registry ID '{key.account}' "
        "does not match the image digest that Amazon ECR has calculated.",
    )


def image_exists(key: RepositoryKey, digest: str, tag: str) -> Refusal:
    """Refuse the same image under the same tag: moto, aws/aws-sdk#750."""
    return Refusal(
        "ImageAlreadyExistsException",
        f"Image with digest '{digest}' and tag '{tag or 'null'}' already exists in the repository "
        f"with name '{key.name}' in registry with id '{key.account}'",
    )


def tag_is_immutable(key: RepositoryKey, tag: str) -> Refusal:
    """Refuse to move an immutable tag: aws/containers-roadmap#862."""
    return Refusal(
        "ImageTagAlreadyExistsException",
        f"The image tag '{tag}' already exists in the '{key.name}' repository "
        "and cannot be overwritten because the repository is immutable.",
    )


def image_not_found(key: RepositoryKey, image: ImageName) -> Refusal:
    """Refuse to describe what isn't there: moto."""
    return Refusal(
        "ImageNotFoundException",
        f"The image with imageId {{imageDigest:'{image.digest or 'null'}', imageTag:'{image.tag or 'null'}'}} "
        f"does not exist within the repository with name '{key.name}' in the registry with id '{key.account}'",
    )


def storage_class_not_supported(key: RepositoryKey, digest: str, why: str) -> Refusal:
    """Refuse to archive an image; the text begins as the model documents the error, AWS's own is not public."""
    return Refusal(
        "ImageStorageClassUpdateNotSupportedException",
        f"The requested image storage class update is not supported: image '{digest}' {_in(key)}: {why}",
    )


def layer_archived() -> Refusal:
    """Refuse a download of what only archived images refer to, in its sibling's words; AWS's own are not public."""
    return Refusal(
        "LayerInaccessibleException",
        "The specified layer is not available because it is associated with archived images only.",
    )


def lifecycle_policy_invalid(why: str) -> Refusal:
    """Refuse a lifecycle policy: hashicorp/terraform-provider-aws#45909, simple-container-com/api#34."""
    return invalid_parameter("LifecyclePolicyText", f"Lifecycle policy validation failure: {why}")


def lifecycle_policy_not_found(key: RepositoryKey) -> Refusal:
    """Refuse: iann0036/former2#16."""
    return Refusal(
        "LifecyclePolicyNotFoundException",
        f"Lifecycle policy does not exist for the repository with name '{key.name}' "
        f"in the registry with id '{key.account}'",
    )


def lifecycle_preview_not_found(key: RepositoryKey) -> Refusal:
    """Refuse; the text follows its siblings, AWS's own is not public."""
    return Refusal(
        "LifecyclePolicyPreviewNotFoundException",
        f"Lifecycle policy preview does not exist for the repository with name '{key.name}' "
        f"in the registry with id '{key.account}'",
    )


def _in(key: RepositoryKey) -> str:
    return f"in the repository with name '{key.name}' in registry with id '{key.account}'"


def _required(key: RepositoryKey) -> str:
    return (
        f"required for pushing image into repository with name '{key.name}' "
        f"in the registry with id '{key.account}' do not exist"
    )


def _list(digests: Iterable[str]) -> str:
    return f"[{', '.join(digests)}]"
