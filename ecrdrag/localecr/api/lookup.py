"""Own which image an ImageIdentifier means, and what is said when it means none.

The operations on images may enter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ecrdrag.localecr.api.call import Call
from ecrdrag.localecr.api.refusals import image_not_found, invalid_parameter
from ecrdrag.localecr.names import ImageName
from ecrdrag.localecr.storage.records import Image, Records

# What the server holds tags to, though the model doesn't say so: alexjurkiewicz/ecr-scan-image#40.
TAG_PATTERN: Final = "[a-zA-Z0-9-_.]+"
# moto's models.py has this pattern in the text of InvalidImageDigest.
_DIGEST_PATTERN: Final = "[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one of several images could not be handled: code and reason of ImageFailure."""

    code: str
    reason: str

    def about(self, name: ImageName) -> dict[str, object]:
        """Return the ImageFailure structure."""
        return {"imageId": name.as_output(), "failureCode": self.code, "failureReason": self.reason}


# Texts of the user guide and of moto's models.py; those of a bad tag and of a mismatch follow their siblings.
MISSING: Final = Failure("MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null")
BAD_DIGEST: Final = Failure(
    "InvalidImageDigest",
    f"Invalid request parameters: image digest should satisfy the regex '{_DIGEST_PATTERN}'",
)
BAD_TAG: Final = Failure(
    "InvalidImageTag", f"Invalid request parameters: image tag should satisfy the regex '{TAG_PATTERN}'"
)
NOT_FOUND: Final = Failure("ImageNotFound", "Requested image not found")
MISMATCH: Final = Failure("ImageTagDoesNotMatchDigest", "Requested image tag does not match the requested digest")
# The user guide, "Archiving an image": it "cannot be pulled"; AWS's own text is not public.
INACCESSIBLE: Final = Failure("ImageInaccessible", "Requested image is archived and cannot be pulled")


def find(records: Records, repository: int, name: ImageName) -> Image | Failure:
    """Find an image by digest, by tag, or by both that must agree."""
    if not (name.digest or name.tag):
        return MISSING
    if name.digest and not re.fullmatch(_DIGEST_PATTERN, name.digest):
        return BAD_DIGEST
    if name.tag and not re.fullmatch(TAG_PATTERN, name.tag):
        return BAD_TAG
    tagged = records.tagged(repository, name.tag) if name.tag else name.digest
    image = records.image(repository, tagged)
    if image is None:
        return NOT_FOUND
    return image if name.digest in ("", tagged) else _mismatch(records, repository, name)


def find_one(call: Call, records: Records) -> Image:
    """Find the image that a call is about; raise ImageNotFoundException or InvalidParameterException."""
    found = find(records, call.repository(records).id, call.image_name)
    if found in (NOT_FOUND, MISMATCH):
        raise image_not_found(call.key, call.image_name)
    if isinstance(found, Failure):
        raise invalid_parameter("imageId", found.reason)
    return found


def _mismatch(records: Records, repository: int, name: ImageName) -> Failure:
    return MISMATCH if records.image(repository, name.digest) else NOT_FOUND
