"""Own what the API says no with about policies, tags, scans, replication and other stored settings.

The operations on settings may enter. Sources are named as in refusals.py.
"""

from __future__ import annotations

from ecrdrag.localecr.api.refusals import Refusal
from ecrdrag.localecr.names import ImageName, RegistryKey, RepositoryKey


def invalid_policy(kind: str) -> Refusal:
    """Refuse what is no policy of a repository or of a registry: terraform-provider-aws knows both texts."""
    return Refusal(
        "InvalidParameterException",
        f"Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid {kind} policy provided'",
    )


def registry_policy_not_found(registry: RegistryKey) -> Refusal:
    """Refuse: moto."""
    return Refusal(
        "RegistryPolicyNotFoundException",
        f"Registry policy does not exist in the registry with id '{registry.account}'",
    )


def repository_policy_not_found(key: RepositoryKey) -> Refusal:
    """Refuse: moto."""
    return Refusal(
        "RepositoryPolicyNotFoundException",
        f"Repository policy does not exist for the repository with name '{key.name}' "
        f"in the registry with id '{key.account}'",
    )


def invalid_tag(reason: str) -> Refusal:
    """Refuse a resource tag; AWS's text is not public."""
    return Refusal("InvalidTagParameterException", reason)


def too_many_tags(limit: int) -> Refusal:
    """Refuse one resource tag too many, in the words of the model's documentation of the error."""
    return Refusal(
        "TooManyTagsException",
        "The list of tags on the repository is over the limit. "
        f"The maximum number of tags that can be applied to a repository is {limit}.",
    )


def kms_key_unusable(key: str, reason: str, error: str) -> Refusal:
    """Refuse a KMS key; the text around KMS's own is not public, its error names are in the KMS API reference."""
    return Refusal("KmsException", f"The KMS key '{key}' can't be used: {reason}", kmsError=error)


def scan_not_found(key: RepositoryKey, image: ImageName) -> Refusal:
    """Refuse: moto, and transcripts that users published."""
    return Refusal(
        "ScanNotFoundException",
        f"Image scan does not exist for the image with '{{imageDigest:'{image.digest or 'null'}', "
        f"imageTag:'{image.tag or 'null'}'}}' in the repository with name '{key.name}' "
        f"in the registry with id '{key.account}'",
    )


def signing_configuration_not_found(registry: RegistryKey) -> Refusal:
    """Refuse; the text follows its siblings, AWS's own is not public."""
    return Refusal(
        "SigningConfigurationNotFoundException",
        f"Signing configuration does not exist in the registry with id '{registry.account}'",
    )


def exclusion_exists(registry: RegistryKey, principal: str) -> Refusal:
    """Refuse; the text follows its siblings, AWS's own is not public."""
    return Refusal(
        "ExclusionAlreadyExistsException",
        f"The pull time update exclusion for '{principal}' already exists in the registry with id '{registry.account}'",
    )


def exclusion_not_found(registry: RegistryKey, principal: str) -> Refusal:
    """Refuse; the text follows its siblings, AWS's own is not public."""
    return Refusal(
        "ExclusionNotFoundException",
        f"The pull time update exclusion for '{principal}' does not exist in the registry with id '{registry.account}'",
    )


def too_many_exclusions(limit: int) -> Refusal:
    """Refuse one pull time update exclusion too many; AWS's text is not public."""
    return Refusal("LimitExceededException", f"The maximum number of pull time update exclusions ({limit}) is reached")
