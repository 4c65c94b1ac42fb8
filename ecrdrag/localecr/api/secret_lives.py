"""Own the end of secrets: marked for deletion, taken back, gone at once.

The API may enter. What is marked is gone when its time has come, whoever looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ecrdrag.localecr.api import vault
from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.secret_lookup import check_name, named, usable
from ecrdrag.localecr.api.secret_refusals import window_and_force, wrong_window
from ecrdrag.localecr.settings import HOUR

_DAY: Final = 24 * HOUR
# The model on RecoveryWindowInDays.
_WINDOW: Final = range(7, 31)
_DEFAULT_WINDOW: Final = 30


def delete_secret(call: Call) -> Mapping[str, object]:
    """Mark a secret for deletion, or delete it at once where that is forced."""
    forced = call.parameters.flag("ForceDeleteWithoutRecovery")
    days = call.parameters.number("RecoveryWindowInDays", _DEFAULT_WINDOW)
    if forced and "RecoveryWindowInDays" in call.parameters:
        raise window_and_force()
    if days not in _WINDOW:
        raise wrong_window()
    return _delete_at_once(call) if forced else _mark(call, call.now + days * _DAY)


def restore_secret(call: Call) -> Mapping[str, object]:
    """Take the mark of deletion from a secret; one without is left as it is."""
    with call.store.metadata.write() as records:
        secret = named(call, records)
        replace(secret, deleted=0.0, changed=call.now).keep(records, call.registry, call.now)
    return {"ARN": secret.arn, "Name": secret.name}


def _mark(call: Call, end: float) -> Mapping[str, object]:
    with call.store.metadata.write() as records:
        secret = usable(call, records)
        replace(secret, deleted=end, changed=call.now).keep(records, call.registry, call.now)
    return {"ARN": secret.arn, "Name": secret.name, "DeletionDate": end}


def _delete_at_once(call: Call) -> Mapping[str, object]:
    """Delete a secret; of one that isn't there AWS says the same, as localstack recorded it."""
    wanted = call.parameters.text("SecretId")
    if not vault.is_arn(wanted):
        check_name(wanted)
    with call.store.metadata.write() as records:
        found = vault.find(records, call.registry, wanted, call.now)
        if found:
            vault.forget(records, call.registry, found.name)
    if found:
        return {"ARN": found.arn, "Name": found.name, "DeletionDate": call.now}
    arn = wanted if vault.is_arn(wanted) else vault.new_arn(call.registry, wanted)
    return {"ARN": arn, "Name": vault.name_in(arn), "DeletionDate": call.now}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "DeleteSecret": delete_secret,
    "RestoreSecret": restore_secret,
}
