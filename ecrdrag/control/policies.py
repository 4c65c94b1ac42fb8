"""Own the policies of repositories: who may use one, and which images expire; read, set and removed.

The other stories of this room and the commands enter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ecrdrag.control.plane import Plane
from ecrdrag.errors import NotFoundError, RepositoryNotFoundError, UsageError
from ecrdrag.registry.ecr_api import text_of
from ecrdrag.registry.ecr_operations import Answer


@dataclass(frozen=True, slots=True)
class PolicyKind:
    """One of the two kinds: how people, the command line and the API call it, how many characters its text has."""

    name: str
    command: str
    member: str
    get: str
    put: str
    remove: str
    least: int
    most: int


# RepositoryPolicyText and LifecyclePolicyText of the model.
ACCESS: Final = PolicyKind(
    "policy",
    "repo policy",
    "policyText",
    "GetRepositoryPolicy",
    "SetRepositoryPolicy",
    "DeleteRepositoryPolicy",
    0,
    10_240,
)
LIFECYCLE: Final = PolicyKind(
    "lifecycle policy",
    "repo lifecycle",
    "lifecyclePolicyText",
    "GetLifecyclePolicy",
    "PutLifecyclePolicy",
    "DeleteLifecyclePolicy",
    100,
    30_720,
)


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy to be set; two are equal that mean the same, however they are written."""

    kind: PolicyKind
    document: Mapping[str, object]
    text: str = field(compare=False)

    @classmethod
    def parse(cls, text: str, kind: PolicyKind) -> PolicyText:
        """Read the JSON that a user gives; raise UsageError that says where it is none, or how long it may be.

        Blanks are left out where it would be too long with them.
        """
        document, aside = _object_of(text, kind), ""
        if len(text) > kind.most:
            text, aside = json.dumps(document, ensure_ascii=False, separators=(",", ":")), ", blanks aside"
        if not kind.least <= len(text) <= kind.most:
            limits = f"{kind.least:,} to {kind.most:,}" if kind.least else f"up to {kind.most:,}"
            raise UsageError(f"this is no {kind.name}: it has {len(text):,} characters{aside}, and ECR takes {limits}")
        return cls(kind, document, text)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as ECR gives it back."""

    kind: PolicyKind
    answer: Answer

    @property
    def text(self) -> str:
        """Its text as ECR has it."""
        return text_of(self.answer, self.kind.member)

    @property
    def document(self) -> object:
        """What the text says, or the text itself where that is no JSON."""
        try:
            document: object = json.loads(self.text)
        except (ValueError, RecursionError):
            return self.text
        return document

    def says(self, wanted: PolicyText) -> bool:
        """Whether it is what somebody wants to set."""
        return self.document == wanted.document


def policy_of(plane: Plane, repository: str, kind: PolicyKind) -> Policy | None:
    """Give a repository's policy; None where it has none of the kind."""
    try:
        return Policy(kind, plane.call(kind.get, repositoryName=repository))
    except RepositoryNotFoundError:
        raise
    except NotFoundError:
        return None


def put_policy(plane: Plane, repository: str, wanted: PolicyText) -> Policy:
    """Give a repository a policy, in place of one that it has."""
    members = {wanted.kind.member: wanted.text}
    return Policy(wanted.kind, plane.call(wanted.kind.put, repositoryName=repository, **members))


def remove_policy(plane: Plane, repository: str, kind: PolicyKind) -> Policy:
    """Take a repository's policy away and give it once more; raise NotFoundError where it has none."""
    return Policy(kind, plane.call(kind.remove, repositoryName=repository))


def _object_of(text: str, kind: PolicyKind) -> Mapping[str, object]:
    try:
        document: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"this is no JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError):  # a number of 10,000 digits, a thousand brackets
        raise UsageError("this is no JSON that can be read: it is too deep, or a number in it too long") from None
    if not isinstance(document, dict):
        raise UsageError(f"this is JSON, but no {kind.name}: that is an object, with {{ and }} around it")
    return document
