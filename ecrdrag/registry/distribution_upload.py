"""Own one blob on its way into a registry: in one request that the parts flow through, or in a request for each part.

registry/distribution_destination.py enters. OCI distribution spec, "Pushing blobs".
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import quote

from ecrdrag.content import Descriptor, Digest, EncodedPart
from ecrdrag.errors import (
    AuthError,
    EcrdragError,
    IntegrityError,
    PartOffsetError,
    RepositoryNotFoundError,
    TransientError,
    UploadLostError,
)
from ecrdrag.registry.blocks import Flow
from ecrdrag.registry.distribution_repository import Answer, Repository
from ecrdrag.registry.http import Body

_OCTETS: Final = {"Content-Type": "application/octet-stream"}
_CREATED: Final = 201
_DONE: Final = (200, 201, 202, 204)
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404
_OUT_OF_PLACE: Final = 416
# What a registry answers that doesn't take this upload, this part, or parts at all; anything else is raised at once.
_NO: Final = (400, _NOT_FOUND, 405, 409, 411, 413, _OUT_OF_PLACE, 501)
_RANGE: Final = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
# apple/containerization#790
_EXPECTED: Final = re.compile(r"First byte of the layer part is [0-9]+ instead of ([0-9]{1,18})")


class FlowingUpload:
    """Take one blob in one request, which every registry has: a BlobUpload.

    Its last part, often the only one, is kept until the completion.
    """

    def __init__(
        self, repository: Repository, blob: Descriptor, place: str, part_size: int, on_cut: Callable[[], None]
    ) -> None:
        """Go on at a place; on_cut is called when a request breaks off that had taken parts."""
        self._repository, self._blob, self._part_size, self._on_cut = repository, blob, part_size, on_cut
        self._target = _completing(place, blob.digest)
        self._taken = 0
        self._last: bytes | bytearray = b""
        self._flow: Flow | None = None
        self._answer: Future[Answer] = Future()

    @property
    def part_size(self) -> int:
        """Bytes of every part but the last."""
        return self._part_size

    def encode(self, start: int, stop: int, views: Iterable[memoryview]) -> EncodedPart:
        """Keep bytes [start, stop); raise IntegrityError for more or fewer."""
        return _encoded(start, stop, views)

    def send(self, part: EncodedPart) -> int:
        """Send a part, or keep the last one, and return its end.

        Raises UploadLostError when the request broke off: a registry doesn't say how much of it it has.
        """
        if part.start != self._taken:
            raise PartOffsetError(f"byte {self._taken} of {self._what} is next", offset=self._taken)
        if part.stop == self._blob.size:
            self._last = part.body
        else:
            self._hand_over(part.body)
            if self._answer.done():
                self._check(self._flowed())
                raise UploadLostError(f"{self._what} was answered before it was whole")
        self._taken = part.stop
        return part.stop

    def complete(self) -> None:
        """Send what was kept, and so make the bytes a blob; raise UploadLostError where only missing() can tell."""
        last, self._last = self._last, b""
        if self._flow is None:
            try:
                answer = _put(self._repository, self._target, self._what, last)
            except TransientError as error:
                raise _lost(error) from error
        else:
            self._hand_over(last)
            answer = self._flowed()
        self._check(answer)

    @property
    def _what(self) -> str:
        return f"blob {self._blob.digest} in {self._repository.where}"

    def _hand_over(self, body: bytes | bytearray) -> None:
        if self._flow is None:
            self._flow = flow = Flow(self._blob.size)
            weakref.finalize(self, flow.close)  # an upload that is given up is just forgotten
            arguments = self._repository, self._target, self._what, flow, self._answer
            threading.Thread(target=_carry, args=arguments, name="upload", daemon=True).start()
        self._flow.give(body)

    def _flowed(self) -> Answer:
        try:
            return self._answer.result()
        except TransientError as error:
            self._on_cut()
            raise _lost(error) from error

    def _check(self, answer: Answer) -> None:
        _check_completed(self._repository, self._blob.digest, answer, self._what)


class PartedUpload:
    """Take one blob in a request for each part, of which each may be sent again: a BlobUpload."""

    def __init__(
        self,
        repository: Repository,
        blob: Descriptor,
        place: str,
        part_size: int,
        on_refusal: Callable[[], None] | None = None,
    ) -> None:
        """Go on at a place; on_refusal is called where the registry may take no parts, which is found out so."""
        self._repository, self._blob, self._part_size, self._on_refusal = repository, blob, part_size, on_refusal
        self._place = place
        # ECR's Range stays with the first part: aws/containers-roadmap#2831.
        self._has_stale_range = repository.is_ecr
        self._is_unsure = False  # how much has arrived, since an answer was lost

    @property
    def part_size(self) -> int:
        """Bytes of every part but the last."""
        return self._part_size

    def encode(self, start: int, stop: int, views: Iterable[memoryview]) -> EncodedPart:
        """Keep bytes [start, stop); raise IntegrityError for more or fewer."""
        return _encoded(start, stop, views)

    def send(self, part: EncodedPart) -> int:
        """Send a part and return the offset of the next byte that the registry takes.

        Raises PartOffsetError when that was another byte than part.start, UploadLostError when the upload has to begin
        again, TransientError when there is no answer.
        """
        with self._trying():
            if self._is_unsure and not self._has_stale_range and (offset := self._received()) != part.start:
                raise PartOffsetError(f"byte {offset} of {self._what} is next", offset=offset)
            answer = self._sent(part)
            if answer.status == _OUT_OF_PLACE:
                raise self._out_of_place(part, answer)
            if answer.status not in _DONE:
                raise _refused(self._repository, answer, self._what)
            self._go_on(answer)
            return self._next(part, answer)

    def complete(self) -> None:
        """Make the bytes a blob; raise UploadLostError where only missing() can tell.

        Asked again after a lost answer, a registry does it, or doesn't know the upload any more.
        """
        with self._trying():
            answer = _put(self._repository, _completing(self._place, self._blob.digest), self._what)
            _check_completed(self._repository, self._blob.digest, answer, self._what)

    @property
    def _what(self) -> str:
        return f"blob {self._blob.digest} in {self._repository.where}"

    def _sent(self, part: EncodedPart) -> Answer:
        headers = {**_OCTETS, "Content-Range": f"{part.start}-{part.stop - 1}"}
        try:
            return self._repository.ask(
                "PATCH", self._place, self._what, good=(*_DONE, *_NO), headers=headers, body=part.body
            )
        except TransientError:
            self._is_unsure = True
            raise

    def _next(self, part: EncodedPart, answer: Answer) -> int:
        """Believe what is received where it can be."""
        if answer.status == _CREATED:
            self._has_stale_range = True
        received = _received(answer)
        is_news = not self._has_stale_range and received is not None and part.start < received <= part.stop
        return received if is_news and received is not None else part.stop

    def _out_of_place(self, part: EncodedPart, answer: Answer) -> EcrdragError:
        """Find out where the upload is; ECR says it in words."""
        error = self._repository.error(answer, self._what)
        expected = _EXPECTED.match(answer.refusal.text) if answer.refusal else None
        if expected and int(expected[1]) == part.start:  # perhaps an earlier copy of it is still being taken
            return TransientError(str(error))
        if expected:
            return PartOffsetError(str(error), offset=int(expected[1]))
        offset = part.start if self._has_stale_range else self._received()
        return UploadLostError(str(error)) if offset == part.start else PartOffsetError(str(error), offset=offset)

    def _received(self) -> int:
        """Ask how much has arrived; raise UploadLostError where it isn't told."""
        answer = self._repository.ask("GET", self._place, self._what, good=(*_DONE, *_NO))
        received = _received(answer) if answer.status in _DONE else None
        if received is None:
            raise UploadLostError(f"{answer.host} doesn't say how much it has of {self._what}")
        self._go_on(answer)
        self._is_unsure = False
        return 0 if received == 1 else received  # 0-0 stands for nothing, too

    def _go_on(self, answer: Answer) -> None:
        if answer.place:
            self._place = self._repository.place_of(answer)

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """Where nobody knows whether the registry takes parts, take any refusal for a no."""
        try:
            yield
        except (AuthError, RepositoryNotFoundError):
            raise
        except EcrdragError as error:
            passes = isinstance(error, TransientError) and not isinstance(error, UploadLostError)
            if self._on_refusal is None or passes:
                raise
            self._on_refusal()
            raise _lost(error) from error


