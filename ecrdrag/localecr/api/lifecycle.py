"""Own lifecycle policies of repositories: stored, given back, and tried out by a preview.

The API may enter, and who makes repositories from templates. No policy is ever carried out here: images stay until
somebody deletes or archives them, and what a policy would do, only the preview says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ecrdrag.localecr.api import expiry, lifecycle_text
from ecrdrag.localecr.api.call import Call, Operation, next_token
from ecrdrag.localecr.api.expiry import Rule, Subject
from ecrdrag.localecr.api.refusals import (
    invalid_parameter,
    lifecycle_policy_invalid,
    lifecycle_policy_not_found,
    lifecycle_preview_not_found,
)
from ecrdrag.localecr.names import ImageName
from ecrdrag.localecr.storage.images import ANY
from ecrdrag.localecr.storage.records import Records
from ecrdrag.localecr.storage.settings import Setting, Value

_POLICY: Final = "lifecycle"
_PREVIEW: Final = "lifecycle-preview"
_TEXT: Final = "lifecyclePolicyText"


def put_lifecycle_policy(call: Call) -> Mapping[str, object]:
    """Store a policy, over one that is there."""
    with call.store.metadata.write() as records:
        text = store(records, call.repository(records).id, call.parameters.text(_TEXT), call.now)
    return {**_place(call), _TEXT: text}


def store(records: Records, repository: int, text: str, now: float) -> str:
    """Check a policy and store it as ECR gives it back; return that, or raise InvalidParameterException."""
    try:
        normal = lifecycle_text.normal(text)
    except lifecycle_text.PolicyError as error:
        raise lifecycle_policy_invalid(str(error)) from None
    records.put_repository_setting(repository, _POLICY, {"text": normal}, now)
    return normal


def get_lifecycle_policy(call: Call) -> Mapping[str, object]:
    """Return the policy that is stored."""
    with call.store.metadata.read() as records:
        return _described(call, _policy(call, records, call.repository(records).id))


def delete_lifecycle_policy(call: Call) -> Mapping[str, object]:
    """Forget the policy."""
    with call.store.metadata.write() as records:
        repository = call.repository(records).id
        text = _policy(call, records, repository)
        records.delete_repository_setting(repository, _POLICY)
    return _described(call, text)


def start_lifecycle_policy_preview(call: Call) -> Mapping[str, object]:
    """Try out a policy, given or stored, on the images as they are now.

    It is through when this returns, so no preview is ever IN_PROGRESS and nobody meets
    LifecyclePolicyPreviewInProgressException.
    """
    given = call.parameters.text(_TEXT)
    with call.store.metadata.read() as records:
        repository = call.repository(records).id
        text = given or _policy(call, records, repository)
        rules = _rules(text)
        subjects = list(_subjects(records, repository))
    marks = expiry.evaluate(rules, subjects, call.now)
    marked = sorted((one for one in subjects if one.image.digest in marks), key=lambda one: one.age_order)
    preview: Value = {"text": text, "results": [_result(one, marks[one.image.digest]) for one in marked]}
    with call.store.metadata.write() as records:
        records.put_repository_setting(call.repository(records).id, _PREVIEW, preview, call.now)
    return {**_place(call), _TEXT: text, "status": "COMPLETE"}


def get_lifecycle_policy_preview(call: Call) -> Mapping[str, object]:
    """Return what the last preview found, oldest images first: of images that are named, or all by pages."""
    call.check_page("imageIds")
    start = _start(call)
    with call.store.metadata.read() as records:
        preview = records.repository_setting(call.repository(records).id, _PREVIEW)
    if preview is None:
        raise lifecycle_preview_not_found(call.key)
    results = _results(preview)
    status, names = call.parameters.structure("filter").text("tagStatus", ANY), frozenset(call.image_names)
    found = [place for place in range(start, len(results)) if _is_wanted(results[place], status, names)]
    size = call.page_size
    return {
        **_place(call),
        _TEXT: preview.value["text"],
        "status": "COMPLETE",
        "previewResults": [results[place] for place in found[:size]],
        "nextToken": next_token([str(found[size])]) if len(found) > size else None,
        "summary": _summary(results),
    }


def _policy(call: Call, records: Records, repository: int) -> str:
    setting = records.repository_setting(repository, _POLICY)
    if setting is None:
        raise lifecycle_policy_not_found(call.key)
    return str(setting.value["text"])


def _rules(text: str) -> tuple[Rule, ...]:
    try:
        return lifecycle_text.read(text)
    except lifecycle_text.PolicyError as error:
        raise lifecycle_policy_invalid(str(error)) from None


def _subjects(records: Records, repository: int) -> Iterator[Subject]:
    tags: dict[str, list[str]] = {}
    parents: dict[str, list[str]] = {}
    for digest, tag in records.all_tags(repository):
        tags.setdefault(digest, []).append(tag)
    for child, parent in records.all_parents(repository):
        parents.setdefault(child, []).append(parent)
    for image in records.images(repository, ANY):
        yield Subject(image, tuple(tags.get(image.digest, ())), tuple(parents.get(image.digest, ())))


def _result(subject: Subject, rule: Rule) -> dict[str, object]:
    transition = {"type": "TRANSITION", "targetStorageClass": "ARCHIVE"}
    return {
        "imageTags": list(subject.tags),
        "imageDigest": subject.image.digest,
        "imagePushedAt": subject.image.pushed,
        "action": transition if rule.is_transition else {"type": "EXPIRE"},
        "appliedRulePriority": rule.priority,
        "storageClass": "ARCHIVE" if subject.image.archived else "STANDARD",
    }


def _results(preview: Setting) -> list[dict[str, object]]:
    results = preview.value["results"]
    assert isinstance(results, list)
    return results


def _start(call: Call) -> int:
    (start,) = call.page_start(1)
    if start and not (start.isascii() and start.isdigit() and len(start) < len(str(2**31))):
        raise invalid_parameter("nextToken", "Invalid token")
    return int(start or 0)


def _is_wanted(result: Mapping[str, object], status: str, names: frozenset[ImageName]) -> bool:
    digest, tags = str(result["imageDigest"]), result["imageTags"]
    assert isinstance(tags, list)
    if status not in (ANY, "TAGGED" if tags else "UNTAGGED"):
        return False
    called = (ImageName(one, tag) for tag in tags for one in ("", digest))
    return not names or ImageName(digest) in names or any(name in names for name in called)


def _summary(results: list[dict[str, object]]) -> dict[str, object]:
    expiring = sum(result["action"] == {"type": "EXPIRE"} for result in results)
    moving = len(results) - expiring
    total = {"targetStorageClass": "ARCHIVE", "imageTotalCount": moving}
    return {"expiringImageTotalCount": expiring, "transitioningImageTotalCounts": [total] if moving else None}


def _described(call: Call, text: str) -> dict[str, object]:
    """Describe a policy; one that never ran was evaluated at 0 (cloud-custodian/cloud-custodian#9036)."""
    return {**_place(call), _TEXT: text, "lastEvaluatedAt": 0.0}


def _place(call: Call) -> dict[str, object]:
    return {"registryId": call.account, "repositoryName": call.key.name}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "PutLifecyclePolicy": put_lifecycle_policy,
    "GetLifecyclePolicy": get_lifecycle_policy,
    "DeleteLifecyclePolicy": delete_lifecycle_policy,
    "StartLifecyclePolicyPreview": start_lifecycle_policy_preview,
    "GetLifecyclePolicyPreview": get_lifecycle_policy_preview,
}
