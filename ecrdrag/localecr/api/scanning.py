"""Own how images are to be scanned: the registry's rules and the older setting of each repository. Nothing scans.

The API may enter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.refusals import invalid_parameter
from ecrdrag.localecr.storage.records import Records, Repository

_KIND: Final = "scanning"
_ON_PUSH: Final = "SCAN_ON_PUSH"
_CONTINUOUS: Final = "CONTINUOUS_SCAN"
_MANUAL: Final = "MANUAL"
_DEFAULT_TYPE: Final = "BASIC"
_OF_REPOSITORY: Final = "imageScanningConfiguration"
# The model on scanFrequency, whose MANUAL is what repositories without a rule have.
_FREQUENCIES: Final[Mapping[str, Sequence[str]]] = {
    "BASIC": (_ON_PUSH, _MANUAL),
    "ENHANCED": (_ON_PUSH, _CONTINUOUS),
}
# Amazon ECR user guide, "Enhanced scanning": what is set when no rules are specified.
_EVERYTHING: Final = {
    "scanFrequency": _CONTINUOUS,
    "repositoryFilters": [{"filter": "*", "filterType": "WILDCARD"}],
}


def put_image_scanning_configuration(call: Call) -> Mapping[str, object]:
    """Say whether a repository's images are to be scanned when they come."""
    wanted = {"scanOnPush": call.parameters.structure(_OF_REPOSITORY).flag("scanOnPush")}
    with call.store.metadata.write() as records:
        repository = call.repository(records)
        records.change_repository(repository.id, {**repository.settings, _OF_REPOSITORY: wanted})
    return {"registryId": call.account, "repositoryName": call.key.name, _OF_REPOSITORY: wanted}


def put_registry_scanning_configuration(call: Call) -> Mapping[str, object]:
    """Store the registry's rules in place of those before."""
    kind = call.parameters.text("scanType", _DEFAULT_TYPE)
    default = [_EVERYTHING] if kind == "ENHANCED" else []
    for rule in call.parameters.structures("rules"):
        _check_frequency(kind, rule.text("scanFrequency"))
    configuration = {"scanType": kind, "rules": call.parameters.raw().get("rules", default)}
    with call.store.metadata.write() as records:
        records.put_registry_setting(call.registry, _KIND, configuration, call.now)
    return {"registryScanningConfiguration": configuration}


def get_registry_scanning_configuration(call: Call) -> Mapping[str, object]:
    """Return the registry's rules."""
    with call.store.metadata.read() as records:
        return {"registryId": call.account, "scanningConfiguration": _configuration(call, records)}


def batch_get_repository_scanning_configuration(call: Call) -> Mapping[str, object]:
    """Say of each repository how its images are to be scanned, by the registry's rules and its own setting."""
    found: list[dict[str, object]] = []
    failures: list[dict[str, object]] = []
    with call.store.metadata.read() as records:
        configuration = _configuration(call, records)
        for name in call.parameters.texts("repositoryNames"):
            repository = records.repository(call.registry.repository(name))
            if repository is None:
                failures.append(_missing(name))
            else:
                found.append(_applied(repository, configuration))
    return {"scanningConfigurations": found, "failures": failures}


def _configuration(call: Call, records: Records) -> dict[str, object]:
    stored = records.registry_setting(call.registry, _KIND)
    return stored.value if stored else {"scanType": _DEFAULT_TYPE, "rules": []}


def _check_frequency(kind: str, frequency: str) -> None:
    if frequency not in _FREQUENCIES[kind]:
        raise invalid_parameter("rules", f"{kind} scanning supports the frequencies [{', '.join(_FREQUENCIES[kind])}]")


def _applied(repository: Repository, configuration: Mapping[str, object]) -> dict[str, object]:
    """Choose the rule that counts.

    Continuous scanning goes before scanning on push, and rules before the repository's own setting: user guide,
    "Filters to choose which repositories are scanned". That scanOnPush says nothing more is a guess.
    """
    matching = _matching(repository.key.name, configuration["rules"])
    frequency = next((one for one in (_CONTINUOUS, _ON_PUSH) if matching.get(one)), _MANUAL)
    if not configuration["rules"] and repository.settings[_OF_REPOSITORY] == {"scanOnPush": True}:
        frequency = _ON_PUSH
    return {
        "repositoryArn": repository.key.arn,
        "repositoryName": repository.key.name,
        "scanOnPush": frequency == _ON_PUSH,
        "scanFrequency": frequency,
        "appliedScanFilters": matching.get(frequency, []),
    }


def _matching(name: str, rules: object) -> dict[str, list[dict[str, str]]]:
    """Return the filters that match a repository, by frequency."""
    found: dict[str, list[dict[str, str]]] = {}
    for rule in rules if isinstance(rules, list) else []:
        filters = [one for one in rule["repositoryFilters"] if _matches(name, one["filter"])]
        found.setdefault(rule["scanFrequency"], []).extend(filters)
    return found


def _matches(name: str, pattern: str) -> bool:
    """The same page: without a wildcard, a filter matches every name that it is a part of."""
    return fnmatchcase(name, pattern if "*" in pattern else f"*{pattern}*")


def _missing(name: str) -> dict[str, object]:
    # moto has the code as the reason too.
    return {
        "repositoryName": name,
        "failureCode": "REPOSITORY_NOT_FOUND",
        "failureReason": "REPOSITORY_NOT_FOUND",
    }


OPERATIONS: Final[Mapping[str, Operation]] = {
    "PutImageScanningConfiguration": put_image_scanning_configuration,
    "PutRegistryScanningConfiguration": put_registry_scanning_configuration,
    "GetRegistryScanningConfiguration": get_registry_scanning_configuration,
    "BatchGetRepositoryScanningConfiguration": batch_get_repository_scanning_configuration,
}
