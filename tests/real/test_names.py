"""What engines make of the names that an archive has for images of Docker Hub and of other registries."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecrdrag.archive.plan import ImageName
from ecrdrag.content import Digest
from ecrdrag.reference import ImageReference
from tests.archives import assemble, manifest_of
from tests.images import hello_image
from tests.planned import plan_image
from tests.real.conftest import Tool

pytestmark = pytest.mark.real

# what was pulled, what docker calls it, what the others do
NAMES = [
    ("alpine:3.20", "alpine:3.20", "docker.io/library/alpine:3.20"),
    ("registry-1.docker.io/library/alpine", "alpine:latest", "docker.io/library/alpine:latest"),
    ("docker.io/me/app:1", "me/app:1", "docker.io/me/app:1"),
    ("public.ecr.aws/docker/library/alpine:3.20", *["public.ecr.aws/docker/library/alpine:3.20"] * 2),
    ("https://registry/app:1", "registry:443/app:1", "registry:443/app:1"),
    ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
]
each_name = pytest.mark.parametrize(("pulled", "short", "whole"), NAMES)


def archive_of(pulled: str, folder: Path) -> Path:
    image = hello_image()
    plan = plan_image(
        manifest_of(image.manifest.content), image.config.content, ImageName.of(ImageReference.parse(pulled))
    )
    path = folder / "app.tar"
    path.write_bytes(assemble(plan, {Digest.of(blob.content): blob.content for blob in image.blobs.values()}))
    return path


@each_name
def test_docker_shows_an_image_of_docker_hub_by_its_short_name(
    docker: Tool, tmp_path: Path, pulled: str, short: str, whole: str
) -> None:
    assert docker("load", stdin=archive_of(pulled, tmp_path)) == f"Loaded image: {short}\n"
    assert docker("image", "inspect", "--format", "{{join .RepoTags `, `}}", whole) == f"{short}\n"
    docker("image", "rm", short)


@each_name
def test_containerd_and_podman_show_the_whole_name(
    ctr: Tool, podman: Tool, tmp_path: Path, pulled: str, short: str, whole: str
) -> None:
    path = archive_of(pulled, tmp_path)
    ctr("image", "import", path)
    assert whole in ctr("image", "ls", "-q").split()
    podman("load", stdin=path)
    assert whole in podman("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
