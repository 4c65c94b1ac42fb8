"""Own where images are to be replicated to: the registry's rules, checked and stored. Nothing replicates.

The API may enter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.refusals import invalid_parameter
from ecrdrag.localecr.api.wire import Parameters
from ecrdrag.localecr.names import RegistryKey, RepositoryKey
from ecrdrag.localecr.storage.records import Records

_KIND: Final = "replication"
_CONFIGURATION: Final = "replicationConfiguration"
# Amazon ECR service quotas, and user guide, "Private image replication"; 100 filters in a rule are the model's limit.
_MAX_RULES: Final = 10
_MAX_DESTINATIONS: Final = 25


def describe_registry(call: Call) -> Mapping[str, object]:
    """Describe a registry, which is its replication."""
    with call.store.metadata.read() as records:
        return {"registryId": call.account, _CONFIGURATION: {"rules": _rules(call.registry, records)}}


def put_replication_configuration(call: Call) -> Mapping[str, object]:
    """Store the rules in place of those before."""
    configuration = call.parameters.structure(_CONFIGURATION)
    rules = configuration.structures("rules")
    if len(rules) > _MAX_RULES:
        raise invalid_parameter(_CONFIGURATION, f"A registry can't have more than {_MAX_RULES} replication rules")
    destinations = {_destination(one) for rule in rules for one in rule.structures("destinations")}
    if len(destinations) > _MAX_DESTINATIONS:
        raise invalid_parameter(_CONFIGURATION, f"There can't be more than {_MAX_DESTINATIONS} unique destinations")
    if call.registry in destinations:  # moto has this text
        raise invalid_parameter(_CONFIGURATION, "Replication destination cannot be the same as the source registry")
    with call.store.metadata.write() as records:
        records.put_registry_setting(call.registry, _KIND, configuration.raw(), call.now)
    return {_CONFIGURATION: configuration.raw()}


def destinations_of(records: Records, key: RepositoryKey) -> list[RegistryKey]:
    """List where the images of a repository are to go, each place once."""
    found = [
        RegistryKey(one["registryId"], one["region"])
        for rule in _rules(key.registry, records)
        if _is_meant(key.name, rule)
        for one in rule["destinations"]
    ]
    return list(dict.fromkeys(found))


_Rule = dict[str, list[dict[str, str]]]


def _rules(registry: RegistryKey, records: Records) -> list[_Rule]:
    stored = records.registry_setting(registry, _KIND)
    rules = stored.value["rules"] if stored else []
    return rules if isinstance(rules, list) else []


def _is_meant(name: str, rule: _Rule) -> bool:
    """The model on repositoryFilters: a prefix of the name; without any filter, every repository."""
    filters = rule.get("repositoryFilters")
    return not filters or any(name.startswith(one["filter"]) for one in filters)


def _destination(destination: Parameters) -> RegistryKey:
    return RegistryKey(destination.text("registryId"), destination.text("region"))


OPERATIONS: Final[Mapping[str, Operation]] = {
    "DescribeRegistry": describe_registry,
    "PutReplicationConfiguration": put_replication_configuration,
}
