"""Own the ECR API as a Source: manifests by BatchGetImage, blobs by GetDownloadUrlForLayer, and who refers to what.

The stories and the command line, which builds the client, may enter.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ecrdrag.content import Descriptor, Digest, Turns
from ecrdrag.errors import IntegrityError, TransferError, TransientError, UnsupportedError
from ecrdrag.manifest import Document
from ecrdrag.reference import ImageReference
from ecrdrag.registry.cache_hint import cache_told
from ecrdrag.registry.ecr_api import (
    PULLED_TYPES,
    EcrPullApi,
    ImageId,
    Subject,
    number_of,
    structure_of,
    structures_of,
    text_of,
)
from ecrdrag.registry.ecr_errors import UnansweredError, failure, translated
from ecrdrag.registry.ends import Unlimited
from ecrdrag.registry.schema1_digest import schema1_in, verified
from ecrdrag.registry.transport import BlobTransport, LinkRefusedError
from ecrdrag.schema1 import Schema1

log = logging.getLogger(__name__)

# FiftyMaxResults in ECR's model.
MAX_REFERRERS: Final = 50  # of a page
_MAX_PAGES: Final = 1_000


@dataclass(slots=True)
class _Link:
    """Hold a blob's URL while it works; the lock lets one thread mint it for all."""

    url: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class EcrSource:
    """Read images of one repository; safe from many threads."""

    def __init__(
        self, api: EcrPullApi, transport: BlobTransport, reference: ImageReference, turns: Turns | None = None
    ) -> None:
        self._api = api
        self._transport = transport
        self._turns = turns or Unlimited()
        self._account = reference.private.account
        self._repository = reference.repository
        self._where = reference.name
        self._has_lists = True  # of referrers
        self._links: dict[Digest, _Link] = {}
        self._lock = threading.Lock()

    def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Document | Schema1:
        """Fetch a manifest or an index and hold it against the digest that was asked for or answered.

        What is answered of schema 1 is not believed.
        """
        raw, media_type, told = self._fetch_manifest(tag, digest)
        is_told = Digest.of(raw, told.algorithm) == told
        if digest is None and not is_told and schema1_in(raw, media_type) is None:
            # By tag ECR may translate what is stored, by digest never: user guide, image-manifest-formats.
            raw, media_type, _ = self._fetch_manifest(None, told)
        return verified(raw, media_type, self._where, wanted=digest, told=told, trusts_told=False)

    def measure(self, digest: Digest) -> int:
        """Ask how many bytes a blob has; raises NotFoundError where no image here has it."""
        url = self._url(digest)
        try:
            return self._transport.measure(url)
        except LinkRefusedError:
            self._forget(digest, url)
            raise

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """List what names a document as its subject, but for what is archived.

        An endpoint that has no such lists, as not everything that speaks ECR's API has them, gives nothing.
        """
        if not self._has_lists:
            return ()
        try:
            return tuple({one.digest: one for page in self._pages(digest) for one in page}.values())
        except UnsupportedError as error:
            with self._lock:
                is_first, self._has_lists = self._has_lists, False
            if is_first:
                log.warning("%s: of what refers to an image only that is found which has a tag", error)
            return ()

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) of a blob; a view is valid until the next one is asked for."""
        url = self._url(blob.digest)
        try:
            yield from self._transport.read_range(url, start=start, stop=stop, size=blob.size)
        except LinkRefusedError:
            self._forget(blob.digest, url)
            raise

    def expect(self, blob: Descriptor) -> None:
        """Have the blob's URL minted."""
        self._url(blob.digest)

    def abort(self) -> None:
        """End every read in progress; later ones fail."""
        self._turns.abort()
        self._transport.abort()

    def _fetch_manifest(self, tag: str | None, digest: Digest | None) -> tuple[bytes, str, Digest]:
        image_id = ImageId()
        if tag is not None:
            image_id["imageTag"] = tag
        if digest is not None:
            image_id["imageDigest"] = str(digest)
        with cache_told(digest):
            with translated(self._where):
                answer = self._api.batch_get_image(
                    registryId=self._account,
                    repositoryName=self._repository,
                    imageIds=[image_id],
                    acceptedMediaTypes=PULLED_TYPES,
                )
            return _image(answer, f"{self._where}{_suffix(tag, digest)}")

    def _url(self, digest: Digest) -> str:
        with self._lock:
            link = self._links.setdefault(digest, _Link())
        with link.lock:
            if link.url is None:
                link.url = self._mint(digest)
            return link.url

    def _mint(self, digest: Digest) -> str:
        answer = self._asked(
            "GetDownloadUrlForLayer",
            lambda: self._api.get_download_url_for_layer(
                registryId=self._account, repositoryName=self._repository, layerDigest=str(digest)
            ),
        )
        return _text(answer, "downloadUrl", self._where)

    def _pages(self, digest: Digest) -> Iterator[list[Descriptor]]:
        token, tokens = "", {""}
        while True:
            page, token = self._page(digest, token)
            yield page
            if not token:
                return
            if token in tokens or len(tokens) >= _MAX_PAGES:
                raise TransferError(f"{self._where}: the pages of ListImageReferrers for {digest} have no end")
            tokens.add(token)

    def _page(self, digest: Digest, token: str) -> tuple[list[Descriptor], str]:
        """Ask for a page, the first one by an empty token; give the next one's as well."""
        answer = self._asked(
            "ListImageReferrers",
            lambda: self._api.list_image_referrers(
                registryId=self._account,
                repositoryName=self._repository,
                subjectId=Subject(imageDigest=str(digest)),
                maxResults=MAX_REFERRERS,
                **({"nextToken": token} if token else {}),
            ),
        )
        if "referrers" not in answer:
            raise TransientError(f"{self._where}: the answer of the ECR API to ListImageReferrers can't be used")
        return [_referrer(one, self._where) for one in structures_of(answer, "referrers")], text_of(answer, "nextToken")

    def _asked(self, action: str, call: Callable[[], Mapping[str, object]]) -> Mapping[str, object]:
        """Call in turn; silence is worth another try, as the API has answered before: with the manifest."""
        with self._turns.turn(action) as turn:
            try:
                with translated(self._where):
                    answer = call()
            except UnansweredError as error:
                raise TransientError(str(error), hint=error.hint) from error
            turn.moved(1)
            return answer

    def _forget(self, digest: Digest, url: str) -> None:
        link = self._links[digest]
        with link.lock:
            if link.url == url:  # else another thread has minted a fresh one
                link.url = None


