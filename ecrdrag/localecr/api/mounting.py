"""Own the mounting of layers: a repository knows a blob because another one does, and no byte moves.

/v2/ may enter; the API has no operation for it. Amazon ECR user guide, "Blob mounting"; aws/containers-roadmap#2860.
"""

from __future__ import annotations

from typing import Final

from ecrdrag.localecr.api.accounts import BLOB_MOUNTING, account_setting
from ecrdrag.localecr.api.call import Call
from ecrdrag.localecr.api.rules import rule_for
from ecrdrag.localecr.storage.records import Records, Repository

_ENCRYPTION: Final = "encryptionConfiguration"


def mount_layer(call: Call, source: str, digest: str, *, freely: bool) -> bool:
    """Make a layer of another repository of the same registry known to the call's; False when that can't be.

    Freely means whenever it is there; else as ECR does: the account wants it, an image in the source refers to
    it, both repositories are encrypted alike, and the source is no pull-through cache. A repository that isn't
    there yet is left to the upload that follows, which may create it.
    """
    with call.store.metadata.write() as records:
        here, there = records.repository(call.key), records.repository(call.registry.repository(source))
        layer = records.layer(there.id, digest) if there else None
        if here is None or there is None or layer is None:
            return False
        if not freely and not (layer.referenced and _may_mount(call, records, here, there)):
            return False
        if records.layer(here.id, digest) is None:
            records.add_layer(here.id, digest, layer.size, call.now)
        records.renew_layers(here.id, [digest])
    return True


def _may_mount(call: Call, records: Records, here: Repository, there: Repository) -> bool:
    is_wanted = account_setting(records, call.registry, BLOB_MOUNTING) == "ENABLED"
    is_alike = here.settings.get(_ENCRYPTION) == there.settings.get(_ENCRYPTION)
    return is_wanted and is_alike and rule_for(records, there.key) is None
