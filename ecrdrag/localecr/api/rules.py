"""Own pull-through cache rules: created, described, updated, deleted, validated, and found for a repository.

The API enters, and the pull through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ecrdrag.errors import EcrdragError
from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.prefixes import ROOT, closest, key_of
from ecrdrag.localecr.api.pulling_refusals import (
    nothing_to_update,
    rule_exists,
    rule_not_found,
    too_many_rules,
    upstream_invalid,
    upstream_needs_role,
    upstream_needs_secret,
)
from ecrdrag.localecr.api.refusals import invalid_parameter
from ecrdrag.localecr.api.upstream_logins import check_credential, registry_of
from ecrdrag.localecr.names import RepositoryKey
from ecrdrag.localecr.storage.records import Records, Setting
from ecrdrag.localecr.storage.settings import Value

KIND: Final = "pull-through-cache-rule"
_ECR: Final = "ecr"
# The model on upstreamRegistryUrl; Chainguard's host is in the user guide, "Creating a pull through cache rule".
_REGISTRIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        _ECR: r"(?P<account>[0-9]{12})\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?",
        "ecr-public": r"public\.ecr\.aws",
        "docker-hub": r"registry-1\.docker\.io",
        "github-container-registry": r"ghcr\.io",
        "gitlab-container-registry": r"registry\.gitlab\.com",
        "k8s": r"registry\.k8s\.io",
        "azure-container-registry": r"[a-zA-Z0-9-]+\.azurecr\.io",
        "quay": r"quay\.io",
        "chainguard": r"cgr\.dev",
    }
)
# The user guide, "Sync an upstream registry with an Amazon ECR private registry", has the other way round.
_NO_SECRET: Final = (_ECR, "ecr-public", "k8s", "quay")
_MEMBERS: Final = ("credentialArn", "customRoleArn")
_PREFIX: Final = "ecrRepositoryPrefix"
_URL: Final = "upstreamRegistryUrl"
_REGISTRY: Final = "upstreamRegistry"
_UPSTREAM_PREFIX: Final = "upstreamRepositoryPrefix"
# What each output has of a rule, by the model; Describe has all.
_DELETED: Final = (_PREFIX, _URL, "createdAt", "registryId", *_MEMBERS, _UPSTREAM_PREFIX)
_CREATED: Final = (*_DELETED, _REGISTRY)
_UPDATED: Final = (_PREFIX, "registryId", "updatedAt", *_MEMBERS, _UPSTREAM_PREFIX)
_VALIDATED: Final = (_PREFIX, "registryId", _URL, *_MEMBERS, _UPSTREAM_PREFIX)


@dataclass(frozen=True, slots=True)
class Rule:
    """Where repositories below a prefix come from."""

    prefix: str
    url: str
    upstream_prefix: str
    credential: str = ""
    """The ARN of the secret that says who it is there; empty for none."""

    def upstream_name(self, name: str) -> str:
        """Return what a repository is called upstream: user guide, "Customizing repository prefixes"."""
        rest = name if self.prefix == ROOT else name[len(self.prefix) + 1 :]
        return rest if self.upstream_prefix == ROOT else f"{self.upstream_prefix}/{rest}"


def rule_for(records: Records, key: RepositoryKey) -> Rule | None:
    """Find the rule that a repository belongs to."""
    found = closest(records.registry_settings(key.registry, KIND), key.name)
    if found is None:
        return None
    return _rule(found)


def create_pull_through_cache_rule(call: Call) -> Mapping[str, object]:
    """Store a rule for a prefix that has none."""
    registry = _check_upstream(call)
    _check_prefixes(call)
    given = call.parameters.raw()
    value: Value = {name: given[name] for name in (_PREFIX, _URL, *_MEMBERS) if name in given}
    value[_UPSTREAM_PREFIX] = given.get(_UPSTREAM_PREFIX, ROOT)
    if registry:
        value[_REGISTRY] = registry
    prefix = key_of(call.parameters.text(_PREFIX))
    with call.store.metadata.write() as records:
        if records.registry_setting(call.registry, KIND, prefix):
            raise rule_exists(call.registry, prefix)
        if len(records.registry_settings(call.registry, KIND)) >= call.settings.max_rules:
            raise too_many_rules(call.settings.max_rules)
        check_credential(call, records)
        records.put_registry_setting(call.registry, KIND, value, call.now, prefix)
    return _describe(call, Setting(prefix, value, call.now, call.now), _CREATED)


def describe_pull_through_cache_rules(call: Call) -> Mapping[str, object]:
    """List rules, or describe those whose prefixes are named."""
    call.check_page("ecrRepositoryPrefixes")
    (after,) = call.page_start(1)
    prefixes = call.parameters.texts("ecrRepositoryPrefixes")
    with call.store.metadata.read() as records:
        if prefixes:
            found = [_find(call, records, key_of(prefix)) for prefix in prefixes]
        else:
            found = records.registry_settings(call.registry, KIND, after=after, limit=call.page_limit)
    page, token = call.page(found, lambda one: [one.name])
    described = [_describe(call, one, (*_CREATED, "updatedAt")) for one in page]
    return {"pullThroughCacheRules": described, "nextToken": token}


def update_pull_through_cache_rule(call: Call) -> Mapping[str, object]:
    """Give a rule another secret or role."""
    prefix = key_of(call.parameters.text(_PREFIX))
    given = call.parameters.raw()
    with call.store.metadata.write() as records:
        rule = _find(call, records, prefix)
        if not any(name in given for name in _MEMBERS):
            raise nothing_to_update()
        check_credential(call, records)
        value: Value = {**rule.value, **{name: given[name] for name in _MEMBERS if name in given}}
        records.put_registry_setting(call.registry, KIND, value, call.now, prefix)
        rule = _find(call, records, prefix)
    return _describe(call, rule, _UPDATED)


def delete_pull_through_cache_rule(call: Call) -> Mapping[str, object]:
    """Forget a rule; the repositories that it made stay."""
    prefix = key_of(call.parameters.text(_PREFIX))
    with call.store.metadata.write() as records:
        rule = _find(call, records, prefix)
        records.delete_registry_setting(call.registry, KIND, prefix)
    return _describe(call, rule, _DELETED)


def validate_pull_through_cache_rule(call: Call) -> Mapping[str, object]:
    """Ask the upstream registry, and say what came of it."""
    with call.store.metadata.read() as records:
        rule = _find(call, records, key_of(call.parameters.text(_PREFIX)))
    failure = _ask(call, _rule(rule))
    return {**_describe(call, rule, _VALIDATED), "isValid": not failure, "failure": failure or None}


def _ask(call: Call, rule: Rule) -> str:
    try:
        registry_of(call, rule.url, rule.credential).check()
    except EcrdragError as error:
        return str(error)
    return ""


def _check_upstream(call: Call) -> str:
    """Return which registry a rule's URL means, empty for one that AWS doesn't have and this server does."""
    url, named = call.parameters.text(_URL), call.parameters.text(_REGISTRY)
    matches = ((name, re.fullmatch(pattern, url)) for name, pattern in _REGISTRIES.items())
    registry, match = next(((name, match) for name, match in matches if match), ("", None))
    if match is None and call.upstreams.find(url) is None:
        raise upstream_invalid(url)
    if match and named not in ("", registry):
        raise invalid_parameter(_REGISTRY, f"must be {registry} for upstreamRegistryUrl {url}")
    if registry == _ECR and match and match["account"] != call.account and "customRoleArn" not in call.parameters:
        raise upstream_needs_role()
    if registry and registry not in _NO_SECRET and "credentialArn" not in call.parameters:
        raise upstream_needs_secret()
    return registry or named


def _check_prefixes(call: Call) -> None:
    """The user guide, "Customizing repository prefixes": an upstream prefix only where the rule's own isn't ROOT."""
    if call.parameters.text(_PREFIX) == ROOT and call.parameters.text(_UPSTREAM_PREFIX, ROOT) != ROOT:
        raise invalid_parameter(_UPSTREAM_PREFIX, "must be ROOT when ecrRepositoryPrefix is ROOT")


def _find(call: Call, records: Records, prefix: str) -> Setting:
    found = records.registry_setting(call.registry, KIND, prefix)
    if found is None:
        raise rule_not_found(call.registry, prefix)
    return found


def _rule(stored: Setting) -> Rule:
    upstream_prefix = key_of(str(stored.value[_UPSTREAM_PREFIX]))
    return Rule(stored.name, str(stored.value[_URL]), upstream_prefix, str(stored.value.get("credentialArn", "")))


def _describe(call: Call, rule: Setting, members: tuple[str, ...]) -> dict[str, object]:
    times: dict[str, object] = {"createdAt": rule.created, "updatedAt": rule.changed}
    known = {**rule.value, **times, "registryId": call.account}
    return {name: known.get(name) for name in members}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreatePullThroughCacheRule": create_pull_through_cache_rule,
    "DescribePullThroughCacheRules": describe_pull_through_cache_rules,
    "UpdatePullThroughCacheRule": update_pull_through_cache_rule,
    "DeletePullThroughCacheRule": delete_pull_through_cache_rule,
    "ValidatePullThroughCacheRule": validate_pull_through_cache_rule,
}
