"""Own the reading of a manifest as it lies in a repository, byte for byte.

The other rooms of control and the commands enter. ECR may count it as a pull of the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ecrdrag.content import Digest
from ecrdrag.control.images import not_there
from ecrdrag.control.plane import Plane
from ecrdrag.errors import IntegrityError, TransferError
from ecrdrag.manifest import Document
from ecrdrag.registry.ecr_api import PULLED_TYPES, structure_of, structures_of, text_of
from ecrdrag.registry.ecr_errors import failure
from ecrdrag.registry.ecr_operations import Answer
from ecrdrag.registry.schema1_digest import verified
from ecrdrag.schema1 import Schema1


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest or an index in a repository: Image of the model; digest is what ECR calls it."""

    answer: Answer
    digest: Digest
    document: Document | Schema1

    @property
    def text(self) -> str:
        """The document as the API has it."""
        return text_of(self.answer, "imageManifest")


def stored(plane: Plane, repository: str, image_id: Mapping[str, str]) -> Stored:
    """Read what an image is made of, and hold it against its digest.

    Raises NotFoundError, also for what is in the archive, IntegrityError, and UnsupportedError for what is no manifest.
    """
    where = plane.where(repository)
    answer = _image(plane, repository, image_id)
    digest = _digest(answer, where)
    if "imageDigest" not in image_id and Digest.of(_raw(answer), digest.algorithm) != digest:
        # By tag ECR may translate what is stored, by digest never: user guide, image-manifest-formats.
        answer = _image(plane, repository, {"imageDigest": str(digest)})
    media_type = text_of(answer, "imageManifestMediaType")
    document = verified(_raw(answer), media_type, where, wanted=None, told=digest, trusts_told=False)
    return Stored(answer, digest, document)


def _image(plane: Plane, repository: str, image_id: Mapping[str, str]) -> Answer:
    answer = plane.call(
        "BatchGetImage", repositoryName=repository, imageIds=[image_id], acceptedMediaTypes=list(PULLED_TYPES)
    )
    where = plane.where(repository)
    for refused in structures_of(answer, "failures"):
        code, named = text_of(refused, "failureCode"), image_id.get("imageTag") or image_id.get("imageDigest", "")
        if code == "ImageNotFound":
            raise not_there(plane, repository, image_id)
        raise failure(code, f"{named}: {text_of(refused, 'failureReason') or code}", where)
    images = structures_of(answer, "images")
    if len(images) != 1 or not text_of(images[0], "imageManifest"):
        raise TransferError(f"{where}: BatchGetImage answered with neither an image nor a failure")
    return images[0]


def _digest(answer: Answer, where: str) -> Digest:
    try:
        return Digest.parse(text_of(structure_of(answer, "imageId"), "imageDigest"))
    except ValueError as error:
        raise IntegrityError(f"{where}: ECR answered with a bad digest: {error}") from None


def _raw(answer: Answer) -> bytes:
    return text_of(answer, "imageManifest").encode("utf-8", "surrogatepass")  # JSON can name half characters
