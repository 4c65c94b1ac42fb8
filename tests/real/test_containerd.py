"""containerd imports what docker_pull.py wrote under the right name, with the digest of the registry."""

from __future__ import annotations

import pytest

from tests.images import GREETING
from tests.real.conftest import Tool
from tests.real.shelf import Archive, Shelf, foreign_architecture, repeating_image, small_image

pytestmark = pytest.mark.real


def _listed(ctr: Tool) -> dict[str, str]:
    """Give the digest of every image that containerd names."""
    lines = [line.split() for line in ctr("images", "list").splitlines()[1:]]
    return {name: digest for name, _, digest, *_ in lines}


def _import(ctr: Tool, archive: Archive, *options: str) -> None:
    """Import an image where nothing is left of the test before."""
    for name in _listed(ctr):
        ctr("images", "rm", "--sync", name)
    ctr("images", "import", "--snapshotter", "native", *options, archive.path)


def _run(ctr: Tool, archive: Archive) -> str:
    return ctr("run", "--rm", "--snapshotter", "native", archive.name, "once")


def test_ctr_lists_the_image_with_its_name_and_the_digest_of_the_registry(ctr: Tool, archive: Archive) -> None:
    _import(ctr, archive)
    assert _listed(ctr) == {archive.name: archive.digest}
    assert _run(ctr, archive) == f"hello {archive.kind}\n"


def test_ctr_imports_an_image_with_the_same_layer_twice(ctr: Tool, shelf: Shelf) -> None:
    archive = shelf.image("repeating", repeating_image())
    _import(ctr, archive)
    assert _run(ctr, archive) == GREETING


def test_ctr_imports_an_image_for_another_architecture_when_asked(ctr: Tool, shelf: Shelf) -> None:
    archive = shelf.image("foreign", small_image(foreign=True))
    _import(ctr, archive, "--platform", f"linux/{foreign_architecture()}")
    assert _listed(ctr) == {archive.name: archive.digest}
