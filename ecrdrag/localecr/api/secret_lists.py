"""Own what is said about secrets, never their values: one described, or all listed.

The API may enter.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from ecrdrag.localecr.api import vault
from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.secret_lookup import named
from ecrdrag.localecr.api.secret_refusals import invalid_next_token, not_emulated
from ecrdrag.localecr.api.vault import Secret

# The model on MaxResults has no default; 100 is also the most that it allows.
_PAGE: Final = 100
# The model on Filter: "Prefix match, case-sensitive". What it says of the other keys isn't here.
_FILTERED: Final[Mapping[str, Callable[[Secret], Iterable[str]]]] = {
    "name": lambda secret: [secret.name],
    "tag-key": lambda secret: [key for key, _ in secret.tags],
    "tag-value": lambda secret: [value for _, value in secret.tags],
}
_SORTED: Final[Mapping[str, Callable[[Secret], tuple[float, str]]]] = {
    "created-date": lambda secret: (secret.created, secret.name),
    "last-accessed-date": lambda secret: (secret.accessed, secret.name),
    "last-changed-date": lambda secret: (secret.changed, secret.name),
    "name": lambda secret: (0, secret.name),
}


def describe_secret(call: Call) -> Mapping[str, object]:
    """Describe a secret, also one that is marked for deletion."""
    with call.store.metadata.read() as records:
        secret = named(call, records)
    return {**_described(secret), "VersionIdsToStages": secret.stages or None}


def list_secrets(call: Call) -> Mapping[str, object]:
    """List secrets by pages."""
    with call.store.metadata.read() as records:
        found = vault.find_all(records, call.registry, call.now)
    if not call.parameters.flag("IncludePlannedDeletion"):
        found = [one for one in found if not one.deleted]
    key = _SORTED[call.parameters.text("SortBy", "created-date")]
    found = sorted((one for one in found if _passes(call, one)), key=key)
    if call.parameters.text("SortOrder") == "desc":
        found.reverse()
    left = found[_start(call, found) :]
    page = left[: call.parameters.number("MaxResults", _PAGE)]
    token = base64.urlsafe_b64encode(page[-1].name.encode()).decode() if len(left) > len(page) else None
    listed = [{**_described(one), "SecretVersionsToStages": one.stages or None} for one in page]
    return {"SecretList": listed, "NextToken": token}


def _described(secret: Secret) -> dict[str, object]:
    return {
        "ARN": secret.arn,
        "Name": secret.name,
        "Description": secret.description or None,
        "KmsKeyId": secret.key or None,
        "CreatedDate": secret.created,
        "LastChangedDate": secret.changed,
        "LastAccessedDate": secret.accessed or None,
        "DeletedDate": secret.deleted or None,
        "Tags": [{"Key": key, "Value": value} for key, value in secret.tags] or None,
    }


def _start(call: Call, found: Sequence[Secret]) -> int:
    """Return where the page begins: behind the secret that NextToken names."""
    token = call.parameters.text("NextToken")
    if not token:
        return 0
    try:
        name = base64.urlsafe_b64decode(token).decode()
        return [one.name for one in found].index(name) + 1
    except ValueError:
        raise invalid_next_token() from None


def _passes(call: Call, secret: Secret) -> bool:
    """Hold a secret to every filter: one of its values must fit, or not fit where it begins with "!"."""
    for one in call.parameters.structures("Filters"):
        key = one.text("Key", "all")
        if key not in _FILTERED:
            raise not_emulated(f"the filter {key}")
        texts = tuple(_FILTERED[key](secret))
        if not any(_fits(value, texts) for value in one.texts("Values")):
            return False
    return True


def _fits(value: str, texts: Sequence[str]) -> bool:
    if value.startswith("!"):
        return not any(text.startswith(value[1:]) for text in texts)
    return any(text.startswith(value) for text in texts)


OPERATIONS: Final[Mapping[str, Operation]] = {
    "DescribeSecret": describe_secret,
    "ListSecrets": list_secrets,
}
