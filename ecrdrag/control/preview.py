"""Own the trying out of lifecycle policies: what one would do to the images that are there.

The commands enter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ecrdrag.control.plane import Plane
from ecrdrag.control.policies import PolicyText
from ecrdrag.errors import TransferError
from ecrdrag.registry.ecr_api import number_of, structure_of, structures_of, text_of, time_of
from ecrdrag.registry.ecr_operations import Answer

_PAGE: Final = 100  # LifecyclePreviewMaxResults of the model
_UNDER_WAY: Final = "IN_PROGRESS"
_DONE: Final = "COMPLETE"
_FIRST_WAIT: Final = 0.5  # seconds
_LONGEST_WAIT: Final = 5.0  # as botocore's waiter LifecyclePolicyPreviewComplete waits each time
_GROWTH: Final = 1.5
_PATIENCE: Final = 600.0  # seconds of waits in all


@dataclass(frozen=True, slots=True)
class Marked:
    """An image that a policy would do something to: LifecyclePolicyPreviewResult of the model."""

    answer: Answer

    @property
    def digest(self) -> str:
        """Its digest."""
        return text_of(self.answer, "imageDigest")

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        tags = self.answer.get("imageTags")
        return [str(tag) for tag in tags] if isinstance(tags, list) else []

    @property
    def action(self) -> str:
        """Say in people's words what would happen to it: expire, or archive."""
        action = structure_of(self.answer, "action")
        return (text_of(action, "targetStorageClass") or text_of(action, "type")).lower()

    @property
    def rule(self) -> int | None:
        """The priority of the rule that does it."""
        return number_of(self.answer, "appliedRulePriority")

    @property
    def pushed(self) -> datetime | None:
        """When it was pushed."""
        return time_of(self.answer, "imagePushedAt")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a policy would do; the images are asked for as they are read."""

    plane: Plane
    repository: str
    answer: Answer

    @property
    def expiring(self) -> int:
        """How many images would be deleted."""
        return number_of(structure_of(self.answer, "summary"), "expiringImageTotalCount") or 0

    @property
    def archiving(self) -> int:
        """How many images would go to the archive."""
        moving = structures_of(structure_of(self.answer, "summary"), "transitioningImageTotalCounts")
        return sum(number_of(one, "imageTotalCount") or 0 for one in moving)

    @property
    def document(self) -> dict[str, object]:
        """Describe it, but for its images."""
        left_out = ("previewResults", "nextToken")
        return {name: value for name, value in self.answer.items() if name not in left_out}

    def images(self) -> Iterator[Marked]:
        """Yield the images that something would happen to, if there are any."""
        if not structures_of(self.answer, "previewResults") and not text_of(self.answer, "nextToken"):
            return
        operation, member = "GetLifecyclePolicyPreview", "previewResults"
        for answer in self.plane.pages(operation, member, page=_PAGE, repositoryName=self.repository):
            yield Marked(answer)


def preview(
    plane: Plane, repository: str, policy: PolicyText | None, *, sleep: Callable[[float], None] = time.sleep
) -> Preview:
    """Try a policy out, or the repository's own, and wait until ECR is through.

    Raises NotFoundError where it has none of its own, ConflictError while another is tried out, and TransferError
    where ECR gives up or takes more than ten minutes.
    """
    text = policy.text if policy else None
    plane.call("StartLifecyclePolicyPreview", repositoryName=repository, lifecyclePolicyText=text)
    for wait in _waits():
        answer = plane.call("GetLifecyclePolicyPreview", repositoryName=repository, maxResults=1)
        status = text_of(answer, "status")
        if status == _DONE:
            return Preview(plane, repository, answer)
        if status != _UNDER_WAY:
            said = f"the preview of the lifecycle policy ended as {status or 'nothing known'}"
            raise TransferError(f"{plane.where(repository)}: {said}", hint="run the same command again")
        sleep(wait)
    late = f"the preview of the lifecycle policy isn't done after {_PATIENCE / 60:.0f} minutes"
    raise TransferError(f"{plane.where(repository)}: {late}", hint="run the same command again later")


def _waits() -> Iterator[float]:
    """Yield how long to wait each time, until patience ends."""
    wait, waited = _FIRST_WAIT, 0.0
    while waited < _PATIENCE:
        yield wait
        waited += wait
        wait = min(wait * _GROWTH, _LONGEST_WAIT)
