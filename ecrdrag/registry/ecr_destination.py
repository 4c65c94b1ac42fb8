"""Own the ECR API as a Destination: blobs in parts, manifests by PutImage, and a new repository.

The stories and the command line, which builds the client and installs ecr_parts in it, may enter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from ecrdrag.content import Descriptor, Digest, EncodedPart, Turns
from ecrdrag.errors import (
    ConflictError,
    EcrdragError,
    IntegrityError,
    PartOffsetError,
    RepositoryNotFoundError,
    TransferError,
    TransientError,
    UnsupportedError,
    UploadLostError,
)
from ecrdrag.manifest import Document
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ecr_api import (
    ACCEPTED_TYPES,
    EcrPushApi,
    ImageId,
    number_of,
    structure_of,
    structures_of,
    text_of,
)
from ecrdrag.registry.ecr_errors import AlreadyThereError, TagTakenError, UnansweredError, failure, translated
from ecrdrag.registry.ecr_parts import WrittenPart, write_part
from ecrdrag.registry.ends import RepositorySettings, Unlimited
from ecrdrag.registry.hollow import check_hope
from ecrdrag.registry.new_repository import new_repository

# BatchedOperationLayerDigestList and LayerPartBlob: their largest lengths in ECR's model.
MAX_DIGESTS: Final = 100
MAX_PART: Final = 20 * 1024 * 1024  # bytes
_NO_LAYERS: Final = "LayersNotFoundException"


class EcrDestination:
    """Write images to one repository; safe from many threads."""

    def __init__(self, api: EcrPushApi, reference: ImageReference, turns: Turns | None = None) -> None:
        self._repository = _Repository(api, reference, turns or Unlimited())

    def missing(self, blobs: Iterable[Descriptor]) -> set[Digest]:
        """Say which of the blobs aren't there; one without bytes never is missing, as ECR takes none."""
        digests = list(dict.fromkeys(blob.digest for blob in blobs if blob.size))
        found: set[Digest] = set()
        for start in range(0, len(digests), MAX_DIGESTS):
            found |= self._missing(digests[start : start + MAX_DIGESTS])
        return found

    def begin(self, blob: Descriptor) -> EcrUpload:
        """Begin to upload a blob."""
        repository = self._repository
        with repository.called("InitiateLayerUpload", f": blob {blob.digest}"):
            answer = repository.api.initiate_layer_upload(registryId=repository.account, repositoryName=repository.name)
        upload, part_size = text_of(answer, "uploadId"), number_of(answer, "partSize")
        if not upload or part_size is None:
            raise repository.unusable("InitiateLayerUpload")
        if part_size < 1:
            raise TransferError(f"{repository.where}: InitiateLayerUpload asks for parts of {part_size} bytes")
        return EcrUpload(repository, blob.digest, upload, min(part_size, MAX_PART))

    def mount(self, blob: Descriptor, repository: str) -> bool:
        """Do nothing: the API has no call for it, /v2/ alone mounts (ECR user guide, "Blob mounting")."""
        return False

    def put_manifest(self, document: Document, tag: str | None = None) -> bool:
        """Put a document, byte for byte, whose blobs and children are there; False when it was there already.

        Raises ConflictError for an immutable tag that another digest holds, UnsupportedError for a document
        that is no UTF-8, and TransientError when another try may help.
        """
        try:
            answer = self._put_image(document, tag)
        except AlreadyThereError:
            return False
        except TagTakenError as error:
            self._check_holder(document, tag, error)
            return False
        except TransientError as error:
            if _NO_LAYERS in str(error):
                check_hope(document, error)
            raise
        found = text_of(structure_of(structure_of(answer, "image"), "imageId"), "imageDigest")
        if not found:
            raise self._repository.unusable("PutImage")
        if found != str(document.digest):
            raise IntegrityError(
                f"{self._repository.where}: the manifest {document.digest} was kept as {found[:100]}",
                hint="the manifest was changed on the way",
            )
        return True

    def create_repository(self, settings: RepositorySettings) -> bool:
        """Create the repository; False when it was there already, whatever its settings."""
        repository = self._repository
        try:
            with repository.called("CreateRepository"):
                answer = repository.api.create_repository(
                    registryId=repository.account, repositoryName=repository.name, **new_repository(settings)
                )
        except AlreadyThereError:
            return False
        if text_of(structure_of(answer, "repository"), "repositoryName") != repository.name:
            raise repository.unusable("CreateRepository")
        return True

    def _missing(self, digests: Sequence[Digest]) -> set[Digest]:
        repository = self._repository
        with repository.called("BatchCheckLayerAvailability"):
            answer = repository.api.batch_check_layer_availability(
                registryId=repository.account,
                repositoryName=repository.name,
                layerDigests=[str(digest) for digest in digests],
            )
        for refused in structures_of(answer, "failures"):
            raise failure(
                text_of(refused, "failureCode"),
                text_of(refused, "failureReason"),
                f"{repository.where}: blob {text_of(refused, 'layerDigest')[:100]}",
            )
        layers = structures_of(answer, "layers")
        states = {text_of(layer, "layerDigest"): text_of(layer, "layerAvailability") for layer in layers}
        if not all(states.get(str(digest)) for digest in digests):
            raise repository.unusable("BatchCheckLayerAvailability")
        # ARCHIVED is missing too: an archived image comes back when it is pushed again, says the ECR user
        # guide, "Restoring an image", and an upload more than needed costs only time.
        return {digest for digest in digests if states[str(digest)] != "AVAILABLE"}

    def _put_image(self, document: Document, tag: str | None) -> Mapping[str, object]:
        repository = self._repository
        try:
            text = document.raw.decode()
        except UnicodeDecodeError:
            raise UnsupportedError(f"the manifest {document.digest} is not UTF-8, and ECR takes no other") from None
        with repository.called("PutImage", f":{tag}" if tag else f"@{document.digest}"):
            return repository.api.put_image(
                registryId=repository.account,
                repositoryName=repository.name,
                imageManifest=text,
                imageManifestMediaType=document.media_type,
                imageDigest=str(document.digest),
                **({"imageTag": tag} if tag else {}),
            )

    def _check_holder(self, document: Document, tag: str | None, refusal: TagTakenError) -> None:
        """Raise ConflictError unless the immutable tag stands for this very document."""
        if not tag:
            raise refusal
        holder = self.holder(tag)
        if holder != document.digest:
            raise ConflictError(
                f"{self._repository.where}:{tag} is immutable and holds {holder or 'another image'}, "
                f"not {document.digest}",
                hint=refusal.hint,
            ) from None

    def holder(self, tag: str) -> Digest | None:
        """Say which document a tag stands for; None where it stands for none, or that can't be known."""
        repository = self._repository
        try:
            with repository.called("BatchGetImage"):
                answer = repository.api.batch_get_image(
                    registryId=repository.account,
                    repositoryName=repository.name,
                    imageIds=[ImageId(imageTag=tag)],
                    acceptedMediaTypes=ACCEPTED_TYPES,
                )
        except EcrdragError:
            return None
        digests = (text_of(structure_of(image, "imageId"), "imageDigest") for image in structures_of(answer, "images"))
        with suppress(ValueError):
            return Digest.parse(next(digests, ""))
        return None


