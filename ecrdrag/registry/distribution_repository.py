"""Own one repository of a registry, as those ask who write to it: whose turn it is, what came back, what it means.

registry/distribution_destination.py and its uploads enter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from ecrdrag.content import Digest, Turns
from ecrdrag.errors import EcrdragError, IntegrityError, RepositoryNotFoundError, TransferError
from ecrdrag.manifest import MAX_MANIFEST_SIZE
from ecrdrag.reference import PUBLIC_HOSTS, ImageReference
from ecrdrag.registry.blocks import Flow
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution_errors import Refusal
from ecrdrag.registry.http import Body, host_of, small_body
from ecrdrag.registry.http_errors import translated
from ecrdrag.registry.upstream import ACCEPT, digest_in, pull_scope

# A refusal that stays one; another try may help after 408 (RFC 9110, 15.5.9), 425 (RFC 8470, 5.2), 429 (RFC 6585, 4).
REFUSED: Final = tuple(status for status in range(400, 429) if status not in (408, 425))
_ANY: Final = range(100, 600)
_READING: Final = ("GET", "HEAD")
_OK, _NOT_FOUND = 200, 404
_STALE: Final = ("DENIED", "UNAUTHORIZED")
_CREATE: Final = "or run the same command again with --create-repository"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: place is where Location leads, empty without one; refusal is there where the answer is no good.

    What place holds may be a secret for a while.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    host: str
    place: str = field(repr=False)
    refusal: Refusal | None


class Repository:
    """Ask about one repository; safe from many threads."""

    def __init__(self, client: RegistryClient, reference: ImageReference, turns: Turns, *, creates: bool) -> None:
        self._client, self._turns = client, turns
        self.name, self.where = reference.repository, reference.name
        self.is_ecr = reference.ecr is not None or reference.registry in PUBLIC_HOSTS
        self._scope = f"repository:{self.name}:pull,push"
        self._hint = _hint(reference, creates=creates)

    def ask(
        self,
        method: str,
        target: str,
        what: str,
        *,
        good: Collection[int],
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        follow: bool = True,
        source: str = "",
    ) -> Answer:
        """Wait for a turn and ask; what a status means that isn't good is raised.

        target is what follows the repository's name in a path, or a whole URL. A Flow goes once, in whatever state the
        login is. source is another repository that is to be read from.
        """
        url = target if "://" in target else f"{self.name}/{target}"
        scope = f"{self._scope} {pull_scope(source)}" if source else self._scope
        with self._turns.turn(self._client.host) as turn:
            answer = self._ask(method, url, what, good, headers, body, follow, scope)
            if _is_stale(answer, method) and not isinstance(body, Flow):
                self._renew(what)
                answer = self._ask(method, url, what, good, headers, body, follow, scope)
            if answer.status not in good:
                raise self.error(answer, what)
            turn.moved(_size(body) or 1)
            return answer

    def document(self, tag: str) -> tuple[bytes, str] | None:
        """Fetch what is under a tag, and its media type; None where nothing is."""
        path, what = f"{self.name}/manifests/{tag}", f"{self.where}:{tag}"
        good, headers = (_OK, _NOT_FOUND), {"Accept": ACCEPT}
        asking = self._client.ask("GET", path, scope=self._scope, what=what, headers=headers, good=good)
        with self._turns.turn(self._client.host) as turn, asking as response:
            turn.moved(1)
            if response.status_code == _NOT_FOUND:
                return None
            raw, told = self._client.read(response, MAX_MANIFEST_SIZE), digest_in(response)
            if told and Digest.of(raw, told.algorithm) != told:
                raise IntegrityError(f"{what}: the manifest {told} arrived with digest {Digest.of(raw)}")
            return raw, response.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def error(self, answer: Answer, what: str) -> EcrdragError:
        """Build the error for a refusal."""
        error = (answer.refusal or Refusal(answer.status, "", "")).error(answer.host, what)
        if isinstance(error, RepositoryNotFoundError):
            return RepositoryNotFoundError(str(error), hint=self._hint)
        return error

    def place_of(self, answer: Answer) -> str:
        """Give the URL that an upload goes on at; raise TransferError where there is none, or none under TLS.

        A registry behind a proxy that speaks TLS for it may think that nobody does.
        """
        if not answer.place:
            raise TransferError(f"{answer.host} answered {answer.status} without a Location")
        ours, theirs = urlsplit(self._client.url()), urlsplit(answer.place)
        if theirs.scheme == "https" or theirs.scheme == ours.scheme:
            return answer.place
        if theirs.scheme == "http" and theirs.hostname == ours.hostname:
            return theirs._replace(scheme=ours.scheme, netloc=ours.netloc).geturl()
        raise TransferError(f"{answer.host} sends for an upload to what is not https, which is not followed")

    def _ask(
        self,
        method: str,
        url: str,
        what: str,
        good: Collection[int],
        headers: Mapping[str, str] | None,
        body: Body | None,
        follow: bool,
        scope: str,
    ) -> Answer:
        asking = self._client.ask(
            method, url, scope=scope, what=what, headers=headers, body=body, good=_ANY, follow=follow
        )
        with asking as response:
            host, status = host_of(response.url), response.status_code
            place = self._client.place(response) if "Location" in response.headers else ""
            if status not in good or status >= 400:
                with translated(host):
                    return Answer(status, response.headers, host, place, Refusal.read(response))
            with suppress(TransferError), translated(host):
                small_body(response)  # one that is read to its end leaves the connection for the next
            return Answer(status, response.headers, host, place, None)

    def _renew(self, what: str) -> None:
        """Read something: only then the client takes a 400 for what an expired token gets, and fetches another."""
        with self._client.ask("GET", f"{self.name}/tags/list", scope=self._scope, what=what, good=_ANY):
            pass


def _is_stale(answer: Answer, method: str) -> bool:
    """Tell what ECR Public makes of a token that has expired: aws/containers-roadmap#2835, which has no code."""
    refusal = answer.refusal
    if refusal is None or refusal.status != 400 or method in _READING:
        return False
    return refusal.code in _STALE or "token" in refusal.text


def _size(body: Body | None) -> int:
    return body.len if isinstance(body, Flow) else len(body or b"")


def _hint(reference: ImageReference, *, creates: bool) -> str:
    """Say how a repository comes into being that must be there before a push."""
    if reference.ecr:
        command = f"ecrdrag repo create {reference.name}"
    elif reference.registry in PUBLIC_HOSTS:
        name = reference.repository.partition("/")[2]
        command = f"aws ecr-public create-repository --region us-east-1 --repository-name {name}"
    else:
        return "create it in the registry, or look whether its name is right"
    return f"create it with `{command}`" + (f", {_CREATE}" if creates else "")
