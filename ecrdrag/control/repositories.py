"""Own what is done with repositories: list, count, show, create, delete, and their policies.

The commands enter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ecrdrag.control.plane import Plane
from ecrdrag.registry.ecr_api import text_of
from ecrdrag.registry.ecr_operations import Answer


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as ECR describes it: Repository of the model."""

    answer: Answer
    region: str

    @property
    def name(self) -> str:
        """Its name."""
        return text_of(self.answer, "repositoryName")


def repositories(plane: Plane) -> Iterator[Repository]:
    """List a registry's repositories by name."""
    for answer in plane.pages("DescribeRepositories", "repositories"):
        yield Repository(answer, plane.region)
