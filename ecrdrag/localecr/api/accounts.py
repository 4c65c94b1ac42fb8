"""Own an account's settings in a region: named values, and whose pulls leave no time at an image.

The API may enter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.refusals import invalid_parameter
from ecrdrag.localecr.api.setting_refusals import exclusion_exists, exclusion_not_found, too_many_exclusions
from ecrdrag.localecr.names import RegistryKey
from ecrdrag.localecr.storage.records import Records

BLOB_MOUNTING: Final = "BLOB_MOUNTING"
_SETTING: Final = "account-setting"
_EXCLUSION: Final = "pull-time-update-exclusion"
# Values are those of the model's documentation, the default first. That of the scope is in the user guide, "Private
# registry permissions"; that blobs aren't mounted until it is ENABLED follows from "Blob mounting in Amazon ECR".
_VALUES: Final[Mapping[str, Sequence[str]]] = {
    "BASIC_SCAN_TYPE_VERSION": ("AWS_NATIVE",),
    "REGISTRY_POLICY_SCOPE": ("V2",),
    BLOB_MOUNTING: ("DISABLED", "ENABLED"),
}
# PullTimeUpdateExclusionList in the model has 100 at most; whether that is the quota too is not public.
_MAX_EXCLUSIONS: Final = 100


def get_account_setting(call: Call) -> Mapping[str, object]:
    """Return a setting's value."""
    name = _name(call)
    with call.store.metadata.read() as records:
        return {"name": name, "value": account_setting(records, call.registry, name)}


def put_account_setting(call: Call) -> Mapping[str, object]:
    """Give a setting another value."""
    name, value = _name(call), call.parameters.text("value")
    if value not in _VALUES[name]:
        raise invalid_parameter("value", f"Member must satisfy enum value set: [{', '.join(_VALUES[name])}]")
    with call.store.metadata.write() as records:
        records.put_registry_setting(call.registry, _SETTING, {"value": value}, call.now, name)
    return {"name": name, "value": value}


def account_setting(records: Records, registry: RegistryKey, name: str) -> str:
    """Return the value of a setting that there is."""
    stored = records.registry_setting(registry, _SETTING, name)
    return str(stored.value["value"]) if stored else _VALUES[name][0]


def register_pull_time_update_exclusion(call: Call) -> Mapping[str, object]:
    """Exclude a principal; nobody who calls here is one, so that times are recorded for all."""
    principal = call.parameters.text("principalArn")
    with call.store.metadata.write() as records:
        if records.registry_setting(call.registry, _EXCLUSION, principal):
            raise exclusion_exists(call.registry, principal)
        if len(records.registry_settings(call.registry, _EXCLUSION)) >= _MAX_EXCLUSIONS:
            raise too_many_exclusions(_MAX_EXCLUSIONS)
        records.put_registry_setting(call.registry, _EXCLUSION, {}, call.now, principal)
    return {"principalArn": principal, "createdAt": call.now}


def deregister_pull_time_update_exclusion(call: Call) -> Mapping[str, object]:
    """Exclude a principal no longer."""
    principal = call.parameters.text("principalArn")
    with call.store.metadata.write() as records:
        if not records.delete_registry_setting(call.registry, _EXCLUSION, principal):
            raise exclusion_not_found(call.registry, principal)
    return {"principalArn": principal}


def list_pull_time_update_exclusions(call: Call) -> Mapping[str, object]:
    """List excluded principals."""
    (after,) = call.page_start(1)
    with call.store.metadata.read() as records:
        found = records.registry_settings(call.registry, _EXCLUSION, after=after, limit=call.page_limit)
    page, token = call.page(found, lambda one: [one.name])
    return {"pullTimeUpdateExclusions": [one.name for one in page], "nextToken": token}


def _name(call: Call) -> str:
    name = call.parameters.text("name")
    if name not in _VALUES:
        raise invalid_parameter("name", f"Member must satisfy enum value set: [{', '.join(_VALUES)}]")
    return name


OPERATIONS: Final[Mapping[str, Operation]] = {
    "GetAccountSetting": get_account_setting,
    "PutAccountSetting": put_account_setting,
    "RegisterPullTimeUpdateExclusion": register_pull_time_update_exclusion,
    "DeregisterPullTimeUpdateExclusion": deregister_pull_time_update_exclusion,
    "ListPullTimeUpdateExclusions": list_pull_time_update_exclusions,
}
