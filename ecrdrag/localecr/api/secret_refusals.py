"""Own what Secrets Manager says no with: error names and texts.

The operations on secrets may enter. Those that localstack recorded at AWS are in its
tests/aws/services/secretsmanager/test_secretsmanager.snapshot.json; "moto" marks texts known only from moto's models.
"""

from __future__ import annotations

from ecrdrag.localecr.api.refusals import Refusal


def invalid_value(place: str, constraint: str) -> Refusal:
    """Refuse a value that the model doesn't allow: kubernetes-sigs/cluster-api-provider-aws#1531."""
    where = ".".join(part[:1].lower() + part[1:] for part in place.split("."))
    what = constraint if constraint.startswith("Member") else f"Member {constraint}"
    return Refusal(
        "ValidationException",
        f"1 validation error detected: Value at '{where}' failed to satisfy constraint: {what}",
    )


def invalid_name() -> Refusal:
    """Refuse what can't be a secret's name: localstack."""
    return Refusal(
        "ValidationException",
        "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
    )


def secret_not_found() -> Refusal:
    """Refuse: localstack."""
    return Refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")


def value_not_found(what: str) -> Refusal:
    """Refuse a version or a staging label that a secret hasn't: localstack."""
    return Refusal("ResourceNotFoundException", f"Secrets Manager can't find the specified secret value for {what}")


def stage_elsewhere() -> Refusal:
    """Refuse a version and a staging label that don't belong together: localstack."""
    return Refusal(
        "InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId."
    )


def marked_for_deletion() -> Refusal:
    """Refuse: localstack."""
    return Refusal(
        "InvalidRequestException",
        "You can't perform this operation on the secret because it was marked for deletion.",
    )


def name_marked_for_deletion() -> Refusal:
    """Refuse another secret of a name: localstack."""
    return Refusal(
        "InvalidRequestException",
        "You can't create this secret because a secret with this name is already scheduled for deletion.",
    )


def secret_exists(name: str) -> Refusal:
    """Refuse: localstack."""
    return Refusal("ResourceExistsException", f"The operation failed because the secret {name} already exists.")


def token_in_use(token: str, arn: str) -> Refusal:
    """Refuse another value for a version that is there: moto, whose pull request 9741 checked it at AWS."""
    return Refusal(
        "ResourceExistsException",
        f"You can't use ClientRequestToken {token} because that value is already in use for a version of secret {arn}.",
    )


def token_missing() -> Refusal:
    """Refuse: localstack."""
    return Refusal(
        "InvalidRequestException", "You must provide a ClientRequestToken value. We recommend a UUID-type value."
    )


def two_values() -> Refusal:
    """Refuse: aws/aws-sdk-java#1556."""
    return Refusal(
        "InvalidParameterException",
        "The request had invalid params: You can't specify both a binary secret value and a string secret value "
        "in the same secret.",
    )


def no_value() -> Refusal:
    """Refuse: moto."""
    return Refusal("InvalidRequestException", "You must provide either SecretString or SecretBinary.")


def wrong_window() -> Refusal:
    """Refuse: moto."""
    return Refusal(
        "InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."
    )


def window_and_force() -> Refusal:
    """Refuse: moto."""
    return Refusal(
        "InvalidParameterException",
        "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
    )


def invalid_secret_tags(reason: str) -> Refusal:
    """Refuse resource tags; AWS's text is not public."""
    return Refusal("InvalidParameterException", reason)


def invalid_next_token() -> Refusal:
    """Refuse, in the words of the model's documentation of the error."""
    return Refusal("InvalidNextTokenException", "The NextToken value is invalid.")


def not_emulated(member: str) -> Refusal:
    """Refuse what this server hasn't, rather than leave it out in silence."""
    return Refusal("InvalidParameterException", f"The local ECR doesn't emulate {member} of secrets")
