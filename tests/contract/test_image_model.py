"""What the stories of images say to ECR against botocore's model of it."""

from __future__ import annotations

import botocore.session
from botocore.model import StringShape

from ecrdrag.control.image_details import MAX_REFERRERS
from ecrdrag.control.images import ACTIVE, ANY, TAGGED, UNTAGGED
from ecrdrag.control.plane import PAGE
from ecrdrag.control.removal import MAX_IMAGES
from ecrdrag.registry.ecr_errors import FAILURE_CODES

MODEL = botocore.session.Session().get_service_model("ecr")


def words_of(name: str) -> set[str]:
    shape = MODEL.shape_for(name)
    assert isinstance(shape, StringShape)
    return set(shape.enum)


def test_pages_and_batches_are_the_largest_that_there_are() -> None:
    assert MODEL.shape_for("MaxResults").metadata["max"] == PAGE
    assert MODEL.shape_for("FiftyMaxResults").metadata["max"] == MAX_REFERRERS
    assert MODEL.shape_for("ImageIdentifierList").metadata["max"] == MAX_IMAGES


def test_statuses_and_failures_are_words_of_the_model() -> None:
    assert words_of("TagStatus") == {TAGGED, UNTAGGED, ANY}
    assert words_of("ImageStatusFilter") == {"ACTIVE", "ARCHIVED", "ACTIVATING", "ANY"}
    assert {ACTIVE} < words_of("ImageStatus")
    assert words_of("ImageFailureCode") >= {"ImageNotFound", "ImageReferencedByManifestList"}
    assert FAILURE_CODES.keys() >= words_of("ImageFailureCode")
