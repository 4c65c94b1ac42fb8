"""Own the operations on repositories: create, describe, delete.

The API may enter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation, next_token
from ecrdrag.localecr.api.refusals import (
    Refusal,
    invalid_parameter,
    repository_exists,
    repository_not_empty,
    repository_not_found,
)
from ecrdrag.localecr.storage.records import Records, Repository

# What CreateRepository gives when it isn't told otherwise: the model's documentation of its members.
_DEFAULTS: Final[Mapping[str, object]] = {
    "imageTagMutability": "MUTABLE",
    "imageScanningConfiguration": {"scanOnPush": False},
    "encryptionConfiguration": {"encryptionType": "AES256"},
}
_FILTERS: Final = "imageTagMutabilityExclusionFilters"
_KEPT: Final = (*_DEFAULTS, _FILTERS, "tags")
# Amazon ECR user guide, "Tagging": at most 50 tags, keys up to 128 characters, values up to 256.
_MAX_TAGS: Final = 50
_MAX_TAG_KEY: Final = 128
_MAX_TAG_VALUE: Final = 256


def create_repository(call: Call) -> Mapping[str, object]:
    """Create a repository that isn't there."""
    given = call.parameters.raw()
    settings = {**_DEFAULTS, **{name: given[name] for name in _KEPT if name in given}}
    _check_tags(call)
    _check_filters(call)
    with call.store.metadata.write() as records:
        if records.repository(call.key):
            raise repository_exists(call.key)
        created = records.add_repository(call.key, call.now, settings)
    return {"repository": _describe(created)}


def describe_repositories(call: Call) -> Mapping[str, object]:
    """List repositories, or describe those that are named."""
    call.check_page("repositoryNames")
    names = call.parameters.texts("repositoryNames")
    with call.store.metadata.read() as records:
        if names:
            return {"repositories": [_describe(one) for one in _named(call, records, names)]}
        (after,) = call.page_start(1)
        found = records.repositories(call.registry, after=after, limit=call.page_size + 1)
    page = found[: call.page_size]
    token = next_token([page[-1].key.name]) if len(found) > len(page) else None
    return {"repositories": [_describe(one) for one in page], "nextToken": token}


def delete_repository(call: Call) -> Mapping[str, object]:
    """Delete a repository; one that holds images only by force."""
    with call.store.metadata.write() as records:
        repository = call.repository(records)
        if not call.parameters.flag("force") and records.has_images(repository.id):
            raise repository_not_empty(call.key)
        uploads = records.delete_repository(repository.id)
    for upload in uploads:
        call.store.blobs.discard(upload)
    return {"repository": _describe(repository)}


def _named(call: Call, records: Records, names: Sequence[str]) -> list[Repository]:
    found = []
    for name in names:
        key = call.registry.repository(name)
        repository = records.repository(key)
        if repository is None:
            raise repository_not_found(key)
        found.append(repository)
    return found


def _describe(repository: Repository) -> dict[str, object]:
    shown = {name: value for name, value in repository.settings.items() if name != "tags"}
    return {
        "repositoryArn": repository.key.arn,
        "registryId": repository.key.account,
        "repositoryName": repository.key.name,
        "repositoryUri": repository.key.uri,
        "createdAt": repository.created,
        **shown,
    }


def _check_tags(call: Call) -> None:
    tags = call.parameters.structures("tags")
    if len(tags) > _MAX_TAGS:
        raise Refusal("TooManyTagsException", f"A resource can't have more than {_MAX_TAGS} tags")
    for tag in tags:
        if not 0 < len(tag.text("Key")) <= _MAX_TAG_KEY or len(tag.text("Value")) > _MAX_TAG_VALUE:
            raise Refusal("InvalidTagParameterException", f"Invalid tag '{tag.text('Key')[:_MAX_TAG_KEY]}'")


def _check_filters(call: Call) -> None:
    """Refuse filters without a mutability that has exclusions, and the other way round."""
    excludes = call.parameters.text("imageTagMutability").endswith("_WITH_EXCLUSION")
    if excludes != (_FILTERS in call.parameters):
        raise invalid_parameter(_FILTERS, "must be set exactly when imageTagMutability has exclusions")


OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreateRepository": create_repository,
    "DescribeRepositories": describe_repositories,
    "DeleteRepository": delete_repository,
}