def _image(answer: Mapping[str, object], where: str) -> tuple[bytes, str, Digest]:
    images = answer.get("images")
    if isinstance(images, list) and images and isinstance(images[0], Mapping):
        return _manifest_of(images[0], where)
    failures = answer.get("failures")
    if isinstance(failures, list) and failures and isinstance(failures[0], Mapping):
        first = failures[0]
        raise failure(str(first.get("failureCode", "")), str(first.get("failureReason", "")), where)
    raise TransferError(f"{where}: BatchGetImage answered with neither an image nor a failure")


def _manifest_of(image: Mapping[str, object], where: str) -> tuple[bytes, str, Digest]:
    raw = _text(image, "imageManifest", where).encode("utf-8", "surrogatepass")  # JSON can name half characters
    return raw, text_of(image, "imageManifestMediaType"), _digest(structure_of(image, "imageId"), "imageDigest", where)


def _referrer(entry: Mapping[str, object], where: str) -> Descriptor:
    """Read what is listed; whether the size is the manifest's or the whole artifact's, ECR's model doesn't say."""
    annotations = structure_of(entry, "annotations")
    return Descriptor(
        media_type=text_of(entry, "mediaType"),
        digest=_digest(entry, "digest", where),
        size=number_of(entry, "size") or 0,
        annotations={name: text for name, text in annotations.items() if isinstance(text, str)},
        artifact_type=text_of(entry, "artifactType"),
    )


def _digest(answer: Mapping[str, object], member: str, where: str) -> Digest:
    try:
        return Digest.parse(_text(answer, member, where))
    except ValueError as error:
        raise IntegrityError(f"{where}: ECR answered with a bad digest: {error}") from None


def _text(answer: Mapping[str, object], member: str, where: str) -> str:
    value = answer.get(member)
    if not isinstance(value, str) or not value:
        raise TransferError(f"{where}: the answer of the ECR API has no {member}")
    return value


def _suffix(tag: str | None, digest: Digest | None) -> str:
    return (f":{tag}" if tag is not None else "") + (f"@{digest}" if digest is not None else "")
