"""Own one registry as the everyday commands see it: calls that insist, lists to their last page, whose registry it is.

The stories of this room and the command line, which makes it, may enter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

from ecrdrag.errors import AuthError, ConflictError, EcrdragError, NotFoundError, TransferError, TransientError
from ecrdrag.registry.ecr_api import structures_of, text_of
from ecrdrag.registry.ecr_errors import UnansweredError
from ecrdrag.registry.ecr_operations import Answer, EcrOperations
from ecrdrag.transfer.lookahead import in_order
from ecrdrag.transfer.retry import RetryPolicy

PAGE: Final = 1000  # MaxResults of the model, at most
DEFAULT_JOBS: Final = 16
_MAX_PAGES: Final = 100_000
# Tries of a call that is refused for now, with half a minute of waits in all; and of one that nobody answers, which
# may be a wrong name.
TRIES: Final = 8
SILENT_TRIES: Final = 4
# What can't be done twice: where the answer to the first try is lost, the next one is refused.
_ONCE: Final = ("Create", "Delete")
_LOST: Final = "an earlier try was left without an answer: it may be the one that did it"

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Plane:
    """The control plane of one registry; safe from many threads.

    account is what the user named, None where it is the caller's own; jobs is how many calls run side by side at most.
    """

    operations: EcrOperations
    region: str
    account: str | None = None
    registry: str = ""
    """The registry's host name as the user wrote it; empty where no account was named."""
    jobs: int = DEFAULT_JOBS
    retry: RetryPolicy = field(default_factory=partial(RetryPolicy, TRIES))
    silent_tries: int = SILENT_TRIES

    def where(self, repository: str = "") -> str:
        """Say for messages which registry, or which repository of it."""
        if self.registry:
            return f"{self.registry}/{repository}" if repository else self.registry
        place = f"{self.account} in {self.region}" if self.account else self.region
        return f"{repository} in {place}" if repository else f"ECR in {place}"

    def named(self, repository: str) -> str:
        """Name a repository for the command lines in hints, which lead here wherever the reader's settings lead."""
        return f"{self.registry}/{repository}" if self.registry else f"{repository}{self.options}"

    @property
    def options(self) -> str:
        """Give the options, behind a blank, that lead a command here which takes no host name."""
        return f" --region {self.region}" + (f" --registry-id {self.account}" if self.account else "")

    def call(self, operation: str, /, **parameters: object) -> Answer:
        """Call an operation, again while that may help; parameters that are None are left out.

        Raises our errors, TransferError when it was throttled throughout.
        """
        with self._own_account_told():
            return self._insisted(operation, parameters)

    def pages(self, operation: str, member: str, /, *, page: int = PAGE, **parameters: object) -> Iterator[Answer]:
        """Yield the structures of a list, asking for a page when it is needed; a page may be empty."""
        tokens = {""}
        token: str | None = None
        while True:
            with self._own_account_told():
                answer = self._insisted(operation, {"maxResults": page, "nextToken": token, **parameters}, member)
            yield from structures_of(answer, member)
            token = text_of(answer, "nextToken")
            if not token:
                return
            if token in tokens or len(tokens) > _MAX_PAGES:
                raise TransferError(f"{self.where()}: the pages of {operation} have no end")
            tokens.add(token)

    def side_by_side(self, tasks: Iterable[Task], do: Callable[[Task], Result]) -> Iterator[Result]:
        """Yield what do makes of each task, in order, many of them at once."""
        return in_order("control", tasks, do, jobs=self.jobs)

    def own_account(self) -> str:
        """Ask whose credentials these are, as far as ECR tells."""
        return text_of(self._insisted("DescribeRegistry", {}), "registryId")

    def _insisted(self, operation: str, parameters: Mapping[str, object], member: str = "") -> Answer:
        """Call until that brings an answer, which has the member; silence is worth fewer tries than a refusal."""
        repository = parameters.get("repositoryName")
        where = self.where(repository if isinstance(repository, str) else "")
        silences = 0

        def attempt() -> Answer:
            answer = self.operations.call(operation, where, parameters)
            if member and member not in answer:
                raise TransientError(f"{where}: the answer of the ECR API to {operation} can't be used")
            return answer

        def heard() -> Answer:
            nonlocal silences
            try:
                return self.retry.insist(attempt, operation)
            except UnansweredError as error:
                if self.silent_tries == 1:
                    raise
                silences += 1
                raise TransientError(str(error), hint=error.hint) from error
            except (ConflictError, NotFoundError) as error:
                if silences and operation.startswith(_ONCE):
                    error.hint = f"{error.hint}\n{_LOST}" if error.hint else _LOST
                raise

        return replace(self.retry, tries=self.silent_tries).insist(heard, operation)

    @contextmanager
    def _own_account_told(self) -> Iterator[None]:
        """Let what is refused or not found at a named account say whose credentials were used."""
        try:
            yield
        except (AuthError, NotFoundError) as error:
            if self.account and (own := self._known_account()) and own != self.account:
                about = f"these credentials are of account {own}, and {self.account} was named"
                error.hint = f"{about}\n{error.hint}" if error.hint else about
            raise

    def _known_account(self) -> str:
        try:
            return self.own_account()
        except EcrdragError:
            return ""
