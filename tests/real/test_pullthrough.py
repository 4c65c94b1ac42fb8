"""Pull through from Debian's docker-registry, which is distribution: an index, layers, what is missing."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from mypy_boto3_ecr import ECRClient

from ecrdrag.errors import NotFoundError
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.registry.distribution import Distribution
from tests.images import Blob, Image, ImageIndex, hello_image, index_of
from tests.localecr import REGION, client
from tests.real.tools import need

pytestmark = pytest.mark.real

BOTH = index_of([hello_image("arm64"), hello_image("amd64")])
_PATIENCE = 30.0
_CONFIG = """\
version: 0.1
storage:
  filesystem:
    rootdirectory: {folder}/storage
http:
  addr: 127.0.0.1:{port}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run docker-registry with an index in it, and give its URL."""
    tool, folder = need("docker-registry"), tmp_path_factory.mktemp("registry")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / "config.yml").write_text(_CONFIG.format(folder=folder, port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([tool, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, folder / "log")
            push_index(url, "team/app", BOTH, "multi")
            yield url
        finally:
            process.terminate()
            process.wait(_PATIENCE)


@pytest.fixture
def api(tmp_path: Path, registry: str) -> Iterator[ECRClient]:
    with (
        Distribution(registry, login=lambda _: None) as upstream,
        LocalEcr(tmp_path / "ecr", settings=Settings(region=REGION), upstreams={"quay.io": upstream}) as ecr,
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
    with Distribution(registry, login=lambda _: None) as upstream:
        upstream.check()
        assert upstream.digest("team/app", "multi") == BOTH.manifest.digest
        with pytest.raises(NotFoundError, match="MANIFEST_UNKNOWN"):
            upstream.manifest("team/app", "gone")
        with pytest.raises(NotFoundError):
            upstream.digest("team/gone", "1")


def test_a_rule_for_it_is_valid(api: ECRClient) -> None:
    assert api.validate_pull_through_cache_rule(ecrRepositoryPrefix="cache")["isValid"]


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _answers(url):
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/v2/", timeout=_PATIENCE).ok
    except requests.ConnectionError:
        return False
