"""Own policies of a registry and of repositories: checked for their form, stored, given back. Nothing evaluates them.

The API may enter; whoever creates repositories stores a policy with store().
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.setting_refusals import (
    invalid_policy,
    registry_policy_not_found,
    repository_policy_not_found,
)
from ecrdrag.localecr.storage.records import Records, Setting

_KIND: Final = "policy"
# The elements, and which of them must be there: IAM user guide, "Grammar of the IAM JSON policy language". Without
# Resource, as in ECR's own examples; whether a principal exists, which AWS does ask, nobody here knows.
_VERSIONS: Final = ("2008-10-17", "2012-10-17")
_ELEMENTS: Final = frozenset({"Version", "Id", "Statement"})
_STATEMENT_ELEMENTS: Final = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_EFFECTS: Final = ("Allow", "Deny")


def put_registry_policy(call: Call) -> Mapping[str, object]:
    """Store the registry's policy."""
    text = printed_policy(call.parameters.text("policyText"), "registry")
    with call.store.metadata.write() as records:
        records.put_registry_setting(call.registry, _KIND, {"text": text}, call.now)
    return {"registryId": call.account, "policyText": text}


def get_registry_policy(call: Call) -> Mapping[str, object]:
    """Return the registry's policy."""
    with call.store.metadata.read() as records:
        return _of_registry(call, records)


def delete_registry_policy(call: Call) -> Mapping[str, object]:
    """Forget the registry's policy, and return it once more."""
    with call.store.metadata.write() as records:
        policy = _of_registry(call, records)
        records.delete_registry_setting(call.registry, _KIND)
    return policy


def set_repository_policy(call: Call) -> Mapping[str, object]:
    """Store a repository's policy; force changes nothing, as a policy that isn't evaluated locks nobody out."""
    with call.store.metadata.write() as records:
        text = store(records, call.repository(records).id, call.parameters.text("policyText"), call.now)
    return _of_repository(call, text)


def get_repository_policy(call: Call) -> Mapping[str, object]:
    """Return a repository's policy."""
    with call.store.metadata.read() as records:
        return _of_repository(call, _text(_found(call, records)))


def delete_repository_policy(call: Call) -> Mapping[str, object]:
    """Forget a repository's policy, and return it once more."""
    with call.store.metadata.write() as records:
        policy = _found(call, records)
        records.delete_repository_setting(call.repository(records).id, _KIND)
    return _of_repository(call, _text(policy))


def store(records: Records, repository: int, text: str, now: float) -> str:
    """Store the policy of a repository and return it as it is stored; raise InvalidParameterException."""
    printed = printed_policy(text, "repository")
    records.put_repository_setting(repository, _KIND, {"text": printed}, now)
    return printed


def _of_registry(call: Call, records: Records) -> dict[str, object]:
    policy = records.registry_setting(call.registry, _KIND)
    if policy is None:
        raise registry_policy_not_found(call.registry)
    return {"registryId": call.account, "policyText": _text(policy)}


def _found(call: Call, records: Records) -> Setting:
    policy = records.repository_setting(call.repository(records).id, _KIND)
    if policy is None:
        raise repository_policy_not_found(call.key)
    return policy


def _of_repository(call: Call, text: str) -> dict[str, object]:
    return {"registryId": call.account, "repositoryName": call.key.name, "policyText": text}


def _text(policy: Setting) -> str:
    return str(policy.value["text"])


def printed_policy(text: str, kind: str) -> str:
    """Return a policy as AWS prints it: set-repository-policy in the AWS CLI's examples shows what goes in and out."""
    try:
        document: object = json.loads(text, parse_constant=_refuse_constant)
        printed = _printed(document) if _is_policy(document) else ""
        printed.encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError):
        printed = ""
    if not printed:
        raise invalid_policy(kind)
    return printed


def _refuse_constant(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


def _is_policy(document: object) -> bool:
    if not isinstance(document, dict) or not document.keys() <= _ELEMENTS:
        return False
    statement = document.get("Statement")
    statements = statement if isinstance(statement, list) else [statement]
    known = document.get("Version", _VERSIONS[0]) in _VERSIONS
    return known and bool(statements) and all(map(_is_statement, statements))


def _is_statement(statement: object) -> bool:
    if not isinstance(statement, dict) or not statement.keys() <= _STATEMENT_ELEMENTS:
        return False
    action, principal = (_one_of(statement, name, f"Not{name}") for name in ("Action", "Principal"))
    who = principal == "*" or (isinstance(principal, dict) and bool(principal) and all(map(_names, principal.values())))
    return statement.get("Effect") in _EFFECTS and _names(action) and who


def _one_of(statement: Mapping[str, object], *names: str) -> object:
    found = [statement[name] for name in names if name in statement]
    return found[0] if len(found) == 1 else None


def _names(value: object) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name for name in names)


def _printed(value: object, margin: str = "") -> str:
    if isinstance(value, dict):
        inner = f"{margin}  "
        members = ",\n".join(f"{inner}{_printed(name)} : {_printed(one, inner)}" for name, one in value.items())
        return f"{{\n{members}\n{margin}}}" if value else "{ }"
    if isinstance(value, list):
        return f"[ {', '.join(_printed(one, margin) for one in value)} ]" if value else "[ ]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)  # a number may be too large for a float


OPERATIONS: Final[Mapping[str, Operation]] = {
    "PutRegistryPolicy": put_registry_policy,
    "GetRegistryPolicy": get_registry_policy,
    "DeleteRegistryPolicy": delete_registry_policy,
    "SetRepositoryPolicy": set_repository_policy,
    "GetRepositoryPolicy": get_repository_policy,
    "DeleteRepositoryPolicy": delete_repository_policy,
}
