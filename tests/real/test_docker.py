"""A real engine loads what docker_pull.py wrote, names it rightly and runs it."""

from __future__ import annotations

import pytest

from tests.images import GREETING
from tests.real.conftest import Tool
from tests.real.shelf import KINDS, Archive, Shelf, foreign_architecture, repeating_image, small_image

pytestmark = pytest.mark.real


def _run(docker: Tool, archive: Archive) -> str:
    """Run the image that was just loaded and forget it, so that the next test can't find it."""
    printed = docker("run", "--rm", "--network", "none", "--pull", "never", archive.name)
    docker("image", "rm", archive.name)
    return printed


def test_docker_load_names_the_image_and_docker_run_says_hello(docker: Tool, archive: Archive) -> None:
    assert docker("load", stdin=archive.path) == f"Loaded image: {archive.name}\n"
    assert docker("image", "inspect", "--format", "{{.Id}}", archive.name).strip() == str(archive.image.config.digest)
    assert _run(docker, archive) == f"hello {archive.kind}\n"


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_image_loads_from_a_named_file_and_runs(docker: Tool, shelf: Shelf, kind: str) -> None:
    archive = shelf.image(f"small-{kind}", small_image(oci=kind == "oci"))
    assert docker("load", "-i", archive.path) == f"Loaded image: {archive.name}\n"
    assert _run(docker, archive) == GREETING


def test_an_image_with_the_same_layer_twice_loads_and_runs(docker: Tool, shelf: Shelf) -> None:
    archive = shelf.image("repeating", repeating_image())
    assert docker("load", stdin=archive.path) == f"Loaded image: {archive.name}\n"
    layers = docker("image", "inspect", "--format", "{{join .RootFS.Layers `\n`}}", archive.name)
    assert layers.split() == archive.diff_ids
    assert _run(docker, archive) == GREETING


def test_layers_without_compression_load_and_run(docker: Tool, shelf: Shelf) -> None:
    archive = shelf.image("plain", small_image(compressed=False))
    assert docker("load", stdin=archive.path) == f"Loaded image: {archive.name}\n"
    assert _run(docker, archive) == GREETING


def test_an_image_for_another_architecture_loads(docker: Tool, shelf: Shelf) -> None:
    archive = shelf.image("foreign", small_image(foreign=True))
    assert docker("load", stdin=archive.path) == f"Loaded image: {archive.name}\n"
    stored = docker("image", "inspect", "--format", "{{.Architecture}}", archive.name)
    assert stored.strip() == foreign_architecture()
    docker("image", "rm", archive.name)


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_of_an_index_for_this_machine_runs(docker: Tool, shelf: Shelf, kind: str) -> None:
    archive = shelf.index(kind)
    assert docker("load", stdin=archive.path) == f"Loaded image: {archive.name}\n"
    assert _run(docker, archive) == f"hello {kind}\n"
