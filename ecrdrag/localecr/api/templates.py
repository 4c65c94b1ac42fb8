"""Own repository creation templates, and the repositories that come into being by them: on a push, on a pull through.

The API, the running of operations and the pull through enter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ecrdrag.localecr.api import lifecycle, lifecycle_text, policies, repositories
from ecrdrag.localecr.api.call import Call, Operation
from ecrdrag.localecr.api.prefixes import closest, key_of
from ecrdrag.localecr.api.pulling_refusals import template_exists, template_not_found
from ecrdrag.localecr.api.refusals import invalid_parameter, lifecycle_policy_invalid, repository_not_found
from ecrdrag.localecr.api.tagging import MAX_KEY, MAX_TAGS, MAX_VALUE
from ecrdrag.localecr.api.wire import Parameters
from ecrdrag.localecr.storage.records import Records, Repository, Setting

KIND: Final = "repository-creation-template"
PULL_THROUGH_CACHE: Final = "PULL_THROUGH_CACHE"
CREATE_ON_PUSH: Final = "CREATE_ON_PUSH"
_ENCRYPTION: Final = "encryptionConfiguration"
_MUTABILITY: Final = "imageTagMutability"
_FILTERS: Final = "imageTagMutabilityExclusionFilters"
_TAGS: Final = "resourceTags"
_POLICY: Final = "repositoryPolicy"
_LIFECYCLE: Final = "lifecyclePolicy"
# What a template has when it isn't told otherwise: the sample of create-repository-creation-template in the AWS CLI's
# documentation, and the model on imageTagMutability.
_DEFAULTS: Final[Mapping[str, object]] = {
    _ENCRYPTION: {"encryptionType": "AES256"},
    _TAGS: [],
    _MUTABILITY: "MUTABLE",
}


def create_repository_creation_template(call: Call) -> Mapping[str, object]:
    """Store a template for a prefix that has none."""
    prefix = key_of(call.parameters.text("prefix"))
    value = {**_DEFAULTS, **call.parameters.raw()}
    _check(call, value)
    with call.store.metadata.write() as records:
        if records.registry_setting(call.registry, KIND, prefix):
            raise template_exists(call.registry, prefix)
        records.put_registry_setting(call.registry, KIND, value, call.now, prefix)
    return _output(call, Setting(prefix, value, call.now, call.now))


def describe_repository_creation_templates(call: Call) -> Mapping[str, object]:
    """List templates; of prefixes that are named, those that have one, as the model has no error for the others."""
    call.check_page("prefixes")
    (after,) = call.page_start(1)
    prefixes = call.parameters.texts("prefixes")
    with call.store.metadata.read() as records:
        if prefixes:
            named = (records.registry_setting(call.registry, KIND, key_of(prefix)) for prefix in prefixes)
            found = [one for one in named if one]
        else:
            found = records.registry_settings(call.registry, KIND, after=after, limit=call.page_limit)
    page, token = call.page(found, lambda one: [one.name])
    described = [_describe(one) for one in page]
    return {"registryId": call.account, "repositoryCreationTemplates": described, "nextToken": token}


def update_repository_creation_template(call: Call) -> Mapping[str, object]:
    """Change what is given of a template; what isn't stays, and so do the repositories that it made."""
    prefix = key_of(call.parameters.text("prefix"))
    given = {name: value for name, value in call.parameters.raw().items() if name != "prefix"}
    with call.store.metadata.write() as records:
        value = {**_find(call, records, prefix).value, **given}
        if _MUTABILITY in given and _FILTERS not in given:
            value.pop(_FILTERS, None)
        _check(call, value)
        records.put_registry_setting(call.registry, KIND, value, call.now, prefix)
        template = _find(call, records, prefix)
    return _output(call, template)


def delete_repository_creation_template(call: Call) -> Mapping[str, object]:
    """Forget a template; the repositories that it made stay."""
    prefix = key_of(call.parameters.text("prefix"))
    with call.store.metadata.write() as records:
        template = _find(call, records, prefix)
        records.delete_registry_setting(call.registry, KIND, prefix)
    return _output(call, template)