def _encoded(start: int, stop: int, views: Iterable[memoryview]) -> EncodedPart:
    """Keep bytes [start, stop) so that they can be sent again; raise IntegrityError for more or fewer."""
    body, place = bytearray(stop - start), 0
    with memoryview(body) as room:
        for view in views:
            place += len(view)
            if place > len(body):
                break  # before anything lands outside of the room
            room[place - len(view) : place] = view
    if place != len(body):
        more = "more" if place > len(body) else f"{place} bytes"
        raise IntegrityError(f"a part of a blob should have {len(body)} bytes, and its source gave {more}")
    return EncodedPart(start, stop, body)


def _completing(place: str, digest: Digest) -> str:
    """Add the digest to a URL whose query stays as it is, as it may be signed."""
    return f"{place}{'&' if '?' in place else '?'}digest={quote(str(digest))}"


def _put(repository: Repository, target: str, what: str, body: Body | None = None) -> Answer:
    """Complete an upload, with all its bytes or with none."""
    good = (*_DONE, *_NO, *([_UNAUTHORIZED] if isinstance(body, Flow) else []))
    return repository.ask("PUT", target, what, good=good, headers=_OCTETS, body=body)


def _carry(repository: Repository, target: str, what: str, flow: Flow, answer: Future[Answer]) -> None:
    """Send what flows, in a thread of its own."""
    try:
        answer.set_result(_put(repository, target, what, flow))
    except BaseException as error:  # noqa: BLE001 - it is raised where the parts come from
        answer.set_exception(error)
    finally:
        flow.close()


