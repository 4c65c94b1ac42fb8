"""Pulls from Debian's docker-registry, where skopeo pushed: open, with a password, under TLS of a private authority."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecrdrag.content import Digest, Platform
from ecrdrag.errors import AuthError, NotFoundError, TransferError
from ecrdrag.manifest import Index
from ecrdrag.pull import Pulled, PullOptions, pull
from ecrdrag.reference import ImageReference
from ecrdrag.registry.auth import Keyring, Nobody
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution import DistributionSource
from ecrdrag.registry.http import Trust
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.resolve import Wish
from ecrdrag.transfer.retry import RetryPolicy
from tests.images import Image, ImageIndex, hello_image, index_of, noise_image
from tests.real.conftest import Tool
from tests.real.registry_servers import RegistryServer, docker_registry
from tests.unseen import unseen

pytestmark = pytest.mark.real

NOISE = noise_image([3_000_000, 200_000, 0])
DOCKER = noise_image([100_000], seed=1, oci=False)
BOTH = index_of([hello_image("arm64"), hello_image("amd64")])
WISH = Wish((Platform("linux", "amd64"),))
WAYS = {"open": {}, "password": {"htpasswd": True}, "tls": {"tls": True}, "both": {"htpasswd": True, "tls": True}}


@pytest.fixture(scope="module", params=list(WAYS))
def server(
    request: pytest.FixtureRequest, skopeo: Tool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RegistryServer]:
    """A registry into which skopeo has copied two images and an index."""
    folder = tmp_path_factory.mktemp("registry")
    with docker_registry(folder / "registry", **WAYS[request.param]) as server:
        for tag, content in (("noise", NOISE), ("docker", DOCKER), ("multi", BOTH)):
            source, target = f"dir:{write_folder(folder / tag, content)}", f"docker://{server.host}/team/app:{tag}"
            skopeo("copy", "--all", "--preserve-digests", *server.skopeo_options("dest"), source, target)
        yield server


def write_folder(folder: Path, content: Image | ImageIndex) -> Path:
    """Write what skopeo's dir: reads, which keeps every byte of every kind (containers-transports(5))."""
    folder.mkdir()
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    (folder / "manifest.json").write_bytes(content.manifest.content)
    for image in content.images if isinstance(content, ImageIndex) else (content,):
        (folder / f"{image.manifest.digest.hex}.manifest.json").write_bytes(image.manifest.content)
        for blob in image.blobs.values():
            (folder / blob.digest.hex).write_bytes(blob.content)
    return folder


def named(server: RegistryServer, version: str) -> ImageReference:
    return ImageReference.parse(f"{server.host}/team/app{version}")


@contextmanager
def source_of(
    server: RegistryServer, *, keys: Keyring | None = None, trust: Trust | None = None
) -> Iterator[DistributionSource]:
    """Open the registry by its host alone, as users name it."""
    believed = trust or Trust(more=server.ca_file)
    with (
        RegistryClient(server.host, keyring=keys or server, trust=believed) as client,
        BlobTransport(connections=4, trust=believed) as transport,
    ):
        yield DistributionSource(client, transport, named(server, ":any"))


def pulled(server: RegistryServer, version: str, folder: Path) -> Pulled:
    options = PullOptions(
        WISH, folder / "app.tar", jobs=4, chunk_size=1024 * 1024, retry=RetryPolicy(tries=2, base=0.0)
    )
    with source_of(server) as source:
        return pull([named(server, version)], lambda _: source, options, unseen)


def contents_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: file.read() for member in archive if (file := archive.extractfile(member))}


@pytest.mark.parametrize(("tag", "image"), [("noise", NOISE), ("docker", DOCKER), ("multi", BOTH.images[1])])
def test_an_image_comes_as_it_was_pushed(server: RegistryServer, tmp_path: Path, tag: str, image: Image) -> None:
    found = pulled(server, f":{tag}", tmp_path)
    assert found.images[0].image.tree.root.digest == image.manifest.digest
    blobs = {f"blobs/sha256/{blob.digest.hex}": blob.content for blob in (image.manifest, image.config, *image.layers)}
    assert blobs.items() <= contents_of(found.path).items()


def test_skopeo_finds_the_same_digests_in_the_archive_and_in_the_registry(
    server: RegistryServer, skopeo: Tool, tmp_path: Path
) -> None:
    found = pulled(server, ":noise", tmp_path)
    options = [option.replace("--src-", "--") for option in server.skopeo_options("src")]
    there = json.loads(skopeo("inspect", *options, f"docker://{server.host}/team/app:noise"))
    here = json.loads(skopeo("inspect", f"oci-archive:{found.path}"))
    assert (here["Digest"], here["Layers"]) == (there["Digest"], there["Layers"])


def test_an_image_comes_by_its_digest_and_by_both(server: RegistryServer, tmp_path: Path) -> None:
    digest = NOISE.manifest.digest
    for version in (f"@{digest}", f":noise@{digest}"):
        (tmp_path / version).mkdir()
        assert pulled(server, version, tmp_path / version).images[0].image.tree.root.digest == digest
    with pytest.raises(NotFoundError, match=f"stands for {DOCKER.manifest.digest} now"):
        pulled(server, f":docker@{digest}", tmp_path)


def test_an_index_is_given_byte_for_byte(server: RegistryServer) -> None:
    with source_of(server) as source:
        found = source.manifest(tag="multi")
        assert isinstance(found, Index)
        assert found.raw == BOTH.manifest.content


def test_what_is_not_there_is_not_found(server: RegistryServer) -> None:
    with source_of(server) as source:
        with pytest.raises(NotFoundError, match="MANIFEST_UNKNOWN"):
            source.manifest(tag="gone")
        with pytest.raises(NotFoundError):
            source.manifest(digest=Digest.of(b"gone"))


def test_who_has_no_login_is_told_to_log_in(server: RegistryServer) -> None:
    with source_of(server, keys=Nobody()) as source:
        if not server.login:
            assert source.manifest(tag="noise").digest == NOISE.manifest.digest
            return
        with pytest.raises(AuthError) as caught:
            source.manifest(tag="noise")
        assert "login" in caught.value.hint


def test_a_certificate_that_nobody_vouches_for_is_refused(server: RegistryServer) -> None:
    if not server.ca_file:
        return
    with source_of(server, trust=Trust()) as source, pytest.raises(TransferError) as caught:
        source.manifest(tag="noise")
    assert str(caught.value) == f"the certificate of {server.host} can't be verified"
    assert "--ca-file" in caught.value.hint
