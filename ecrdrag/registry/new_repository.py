"""Own how a new repository is described to the ECR API.

The registry's ends and the stories about registries may enter. It loads nothing of what moves images.
"""

from __future__ import annotations

from ecrdrag.registry.ecr_api import NewRepository
from ecrdrag.registry.ends import RepositorySettings


def new_repository(settings: RepositorySettings) -> NewRepository:
    """Say it to CreateRepository."""
    wanted = NewRepository()
    if settings.immutable:
        wanted["imageTagMutability"] = "IMMUTABLE"
    if settings.scan_on_push:
        wanted["imageScanningConfiguration"] = {"scanOnPush": True}
    if settings.kms_key is not None:
        wanted["encryptionConfiguration"] = {"encryptionType": "KMS", "kmsKey": settings.kms_key}
    if settings.tags:
        wanted["tags"] = [{"Key": key, "Value": value} for key, value in settings.tags.items()]
    return wanted