def _check_completed(repository: Repository, digest: Digest, answer: Answer, what: str) -> None:
    """Raise unless it was made a blob for certain, and the right one."""
    if answer.status == _UNAUTHORIZED:  # the login ended in this moment, and the body is gone
        raise _lost(repository.error(answer, what))
    if answer.status not in _DONE:
        raise _refused(repository, answer, what)
    if answer.status != _CREATED:
        raise UploadLostError(f"{answer.host} answered {answer.status} to {what}, which may mean that it has it")
    found = digest_of(answer)
    if found and found.algorithm == digest.algorithm and found != digest:
        raise IntegrityError(f"{what} was kept as {found}")


def _refused(repository: Repository, answer: Answer, what: str) -> EcrdragError:
    """Build the error for a refusal of an upload, of which most say that it isn't known, or not in this state."""
    error = repository.error(answer, what)
    if answer.status == _NOT_FOUND and not isinstance(error, RepositoryNotFoundError):
        return _lost(error)
    # "None of the provided layer digests match the calculated layer digest": bazelbuild/rules_docker#298
    if answer.refusal and answer.refusal.code == "BLOB_UPLOAD_INVALID" and "digest" in answer.refusal.text:
        return IntegrityError(str(error), hint="the bytes were changed on the way")
    return error


def _lost(error: EcrdragError) -> UploadLostError:
    return UploadLostError(str(error), hint=error.hint)


def _received(answer: Answer) -> int | None:
    match = _RANGE.fullmatch(answer.headers.get("Range", ""))
    return int(match[1]) + 1 if match else None


def digest_of(answer: Answer) -> Digest | None:
    """Read the digest that a registry says it has; None when it doesn't say."""
    with suppress(ValueError):
        return Digest.parse(answer.headers.get("Docker-Content-Digest", ""))
    return None
