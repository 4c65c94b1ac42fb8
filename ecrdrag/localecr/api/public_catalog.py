"""Own what ECR Public's gallery would show: the catalog data of repositories and of registries, stored.

ECR Public's operations may enter, and cut what goes out to the model.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

from ecrdrag.localecr.api import repositories
from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.storage.records import Records

_KIND: Final = "catalog"
# Kept like the rest, but never given out: answers have a logoUrl for it, and there is no gallery here that shows logos.
_LOGO: Final = "logoImageBlob"


def create_repository(call: Call) -> Mapping[str, object]:
    """Create a repository that isn't there, with its catalog data."""
    data = _given(call)
    with call.store.metadata.write() as records:
        created = repositories.add(call, records)
        records.put_repository_setting(created.id, _KIND, data, call.now)
    return {"repository": repositories.describe(created), "catalogData": data}


def get_repository_catalog_data(call: Call) -> Mapping[str, object]:
    """Return what is stored, which may be nothing.

    Never RepositoryCatalogDataNotFoundException: CreateRepository's sample in the AWS CLI documentation answers an
    empty catalogData, and hashicorp/terraform-provider-aws reads that of every new repository without an error.
    """
    with call.store.metadata.read() as records:
        return {"catalogData": _stored(records, call.repository(records).id)}


def put_repository_catalog_data(call: Call) -> Mapping[str, object]:
    """Store what is given; what isn't stays: EKS Distro's release script puts the logo first, then texts without it."""
    with call.store.metadata.write() as records:
        repository = call.repository(records).id
        stored = _stored(records, repository) | _given(call)
        records.put_repository_setting(repository, _KIND, stored, call.now)
    return {"catalogData": stored}


def get_registry_catalog_data(call: Call) -> Mapping[str, object]:
    """Return what is stored, which may be nothing."""
    with call.store.metadata.read() as records:
        setting = records.registry_setting(call.registry, _KIND)
    return {"registryCatalogData": setting.value if setting else {}}


def put_registry_catalog_data(call: Call) -> Mapping[str, object]:
    """Store the registry's display name; at AWS only verified accounts can have one."""
    data = call.parameters.raw()
    with call.store.metadata.write() as records:
        records.put_registry_setting(call.registry, _KIND, data, call.now)
    return {"registryCatalogData": data}


def _given(call: Call) -> dict[str, object]:
    """Return the call's catalog data as JSON has it."""
    data = call.parameters.structure("catalogData")
    logo = {_LOGO: base64.b64encode(data.blob(_LOGO)).decode()} if _LOGO in data else {}
    return {**data.raw(), **logo}


def _stored(records: Records, repository: int) -> dict[str, object]:
    setting = records.repository_setting(repository, _KIND)
    return setting.value if setting else {}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreateRepository": create_repository,
    "GetRepositoryCatalogData": get_repository_catalog_data,
    "PutRepositoryCatalogData": put_repository_catalog_data,
    "GetRegistryCatalogData": get_registry_catalog_data,
    "PutRegistryCatalogData": put_registry_catalog_data,
}
