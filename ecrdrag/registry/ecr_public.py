"""Own the one call of ECR Public's API that a push needs: a new repository, which /v2/ has no word for.

The command line, which builds the client, may enter.
"""

# ruff: noqa: N803 - the API's own words

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypedDict

from ecrdrag.errors import UsageError
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ecr_errors import AlreadyThereError, translated
from ecrdrag.registry.ends import RepositorySettings


class PublicTag(TypedDict, total=False):
    """Label a repository: Tag of ECR Public's model, where no member is required."""

    Key: str
    Value: str


class PublicRepositoryApi(Protocol):
    """What is used of boto3's ecr-public client."""

    def create_repository(self, *, repositoryName: str, tags: Sequence[PublicTag] = ...) -> Mapping[str, object]:
        """Create a repository in the caller's registry; its name is without the alias."""
        ...


def create_public_repository(api: PublicRepositoryApi, reference: ImageReference, settings: RepositorySettings) -> bool:
    """Create the repository in the caller's own registry; False when it was there already.

    Raises UsageError for settings that public repositories don't have.
    """
    if settings.immutable or settings.scan_on_push or settings.kms_key is not None:
        raise UsageError(f"{reference.registry}: public repositories know no --immutable, --scan-on-push or --kms-key")
    _, _, name = reference.repository.partition("/")
    if not name:
        raise UsageError(f"{reference.name} names no repository", hint=f"{reference.registry}/ALIAS/NAME does")
    tags = [PublicTag(Key=key, Value=value) for key, value in settings.tags.items()]
    try:
        with translated(reference.name, "ecr-public"):
            api.create_repository(repositoryName=name, **({"tags": tags} if tags else {}))
    except AlreadyThereError:
        return False
    return True
