"""Own any registry's /v2/ as a Destination: what is there, blobs uploaded or mounted, manifests put, referrers noted.

The stories and the command line, which builds the client, may enter. OCI distribution spec, "Push".
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final
from urllib.parse import urlencode

from ecrdrag.content import BlobUpload, Descriptor, Digest, Turns
from ecrdrag.errors import (
    ConflictError,
    EcrdragError,
    IntegrityError,
    RepositoryNotFoundError,
    TransientError,
)
from ecrdrag.manifest import Document
from ecrdrag.reference import ImageReference
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution_repository import REFUSED, Answer, Repository
from ecrdrag.registry.distribution_upload import FlowingUpload, PartedUpload, digest_of
from ecrdrag.registry.ends import RepositorySettings, Unlimited
from ecrdrag.registry.hollow import check_hope
from ecrdrag.registry.referrer_index import ReferrerIndexes
from ecrdrag.registry.upstream import ACCEPT

log = logging.getLogger(__name__)

PART: Final = 8 * 1024 * 1024  # bytes; ECR takes none of less than 5 MiB but the last
MAX_PART: Final = 64 * 1024 * 1024  # bytes; an upload holds two
_AT_ONCE: Final = 8  # questions
_UPLOADS: Final = "blobs/uploads/"
_FOUND: Final = (200, 206, 301, 302, 303, 307, 308, 416)  # 416: it has not even a first byte
_OK, _CREATED, _NOT_FOUND = 200, 201, 404
_NOT_ALLOWED: Final = (400, 401, 403)  # to HEAD without a word, so that it is asked otherwise
_INCOMPLETE: Final = ("BLOB_UNKNOWN", "BLOB_UPLOAD_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN")


class DistributionDestination:
    """Write images to one repository; safe from many threads.

    create makes the repository, where a push doesn't do that by itself; False says that it was there already. part_size
    is what goes at once, in bytes.
    """

    def __init__(
        self,
        client: RegistryClient,
        reference: ImageReference,
        turns: Turns | None = None,
        create: Callable[[RepositorySettings], bool] | None = None,
        *,
        part_size: int = PART,
    ) -> None:
        self._repository = Repository(client, reference, turns or Unlimited(), creates=create is not None)
        self._indexes = ReferrerIndexes(self._repository)
        self._create, self._part_size = create, part_size
        self._is_known = not self._repository.is_ecr  # there, or coming into being by a push
        self._hides_blobs = False  # refuses to say whether they are there: aws/containers-roadmap#2671
        self._lock = threading.Lock()
        self._answers: dict[Digest, bool | None] = {}  # of a question that came to no end
        self._begun: dict[Digest, Answer] = {}  # uploads for blobs that couldn't be mounted
        self._cut: set[Digest] = set()  # blobs whose requests broke off
        self._takes_parts = True

    def missing(self, blobs: Iterable[Descriptor]) -> set[Digest]:
        """Say which of the blobs aren't there; of those without bytes none is at ECR, which takes none.

        After a TransientError another try asks for the rest.
        """
        wanted = {blob.digest: blob for blob in blobs if blob.size or not self._repository.is_ecr}
        with self._lock:
            answers, self._answers = {digest: self._answers.get(digest) for digest in wanted}, {}
        failure = self._look(answers, [blob for digest, blob in wanted.items() if answers[digest] is None])
        if failure:
            with self._lock:
                self._answers = answers
            raise failure
        return {digest for digest, lacks in answers.items() if lacks}

    def begin(self, blob: Descriptor) -> BlobUpload:
        """Begin to upload a blob: in parts where these are known to be taken, else in one request.

        Not every registry takes parts: Google's takes none (its documentation, "Docker API"), GitHub's none over 4 MiB
        (ocx-sh/ocx#237). But where a request has broken off they are tried, as less is lost by the next one.
        """
        with self._lock:
            answer = self._begun.pop(blob.digest, None)
            tries_parts = blob.digest in self._cut and self._takes_parts
        answer = answer or self._repository.ask("POST", _UPLOADS, f"an upload{self._of(blob)}", good=(202,))
        place, part_size = self._repository.place_of(answer), max(self._part_size, _least(answer))
        if blob.size > part_size and (self._repository.is_ecr or _least(answer)):
            return PartedUpload(self._repository, blob, place, part_size)
        if blob.size > part_size and tries_parts:
            return PartedUpload(self._repository, blob, place, part_size, self._take_no_parts)
        return FlowingUpload(self._repository, blob, place, part_size, lambda: self._note_cut(blob.digest))

    def mount(self, blob: Descriptor, repository: str) -> bool:
        """Take a blob over from another repository of the same registry, which holds it; False when it doesn't come."""
        query = urlencode({"mount": str(blob.digest), "from": repository})
        what = f"mounting{self._of(blob)} from {repository}"
        try:
            answer = self._repository.ask("POST", f"{_UPLOADS}?{query}", what, good=(_CREATED, 202), source=repository)
        except EcrdragError as error:  # also of a token for that repository; what is serious is met again
            log.debug("not mounted: %s", error)
            return False
        if answer.status != _CREATED and answer.place:
            with self._lock:
                self._begun[blob.digest] = answer
        return answer.status == _CREATED

    def put_manifest(self, document: Document, tag: str | None = None) -> bool:
        """Put a document, byte for byte, whose blobs and children are there; False when it was there already.

        What it refers to is noted, where a registry leaves that to its clients. Raises ConflictError for an immutable
        tag that another digest holds, and TransientError when another try may help, as where a blob isn't known that
        has just been uploaded.
        """
        if self._held(tag or str(document.digest)) == document.digest:
            return self._indexes.note(document)  # a push may have ended between the two
        what = f"the manifest {document.digest} in {self._repository.where}" + (f":{tag}" if tag else "")
        path, headers = f"manifests/{tag or document.digest}", {"Content-Type": document.media_type}
        answer = self._repository.ask(
            "PUT", path, what, good=(_OK, _CREATED, 202, *REFUSED), headers=headers, body=document.raw
        )
        if answer.refusal:
            return self._yields(document, tag, answer, what) or self._indexes.note(document)
        found = digest_of(answer)
        if found and found.algorithm == document.digest.algorithm and found != document.digest:
            raise IntegrityError(
                f"{self._repository.where}: the manifest {document.digest} was kept as {found}",
                hint="the manifest was changed on the way",
            )
        self._indexes.note(document, answer)
        return True

    def create_repository(self, settings: RepositorySettings) -> bool:
        """Create the repository; False when it was there already, or comes into being by the push."""
        return self._create(settings) if self._create else False

    def _of(self, blob: Descriptor) -> str:
        return f" of blob {blob.digest} in {self._repository.where}"

    def _look(self, answers: dict[Digest, bool | None], blobs: Sequence[Descriptor]) -> TransientError | None:
        """Ask for blobs side by side and note the answers, until one doesn't come that may come later."""
        if not blobs:
            return None
        failure: TransientError | None = None
        pool = ThreadPoolExecutor(min(_AT_ONCE, len(blobs)), "missing")
        try:
            looks = {blob.digest: pool.submit(self._lacks, blob) for blob in blobs}
            for digest, look in looks.items():
                with suppress(CancelledError):
                    answers[digest], error = _outcome(look)
                    failure = failure or error
                if failure:
                    pool.shutdown(wait=False, cancel_futures=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # where it is no use no other answer is waited for
        return failure

    def _lacks(self, blob: Descriptor) -> bool:
        """Ask for a blob; one of another size than is said is brought, and so held against it."""
        if self._hides_blobs:
            return self._lacks_bytes(blob)
        path, what = f"blobs/{blob.digest}", f"blob {blob.digest} in {self._repository.where}"
        answer = self._repository.ask("HEAD", path, what, good=(_OK, _NOT_FOUND, *_NOT_ALLOWED))
        if answer.status in _NOT_ALLOWED:
            self._hides_blobs = True
            return self._lacks_bytes(blob)
        if answer.status == _NOT_FOUND:
            return self._is_known or self._lacks_bytes(blob)
        self._is_known = True
        size = answer.headers.get("Content-Length", "")
        return size.isdecimal() and size not in ("0", str(blob.size))  # what came through a proxy may have lost it

    def _lacks_bytes(self, blob: Descriptor) -> bool:
        """Ask for a blob's first byte: a refusal of this, unlike one of HEAD, says whether there is a repository."""
        path, what = f"blobs/{blob.digest}", f"blob {blob.digest} in {self._repository.where}"
        good = (*_FOUND, _NOT_FOUND, *([] if self._hides_blobs else _NOT_ALLOWED))
        answer = self._repository.ask("GET", path, what, good=good, headers={"Range": "bytes=0-0"}, follow=False)
        if answer.status == _NOT_FOUND and not self._is_known:
            error = self._repository.error(answer, what)
            if isinstance(error, RepositoryNotFoundError):
                raise error
        self._is_known = True
        return answer.status not in _FOUND

    def _note_cut(self, digest: Digest) -> None:
        with self._lock:
            self._cut.add(digest)

    def _take_no_parts(self) -> None:
        self._takes_parts = False

    def holder(self, tag: str) -> Digest | None:
        """Say which document a tag stands for; None where it stands for none, or that can't be known."""
        return self._held(tag)

    def _held(self, version: str) -> Digest | None:
        """Say which digest is there under a tag or a digest; None when it isn't there, or can't be known.

        Every kind is asked for: who takes no docker list gets one image out of it instead, from distribution 2
        (registry/handlers/manifests.go), and that may be the very one that is to have the tag.
        """
        path, headers = f"manifests/{version}", {"Accept": ACCEPT}
        what = f"the manifest {version} in {self._repository.where}"
        answer = self._repository.ask("HEAD", path, what, good=(_OK, *REFUSED), headers=headers)
        if answer.status != _OK:
            return None
        return digest_of(answer) or (Digest.parse(version) if ":" in version else None)

    def _yields(self, document: Document, tag: str | None, answer: Answer, what: str) -> bool:
        """Raise what a refused manifest means, unless somebody else has put this very one under an immutable tag."""
        error = self._repository.error(answer, what)
        if answer.refusal and answer.refusal.code in _INCOMPLETE:
            lacking = TransientError(str(error), hint="what a manifest names must be there before it")
            if self._repository.is_ecr:
                check_hope(document, lacking)
            raise lacking
        holder = self._held(tag) if tag and isinstance(error, ConflictError) else None
        if holder is None:
            raise error
        if holder != document.digest:
            where = f"{self._repository.where}:{tag}"
            raise ConflictError(f"{where} is immutable and holds {holder}, not {document.digest}", hint=error.hint)
        return False


def _outcome(look: Future[bool]) -> tuple[bool | None, TransientError | None]:
    """Wait for an answer, or for the error that says that it may come later."""
    try:
        return look.result(), None
    except TransientError as error:
        return None, error


def _least(answer: Answer) -> int:
    """Read how large parts have to be, zero where none are wanted, or larger ones than memory should hold."""
    size = answer.headers.get("OCI-Chunk-Min-Length", "")
    return int(size) if size.isdecimal() and len(size) < 19 and int(size) <= MAX_PART else 0
