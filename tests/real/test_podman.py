"""Podman loads what docker_pull.py wrote, keeps the registry's digest and runs it."""

from __future__ import annotations

import pytest

from tests.images import GREETING
from tests.real.cell import CGROUP
from tests.real.conftest import Tool
from tests.real.shelf import Archive, Shelf, repeating_image

pytestmark = pytest.mark.real


def _run(podman: Tool, archive: Archive) -> str:
    """Run the image that was just loaded and forget it, so that the next test can't find it."""
    printed = podman(
        "run", "--rm", "--network", "none", "--pull", "never", "--cgroup-parent", f"/{CGROUP}", archive.name
    )
    podman("image", "rm", archive.name)
    return printed


def test_podman_load_names_the_image_and_keeps_the_digest_of_the_registry(podman: Tool, archive: Archive) -> None:
    assert podman("load", "-i", archive.path) == f"Loaded image: {archive.name}\n"
    assert podman("image", "inspect", "--format", "{{.Digest}}", archive.name).strip() == archive.digest
    assert _run(podman, archive) == f"hello {archive.kind}\n"


def test_podman_reads_an_image_with_the_same_layer_twice(podman: Tool, shelf: Shelf) -> None:
    archive = shelf.image("repeating", repeating_image())
    assert podman("load", "-i", archive.path) == f"Loaded image: {archive.name}\n"
    assert _run(podman, archive) == GREETING