class EcrUpload:
    """Take one blob into the repository: a BlobUpload."""

    def __init__(self, repository: _Repository, digest: Digest, upload: str, part_size: int) -> None:
        self._repository = repository
        self._digest = digest
        self._upload = upload
        self._part_size = part_size

    @property
    def part_size(self) -> int:
        """Bytes of every part but the last, between 1 and 20 MiB."""
        return self._part_size

    def encode(self, start: int, stop: int, views: Iterable[memoryview]) -> EncodedPart:
        """Write the whole request for bytes [start, stop); raise IntegrityError for more or fewer."""
        repository = self._repository
        names = {"registryId": repository.account, "repositoryName": repository.name, "uploadId": self._upload}
        return EncodedPart(start, stop, write_part(names, start, stop, views))

    def send(self, part: EncodedPart) -> int:
        """Send a part and return the offset of the next byte that the registry takes.

        Raises PartOffsetError when that was another byte than part.start, UploadLostError when the upload
        has to begin again, TransientError when there is no answer, or one that was cut: sent again, the
        part is accepted or refused with the right offset.
        """
        repository = self._repository
        try:
            with repository.called("UploadLayerPart", f": blob {self._digest}"):
                answer = repository.api.upload_layer_part(
                    registryId=repository.account,
                    repositoryName=repository.name,
                    uploadId=self._upload,
                    partFirstByte=part.start,
                    partLastByte=part.stop - 1,
                    layerPartBlob=WrittenPart(part.body),
                )
        except PartOffsetError as error:
            if error.offset == part.start:  # nothing landed: perhaps an earlier copy of it is still being taken
                raise TransientError(str(error), hint=error.hint) from None
            raise
        last = number_of(answer, "lastByteReceived")
        if last is None or not part.start <= last + 1 <= part.stop:
            raise repository.unusable("UploadLayerPart")
        return last + 1

    def complete(self) -> None:
        """Make the bytes a blob of the repository; that it exists already is success.

        Raises UploadLostError when the upload isn't known or the answer was lost: only missing() can tell
        then. Raises IntegrityError when the registry computed another digest.
        """
        repository = self._repository
        try:
            with repository.called("CompleteLayerUpload", f": blob {self._digest}"):
                answer = repository.api.complete_layer_upload(
                    registryId=repository.account,
                    repositoryName=repository.name,
                    uploadId=self._upload,
                    layerDigests=[str(self._digest)],
                )
        except AlreadyThereError:
            return
        found = text_of(answer, "layerDigest")
        if not found:
            raise UploadLostError(str(repository.unusable("CompleteLayerUpload")))
        if found != str(self._digest):
            raise IntegrityError(f"{repository.where}: blob {self._digest} was kept as {found[:100]}")


class _Repository:
    """Name a repository to the API, and put what goes wrong there into our words."""

    def __init__(self, api: EcrPushApi, reference: ImageReference, turns: Turns) -> None:
        self.api = api
        self._turns = turns
        self.account = reference.private.account
        self.name = reference.repository
        self.where = reference.name
        self._answered = False
        self._hint = (
            f"create it with `ecrdrag repo create {reference.name}`, "
            "or run the same command again with --create-repository"
        )

    @contextmanager
    def called(self, action: str, what: str = "") -> Iterator[None]:
        """Wait for the action's turn, and translate errors; what follows the repository's name in their texts."""
        with self._turns.turn(action) as turn, self._translated(what):
            yield
            turn.moved(1)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            with translated(f"{self.where}{what}"):
                yield
        except UnansweredError as error:
            if not self._answered:  # nothing is lost yet, and the endpoint may be a wrong one
                raise
            raise TransientError(str(error), hint=error.hint) from error
        except RepositoryNotFoundError as error:
            self._answered = True
            raise RepositoryNotFoundError(str(error), hint=self._hint) from None
        self._answered = True

    def unusable(self, operation: str) -> TransientError:
        """Build the error for an answer that was cut, or whose members make no sense."""
        return TransientError(f"{self.where}: the answer of the ECR API to {operation} can't be used")
