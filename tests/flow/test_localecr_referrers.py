"""ListImageReferrers of the local ECR, through a real client."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from mypy_boto3_ecr import ECRClient

from ecrdrag import manifest
from tests.localecr import (
    Pushed,
    descriptor_of,
    digest_of,
    manifest_of,
    push_blob,
    push_image,
    put_manifest,
)

SBOM = "application/vnd.example.sbom"
SIGNATURE = "application/vnd.example.signature"


def subject_of(pushed: Pushed) -> dict[str, object]:
    return descriptor_of(pushed.media_type, pushed.raw.encode())


def attach(api: ECRClient, subject: dict[str, object], kind: str, annotations: object = None) -> Pushed:
    """Push an artifact that refers to a subject."""
    push_blob(api, "app", b"{}")
    raw = manifest_of(b"{}", [b"{}"], artifactType=kind, subject=subject, annotations=annotations)
    return put_manifest(api, "app", raw)


def listed(api: ECRClient, digest: str, **more: object) -> list[str]:
    found = api.list_image_referrers(repositoryName="app", subjectId={"imageDigest": digest}, **more)  # type: ignore[arg-type]
    return [referrer["digest"] for referrer in found["referrers"]]


def pages_of(api: ECRClient, digest: str, wanted: object, *, size: int) -> Iterator[list[str]]:
    """Ask page by page, as no paginator of boto3 does for this operation."""
    more: dict[str, object] = {}
    while True:
        page = api.list_image_referrers(
            repositoryName="app",
            subjectId={"imageDigest": digest},
            filter=wanted,  # type: ignore[arg-type]
            maxResults=size,
            **more,  # type: ignore[arg-type]
        )
        yield [one["digest"] for one in page["referrers"]]
        if "nextToken" not in page:
            return
        more = {"nextToken": page["nextToken"]}


def test_a_referrer_is_described_as_the_oci_spec_does_with_its_annotations(api: ECRClient) -> None:
    subject = push_image(api, "app", tag="1")
    annotations = {"org.example.made": "today", "empty": ""}
    artifact = attach(api, subject_of(subject), SBOM, annotations=annotations)
    answer = api.list_image_referrers(repositoryName="app", subjectId={"imageDigest": subject.digest})
    assert answer["referrers"] == [
        {
            "digest": artifact.digest,
            "mediaType": manifest.OCI_MANIFEST,
            "artifactType": SBOM,
            "size": len(artifact.raw.encode()),
            "annotations": annotations,
            "artifactStatus": "ACTIVE",
        }
    ]
    assert "nextToken" not in answer


def test_an_index_may_refer_and_a_manifest_without_an_artifact_type_has_its_configs(api: ECRClient) -> None:
    subject = push_image(api, "app")
    push_blob(api, "app", b"{}")
    plain = put_manifest(api, "app", manifest_of(b"{}", [b"{}"], subject=subject_of(subject), annotations="none"))
    raw = {"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": [], "subject": subject_of(subject)}
    index = put_manifest(api, "app", json.dumps(raw))
    found = api.list_image_referrers(repositoryName="app", subjectId={"imageDigest": subject.digest})["referrers"]
    kinds = {one["digest"]: (one["mediaType"], one.get("artifactType"), one.get("annotations")) for one in found}
    assert kinds == {
        plain.digest: (manifest.OCI_MANIFEST, manifest.OCI_CONFIG, None),
        index.digest: (manifest.OCI_INDEX, None, None),
    }


def test_a_subject_need_not_be_there_nor_stay(api: ECRClient) -> None:
    gone = b"never pushed"
    artifact = attach(api, descriptor_of(manifest.OCI_MANIFEST, gone), SBOM)
    assert listed(api, digest_of(gone)) == [artifact.digest]
    assert listed(api, digest_of(b"another")) == []
    subject = push_image(api, "app")
    kept = attach(api, subject_of(subject), SBOM)
    api.batch_delete_image(repositoryName="app", imageIds=[{"imageDigest": subject.digest}])
    assert listed(api, subject.digest) == [kept.digest]


def test_referrers_of_another_repository_do_not_count(api: ECRClient) -> None:
    subject = push_image(api, "app")
    attach(api, subject_of(subject), SBOM)
    api.create_repository(repositoryName="other")
    found = api.list_image_referrers(repositoryName="other", subjectId={"imageDigest": subject.digest})
    assert found["referrers"] == []


def test_referrers_come_by_digest_in_pages_and_by_artifact_type(api: ECRClient) -> None:
    subject = push_image(api, "app")
    made = {
        kind: sorted(
            attach(api, subject_of(subject), kind, annotations={"n": str(number)}).digest for number in range(count)
        )
        for kind, count in ((SBOM, 3), (SIGNATURE, 19))
    }
    everything = sorted(made[SBOM] + made[SIGNATURE])
    assert listed(api, subject.digest) == everything[:20]
    assert listed(api, subject.digest, maxResults=50) == everything
    pages = list(pages_of(api, subject.digest, {"artifactTypes": [SIGNATURE]}, size=8))
    assert [len(page) for page in pages] == [8, 8, 3]
    assert [digest for page in pages for digest in page] == made[SIGNATURE]
    both = {"artifactTypes": [SBOM, SIGNATURE, "application/other"]}
    assert listed(api, subject.digest, filter=both, maxResults=22) == everything
    assert listed(api, subject.digest, filter={"artifactTypes": ["application/other"]}) == []
    assert listed(api, subject.digest, filter={"artifactTypes": []}, maxResults=50) == everything


def test_an_archived_referrer_is_listed_when_it_is_asked_for(api: ECRClient) -> None:
    subject = push_image(api, "app")
    active, archived = (attach(api, subject_of(subject), kind).digest for kind in (SBOM, SIGNATURE))
    api.update_image_storage_class(
        repositoryName="app", imageId={"imageDigest": archived}, targetStorageClass="ARCHIVE"
    )
    assert listed(api, subject.digest) == [active]
    assert listed(api, subject.digest, filter={"artifactStatus": "ARCHIVED"}) == [archived]
    assert listed(api, subject.digest, filter={"artifactStatus": "ACTIVATING"}) == []
    assert listed(api, subject.digest, filter={"artifactStatus": "ANY"}) == sorted([active, archived])


def test_bad_questions_are_refused(api: ECRClient) -> None:
    subject = push_image(api, "app")
    for more in (
        {"maxResults": 51},
        {"filter": {"artifactTypes": [SBOM] * 6}},
        {"nextToken": "nonsense"},
    ):
        with pytest.raises(api.exceptions.InvalidParameterException):
            listed(api, subject.digest, **more)
    with pytest.raises(api.exceptions.RepositoryNotFoundException):
        api.list_image_referrers(repositoryName="gone", subjectId={"imageDigest": subject.digest})
