"""Any registry as a Source, against scripted ones: which manifests are believed, and how many requests that takes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import IntegrityError, NotFoundError, UnsupportedError
from ecrdrag.manifest import DOCKER_LIST, DOCKER_MANIFEST, MAX_MANIFEST_SIZE, OCI_INDEX, OCI_MANIFEST, Index, Manifest
from ecrdrag.reference import ImageReference
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import DistributionSource
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.schema1 import SIGNED, UNSIGNED
from tests.images import hello_image, index_of
from tests.scripted_registry import Registry, Reply, failing, scripted

HELLO = hello_image("amd64")
BOTH = index_of([hello_image("arm64"), HELLO])
RAW, DIGEST = HELLO.manifest.content, HELLO.manifest.digest
TYPED = {"Content-Type": OCI_MANIFEST}
OTHER = Digest.of(b"other")
MANIFESTS = "/v2/team/app/manifests"
TAG = f"{MANIFESTS}/1"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        registry.replies[TAG] = Reply(RAW, headers=TYPED)
        yield registry


@pytest.fixture
def source(registry: Registry) -> Iterator[DistributionSource]:
    reference = ImageReference.parse(f"{registry.host}/team/app:1")
    with RegistryClient(registry.url) as client, BlobTransport(connections=1) as transport:
        yield DistributionSource(client, transport, reference)


def test_a_manifest_is_asked_for_in_all_four_kinds_by_one_request_and_rather_than_in_schema_1(
    registry: Registry, source: DistributionSource
) -> None:
    found = source.manifest(tag="1")
    assert isinstance(found, Manifest)
    assert (found.raw, found.media_type, found.digest) == (RAW, OCI_MANIFEST, DIGEST)
    (asked,) = registry.asked
    assert (asked.method, asked.target) == ("GET", TAG)
    *modern, signed, unsigned = asked.headers["accept"].split(", ")
    assert set(modern) == {OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST}
    assert (signed, unsigned) == (f"{SIGNED};q=0.2", f"{UNSIGNED};q=0.1")


def test_an_index_is_one(registry: Registry, source: DistributionSource) -> None:
    registry.replies[TAG] = Reply(BOTH.manifest.content, headers={"Content-Type": OCI_INDEX})
    assert isinstance(source.manifest(tag="1"), Index)


@pytest.mark.parametrize("kind", [None, "application/json", "text/plain; charset=utf-8", "APPLICATION/OCTET-STREAM"])
def test_a_document_that_is_sent_as_anything_says_itself_what_it_is(
    registry: Registry, source: DistributionSource, kind: str | None
) -> None:
    registry.replies[TAG] = Reply(RAW, headers={"Content-Type": kind} if kind else {})
    assert source.manifest(tag="1").media_type == OCI_MANIFEST


def test_a_document_of_another_kind_is_refused(registry: Registry, source: DistributionSource) -> None:
    registry.replies[TAG] = Reply(RAW, headers={"Content-Type": "text/html"})
    with pytest.raises(UnsupportedError):
        source.manifest(tag="1")


def test_a_page_in_place_of_a_manifest_is_said_with_whose_it_should_be(
    registry: Registry, source: DistributionSource
) -> None:
    registry.replies[TAG] = Reply(b"<html>", headers={"Content-Type": "text/html"})
    with pytest.raises(UnsupportedError, match=f"^{registry.host}/team/app:1: the manifest is not JSON") as caught:
        source.manifest(tag="1")
    assert "may be no registry" in caught.value.hint


def test_a_manifest_without_end_is_refused(registry: Registry, source: DistributionSource) -> None:
    registry.replies[TAG] = Reply(b" " * (MAX_MANIFEST_SIZE + 1), chunked=True)
    with pytest.raises(UnsupportedError):
        source.manifest(tag="1")


def test_by_digest_only_that_is_taken(registry: Registry, source: DistributionSource) -> None:
    registry.replies[f"{MANIFESTS}/{DIGEST}"] = Reply(RAW, headers=TYPED)
    assert source.manifest(digest=DIGEST).digest == DIGEST
    registry.replies[f"{MANIFESTS}/{DIGEST}"] = Reply(RAW + b" ", headers=TYPED)
    with pytest.raises(IntegrityError) as caught:
        source.manifest(digest=DIGEST)
    assert f"{registry.host}/team/app@{DIGEST}" in str(caught.value)


def test_by_tag_the_digest_that_comes_along_must_be_right(registry: Registry, source: DistributionSource) -> None:
    registry.replies[TAG] = Reply(RAW, headers={**TYPED, "Docker-Content-Digest": str(DIGEST)})
    assert source.manifest(tag="1").digest == DIGEST
    registry.replies[TAG] = Reply(RAW, headers={**TYPED, "Docker-Content-Digest": str(OTHER)})
    with pytest.raises(IntegrityError):
        source.manifest(tag="1")


@pytest.mark.parametrize("told", [{}, {"Docker-Content-Digest": str(DIGEST)}], ids=["untold", "told"])
def test_a_tag_that_holds_its_digest_takes_one_request(
    registry: Registry, source: DistributionSource, told: dict[str, str]
) -> None:
    registry.replies[TAG] = Reply(RAW, headers={**TYPED, **told})
    assert source.manifest(tag="1", digest=DIGEST).digest == DIGEST
    assert registry.targets() == [TAG]


@pytest.mark.parametrize("by_head", [False, True], ids=["with GET", "with HEAD alone"])
def test_a_tag_that_has_moved_is_not_found(registry: Registry, source: DistributionSource, by_head: bool) -> None:
    told = {**TYPED, "Docker-Content-Digest": str(DIGEST)}
    registry.replies[TAG] = lambda asked: Reply(RAW, headers=TYPED if by_head and asked.method == "GET" else told)
    with pytest.raises(NotFoundError) as caught:
        source.manifest(tag="1", digest=OTHER)
    assert str(caught.value) == f"{registry.host}/team/app:1 stands for {DIGEST} now, not for {OTHER}"
    assert "by the digest alone" in caught.value.hint
    assert [one.method for one in registry.asked] == (["GET", "HEAD"] if by_head else ["GET"])


def test_a_tag_of_which_no_digest_is_ever_told_has_moved_too(registry: Registry, source: DistributionSource) -> None:
    with pytest.raises(NotFoundError, match="stands for another image now"):
        source.manifest(tag="1", digest=OTHER)


def test_a_tag_that_holds_its_digest_but_not_its_bytes_is_damaged(
    registry: Registry, source: DistributionSource
) -> None:
    registry.replies[TAG] = Reply(RAW + b" ", headers={**TYPED, "Docker-Content-Digest": str(DIGEST)})
    with pytest.raises(IntegrityError):
        source.manifest(tag="1", digest=DIGEST)


def test_an_image_that_is_not_there_is_named(registry: Registry, source: DistributionSource) -> None:
    registry.replies[TAG] = failing(404, "MANIFEST_UNKNOWN", "manifest unknown")
    with pytest.raises(NotFoundError, match="manifest unknown") as caught:
        source.manifest(tag="1")
    assert f"{registry.host}/team/app:1" in str(caught.value)
