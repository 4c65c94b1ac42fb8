"""What the commands `repo` hold to be ECR's names and limits, against botocore's model."""

from __future__ import annotations

import botocore.session
import pytest
from botocore.model import Shape

from ecrdrag.control import preview, usage
from ecrdrag.control.images import ACTIVE, ANY
from ecrdrag.control.policies import ACCESS, LIFECYCLE, PolicyKind

MODEL = botocore.session.Session().get_service_model("ecr")


def member(operation: str, name: str, *, of_answer: bool = False) -> Shape:
    model = MODEL.operation_model(operation)
    shape = model.output_shape if of_answer else model.input_shape
    assert shape is not None
    return shape.members[name]


@pytest.mark.parametrize("kind", [ACCESS, LIFECYCLE])
def test_a_kind_of_policy_has_its_operations_member_and_limits(kind: PolicyKind) -> None:
    text = member(kind.put, kind.member)
    assert (text.metadata.get("min", 0), text.metadata["max"]) == (kind.least, kind.most)
    for operation in (kind.get, kind.put, kind.remove):
        assert member(operation, kind.member, of_answer=True).type_name == "string"
        assert member(operation, "repositoryName").type_name == "string"


def test_a_preview_is_asked_for_by_its_largest_page_and_knows_its_statuses() -> None:
    assert member("GetLifecyclePolicyPreview", "maxResults").metadata["max"] == preview._PAGE
    assert member("StartLifecyclePolicyPreview", "lifecyclePolicyText").name == "LifecyclePolicyText"
    statuses = MODEL.shape_for("LifecyclePolicyPreviewStatus").enum  # type: ignore[attr-defined]
    assert {preview._UNDER_WAY, preview._DONE} < set(statuses)
    results = member("GetLifecyclePolicyPreview", "previewResults", of_answer=True).member.members  # type: ignore[attr-defined]
    assert {"imageDigest", "imageTags", "action", "appliedRulePriority", "imagePushedAt"} <= set(results)


def test_images_are_counted_by_a_filter_that_is_there() -> None:
    filters = member("DescribeImages", "filter").members  # type: ignore[attr-defined]
    assert {ACTIVE, ANY} < set(filters["imageStatus"].enum)
    assert ACTIVE in usage._NOT_ARCHIVED
    details = MODEL.shape_for("ImageDetail").members  # type: ignore[attr-defined]
    assert not set(usage.NOT_COUNTED) & set(details)


def test_members_of_our_own_are_none_of_ecrs() -> None:
    repository = MODEL.shape_for("Repository").members  # type: ignore[attr-defined]
    assert not {*usage.NOT_COUNTED, "tags", "policy", "lifecyclePolicy", "region"} & set(repository)
