"""What is different where /v2/ speaks as the specification has it; and paths and methods that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag import manifest
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.settings import Dialect
from tests.localecr import REGION, client, digest_of, manifest_of, running
from tests.registry import Client, basic, visiting

CONFIG = b'{"architecture":"amd64","os":"linux"}'
LAYER = b"a layer"


@pytest.fixture
def ecr(tmp_path: Path) -> Iterator[LocalEcr]:
    with running(tmp_path, Settings(region=REGION, dialect=Dialect.OCI)) as server:
        yield server


@pytest.fixture
def v2(ecr: LocalEcr) -> Iterator[Client]:
    with visiting(ecr) as visitor:
        yield visitor


def pushed(v2: Client, repository: str, tag: str) -> str:
    """Push an image and return its digest."""
    for blob in (CONFIG, LAYER):
        v2.push_blob(blob, repository)
    raw = manifest_of(CONFIG, [LAYER])
    assert v2.push(raw, repository, tag).status == 201
    return digest_of(raw.encode())


def test_a_repository_comes_into_being_by_a_push(v2: Client, ecr: LocalEcr) -> None:
    pushed(v2, "brand/new", "1")
    assert v2.get("/v2/brand/new/manifests/1").status == 200
    with client(ecr) as api:
        assert api.describe_repositories()["repositories"][0]["repositoryName"] == "brand/new"


def test_no_repository_comes_into_being_by_a_question(v2: Client) -> None:
    for path in ("tags/list", "manifests/1", f"blobs/{digest_of(b'')}"):
        reply = v2.get(f"/v2/brand/new/{path}")
        assert (reply.status, reply.code) == (404, "NAME_UNKNOWN")
    assert v2.get(f"/v2/brand/new/referrers/{digest_of(b'')}").document["manifests"] == []
    assert v2.get("/v2/_catalog").document == {"repositories": []}


def test_a_bad_name_is_name_invalid(v2: Client) -> None:
    reply = v2.ask("POST", "/v2/Not/A--_Name/blobs/uploads/")
    assert (reply.status, reply.code) == (400, "NAME_INVALID")


def test_a_blob_is_given_out_before_any_image_refers_to_it(v2: Client) -> None:
    digest = v2.push_blob(LAYER, "app")
    assert v2.follow(v2.get(f"/v2/app/blobs/{digest}")).body == LAYER


def test_a_patch_is_answered_with_202_and_the_true_range_and_parts_may_be_small(v2: Client) -> None:
    place = v2.begin("app")
    ranges = []
    for start, part in ((0, b"abc"), (3, b"d"), (4, b"ef")):
        reply = v2.ask("PATCH", place, part, Content_Range=f"{start}-{start + len(part) - 1}")
        assert reply.status == 202
        ranges.append(reply.headers["Range"])
    assert ranges == ["0-2", "0-3", "0-5"]
    assert v2.get(place).headers["Range"] == "0-5"
    assert v2.ask("PUT", f"{place}?digest={digest_of(b'abcdef')}").status == 201


def test_an_empty_blob_is_one(v2: Client) -> None:
    digest = v2.push_blob(b"", "app")
    assert v2.ask("HEAD", f"/v2/app/blobs/{digest}").headers["Content-Length"] == "0"
    assert v2.follow(v2.get(f"/v2/app/blobs/{digest}")).body == b""
    assert v2.ask("POST", f"/v2/other/blobs/uploads/?digest={digest}").status == 201


def test_a_wrong_digest_is_digest_invalid(v2: Client) -> None:
    reply = v2.ask("PUT", f"{v2.begin('app')}?digest={digest_of(b'other')}", LAYER)
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")
    reply = v2.ask("PUT", f"{v2.begin('app')}?digest=nonsense", LAYER)
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")
    for reference in (digest_of(b"other"), "sha256:baddigeststring"):
        reply = v2.ask("PUT", f"/v2/app/manifests/{reference}", b'{"schemaVersion":2}')
        assert reply.status == 400


def test_any_blob_is_mounted(v2: Client) -> None:
    digest = v2.push_blob(LAYER, "app")
    reply = v2.ask("POST", f"/v2/other/blobs/uploads/?mount={digest}&from=app")
    assert (reply.status, reply.place) == (201, f"/v2/other/blobs/{digest}")
    assert v2.follow(v2.get(f"/v2/other/blobs/{digest}")).body == LAYER
    assert v2.ask("POST", f"/v2/other/blobs/uploads/?mount={digest_of(b'none')}&from=app").status == 202


def test_a_manifest_is_never_translated_and_always_has_its_digest(v2: Client) -> None:
    digest = pushed(v2, "app", "1")
    for method in ("GET", "HEAD"):
        reply = v2.ask(method, "/v2/app/manifests/1", Accept=manifest.DOCKER_MANIFEST)
        assert reply.headers["Content-Type"] == manifest.OCI_MANIFEST
        assert reply.headers["Docker-Content-Digest"] == digest


def test_what_is_no_manifest_is_manifest_invalid(v2: Client) -> None:
    reply = v2.ask("PUT", "/v2/app/manifests/1", b"{}", Content_Type=manifest.OCI_MANIFEST)
    assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")
    reply = v2.push(manifest_of(CONFIG, [b"missing"]), "app", "1")
    assert (reply.status, reply.code) == (404, "MANIFEST_BLOB_UNKNOWN")


def test_a_tag_is_deleted_without_its_image_and_a_blob_whoever_needs_it(v2: Client) -> None:
    digest = pushed(v2, "app", "1")
    assert v2.ask("DELETE", "/v2/app/manifests/1").status == 202
    assert v2.ask("DELETE", "/v2/app/manifests/1").code == "MANIFEST_UNKNOWN"
    assert v2.get(f"/v2/app/manifests/{digest}").status == 200
    assert v2.ask("DELETE", f"/v2/app/blobs/{digest_of(LAYER)}").status == 202
    assert v2.get(f"/v2/app/blobs/{digest_of(LAYER)}").status == 404
    assert v2.ask("DELETE", f"/v2/app/blobs/{digest_of(LAYER)}").code == "BLOB_UNKNOWN"
    assert v2.ask("DELETE", f"/v2/app/manifests/{digest}").status == 202
    assert v2.get(f"/v2/app/manifests/{digest}").status == 404


def test_a_bad_login_is_asked_to_log_in_again(ecr: LocalEcr) -> None:
    with visiting(ecr, basic("nonsense")) as visitor:
        reply = visitor.get("/v2/")
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
    assert reply.headers["WWW-Authenticate"].startswith("Basic realm=")


def test_a_host_name_of_ecrs_speaks_the_same_dialect_here(ecr: LocalEcr, v2: Client) -> None:
    v2.host = f"210987654321.dkr.ecr.{REGION}.localhost"
    pushed(v2, "theirs", "1")
    v2.host = ""
    assert v2.get("/v2/theirs/manifests/1").status == 404


@pytest.mark.parametrize(
    "path", ["/v2/app", "/v2/app/tags", "/v2/app/blobs/a/b", "/v2/app/nonsense/x", "/v2//tags/list"]
)
def test_a_path_that_nobody_knows_is_404_as_at_ecr(v2: Client, path: str) -> None:
    reply = v2.get(path)
    assert (reply.status, reply.body) == (404, b"404 page not found\n")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2/", {"GET", "HEAD"}),
        ("DELETE", "/v2/app/tags/list", {"GET", "HEAD"}),
        ("POST", "/v2/app/manifests/1", {"GET", "HEAD", "PUT", "DELETE"}),
        ("PUT", f"/v2/app/blobs/{digest_of(b'')}", {"GET", "HEAD", "DELETE"}),
        ("GET", "/v2/app/blobs/uploads/", {"POST"}),
        (
            "POST",
            "/v2/app/blobs/uploads/6cb64b8a-9378-0e33-2ab1-b780fab8a9e9",
            {"GET", "HEAD", "PATCH", "PUT", "DELETE"},
        ),
    ],
)
def test_a_method_that_a_path_has_not_is_405_with_those_that_it_has(
    v2: Client, method: str, path: str, allowed: set[str]
) -> None:
    reply = v2.ask(method, path)
    assert (reply.status, reply.code) == (405, "UNSUPPORTED")
    assert set(reply.headers["Allow"].split(", ")) == allowed
