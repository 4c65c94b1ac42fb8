"""Trying a lifecycle policy out on a registry that takes its time, which the local ECR never does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, repeat

import pytest

from ecrdrag.control.plane import Plane
from ecrdrag.control.policies import LIFECYCLE, PolicyText
from ecrdrag.control.preview import Marked, preview
from ecrdrag.errors import TransferError
from ecrdrag.registry.ecr_operations import EcrOperations
from ecrdrag.registry.ends import Unlimited

TEXT = '{"rules":[]}'.ljust(100)
EXPIRE = {"imageDigest": "sha256:1", "imageTags": ["a", "b"], "action": {"type": "EXPIRE"}, "appliedRulePriority": 3}
ARCHIVE = {"imageDigest": "sha256:2", "action": {"type": "TRANSITION", "targetStorageClass": "ARCHIVE"}}
SUMMARY = {
    "expiringImageTotalCount": 1,
    "transitioningImageTotalCounts": [{"targetStorageClass": "ARCHIVE", "imageTotalCount": 2}],
}


class Slow:
    """A registry whose preview is at one status after the other, and stays at the last."""

    def __init__(self, statuses: Sequence[str], results: Sequence[Mapping[str, object]] = (EXPIRE, ARCHIVE)) -> None:
        self._statuses = chain(statuses, repeat(statuses[-1]))
        self._results = results
        self.asked: list[tuple[str, Mapping[str, object]]] = []

    def call(self, operation: str, parameters: Mapping[str, object]) -> Mapping[str, object]:
        self.asked.append((operation, dict(parameters)))
        if operation == "StartLifecyclePolicyPreview":
            return {"status": "IN_PROGRESS"}
        start = int(str(parameters.get("nextToken", 0)))
        stop = start + 1
        more = {"nextToken": str(stop)} if stop < len(self._results) else {}
        results = list(self._results[start:stop])
        answer = {"registryId": "1", "status": next(self._statuses), "previewResults": results, "summary": SUMMARY}
        return {**answer, **more}

    def accepts(self, operation: str, member: str) -> bool:
        return False

    @property
    def plane(self) -> Plane:
        return Plane(EcrOperations(self, None, Unlimited()), "us-west-2")


def test_a_preview_is_asked_for_at_growing_intervals_until_it_is_complete() -> None:
    slow, waits = Slow(["IN_PROGRESS"] * 9 + ["COMPLETE"]), list[float]()
    preview(slow.plane, "app", PolicyText.parse(TEXT, LIFECYCLE), sleep=waits.append)
    assert slow.asked[0] == ("StartLifecyclePolicyPreview", {"repositoryName": "app", "lifecyclePolicyText": TEXT})
    assert waits[:3] == [0.5, 0.75, 1.125]
    assert waits == sorted(waits)
    assert waits[-2:] == [5.0, 5.0]
    assert len(waits) == 9


def test_a_preview_gives_its_images_page_by_page_and_how_many_there_are() -> None:
    slow = Slow(["COMPLETE"])
    waits: list[float] = []
    found = preview(slow.plane, "app", None, sleep=waits.append)
    assert waits == []
    assert "lifecyclePolicyText" not in slow.asked[0][1]  # ECR takes the repository's own
    assert (found.expiring, found.archiving) == (1, 2)
    assert found.document == {"registryId": "1", "status": "COMPLETE", "summary": SUMMARY}
    before = len(slow.asked)
    images = found.images()
    assert next(images) == Marked(EXPIRE)
    assert len(slow.asked) == before + 1
    assert slow.asked[-1][1]["maxResults"] == 100
    assert [(one.digest, one.tags, one.action, one.rule) for one in found.images()] == [
        ("sha256:1", ["a", "b"], "expire", 3),
        ("sha256:2", [], "archive", None),
    ]


def test_a_preview_that_finds_nothing_has_no_images() -> None:
    slow = Slow(["COMPLETE"], results=())
    found = preview(slow.plane, "app", None)
    asked = len(slow.asked)
    assert list(found.images()) == []
    assert len(slow.asked) == asked


def test_a_preview_whose_first_page_is_empty_goes_on_to_the_next() -> None:
    class Late(Slow):
        """A registry that found nothing yet where it answers first."""

        def call(self, operation: str, parameters: Mapping[str, object]) -> Mapping[str, object]:
            answer = super().call(operation, parameters)
            return answer if "nextToken" in parameters else {**answer, "previewResults": []}

    found = preview(Late(["COMPLETE"]).plane, "app", None)
    assert [one.digest for one in found.images()] == ["sha256:2"]


@pytest.mark.parametrize("status", ["FAILED", "EXPIRED", "", "NEWS"])
def test_a_preview_that_ends_otherwise_is_an_error(status: str) -> None:
    waits: list[float] = []
    with pytest.raises(TransferError, match=rf"app in us-west-2: .* ended as {status or 'nothing known'}"):
        preview(Slow(["IN_PROGRESS", status]).plane, "app", None, sleep=waits.append)
    assert waits == [0.5]


def test_a_preview_that_never_ends_is_given_up_after_ten_minutes() -> None:
    waits: list[float] = []
    with pytest.raises(TransferError, match=r"app in us-west-2: .* isn't done after 10 minutes"):
        preview(Slow(["IN_PROGRESS"]).plane, "app", None, sleep=waits.append)
    assert 600 <= sum(waits) < 606
