"""Own which secret a call is about.

The operations on secrets enter.
"""

from __future__ import annotations

import re
from typing import Final

from ecrdrag.localecr.api import vault
from ecrdrag.localecr.api.call import Call
from ecrdrag.localecr.api.secret_refusals import invalid_name, marked_for_deletion, secret_not_found
from ecrdrag.localecr.api.vault import Secret
from ecrdrag.localecr.storage.records import Records

# The model on CreateSecret's Name, and AWS's own refusal, which allows "!" too.
_NAME: Final = re.compile(r"[A-Za-z0-9/_+=.@!-]+")


def check_name(name: str) -> None:
    """Refuse what no secret can be called."""
    if not _NAME.fullmatch(name):
        raise invalid_name()


def named(call: Call, records: Records) -> Secret:
    """Find the secret that SecretId means; raise ResourceNotFoundException."""
    wanted = call.parameters.text("SecretId")
    if not vault.is_arn(wanted):
        check_name(wanted)
    found = vault.find(records, call.registry, wanted, call.now)
    if found is None:
        raise secret_not_found()
    return found


def usable(call: Call, records: Records) -> Secret:
    """Find the secret that SecretId means, and refuse one that is marked for deletion."""
    found = named(call, records)
    if found.deleted:
        raise marked_for_deletion()
    return found
