"""Own who a pull-through cache rule is upstream: the secret that it names, and the registry asked with what is in it.

Rules enter, and the pull through. A rule without a secret asks as whoever this server was given for that registry.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from ecrdrag.errors import UnsupportedError
from ecrdrag.localecr.api import vault
from ecrdrag.localecr.api.call import Call
from ecrdrag.localecr.api.pulling_refusals import credential_inaccessible, credential_not_found, credential_unreadable
from ecrdrag.localecr.api.upstream import Upstream
from ecrdrag.localecr.api.vault import Secret
from ecrdrag.localecr.storage.records import Records

# The user guide, "Storing your upstream repository credentials": the key must be this one, "Amazon ECR doesn't
# support using a customer managed key (CMK) for this".
_KEY: Final = "alias/aws/secretsmanager"


class _Lack(Enum):
    """Why the secret of a rule can't be read, in the words of ECR's model about the three errors."""

    MISSING = (
        "The ARN of the secret specified in the pull through cache rule was not found. "
        "Update the pull through cache rule with a valid secret ARN and try again."
    )
    INACCESSIBLE = "The secret is unable to be accessed. Verify the resource permissions for the secret and try again."
    UNREADABLE = (
        "The secret is accessible but is unable to be decrypted. Verify the resource permisisons and try again."
    )


@dataclass(frozen=True, slots=True)
class _Login:
    """What is in the secret of a rule."""

    username: str
    access_token: str = field(repr=False)

    @classmethod
    def read(cls, secret: Secret) -> _Login | None:
        """Read the keys that the user guide names; None where the value has others."""
        version = secret.at(vault.CURRENT)
        try:
            found = json.loads(version.text or "") if version else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict):
            return None
        username, token = found.get("username"), found.get("accessToken")
        is_login = _is_text(username) and _is_text(token)
        return cls(str(username), str(token)) if is_login else None


def _is_text(value: object) -> bool:
    """Recognise what can be sent: JSON may hold halves of surrogate pairs, which UTF-8 hasn't."""
    return isinstance(value, str) and bool(value) and not any("\ud800" <= each <= "\udfff" for each in value)


def check_credential(call: Call, records: Records) -> None:
    """Refuse a credentialArn whose secret a rule can't have; what its value says is for a validation to find out."""
    arn = call.parameters.text("credentialArn")
    found = _secret(call, records, arn) if arn else None
    if found is _Lack.MISSING:
        raise credential_not_found(found.value)
    if found is _Lack.INACCESSIBLE:
        raise credential_inaccessible(found.value)
    if found is _Lack.UNREADABLE:
        raise credential_unreadable(found.value)


def registry_of(call: Call, url: str, arn: str) -> Upstream:
    """Return the registry upstream, to be asked as the secret says; raise UnsupportedError where that can't be."""
    registry = call.upstreams.find(url)
    if registry is None:
        raise UnsupportedError(f"This local ECR doesn't know where {url} is: start it with --upstream {url}=URL")
    if not arn:
        return registry
    with call.store.metadata.read() as records:
        secret = _secret(call, records, arn)
    if isinstance(secret, _Lack):
        raise UnsupportedError(secret.value)
    login = _Login.read(secret)
    if login is None:
        raise UnsupportedError(f"The value of the secret {secret.arn} isn't JSON with a username and an accessToken.")
    return registry.logged_in(login.username, login.access_token)


def _secret(call: Call, records: Records, arn: str) -> Secret | _Lack:
    """Find a rule's secret: of the same account and region, user guide, "Creating a pull through cache rule".

    Which of the errors AWS has for one of another account or region, and for one that is marked for deletion, is not
    public: those that follow from who asks Secrets Manager, and where.
    """
    if arn.split(":")[4] != call.registry.account:
        return _Lack.INACCESSIBLE
    found = vault.find(records, call.registry, arn, call.now)
    if found is None:
        return _Lack.MISSING
    if found.deleted:
        return _Lack.INACCESSIBLE
    return found if found.key in ("", _KEY) or found.key.endswith(f":{_KEY}") else _Lack.UNREADABLE
