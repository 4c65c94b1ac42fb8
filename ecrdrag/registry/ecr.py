"""Own the ECR API as a Source: manifests by BatchGetImage, blobs by GetDownloadUrlForLayer.

The stories and the command line, which builds the client, may enter.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ecrdrag.content import Descriptor, Digest, Turns
from ecrdrag.errors import IntegrityError, TransferError, TransientError
from ecrdrag.manifest import Index, Manifest, parse
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ecr_api import ACCEPTED_TYPES, EcrPullApi, ImageId
from ecrdrag.registry.ecr_errors import UnansweredError, failure, translated
from ecrdrag.registry.ends import Unlimited
from ecrdrag.registry.transport import BlobTransport, LinkRefusedError


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
        self._links: dict[Digest, _Link] = {}
        self._lock = threading.Lock()

    def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Manifest | Index:
        """Fetch a manifest or an index and hold it against the digest that was asked for or answered."""
        raw, media_type, answered = self._fetch_manifest(tag, digest)
        expected = digest or answered
        if Digest.of(raw, expected.algorithm) != expected and digest is None:
            # By tag ECR may translate what is stored, by digest never: user guide, image-manifest-formats.
            raw, media_type, _ = self._fetch_manifest(None, expected)
        found = Digest.of(raw, expected.algorithm)
        if found != expected:
            raise IntegrityError(f"{self._where}: the manifest {expected} arrived with digest {found}")
        return parse(raw, media_type)

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
        with translated(self._where):
            answer = self._api.batch_get_image(
                registryId=self._account,
                repositoryName=self._repository,
                imageIds=[image_id],
                acceptedMediaTypes=ACCEPTED_TYPES,
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
        """Ask for a URL; silence is worth another try, as the API has answered before: with the manifest."""
        with self._turns.turn("GetDownloadUrlForLayer") as turn:
            try:
                with translated(self._where):
                    answer = self._api.get_download_url_for_layer(
                        registryId=self._account, repositoryName=self._repository, layerDigest=str(digest)
                    )
            except UnansweredError as error:
                raise TransientError(str(error), hint=error.hint) from error
            turn.moved(1)
        return _text(answer, "downloadUrl", self._where)

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
    media_type = image.get("imageManifestMediaType")
    identity = image.get("imageId")
    digest = _text(identity if isinstance(identity, Mapping) else {}, "imageDigest", where)
    try:
        return raw, media_type if isinstance(media_type, str) else "", Digest.parse(digest)
    except ValueError as error:
        raise IntegrityError(f"{where}: ECR answered with a bad digest: {error}") from None


def _text(answer: Mapping[str, object], member: str, where: str) -> str:
    value = answer.get(member)
    if not isinstance(value, str) or not value:
        raise TransferError(f"{where}: the answer of the ECR API has no {member}")
    return value


def _suffix(tag: str | None, digest: Digest | None) -> str:
    return (f":{tag}" if tag is not None else "") + (f"@{digest}" if digest is not None else "")
