"""Own what is done with repositories: list, find, create, delete.

The other stories of this room and the commands enter.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ecrdrag.control.plane import Plane
from ecrdrag.errors import RepositoryNotFoundError, TransferError, UsageError
from ecrdrag.registry.ecr_api import structure_of, structures_of, text_of, time_of
from ecrdrag.registry.ecr_operations import Answer
from ecrdrag.registry.ends import RepositorySettings
from ecrdrag.registry.new_repository import new_repository

# What a shell pattern is made of, over the characters of names: RepositoryName of the model.
_NO_PATTERN: Final = re.compile(r"[^a-z0-9._/*?\[\]!-]")
_WILDCARDS: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class NamePattern:
    """Say which names are wanted: a shell pattern over all of a name, or else a part of it."""

    text: str

    @classmethod
    def parse(cls, text: str) -> NamePattern:
        """Read what a user gives; raise UsageError for what no name can fit."""
        if odd := _NO_PATTERN.search(text):
            hint = "PATTERN is of names alone; --region and --registry-id say whose repositories are listed"
            raise UsageError(f"no repository has {odd[0]!r} in its name, as {text!r} wants", hint=hint)
        return cls(text)

    def matcher(self) -> Callable[[str], bool]:
        """Give what says whether a name fits; a * goes over slashes too."""
        if not _WILDCARDS.search(self.text):
            return lambda name: self.text in name
        fits = re.compile(fnmatch.translate(self.text)).match
        return lambda name: fits(name) is not None


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as ECR describes it: Repository of the model."""

    answer: Answer
    region: str

    @property
    def name(self) -> str:
        """Its name."""
        return text_of(self.answer, "repositoryName")

    @property
    def uri(self) -> str:
        """What images in it are pushed to and pulled from."""
        return text_of(self.answer, "repositoryUri")

    @property
    def arn(self) -> str:
        """Its Amazon Resource Name."""
        return text_of(self.answer, "repositoryArn")

    @property
    def created(self) -> datetime | None:
        """When it was made."""
        return time_of(self.answer, "createdAt")

    @property
    def mutability(self) -> str:
        """Say in people's words whether its tags can be moved: mutable, immutable, immutable with exclusion."""
        return text_of(self.answer, "imageTagMutability").lower().replace("_", " ")

    @property
    def exceptions(self) -> tuple[str, ...]:
        """The tags for which the mutability is the other way round, as patterns."""
        filters = structures_of(self.answer, "imageTagMutabilityExclusionFilters")
        return tuple(text_of(one, "filter") for one in filters)

    @property
    def scanning(self) -> str:
        """Say when images are scanned, as far as the repository says: a registry's own rules come first."""
        configuration = structure_of(self.answer, "imageScanningConfiguration")
        return "on push" if configuration.get("scanOnPush") is True else "manual"

    @property
    def encryption(self) -> str:
        """The kind of encryption: AES256, KMS or KMS_DSSE."""
        return text_of(structure_of(self.answer, "encryptionConfiguration"), "encryptionType")

    @property
    def kms_key(self) -> str:
        """The key that encrypts it; empty where the kind has none."""
        return text_of(structure_of(self.answer, "encryptionConfiguration"), "kmsKey")

    @property
    def document(self) -> dict[str, object]:
        """Describe it as an entry of a list."""
        return {**self.answer, "region": self.region}


def repositories(plane: Plane, pattern: NamePattern | None = None) -> Iterator[Repository]:
    """List a registry's repositories by name, those that fit a pattern if one is given."""
    fits = pattern.matcher() if pattern else None
    for answer in plane.pages("DescribeRepositories", "repositories"):
        repository = Repository(answer, plane.region)
        if fits is None or fits(repository.name):
            yield repository


def repository(plane: Plane, name: str) -> Repository:
    """Describe one; raise RepositoryNotFoundError where there is none of this name."""
    try:
        answer = plane.call("DescribeRepositories", repositoryNames=[name])
    except RepositoryNotFoundError as error:
        raise RepositoryNotFoundError(f"{plane.where(name)}: there is no such repository", hint=error.hint) from error
    found = structures_of(answer, "repositories")
    if not found:
        raise _unusable(plane, "DescribeRepositories", name)
    return Repository(found[0], plane.region)


def create(plane: Plane, name: str, settings: RepositorySettings) -> Repository:
    """Create one; raise AlreadyThereError, a ConflictError, where it is there, whatever its settings."""
    answer = plane.call("CreateRepository", repositoryName=name, **new_repository(settings))
    return _only(answer, plane, "CreateRepository", name)


def delete(plane: Plane, name: str, *, force: bool) -> Repository:
    """Delete one and give it as it was; images go with it by force only, else they are a ConflictError."""
    answer = plane.call("DeleteRepository", repositoryName=name, force=force or None)
    return _only(answer, plane, "DeleteRepository", name)


def resource_tags(plane: Plane, arn: str) -> dict[str, str]:
    """Give the tags of a repository, which people put on it to sort it."""
    answer = plane.call("ListTagsForResource", resourceArn=arn)
    return {text_of(tag, "Key"): text_of(tag, "Value") for tag in structures_of(answer, "tags")}


def _only(answer: Mapping[str, object], plane: Plane, operation: str, name: str) -> Repository:
    found = structure_of(answer, "repository")
    if not found:
        raise _unusable(plane, operation, name)
    return Repository(found, plane.region)


def _unusable(plane: Plane, operation: str, name: str) -> TransferError:
    return TransferError(f"{plane.where(name)}: the answer of the ECR API to {operation} can't be used")
