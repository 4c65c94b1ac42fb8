"""Manifests over /v2/ keep every byte, become what Accept asks for by tag only, and are refused in ECR's words."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from mypy_boto3_ecr import ECRClient

from ecrdrag import manifest
from ecrdrag.localecr import LocalEcr
from tests.localecr import digest_of, manifest_of, push_image, push_index
from tests.registry import Client, visiting

CONFIG = b'{"architecture":"amd64","os":"linux"}'
LAYER = b"a layer"


@pytest.fixture
def v2(ecr: LocalEcr, api: ECRClient) -> Iterator[Client]:
    with visiting(ecr) as visitor:
        visitor.push_blob(CONFIG, "app")
        visitor.push_blob(LAYER, "app")
        yield visitor


def image(*, docker: bool = False, **more: object) -> str:
    return manifest_of(CONFIG, [LAYER], docker=docker, **more)


def test_a_manifest_comes_back_byte_for_byte_by_tag_and_by_digest(v2: Client, ecr: LocalEcr) -> None:
    raw = image(strange={"ümlaut": [1.50, "  "]}) + "\n \n"
    put = v2.push(raw, "app", "1")
    digest = digest_of(raw.encode())
    assert (put.status, put.body, put.headers["Docker-Content-Digest"]) == (201, b"", digest)
    assert put.headers["Location"] == f"{ecr.endpoint}/v2/app/manifests/{digest}"
    for reference in ("1", digest, digest.replace(":", "%3A")):
        got = v2.get(f"/v2/app/manifests/{reference}")
        assert (got.status, got.body.decode()) == (200, raw)
        assert got.headers["Content-Type"] == manifest.OCI_MANIFEST
        assert got.headers["Content-Length"] == str(len(raw.encode()))


def test_only_head_tells_the_digest(v2: Client) -> None:
    raw = image()
    v2.push(raw, "app", "1")
    head = v2.ask("HEAD", "/v2/app/manifests/1")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(raw.encode())))
    assert head.headers["Docker-Content-Digest"] == digest_of(raw.encode())
    assert "Docker-Content-Digest" not in v2.get("/v2/app/manifests/1").headers


@pytest.mark.parametrize(
    ("docker", "accept", "given"),
    [
        (True, manifest.DOCKER_MANIFEST, manifest.DOCKER_MANIFEST),
        (True, manifest.OCI_MANIFEST, manifest.OCI_MANIFEST),
        (False, f"{manifest.DOCKER_MANIFEST};q=0.5", manifest.DOCKER_MANIFEST),
        (False, f"{manifest.DOCKER_MANIFEST}, {manifest.OCI_MANIFEST}", manifest.OCI_MANIFEST),
        (False, f"{manifest.DOCKER_MANIFEST}, */*", manifest.OCI_MANIFEST),
        (False, "*/*", manifest.OCI_MANIFEST),
        (False, manifest.OCI_INDEX, manifest.OCI_MANIFEST),
    ],
)
def test_a_manifest_by_tag_becomes_what_accept_asks_for(v2: Client, docker: bool, accept: str, given: str) -> None:
    raw = image(docker=docker)
    stored = manifest.DOCKER_MANIFEST if docker else manifest.OCI_MANIFEST
    v2.push(raw, "app", "1", kind=stored)
    got = v2.get("/v2/app/manifests/1", Accept=accept)
    assert got.headers["Content-Type"] == given == got.document["mediaType"]
    assert (got.body.decode() == raw) == (given == stored)
    by_digest = v2.get(f"/v2/app/manifests/{digest_of(raw.encode())}", Accept=accept)
    assert (by_digest.headers["Content-Type"], by_digest.body.decode()) == (stored, raw)


def test_an_index_is_put_and_got_as_it_is(v2: Client, api: ECRClient) -> None:
    index = push_index(api, "app", {"linux/amd64": push_image(api, "app")}, tag="all")
    got = v2.get("/v2/app/manifests/all", Accept=manifest.DOCKER_LIST)
    assert (got.headers["Content-Type"], got.body.decode()) == (manifest.OCI_INDEX, index.raw)
    assert v2.push(index.raw, "app", "again", kind=manifest.OCI_INDEX).status == 201


def test_a_subject_is_acknowledged(v2: Client) -> None:
    subject = digest_of(b"not there yet")
    raw = image(subject={"mediaType": manifest.OCI_MANIFEST, "digest": subject, "size": 3})
    assert v2.push(raw, "app").headers["OCI-Subject"] == subject
    odd = image(subject={"digest": "sha256:1\r\nSet-Cookie: a=b"})
    assert "OCI-Subject" not in v2.push(odd, "app").headers
    assert "OCI-Subject" not in v2.push(image(), "app").headers


def test_the_same_image_again_is_a_success_also_under_an_immutable_tag(v2: Client, api: ECRClient) -> None:
    api.put_image_tag_mutability(repositoryName="app", imageTagMutability="IMMUTABLE")
    assert [v2.push(image(), "app", "1").status for _ in range(2)] == [201, 201]
    assert [v2.push(image(), "app").status for _ in range(2)] == [201, 201]
    reply = v2.push(image(annotations={"other": "yes"}), "app", "1")
    assert (reply.status, reply.code) == (400, "TAG_INVALID")
    assert reply.message == (
        "The image tag '1' already exists in the 'app' repository "
        "and cannot be overwritten because the repository is immutable."
    )


def test_a_digest_that_is_another_is_manifest_invalid(v2: Client) -> None:
    for reference in (digest_of(b"other"), "sha256:baddigeststring"):
        reply = v2.ask("PUT", f"/v2/app/manifests/{reference}", image().encode(), Content_Type=manifest.OCI_MANIFEST)
        assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")
        assert "does not match the image digest that Amazon ECR has calculated" in reply.message


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[", b"\xff\xfe", b'"text"', b"[" * 100_000],
    ids=["none", "empty", "half", "bad", "str", "deep"],
)
def test_what_is_no_manifest_is_unsupported_in_ecrs_words(v2: Client, raw: bytes) -> None:
    reply = v2.ask("PUT", "/v2/app/manifests/1", raw, Content_Type=manifest.OCI_MANIFEST)
    assert (reply.status, reply.code) == (405, "UNSUPPORTED")
    text = "must have length greater than or equal to 1" if not raw else "Invalid JSON syntax"
    assert (
        reply.message.lower() == f"invalid parameter at 'imagemanifest' failed to satisfy constraint: '{text}'".lower()
    )


def test_a_manifest_without_any_media_type_needs_one_from_the_request(v2: Client) -> None:
    document = {name: value for name, value in json.loads(image()).items() if name != "mediaType"}
    raw = json.dumps(document).encode()
    assert v2.ask("PUT", "/v2/app/manifests/1", raw).code == "UNSUPPORTED"
    assert v2.ask("PUT", "/v2/app/manifests/1", raw, Content_Type=f"{manifest.OCI_MANIFEST}; a=b").status == 201


def test_a_manifest_over_the_limit_is_413(v2: Client) -> None:
    reply = v2.ask("PUT", "/v2/app/manifests/1", b" " * (manifest.MAX_MANIFEST_SIZE + 1))
    assert (reply.status, reply.code) == (413, "MANIFEST_INVALID")


def test_an_image_without_its_layers_and_an_index_without_its_images_are_refused(v2: Client) -> None:
    reply = v2.push(manifest_of(CONFIG, [b"missing"]), "app", "1")
    assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert reply.message.startswith(f"Layers with digests '[{digest_of(b'missing')}]' required for pushing image")
    child = {"mediaType": manifest.OCI_MANIFEST, "digest": digest_of(b"missing"), "size": 7}
    index = json.dumps({"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": [child]})
    reply = v2.push(index, "app", "1", kind=manifest.OCI_INDEX)
    assert (reply.status, reply.code) == (404, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize(
    ("reference", "status", "code"),
    [
        ("2", 404, "MANIFEST_UNKNOWN"),
        (".INVALID_MANIFEST_NAME", 404, "MANIFEST_UNKNOWN"),
        (digest_of(b"nothing"), 404, "MANIFEST_UNKNOWN"),
        ("sha256:totallywrong", 400, "DIGEST_INVALID"),
        ("2024.42.27+1234a5c05", 400, "TAG_INVALID"),
    ],
)
def test_manifests_that_are_not_there(v2: Client, reference: str, status: int, code: str) -> None:
    reply = v2.get(f"/v2/app/manifests/{reference}")
    assert (reply.status, reply.code) == (status, code)
    assert v2.ask("HEAD", f"/v2/app/manifests/{reference}").status == status
    assert v2.ask("DELETE", f"/v2/app/manifests/{reference}").code == code


def test_ecrs_words_for_an_image_that_is_not_there(v2: Client) -> None:
    assert v2.get("/v2/app/manifests/2").message == "Requested image not found"


def test_an_image_is_deleted_by_digest_with_its_tags_and_by_its_last_tag(v2: Client) -> None:
    raw = image()
    path = f"/v2/app/manifests/{digest_of(raw.encode())}"
    for tag in ("1", "2"):
        v2.push(raw, "app", tag)
    assert v2.ask("DELETE", "/v2/app/manifests/1").status == 202
    assert v2.ask("HEAD", path).status == 200
    assert v2.ask("DELETE", "/v2/app/manifests/2").status == 202
    assert v2.ask("HEAD", path).status == 404
    v2.push(raw, "app", "1")
    assert v2.ask("DELETE", path).status == 202
    assert v2.get("/v2/app/tags/list").document["tags"] == []


def test_an_image_that_an_index_refers_to_is_not_deleted(v2: Client, api: ECRClient) -> None:
    child = push_image(api, "app")
    push_index(api, "app", {"linux/amd64": child}, tag="all")
    reply = v2.ask("DELETE", f"/v2/app/manifests/{child.digest}")
    assert (reply.status, reply.code) == (405, "UNSUPPORTED")
    assert "referenced by manifest list" in reply.message


def test_an_archived_image_is_not_pulled(v2: Client, api: ECRClient) -> None:
    raw = image()
    v2.push(raw, "app", "1")
    digest = digest_of(raw.encode())
    api.update_image_storage_class(repositoryName="app", imageId={"imageDigest": digest}, targetStorageClass="ARCHIVE")
    assert v2.get("/v2/app/manifests/1").status == 404
    assert v2.get(f"/v2/app/manifests/{digest}").status == 404
    assert v2.get(f"/v2/app/blobs/{digest_of(LAYER)}").status == 404
    assert v2.ask("HEAD", f"/v2/app/blobs/{digest_of(LAYER)}").status == 404
