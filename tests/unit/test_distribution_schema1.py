"""Schema 1 from scripted registries: which of its two digests is believed, and whose word for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import IntegrityError, NotFoundError, UnsupportedError
from ecrdrag.reference import ImageReference
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import DistributionSource
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.schema1 import SIGNED, UNSIGNED, Schema1
from tests.schema1_images import hello_schema1
from tests.scripted_registry import Asked, Registry, Reply, scripted

OLD = hello_schema1()
PAYLOAD, RAW, OTHER = Digest.of(OLD.payload), Digest.of(OLD.raw), Digest.of(b"other")
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app"
PUBLIC = "public.ecr.aws/team/app"
MANIFESTS = "/v2/team/app/manifests"
TYPED = {"Content-Type": SIGNED}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with scripted() as registry:
        yield registry


@contextmanager
def source_at(registry: Registry, name: str = "") -> Iterator[DistributionSource]:
    reference = ImageReference.parse(name or f"{registry.host}/team/app")
    with RegistryClient(registry.url) as client, BlobTransport(connections=1) as transport:
        yield DistributionSource(client, transport, reference)


def telling(digest: Digest | None, raw: bytes = OLD.raw, kind: str = SIGNED) -> Reply:
    told = {"Docker-Content-Digest": str(digest)} if digest else {}
    return Reply(raw, headers={"Content-Type": kind, **told})


@pytest.mark.parametrize("name", ["", ECR, PUBLIC])
@pytest.mark.parametrize("told", [None, PAYLOAD, RAW])
def test_by_tag_the_digest_that_is_told_may_be_either(registry: Registry, name: str, told: Digest | None) -> None:
    registry.replies[f"{MANIFESTS}/old"] = telling(told)
    with source_at(registry, name) as source:
        found = source.manifest(tag="old")
    assert isinstance(found, Schema1)
    assert (found.raw, found.digest, found.media_type) == (OLD.raw, PAYLOAD, SIGNED)


def test_by_tag_another_digest_is_believed_to_be_a_mistake_at_ecr_alone(registry: Registry) -> None:
    registry.replies[f"{MANIFESTS}/old"] = telling(OTHER)
    for name in (ECR, PUBLIC):
        with source_at(registry, name) as source:
            assert source.manifest(tag="old").digest == PAYLOAD
    with source_at(registry) as source, pytest.raises(IntegrityError, match=f"{OTHER} arrived with digest") as caught:
        source.manifest(tag="old")
    assert caught.value.hint == ""


@pytest.mark.parametrize("name", ["", ECR])
def test_other_kinds_are_held_to_what_is_told_at_ecr_too(registry: Registry, name: str) -> None:
    registry.replies[f"{MANIFESTS}/old"] = Reply(b"{}", headers={"Docker-Content-Digest": str(OTHER)})
    with source_at(registry, name) as source, pytest.raises(IntegrityError):
        source.manifest(tag="old")


@pytest.mark.parametrize("name", ["", ECR])
@pytest.mark.parametrize("digest", [PAYLOAD, RAW])
def test_by_digest_it_may_be_either(registry: Registry, name: str, digest: Digest) -> None:
    registry.replies[f"{MANIFESTS}/{digest}"] = telling(OTHER)
    with source_at(registry, name) as source:
        assert source.manifest(digest=digest).digest == PAYLOAD


@pytest.mark.parametrize("name", ["", ECR])
def test_by_digest_it_must_be_one_of_them_whoever_says_otherwise(registry: Registry, name: str) -> None:
    registry.replies[f"{MANIFESTS}/{OTHER}"] = telling(OTHER)
    with source_at(registry, name) as source, pytest.raises(IntegrityError) as caught:
        source.manifest(digest=OTHER)
    assert "by its tag" in caught.value.hint


def test_by_a_digest_of_another_algorithm_either_counts_too(registry: Registry) -> None:
    for content in (OLD.payload, OLD.raw):
        digest = Digest.of(content, "sha512")
        registry.replies[f"{MANIFESTS}/{digest}"] = telling(None)
        with source_at(registry) as source:
            assert source.manifest(digest=digest).digest == PAYLOAD


@pytest.mark.parametrize("digest", [PAYLOAD, RAW])
def test_by_tag_and_digest_one_request_does(registry: Registry, digest: Digest) -> None:
    registry.replies[f"{MANIFESTS}/old"] = telling(PAYLOAD)
    with source_at(registry) as source:
        assert source.manifest(tag="old", digest=digest).digest == PAYLOAD
    assert [one.method for one in registry.asked] == ["GET"]


@pytest.mark.parametrize(("told", "kind"), [(PAYLOAD, NotFoundError), (OTHER, IntegrityError)])
def test_by_tag_and_another_digest_the_tag_has_moved_or_its_registry_errs(
    registry: Registry, told: Digest, kind: type[Exception]
) -> None:
    registry.replies[f"{MANIFESTS}/old"] = telling(told)
    with source_at(registry) as source, pytest.raises(kind):
        source.manifest(tag="old", digest=OTHER)


def test_one_without_signatures_comes_as_anything(registry: Registry) -> None:
    plain = hello_schema1(keys=())
    for kind in (UNSIGNED, "application/json", "text/plain; charset=utf-8"):
        registry.replies[f"{MANIFESTS}/old"] = telling(None, plain.raw, kind)
        with source_at(registry) as source:
            assert source.manifest(tag="old").digest == Digest.of(plain.raw)


@pytest.mark.parametrize(
    "change", [lambda raw: raw[:-40], lambda raw: raw.replace(b"sha256:", b"sha257:"), lambda raw: b"{}"]
)
def test_a_damaged_one_is_refused(registry: Registry, change: Callable[[bytes], bytes]) -> None:
    registry.replies[f"{MANIFESTS}/old"] = telling(PAYLOAD, change(OLD.raw))
    with source_at(registry) as source, pytest.raises(IntegrityError):
        source.manifest(tag="old")
    registry.replies[f"{MANIFESTS}/old"] = telling(None, change(OLD.raw))
    with source_at(registry) as source, pytest.raises(UnsupportedError, match=f"{registry.host}/team/app:old: "):
        source.manifest(tag="old")


def test_ecr_tells_a_digest_by_head_alone_when_a_tag_has_moved(registry: Registry) -> None:
    def reply(asked: Asked) -> Reply:
        return telling(OTHER if asked.method == "HEAD" else None)

    registry.replies[f"{MANIFESTS}/old"] = reply
    with source_at(registry, ECR) as source:
        with pytest.raises(NotFoundError):
            source.manifest(tag="old", digest=Digest.of(b"a third"))
        with pytest.raises(IntegrityError):
            source.manifest(tag="old", digest=OTHER)
        assert source.manifest(tag="old", digest=PAYLOAD).digest == PAYLOAD
