"""Own the story of repositories that are deleted: all are looked up first, and nothing goes that wasn't seen.

The commands enter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from ecrdrag.control.permission import unless_denied
from ecrdrag.control.plane import Plane
from ecrdrag.control.repositories import Repository, delete, repository
from ecrdrag.control.usage import Usage, measure
from ecrdrag.errors import AuthError, ConflictError
from ecrdrag.transfer.lookahead import in_order

_CHANGED_HINT: Final = "run the same command again to see what would go now"


@dataclass(frozen=True, slots=True)
class Doomed:
    """A repository that is to be deleted, and what is in it, or the error by which that can't be known."""

    plane: Plane
    repository: Repository
    found: Usage | AuthError

    @property
    def where(self) -> str:
        """Name it for messages."""
        return self.plane.where(self.repository.name)

    def delete(self, *, force: bool) -> Repository:
        """Delete it; force lets its images go, if any were seen in it or nobody knows.

        Raises ConflictError where it holds images that may not go, or that came meanwhile: a yes is long in coming.
        """
        if not force or isinstance(self.found, AuthError):
            return delete(self.plane, self.repository.name, force=force)
        if self.found.everything:
            self._check_unchanged(self.found)
        try:
            return delete(self.plane, self.repository.name, force=self.found.everything > 0)
        except ConflictError as error:
            error.hint = _CHANGED_HINT
            raise

    def _check_unchanged(self, seen: Usage) -> None:
        now = measure(self.plane, self.repository.name)
        came = seen.last_push is not None and now.last_push is not None and now.last_push > seen.last_push
        if came or now.everything > seen.everything:
            raise ConflictError(f"{self.where}: images came into it meanwhile", hint=_CHANGED_HINT)


def look_up(places: Sequence[tuple[Plane, str]]) -> list[Doomed]:
    """Look repositories up, each once however often it is named; raise NotFoundError if one isn't there."""
    jobs = max((plane.jobs for plane, _ in places), default=1)
    found = in_order("control", places, _look_up, jobs=jobs)
    return list({(one.repository.arn or one.where): one for one in found}.values())


def _look_up(place: tuple[Plane, str]) -> Doomed:
    plane, name = place
    return Doomed(plane, repository(plane, name), unless_denied(partial(measure, plane, name)))
