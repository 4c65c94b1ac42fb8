"""Own ECR Public's operations: those of private registries cut to its model, and those that it alone has.

The services may enter. A public registry is one whose region is PUBLIC, so the same records hold it, apart from
the account's private ones; images are pulled from it over /v2/ only, as its API has no call for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import wraps
from typing import Final

from botocore.model import ListShape, Shape, StructureShape

from ecrdrag.localecr.api import images, layers, policies, public_catalog, pushing, repositories, tagging, tokens
from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.refusals import part_too_large, registry_not_found
from ecrdrag.localecr.api.wire import service_model
from ecrdrag.localecr.settings import MEBIBYTE
from ecrdrag.localecr.storage.records import Records

HOME: Final = "us-east-1"
"""The only region whose API answers. AWS general reference names an endpoint in us-west-2 too; which operations it
has isn't public, and those that users tried there were refused (the README of aws-actions/amazon-ecr-login)."""

# Amazon ECR Public service quotas, "Layer parts" and "Maximum layer part size".
_MAX_PARTS: Final = 1000
_MAX_PART_SIZE: Final = 10 * MEBIBYTE


def get_authorization_token(call: Call) -> Mapping[str, object]:
    """Give a password for public registries; a private one doesn't take it, and the other way round."""
    return {"authorizationData": tokens.authorization(call, call.account)}


def describe_registries(call: Call) -> Mapping[str, object]:
    """Describe the caller's registry, with the shape of the sample in the AWS CLI documentation.

    It is there before its first repository, and its alias is made of the account: AWS's answers to both aren't public.
    """
    call.page_start(1)
    registry = call.registry
    alias = {"name": registry.alias, "status": "ACTIVE", "primaryRegistryAlias": True, "defaultRegistryAlias": True}
    described = {
        "registryId": registry.account,
        "registryArn": f"arn:aws:ecr-public::{registry.account}:registry/{registry.account}",
        "registryUri": registry.host,
        "verified": False,
        "aliases": [alias],
    }
    return {"registries": [described]}


def describe_image_tags(call: Call) -> Mapping[str, object]:
    """List tags by name, each with its image."""
    (after,) = call.page_start(1)
    with call.store.metadata.read() as records:
        repository = call.repository(records).id
        found = records.tags_by_name(repository, after=after, limit=call.page_limit)
        page, token = call.page(found, lambda tag: [tag.name])
        details = [
            {"imageTag": tag.name, "createdAt": tag.created, "imageDetail": _image_of(records, repository, tag.digest)}
            for tag in page
        ]
    return {"imageTagDetails": details, "nextToken": token}


def upload_layer_part(call: Call) -> Mapping[str, object]:
    """Take the next part, within the quotas of public registries."""
    if len(call.parameters.blob("layerPartBlob")) > _MAX_PART_SIZE:
        raise part_too_large(_MAX_PART_SIZE)
    quotas = replace(call.settings, max_parts=min(call.settings.max_parts, _MAX_PARTS))
    return layers.upload_layer_part(replace(call, settings=quotas))


def _image_of(records: Records, repository: int, digest: str) -> dict[str, object] | None:
    image = records.image(repository, digest)
    if image is None:
        return None
    return {
        "imageDigest": image.digest,
        "imageSizeInBytes": image.size,
        "imagePushedAt": image.pushed,
        "imageManifestMediaType": image.media_type,
        "artifactMediaType": image.artifact_type or None,
    }


def _pushing(operation: Operation) -> Operation:
    """Refuse a registry that isn't there before an operation of a push; the others know no such error."""

    @wraps(operation)
    def run(call: Call) -> Mapping[str, object]:
        if call.account not in call.store.keys.accounts:
            raise registry_not_found(call.account)
        return operation(call)

    return run


def _cut(name: str, operation: Operation) -> Operation:
    """Leave out of an operation's output what ECR Public's model doesn't know, such as scans and encryption."""

    @wraps(operation)
    def run(call: Call) -> Mapping[str, object]:
        shape = service_model("ecr-public").operation_model(name).output_shape
        return _known(operation(call), shape) if shape else {}

    return run


def _known(output: Mapping[str, object], shape: StructureShape) -> dict[str, object]:
    return {name: _fitting(value, shape.members[name]) for name, value in output.items() if name in shape.members}


def _fitting(value: object, shape: Shape) -> object:
    if isinstance(value, Mapping) and isinstance(shape, StructureShape):
        return _known(value, shape)
    if isinstance(value, list) and isinstance(shape, ListShape):
        return [_fitting(one, shape.member) for one in value]
    return value


_SHARED: Final[Mapping[str, Operation]] = {
    **public_catalog.OPERATIONS,
    "GetAuthorizationToken": get_authorization_token,
    "DescribeRepositories": repositories.describe_repositories,
    "DeleteRepository": repositories.delete_repository,
    "BatchCheckLayerAvailability": _pushing(layers.batch_check_layer_availability),
    "InitiateLayerUpload": _pushing(layers.initiate_layer_upload),
    "UploadLayerPart": _pushing(upload_layer_part),
    "CompleteLayerUpload": _pushing(layers.complete_layer_upload),
    "PutImage": _pushing(pushing.put_image),
    "DescribeImages": images.describe_images,
    "BatchDeleteImage": images.batch_delete_image,
    "SetRepositoryPolicy": policies.set_repository_policy,
    "GetRepositoryPolicy": policies.get_repository_policy,
    "DeleteRepositoryPolicy": policies.delete_repository_policy,
    **tagging.OPERATIONS,
}
OPERATIONS: Final[Mapping[str, Operation]] = {
    **{name: _cut(name, operation) for name, operation in _SHARED.items()},
    "DescribeRegistries": describe_registries,
    "DescribeImageTags": describe_image_tags,
}
