"""Own what the API says no with about pull-through cache rules, creation templates and registries upstream.

The operations on them and the pull through may enter. Sources are named as in refusals.py.
"""

from __future__ import annotations

from ecrdrag.localecr.api.refusals import Refusal
from ecrdrag.localecr.names import RegistryKey


def rule_exists(registry: RegistryKey, prefix: str) -> Refusal:
    """Refuse; the text follows its siblings, AWS's own is not public."""
    return Refusal(
        "PullThroughCacheRuleAlreadyExistsException",
        f"The pull through cache rule {_of(registry, prefix)} already exists",
    )


def rule_not_found(registry: RegistryKey, prefix: str) -> Refusal:
    """Refuse; the text follows its siblings, AWS's own is not public."""
    return Refusal(
        "PullThroughCacheRuleNotFoundException", f"The pull through cache rule {_of(registry, prefix)} does not exist"
    )


def too_many_rules(limit: int) -> Refusal:
    """Refuse one rule too many; the quota is public, AWS's text isn't."""
    return Refusal("LimitExceededException", f"The maximum number of pull through cache rules ({limit}) is reached")


def upstream_invalid(url: str) -> Refusal:
    """Refuse a registry that AWS doesn't pull from: goharbor/harbor#20174."""
    return Refusal(
        "UnsupportedUpstreamRegistryException",
        f"The upstream registry URL {url} is invalid. Specify a valid upstream registry URL and try again",
    )


def upstream_needs_secret() -> Refusal:
    """Refuse a rule without credentials: aws-controllers-k8s/community#2589."""
    return Refusal(
        "UnsupportedUpstreamRegistryException",
        "The specified upstream registry requires authentication. "
        "Specify a valid Secrets Manager ARN containing the upstream registry credentials.",
    )


def upstream_needs_role() -> Refusal:
    """Refuse another account's registry without a role, which the user guide asks for; AWS's text is not public."""
    return Refusal(
        "UnsupportedUpstreamRegistryException",
        "The specified upstream registry requires authentication. Specify a valid IAM role ARN.",
    )


def nothing_to_update() -> Refusal:
    """Refuse an update without a secret and without a role: pulumi/pulumi-aws#5714."""
    return Refusal(
        "InvalidParameterException",
        "Invalid input: Please set either credential arn or role arn to update the credentials",
    )


def credential_not_found(reason: str) -> Refusal:
    """Refuse a secret that isn't there: entigolabs/entigo-infralib#1645."""
    return Refusal("SecretNotFoundException", reason)


def credential_inaccessible(reason: str) -> Refusal:
    """Refuse a secret that is another account's, or marked for deletion."""
    return Refusal("UnableToAccessSecretException", reason)


def credential_unreadable(reason: str) -> Refusal:
    """Refuse a secret under a customer's key."""
    return Refusal("UnableToDecryptSecretValueException", reason)


def no_upstream_image(reason: str) -> Refusal:
    """Refuse an image, in the words of the model's documentation of the error; which AWS says is not public."""
    return Refusal(
        "UnableToGetUpstreamImageException",
        f"The image or images were unable to be pulled using the pull through cache rule. {reason}",
    )


def no_upstream_layer(reason: str) -> Refusal:
    """Refuse a layer, in the words of the model's documentation of the error; which AWS says is not public."""
    return Refusal(
        "UnableToGetUpstreamLayerException",
        f"There was an issue getting the upstream layer matching the pull through cache rule. {reason}",
    )


def template_exists(registry: RegistryKey, prefix: str) -> Refusal:
    """Refuse; the text follows its siblings, AWS's own is not public."""
    return Refusal(
        "TemplateAlreadyExistsException", f"The repository creation template {_of(registry, prefix)} already exists"
    )


def template_not_found(registry: RegistryKey, prefix: str) -> Refusal:
    """Refuse; the text follows its siblings, AWS's own is not public."""
    return Refusal(
        "TemplateNotFoundException", f"The repository creation template {_of(registry, prefix)} does not exist"
    )


def _of(registry: RegistryKey, prefix: str) -> str:
    return f"with prefix '{prefix}' in the registry with id '{registry.account}'"
