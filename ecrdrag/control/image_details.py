"""Own all that ECR tells about one image: how it is described, what its document names, and what refers to it.

The commands enter.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ecrdrag.content import Descriptor, Digest
from ecrdrag.control.images import ACTIVE, Image, find
from ecrdrag.control.plane import Plane
from ecrdrag.control.stored import stored
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import TransferError, UnsupportedError
from ecrdrag.manifest import Document, Index, is_attestation
from ecrdrag.registry.ecr_operations import Answer
from ecrdrag.schema1 import Schema1

log = logging.getLogger(__name__)

MAX_REFERRERS: Final = 50  # of a page: FiftyMaxResults of the model


@dataclass(frozen=True, slots=True)
class Child:
    """An entry of an index; platform is empty where the index names none."""

    entry: Descriptor

    @property
    def platform(self) -> str:
        """What it runs on, for programs; what BuildKit attests runs nowhere."""
        return str(self.entry.platform or "")

    @property
    def words(self) -> str:
        """What it runs on, for people."""
        return "attestation" if is_attestation(self.entry) else self.platform or "no platform"


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """One image with what it is made of, as far as that can be read: None for a document that can't."""

    image: Image
    document: Document | Schema1 | None
    referrers: tuple[Answer, ...]
    """What names it as its subject: ImageReferrer of the model."""

    @property
    def children(self) -> tuple[Child, ...]:
        """The entries of an index."""
        return tuple(map(Child, self.document.manifests)) if isinstance(self.document, Index) else ()

    @property
    def layers(self) -> Sequence[Descriptor | Digest]:
        """The layers of an image, bottom first; of schema 1, which names no sizes, their digests."""
        return () if self.document is None or isinstance(self.document, Index) else self.document.layers


def details_of(plane: Plane, name: EcrName) -> ImageDetails:
    """Ask for all about an image; raises NotFoundError, and what reading its document raises."""
    image = find(plane, name.repository, name.image_id)
    return ImageDetails(image, _document(plane, image), tuple(_referrers(plane, image)))


def _document(plane: Plane, image: Image) -> Document | Schema1 | None:
    """Read what the image is made of; nobody can in the archive, and a kind that we don't know is no failure."""
    if image.status not in ("", ACTIVE):
        return None
    try:
        return stored(plane, image.repository, {"imageDigest": image.digest}).document
    except UnsupportedError as error:
        log.warning("%s: what it is made of can't be said: %s", image.digest, error)
        return None


def _referrers(plane: Plane, image: Image) -> list[Answer]:
    """List what refers to it; a registry that has no such lists, or none of its upstream, says nothing of the image."""
    subject = {"imageDigest": image.digest}
    try:
        return list(
            plane.pages(
                "ListImageReferrers",
                "referrers",
                page=MAX_REFERRERS,
                repositoryName=image.repository,
                subjectId=subject,
            )
        )
    except (UnsupportedError, TransferError) as error:
        log.warning("what refers to it isn't known: %s", error)
        return []
