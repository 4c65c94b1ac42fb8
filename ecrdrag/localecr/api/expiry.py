"""Own what a lifecycle policy does to images: which rule marks which image, by ECR's evaluation rules.

The lifecycle operations enter. All of it is the Amazon ECR user guide's "Lifecycle policy evaluation rules" and the
outcomes of its "Examples of lifecycle policies"; quotations below are from the former. Nothing here changes an image.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ecrdrag.localecr.settings import HOUR
from ecrdrag.localecr.storage.records import Image

DAY: Final = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; of several patterns an image must have a tag for each. A prefix is a pattern that ends in a star."""

    priority: int
    tag_status: str
    patterns: tuple[str, ...]
    is_archive: bool
    """Whether it selects images in the archive; else it selects those that are not."""
    count_type: str
    count: int
    """Images to keep, or days."""
    is_transition: bool
    """Whether it archives; else it expires."""

    def selects(self, subject: Subject) -> bool:
        """Tell whether an image meets "the tagging requirements", and is in the storage class."""
        if subject.image.archived != self.is_archive:
            return False
        if self.tag_status == "any":
            return True
        if self.tag_status == "untagged":
            return not subject.tags
        return all(any(matches(pattern, tag) for tag in subject.tags) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Subject:
    """An image as rules see it, with its tags and the digests of the indexes that refer to it."""

    image: Image
    tags: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()

    @property
    def age_order(self) -> tuple[float, str]:
        """What puts images from oldest to youngest; those of one instant by digest, AWS doesn't say how."""
        return self.begun, self.image.digest

    @property
    def begun(self) -> float:
        """When it was pushed, or "archived and then restored at any point in the past"."""
        return self.image.activated_at or self.image.pushed

    @property
    def used(self) -> float:
        """When it was last pulled; "if an image was never pulled" or not since it was restored, when it began."""
        return self.image.pulled_at if self.image.pulled_at > self.image.activated_at else self.begun


Marks = Mapping[str, Rule]
"""The rule that is applied to each image that one is applied to, by digest."""


def evaluate(rules: Iterable[Rule], subjects: Sequence[Subject], now: float) -> Marks:
    """Say which rule is applied to which image: "by exactly one or zero rules"."""
    marks: dict[str, Rule] = {}
    seen: set[str] = set()
    for rule in sorted(rules, key=lambda rule: rule.priority):
        # "Rules can never mark images that are marked by higher priority rules, but can still identify them."
        found = [subject for subject in subjects if rule.selects(subject)]
        marks.update((one.image.digest, rule) for one in _due(rule, found, now) if one.image.digest not in seen)
        seen.update(one.image.digest for one in found)
    return _without_held(marks, subjects)


def matches(pattern: str, tag: str) -> bool:
    """Tell whether a tag is what a pattern says, in which a star stands for anything."""
    first, *rest = pattern.split("*")
    if not rest:
        return tag == pattern
    *middle, last = rest
    if len(tag) < len(first) + len(last) or not (tag.startswith(first) and tag.endswith(last)):
        return False
    start, stop = len(first), len(tag) - len(last)
    for part in middle:
        found = tag.find(part, start, stop)
        if found < 0:
            return False
        start = found + len(part)
    return True


def _due(rule: Rule, found: list[Subject], now: float) -> Iterable[Subject]:
    """Pick those that a rule's count or days have run out for."""
    if rule.count_type == "imageCountMoreThan":
        return sorted(found, key=lambda one: one.age_order)[: -rule.count]
    since = _SINCE[rule.count_type]
    return (one for one in found if now - since(one) > rule.count * DAY)


_SINCE: Final[Mapping[str, Callable[[Subject], float]]] = {
    "sinceImagePushed": lambda subject: subject.begun,
    "sinceImagePulled": lambda subject: subject.used,
    "sinceImageTransitioned": lambda subject: subject.image.archived_at,
}


def _without_held(marks: dict[str, Rule], subjects: Sequence[Subject]) -> Marks:
    """Drop the marks that an index forbids: an image in one "cannot be expired or archived without the manifest list
    being deleted or archived first", which the same evaluation may do.
    """
    known = {subject.image.digest: subject for subject in subjects}
    children = defaultdict(list)
    for subject in subjects:
        for parent in subject.parents:
            children[parent].append(subject.image.digest)
    waiting = deque(children)
    while waiting:
        parent = waiting.popleft()
        for child in children.get(parent, ()):
            if child in marks and _holds(known[parent].image, marks.get(parent), marks[child]):
                del marks[child]
                waiting.append(child)
    return marks


def _holds(index: Image, mark: Rule | None, child_mark: Rule) -> bool:
    """Tell whether an index keeps its image: from expiring while it is there, from the archive while it isn't there."""
    if mark and not mark.is_transition:
        return False
    is_archived = index.archived or mark is not None
    return not (is_archived and child_mark.is_transition)
