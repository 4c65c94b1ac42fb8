"""Own the tags of resources, which are not those of images: what they may be, and a repository's.

The API may enter; whoever takes tags for a repository checks them here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.refusals import invalid_parameter, repository_not_found
from ecrdrag.localecr.api.setting_refusals import invalid_tag, too_many_tags
from ecrdrag.localecr.api.wire import Parameters
from ecrdrag.localecr.names import RepositoryKey
from ecrdrag.localecr.storage.records import Records, Repository

# Amazon ECR user guide, "Tag restrictions"; characters aren't restricted there, only by other services.
MAX_TAGS: Final = 50
MAX_KEY: Final = 128
MAX_VALUE: Final = 256
_RESERVED: Final = "aws:"
_ARN: Final = re.compile(r"arn:[^:]+:[^:]+:[^:]*:(?P<account>[0-9]{12}):repository/(?P<name>.+)")


def check_tags(tags: Sequence[Parameters]) -> None:
    """Refuse tags that a resource can't have."""
    keys = [tag.text("Key") for tag in tags]
    if len(keys) > MAX_TAGS:
        raise too_many_tags(MAX_TAGS)
    if len(set(keys)) < len(keys):
        raise invalid_tag("Each tag key must be unique")
    for tag in tags:
        _check_key(tag.text("Key"))
        _check_value(tag.text("Value"))


def tag_resource(call: Call) -> Mapping[str, object]:
    """Add tags to a repository; those with other keys stay."""
    given = call.parameters.structures("tags")
    check_tags(given)
    with call.store.metadata.write() as records:
        repository = _repository(call, records)
        tags = {**_tags(repository), **{tag.text("Key"): tag.text("Value") for tag in given}}
        if len(tags) > MAX_TAGS:
            raise too_many_tags(MAX_TAGS)
        _keep(records, repository, tags)
    return {}


def untag_resource(call: Call) -> Mapping[str, object]:
    """Take tags from a repository; keys that it doesn't have are no error."""
    keys = call.parameters.texts("tagKeys")
    for key in keys:
        _check_key(key)
    with call.store.metadata.write() as records:
        repository = _repository(call, records)
        _keep(records, repository, {key: value for key, value in _tags(repository).items() if key not in keys})
    return {}


def list_tags_for_resource(call: Call) -> Mapping[str, object]:
    """List a repository's tags."""
    with call.store.metadata.read() as records:
        tags = _tags(_repository(call, records))
    return {"tags": _listed(tags)}


def _check_key(key: str) -> None:
    if not 0 < len(key) <= MAX_KEY:
        raise invalid_tag(f"Tag keys have 1 to {MAX_KEY} characters, not {len(key)}")
    if key.lower().startswith(_RESERVED):
        raise invalid_tag(f"Tag keys must not begin with '{_RESERVED}', which is reserved")


def _check_value(value: str) -> None:
    if len(value) > MAX_VALUE:
        raise invalid_tag(f"Tag values have at most {MAX_VALUE} characters, not {len(value)}")
    if value.lower().startswith(_RESERVED):
        raise invalid_tag(f"Tag values must not begin with '{_RESERVED}', which is reserved")


def _repository(call: Call, records: Records) -> Repository:
    """Find the repository that resourceArn names; moto has the text for a bad one.

    What AWS says about an ARN of another region is not public.
    """
    arn = call.parameters.text("resourceArn")
    named = _ARN.fullmatch(arn)
    key = RepositoryKey(named["account"], call.registry.region, named["name"]) if named else None
    if key is None or key.arn != arn:
        raise invalid_parameter("resourceArn", "Invalid ARN")
    found = records.repository(key)
    if found is None:
        raise repository_not_found(key)
    return found


def _tags(repository: Repository) -> dict[str, str]:
    stored = repository.settings.get("tags")
    return {tag["Key"]: tag["Value"] for tag in stored} if isinstance(stored, list) else {}


def _keep(records: Records, repository: Repository, tags: Mapping[str, str]) -> None:
    records.change_repository(repository.id, {**repository.settings, "tags": _listed(tags)})


def _listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


OPERATIONS: Final[Mapping[str, Operation]] = {
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
    "ListTagsForResource": list_tags_for_resource,
}
