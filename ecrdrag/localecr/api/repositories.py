"""Own the operations on repositories: create, describe, change how their tags move, delete.

The API may enter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.refusals import (
    invalid_parameter,
    repository_exists,
    repository_not_empty,
    repository_not_found,
)
from ecrdrag.localecr.api.setting_refusals import kms_key_unusable
from ecrdrag.localecr.api.tagging import check_tags
from ecrdrag.localecr.names import RegistryKey, RepositoryKey, partition
from ecrdrag.localecr.storage.records import Records, Repository

_ENCRYPTION: Final = "encryptionConfiguration"
_SCANNING: Final = "imageScanningConfiguration"
_MUTABILITY: Final = "imageTagMutability"
_FILTERS: Final = "imageTagMutabilityExclusionFilters"
# What CreateRepository gives when it isn't told otherwise: the model's documentation of its members.
_AES256: Final[Mapping[str, object]] = {"encryptionType": "AES256"}
_NO_SCANS: Final[Mapping[str, object]] = {"scanOnPush": False}
_DEFAULTS: Final[Mapping[str, object]] = {
    _MUTABILITY: "MUTABLE",
    _SCANNING: _NO_SCANS,
    _ENCRYPTION: _AES256,
}
_KEPT: Final = (*_DEFAULTS, _FILTERS, "tags")
_KMS_ARN: Final = re.compile(r"arn:[^:]+:kms:(?P<region>[^:]+):[0-9]{12}:(key|alias)/.+")


def create_repository(call: Call) -> Mapping[str, object]:
    """Create a repository that isn't there."""
    _check_encryption(call)
    with call.store.metadata.write() as records:
        created = add(call, records)
    return {"repository": describe(created)}


def add(call: Call, records: Records) -> Repository:
    """Create the repository that a call describes, in a transaction of the caller's."""
    check_tags(call.parameters.structures("tags"))
    check_filters(call)
    if records.repository(call.key):
        raise repository_exists(call.key)
    return create(records, call.key, call.parameters.raw(), call.now)


def create(records: Records, key: RepositoryKey, given: Mapping[str, object], now: float) -> Repository:
    """Create a repository that isn't there; given are CreateRepository's members, checked when they came."""
    settings: dict[str, object] = {**_DEFAULTS, **{name: given[name] for name in _KEPT if name in given}}
    settings[_SCANNING] = _over(_NO_SCANS, settings[_SCANNING])
    settings[_ENCRYPTION] = _encryption(key.registry, _over(_AES256, settings[_ENCRYPTION]))
    return records.add_repository(key, now, settings)


def describe_repositories(call: Call) -> Mapping[str, object]:
    """List repositories, or describe those that are named."""
    call.check_page("repositoryNames")
    names = call.parameters.texts("repositoryNames")
    with call.store.metadata.read() as records:
        if names:
            return {"repositories": [describe(one) for one in _named(call, records, names)]}
        (after,) = call.page_start(1)
        found = records.repositories(call.registry, after=after, limit=call.page_limit)
    page, token = call.page(found, lambda one: [one.key.name])
    return {"repositories": [describe(one) for one in page], "nextToken": token}


def put_image_tag_mutability(call: Call) -> Mapping[str, object]:
    """Say which tags of a repository can be moved from now on."""
    check_filters(call)
    given = call.parameters.raw()
    wanted: dict[str, object] = {name: given[name] for name in (_MUTABILITY, _FILTERS) if name in given}
    with call.store.metadata.write() as records:
        repository = call.repository(records)
        kept = {name: value for name, value in repository.settings.items() if name != _FILTERS}
        records.change_repository(repository.id, {**kept, **wanted})
    return {"registryId": call.account, "repositoryName": call.key.name, **wanted}


def delete_repository(call: Call) -> Mapping[str, object]:
    """Delete a repository; one that holds images only by force."""
    with call.store.metadata.write() as records:
        repository = call.repository(records)
        if not call.parameters.flag("force") and records.has_images(repository.id):
            raise repository_not_empty(call.key)
        uploads = records.delete_repository(repository.id)
    for upload in uploads:
        call.store.blobs.discard(upload)
    return {"repository": describe(repository)}


def _named(call: Call, records: Records, names: Sequence[str]) -> list[Repository]:
    found = []
    for name in names:
        key = call.registry.repository(name)
        repository = records.repository(key)
        if repository is None:
            raise repository_not_found(key)
        found.append(repository)
    return found


def describe(repository: Repository) -> dict[str, object]:
    """Return the Repository structure."""
    shown = {name: value for name, value in repository.settings.items() if name != "tags"}
    return {
        "repositoryArn": repository.key.arn,
        "registryId": repository.key.account,
        "repositoryName": repository.key.name,
        "repositoryUri": repository.key.uri,
        "createdAt": repository.created,
        **shown,
    }


def check_filters(call: Call) -> None:
    """Refuse filters without a mutability that has exclusions, and the other way round; moto has the first text."""
    mutability = call.parameters.text(_MUTABILITY, "MUTABLE")
    excludes = mutability.endswith("_WITH_EXCLUSION")
    if excludes == (_FILTERS in call.parameters):
        return
    name = _FILTERS[0].upper() + _FILTERS[1:]
    is_what = "can't be null" if excludes else "must be null"
    raise invalid_parameter(_FILTERS, f"{name} {is_what} when imageTagMutability is set as {mutability}")


def _check_encryption(call: Call) -> None:
    """Refuse keys that can't be, whatever keys there are: the model's documentation of EncryptionConfiguration."""
    given = call.parameters.structure(_ENCRYPTION)
    key = given.text("kmsKey")
    if key and given.text("encryptionType") == "AES256":
        raise invalid_parameter(_ENCRYPTION, "kmsKey must be null when encryptionType is AES256")
    if not key.startswith("arn:"):
        return
    named = _KMS_ARN.fullmatch(key)
    if named is None:
        raise kms_key_unusable(key, "its ARN is not that of a key or of an alias", "InvalidArnException")
    if named["region"] != call.registry.region:
        raise kms_key_unusable(key, f"it is not in {call.registry.region}", "NotFoundException")


def _over(defaults: Mapping[str, object], given: object) -> dict[str, object]:
    return {**defaults, **given} if isinstance(given, Mapping) else dict(defaults)


def _encryption(registry: RegistryKey, given: dict[str, object]) -> dict[str, object]:
    return given if given == _AES256 else {"kmsKey": _managed_key(registry), **given}


def _managed_key(registry: RegistryKey) -> str:
    """Name the key that AWS manages for ECR, by its alias: user guide, "Encryption at rest". AWS gives its own id."""
    return f"arn:{partition(registry.region)[0]}:kms:{registry.region}:{registry.account}:alias/aws/ecr"


OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreateRepository": create_repository,
    "DescribeRepositories": describe_repositories,
    "PutImageTagMutability": put_image_tag_mutability,
    "DeleteRepository": delete_repository,
}
