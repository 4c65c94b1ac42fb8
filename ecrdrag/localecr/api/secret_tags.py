"""Own the tags of secrets: what they may be, put on and taken off.

The API may enter, and CreateSecret, which takes tags too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.secret_lookup import usable
from ecrdrag.localecr.api.secret_refusals import invalid_secret_tags

# AWS General Reference, "Tag naming limits and requirements"; lengths are in the model.
_MAX_TAGS: Final = 50
_RESERVED: Final = "aws:"

Tags = dict[str, str]


def tags_of(call: Call) -> Tags:
    """Read the tags that a call gives; refuse what can't be."""
    given = call.parameters.structures("Tags")
    tags = {tag.text("Key"): tag.text("Value") for tag in given}
    if len(tags) < len(given):
        raise invalid_secret_tags("Each tag key must be unique.")
    if any(key.lower().startswith(_RESERVED) for key in tags):
        raise invalid_secret_tags(f"Tag keys must not begin with '{_RESERVED}', which is reserved.")
    return check_count(tags)


def check_count(tags: Tags) -> Tags:
    """Refuse more tags than a secret may have."""
    if len(tags) > _MAX_TAGS:
        raise invalid_secret_tags(f"A secret has at most {_MAX_TAGS} tags.")
    return tags


def tag_resource(call: Call) -> Mapping[str, object]:
    """Put tags on a secret; those with other keys stay."""
    given = tags_of(call)
    with call.store.metadata.write() as records:
        secret = usable(call, records)
        tags = check_count({**dict(secret.tags), **given})
        replace(secret, tags=tuple(tags.items()), changed=call.now).keep(records, call.registry, call.now)
    return {}


def untag_resource(call: Call) -> Mapping[str, object]:
    """Take tags off a secret; keys that it doesn't have are no error."""
    keys = call.parameters.texts("TagKeys")
    with call.store.metadata.write() as records:
        secret = usable(call, records)
        tags = tuple((key, value) for key, value in secret.tags if key not in keys)
        replace(secret, tags=tags, changed=call.now).keep(records, call.registry, call.now)
    return {}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
}
