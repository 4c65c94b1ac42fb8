"""Own the story of a new repository that has its policies from the start.

The commands enter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ecrdrag.control.plane import Plane
from ecrdrag.control.policies import PolicyText, put_policy
from ecrdrag.control.repositories import Repository, create
from ecrdrag.errors import EcrdragError
from ecrdrag.registry.ecr_errors import AlreadyThereError
from ecrdrag.registry.ends import RepositorySettings


@dataclass(frozen=True, slots=True)
class Wanted:
    """Say what a new repository is to be, and which policies it is to have."""

    settings: RepositorySettings = field(default_factory=RepositorySettings)
    policies: tuple[PolicyText, ...] = ()


def create_as_wanted(plane: Plane, name: str, wanted: Wanted) -> Repository:
    """Create a repository and set its policies; an error after the first step says what there is now.

    Raises ConflictError where there is a repository of this name; it stays as it is.
    """
    try:
        made = create(plane, name, wanted.settings)
    except AlreadyThereError as error:
        stays = f"it stays as it is; `ecrdrag repo show {plane.named(name)}` says how that is"
        error.hint = f"{error.hint}\n{stays}" if error.hint else stays
        raise
    for step, policy in enumerate(wanted.policies):
        try:
            put_policy(plane, name, policy)
        except EcrdragError as error:  # noqa: PERF203 - each says what is still missing
            missing = " and its ".join(one.kind.name for one in wanted.policies[step:])
            again = "\n".join(
                f"`ecrdrag {one.kind.command} {plane.named(name)} --set FILE` tries it again"
                for one in wanted.policies[step:]
            )
            error.locate(
                f"{plane.where(name)} was created, but without its {missing}", hint=f"{error.hint}\n{again}".strip()
            )
            raise
    return made
