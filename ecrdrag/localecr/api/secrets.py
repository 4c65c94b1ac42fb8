"""Own secrets and their values: created, read, given another value.

The API may enter. Of AWS Secrets Manager it is what the credentials of pull-through cache rules need.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ecrdrag.localecr.api import vault
from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.secret_lookup import check_name, usable
from ecrdrag.localecr.api.secret_refusals import (
    invalid_value,
    name_marked_for_deletion,
    no_value,
    not_emulated,
    secret_exists,
    stage_elsewhere,
    token_in_use,
    token_missing,
    two_values,
    value_not_found,
)
from ecrdrag.localecr.api.secret_tags import tags_of
from ecrdrag.localecr.api.vault import CURRENT, Secret, Version
from ecrdrag.localecr.settings import HOUR

_DAY: Final = 24 * HOUR
_TEXT: Final = "SecretString"
_BINARY: Final = "SecretBinary"
# Secrets Manager quotas, "Secret value size"; the model's length counts characters.
_MAX_BYTES: Final = 65_536
_NOT_EMULATED: Final = ("AddReplicaRegions", "CrossAccountPrimaryARN", "RotationToken", "Type")


def create_secret(call: Call) -> Mapping[str, object]:
    """Create a secret, with a value or without."""
    name, tags, version = call.parameters.text("Name"), tags_of(call), _version(call)
    check_name(name)
    with call.store.metadata.write() as records:
        found = vault.find(records, call.registry, name, call.now)
        if found:
            return _created_before(found, version)
        vault.forget(records, call.registry, name)  # what was deleted, but whose row is still there
        secret = Secret(
            arn=vault.new_arn(call.registry, name),
            name=name,
            created=call.now,
            changed=call.now,
            description=call.parameters.text("Description"),
            key=call.parameters.text("KmsKeyId"),
            tags=tuple(tags.items()),
        )
        secret = secret.with_version(version) if version else secret
        secret.keep(records, call.registry, call.now)
    return _answer(secret, version)


def get_secret_value(call: Call) -> Mapping[str, object]:
    """Give a secret's value: the current one, or that of a version or a label."""
    with call.store.metadata.read() as records:
        secret = usable(call, records)
    version = _wanted(call, secret)
    _note_access(call, secret)
    return {
        **_answer(secret, version),
        _TEXT: version.text,
        _BINARY: version.binary,
        "VersionStages": list(version.stages) or None,
        "CreatedDate": version.created,
    }


def put_secret_value(call: Call) -> Mapping[str, object]:
    """Give a secret another value."""
    version = _version(call)
    if version is None:
        raise no_value()
    with call.store.metadata.write() as records:
        found = usable(call, records)
        secret = _changed(found, version)
        if secret is not found:
            replace(secret, changed=call.now).keep(records, call.registry, call.now)
    kept = secret.by_id(version.id) or version
    return {**_answer(secret, kept), "VersionStages": list(kept.stages)}


def update_secret(call: Call) -> Mapping[str, object]:
    """Change what is said of a secret, and give it another value where one is given."""
    version = _version(call)
    with call.store.metadata.write() as records:
        secret = usable(call, records)
        secret = _changed(secret, version) if version else secret
        changed = replace(
            secret,
            changed=call.now,
            description=call.parameters.text("Description", secret.description),
            key=call.parameters.text("KmsKeyId", secret.key),
        )
        changed.keep(records, call.registry, call.now)
    return _answer(secret, version)


def _version(call: Call) -> Version | None:
    """Read the value that a call gives, as a version that isn't anybody's yet."""
    for member in _NOT_EMULATED:
        if member in call.parameters:
            raise not_emulated(member)
    if _TEXT in call.parameters and _BINARY in call.parameters:
        raise two_values()
    if not (_TEXT in call.parameters or _BINARY in call.parameters):
        return None
    if "ClientRequestToken" not in call.parameters:
        raise token_missing()
    stages = tuple(dict.fromkeys(call.parameters.texts("VersionStages"))) or (CURRENT,)
    return replace(_value(call), id=call.parameters.text("ClientRequestToken"), stages=stages)


def _value(call: Call) -> Version:
    empty = Version("", call.now, ())
    if _BINARY in call.parameters:
        return replace(empty, binary=base64.b64encode(call.parameters.blob(_BINARY)).decode())
    text = call.parameters.text(_TEXT)
    if len(text.encode()) > _MAX_BYTES:
        raise invalid_value(_TEXT, f"must have length less than or equal to {_MAX_BYTES}")
    return replace(empty, text=text)


def _created_before(found: Secret, version: Version | None) -> Mapping[str, object]:
    """Answer a call that was made before the same; raise ResourceExistsException to any other of the name."""
    if found.deleted:
        raise name_marked_for_deletion()
    if version and found.by_id(version.id):
        return _answer(_changed(found, version), version)
    raise secret_exists(found.name)


def _changed(secret: Secret, version: Version) -> Secret:
    """Add a version; one that is there already is left as it is, and can't have another value."""
    known = secret.by_id(version.id)
    if known is None:
        return secret.with_version(version)
    if not known.is_like(version):
        raise token_in_use(version.id, secret.arn)
    return secret


def _wanted(call: Call, secret: Secret) -> Version:
    wanted = call.parameters.text("VersionId")
    if not wanted:
        stage = call.parameters.text("VersionStage", CURRENT)
        version = secret.at(stage)
        if version is None:
            raise value_not_found(f"staging label: {stage}")
        return version
    version = secret.by_id(wanted)
    if version is None:
        raise value_not_found(f"VersionId: {wanted}")
    if "VersionStage" in call.parameters and call.parameters.text("VersionStage") not in version.stages:
        raise stage_elsewhere()
    return version


def _note_access(call: Call, secret: Secret) -> None:
    """Note the day: LastAccessedDate has no time of day, Secrets Manager user guide, "Secret metadata"."""
    day = call.now // _DAY * _DAY
    if secret.accessed >= day or call.settings.read_only:
        return
    with call.store.metadata.write() as records:
        found = vault.find(records, call.registry, secret.arn, call.now)
        if found:
            replace(found, accessed=day).keep(records, call.registry, call.now)


def _answer(secret: Secret, version: Version | None) -> dict[str, object]:
    return {"ARN": secret.arn, "Name": secret.name, "VersionId": version.id if version else None}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreateSecret": create_secret,
    "GetSecretValue": get_secret_value,
    "PutSecretValue": put_secret_value,
    "UpdateSecret": update_secret,
}
