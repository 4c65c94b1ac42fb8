"""Own all that is to be known of one repository: what it is, what is in it, its tags and policies.

The commands enter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from ecrdrag.control.permission import unless_denied
from ecrdrag.control.plane import Plane
from ecrdrag.control.policies import ACCESS, LIFECYCLE, Policy, policy_of
from ecrdrag.control.repositories import Repository, repository, resource_tags
from ecrdrag.control.usage import NOT_COUNTED, Usage, measure
from ecrdrag.errors import AuthError


@dataclass(slots=True)
class Overview:
    """A repository and all about it; a part that the user may not read is the error that says so."""

    repository: Repository
    usage: Usage | AuthError | None = None
    tags: dict[str, str] | AuthError | None = None
    policy: Policy | AuthError | None = None
    lifecycle: Policy | AuthError | None = None

    @property
    def refusals(self) -> Iterator[AuthError]:
        """Say what may not be read."""
        for part in (self.usage, self.tags, self.policy, self.lifecycle):
            if isinstance(part, AuthError):
                yield part

    @property
    def document(self) -> dict[str, object]:
        """Describe it; a part that may not be read is null, as one is that isn't there."""
        return {
            **self.repository.answer,
            **(self.usage.document if isinstance(self.usage, Usage) else NOT_COUNTED),
            "tags": [{"Key": key, "Value": value} for key, value in self.tags.items()]
            if isinstance(self.tags, dict)
            else None,
            "policy": self.policy.document if isinstance(self.policy, Policy) else None,
            "lifecyclePolicy": self.lifecycle.document if isinstance(self.lifecycle, Policy) else None,
        }


def overview(plane: Plane, name: str) -> Overview:
    """Find out all about a repository, side by side; raise RepositoryNotFoundError where there is none."""
    found = Overview(repository(plane, name))

    def read_usage() -> None:
        found.usage = unless_denied(partial(measure, plane, name))

    def read_tags() -> None:
        found.tags = unless_denied(partial(resource_tags, plane, found.repository.arn))

    def read_policy() -> None:
        found.policy = unless_denied(partial(policy_of, plane, name, ACCESS))

    def read_lifecycle() -> None:
        found.lifecycle = unless_denied(partial(policy_of, plane, name, LIFECYCLE))

    tasks: list[Callable[[], None]] = [read_usage, read_tags, read_policy, read_lifecycle]
    for _ in plane.side_by_side(tasks, _do):
        pass
    return found


def _do(task: Callable[[], None]) -> None:
    task()
