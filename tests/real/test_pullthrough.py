"""Pull through from Debian's docker-registry, which is distribution: an index, layers, what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from mypy_boto3_ecr import ECRClient

from ecrdrag.errors import NotFoundError
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.upstream import UpstreamRegistry
from tests.images import Blob, Image, ImageIndex, hello_image, index_of
from tests.localecr import REGION, client
from tests.real.registry_servers import docker_registry

pytestmark = pytest.mark.real

BOTH = index_of([hello_image("arm64"), hello_image("amd64")])
_PATIENCE = 30.0  # seconds


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run docker-registry with an index in it, and give its URL."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as server:
        push_index(server.url, "team/app", BOTH, "multi")
        yield server.url


@pytest.fixture
def api(tmp_path: Path, registry: str) -> Iterator[ECRClient]:
    with (
        RegistryClient(registry) as upstream,
        LocalEcr(
            tmp_path / "ecr", settings=Settings(region=REGION), upstreams={"quay.io": UpstreamRegistry(upstream)}
        ) as ecr,
        client(ecr) as api,
    ):
        api.create_pull_through_cache_rule(ecrRepositoryPrefix="cache", upstreamRegistryUrl="quay.io")
        yield api


def push_index(url: str, repository: str, index: ImageIndex, tag: str) -> None:
    for image in index.images:
        for blob in image.blobs.values():
            push_blob(url, repository, blob)
        put(url, repository, image.manifest, str(image.manifest.digest))
    put(url, repository, index.manifest, tag)


def push_blob(url: str, repository: str, blob: Blob) -> None:
    begun = requests.post(f"{url}/v2/{repository}/blobs/uploads/", timeout=_PATIENCE)
    where = begun.headers["Location"]
    query = {"digest": str(blob.digest)}
    requests.put(where, params=query, data=blob.content, timeout=_PATIENCE).raise_for_status()


def put(url: str, repository: str, manifest: Blob, reference: str) -> None:
    requests.put(
        f"{url}/v2/{repository}/manifests/{reference}",
        data=manifest.content,
        headers={"Content-Type": manifest.media_type},
        timeout=_PATIENCE,
    ).raise_for_status()


def pulled(api: ECRClient, image: Image) -> dict[str, bytes]:
    """Download all blobs of an image."""
    found = {}
    for digest in map(str, image.blobs):
        url = api.get_download_url_for_layer(repositoryName="cache/team/app", layerDigest=digest)["downloadUrl"]
        found[digest] = requests.get(url, timeout=_PATIENCE).content
    return found


def test_an_index_and_the_layers_of_its_images_come_through(api: ECRClient) -> None:
    answer = api.batch_get_image(repositoryName="cache/team/app", imageIds=[{"imageTag": "multi"}])
    assert [one["imageManifest"].encode() for one in answer["images"]] == [BOTH.manifest.content]
    for image in BOTH.images:
        digest = str(image.manifest.digest)
        (found,) = api.batch_get_image(repositoryName="cache/team/app", imageIds=[{"imageDigest": digest}])["images"]
        assert found["imageManifest"].encode() == image.manifest.content
        assert pulled(api, image) == {str(digest): blob.content for digest, blob in image.blobs.items()}


def test_the_registry_tells_a_tags_digest_and_what_is_missing(registry: str) -> None:
    with RegistryClient(registry) as client_of_it:
        upstream = UpstreamRegistry(client_of_it)
        upstream.check()
        assert upstream.digest("team/app", "multi") == BOTH.manifest.digest
        with pytest.raises(NotFoundError, match="MANIFEST_UNKNOWN"):
            upstream.manifest("team/app", "gone")
        with pytest.raises(NotFoundError):
            upstream.digest("team/gone", "1")


def test_a_rule_for_it_is_valid(api: ECRClient) -> None:
    assert api.validate_pull_through_cache_rule(ecrRepositoryPrefix="cache")["isValid"]