def create_on_push(call: Call) -> None:
    """Create the repository that a push misses, if a template says so."""
    with call.store.metadata.read() as records:
        if records.repository(call.key) or _template(records, call, CREATE_ON_PUSH) is None:
            return
    with call.store.metadata.write() as records:
        template = _template(records, call, CREATE_ON_PUSH)
        if template and records.repository(call.key) is None:
            _create(call, records, template)


def create_to_cache(call: Call, records: Records) -> Repository:
    """Create the repository that a pull through misses, as a template says or with ECR's defaults."""
    return _create(call, records, _template(records, call, PULL_THROUGH_CACHE))


def _template(records: Records, call: Call, reason: str) -> Setting | None:
    """Find the template for a repository among those that are applied for a reason.

    Whether AWS lets one that isn't applied for it hide one with a shorter prefix is not public.
    """
    found = records.registry_settings(call.registry, KIND)
    return closest((one for one in found if reason in _texts(one.value.get("appliedFor"))), call.key.name)


def _create(call: Call, records: Records, template: Setting | None) -> Repository:
    """Create a repository as CreateRepository would that is given what a template says."""
    value = template.value if template else {}
    # AWS stores a template that lacks the role it needs, and then makes no repository: containers-roadmap#2398.
    if _needs_role(value) and not value.get("customRoleArn"):
        raise repository_not_found(call.key)
    given = {**value, "tags": value.get(_TAGS) or [], _ENCRYPTION: _encryption(value)}
    repository = repositories.create(records, call.key, given, call.now)
    _add_policies(call, records, repository, value)
    return repository


def _add_policies(call: Call, records: Records, repository: Repository, value: Mapping[str, object]) -> None:
    if policy := value.get(_POLICY):
        policies.store(records, repository.id, str(policy), call.now)
    if policy := value.get(_LIFECYCLE):
        lifecycle.store(records, repository.id, str(policy), call.now)


def _needs_role(value: Mapping[str, object]) -> bool:
    """The user guide, "Creating a repository creation template": a role is needed for resource tags and for KMS."""
    return bool(value.get(_TAGS)) or _encryption(value).get("encryptionType", "AES256") != "AES256"


def _encryption(value: Mapping[str, object]) -> dict[str, object]:
    """Return how a template's repositories are encrypted; an empty key is none."""
    given = value.get(_ENCRYPTION)
    return {name: one for name, one in given.items() if one} if isinstance(given, dict) else {}


def _check(call: Call, value: Mapping[str, object]) -> None:
    """Refuse what no repository could be created with, when a template is stored and not only when it is used."""
    repositories.check_filters(replace(call, parameters=Parameters(value)))
    _check_tags(call)
    if policy := value.get(_POLICY):
        policies.printed_policy(str(policy), "repository")
    if policy := value.get(_LIFECYCLE):
        try:
            lifecycle_text.normal(str(policy))
        except lifecycle_text.PolicyError as error:
            raise lifecycle_policy_invalid(str(error)) from None


def _check_tags(call: Call) -> None:
    tags = call.parameters.structures(_TAGS)
    keys = [tag.text("Key") for tag in tags]
    few = len(keys) <= MAX_TAGS and len(set(keys)) == len(keys)
    short = all(0 < len(tag.text("Key")) <= MAX_KEY and len(tag.text("Value")) <= MAX_VALUE for tag in tags)
    if not (few and short):
        raise invalid_parameter(
            _TAGS, f"at most {MAX_TAGS} tags, each with its own key of up to {MAX_KEY} and a value of up to {MAX_VALUE}"
        )


def _find(call: Call, records: Records, prefix: str) -> Setting:
    found = records.registry_setting(call.registry, KIND, prefix)
    if found is None:
        raise template_not_found(call.registry, prefix)
    return found


def _output(call: Call, template: Setting) -> dict[str, object]:
    return {"registryId": call.account, "repositoryCreationTemplate": _describe(template)}


def _describe(template: Setting) -> dict[str, object]:
    return {**template.value, "createdAt": template.created, "updatedAt": template.changed}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else ()


OPERATIONS: Final[Mapping[str, Operation]] = {
    "CreateRepositoryCreationTemplate": create_repository_creation_template,
    "DescribeRepositoryCreationTemplates": describe_repository_creation_templates,
    "UpdateRepositoryCreationTemplate": update_repository_creation_template,
    "DeleteRepositoryCreationTemplate": delete_repository_creation_template,
}
