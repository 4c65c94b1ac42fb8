"""Our source at Debian's docker-registry with schema 1 in it: old images come as they are, modern ones stay modern."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from ecrdrag.content import Descriptor, Digest
from ecrdrag.delivery import Delivery
from ecrdrag.errors import NotFoundError
from ecrdrag.manifest import DOCKER_MANIFEST, parse
from ecrdrag.reference import ImageReference
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import DistributionSource
from ecrdrag.registry.distribution_destination import DistributionDestination
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.schema1 import Schema1
from ecrdrag.transfer.progress import Silence
from ecrdrag.transfer.retry import RetryPolicy
from tests.fake_ends import MemorySource
from tests.images import hello_image
from tests.real.registry_servers import docker_registry
from tests.schema1_images import OldImage, hello_schema1

pytestmark = pytest.mark.real

OLD = hello_schema1(name="team/app", tag="old")
MODERN = hello_image(oci=False)


def push(client: RegistryClient, reference: ImageReference) -> None:
    source, modern = MemorySource(), parse(MODERN.manifest.content, MODERN.manifest.media_type)
    source.blobs = {**OLD.blobs, **{digest: blob.content for digest, blob in MODERN.blobs.items()}}
    delivery = Delivery(reference.name, DistributionDestination(client, reference), RetryPolicy(tries=3, base=0.01))
    blobs = [Descriptor("", digest, len(content)) for digest, content in source.blobs.items()]
    delivery.upload(blobs, source, lambda _: nullcontext(Silence()), 3)
    delivery.destination.put_manifest(modern, "modern")
    put_old(client, OLD)


def put_old(client: RegistryClient, image: OldImage) -> None:
    headers = {"Content-Type": image.media_type}
    target = "team/app/manifests/old"
    with client.ask("PUT", target, scope="", what="old", headers=headers, body=image.raw, good=(201,)):
        pass


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionSource]:
    folder: Path = tmp_path_factory.mktemp("registry")
    with (
        docker_registry(folder, schema1=True) as server,
        RegistryClient(server.host) as client,
        BlobTransport(connections=2) as transport,
    ):
        reference = ImageReference.parse(f"{server.host}/team/app:1")
        push(client, reference)
        yield DistributionSource(client, transport, reference)


def test_an_image_that_is_stored_as_schema_2_comes_as_schema_2(source: DistributionSource) -> None:
    found = source.manifest(tag="modern")
    assert (found.raw, found.media_type) == (MODERN.manifest.content, DOCKER_MANIFEST)


def test_one_that_is_stored_as_schema_1_comes_as_that_by_tag_and_by_digest(source: DistributionSource) -> None:
    payload = Digest.of(OLD.payload)
    for found in (source.manifest(tag="old"), source.manifest(digest=payload)):
        assert isinstance(found, Schema1)
        assert (found.digest, found.payload) == (payload, OLD.payload)
    assert source.manifest(tag="old", digest=payload).digest == payload
    with pytest.raises(NotFoundError, match=f"old stands for {payload} now"):
        source.manifest(tag="old", digest=MODERN.manifest.digest)


def test_its_layers_are_measured(source: DistributionSource) -> None:
    assert [source.measure(digest) for digest in OLD.blobs] == [len(content) for content in OLD.blobs.values()]
    with pytest.raises(NotFoundError):
        source.measure(Digest.of(b"gone"))
