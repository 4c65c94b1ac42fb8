"""skopeo reads what docker_pull.py wrote, as docker-archive and as oci-archive, with every byte of the registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.real.cell import Cell
from tests.real.conftest import Tool
from tests.real.shelf import (
    KINDS,
    Archive,
    Shelf,
    architecture,
    digest_of,
    foreign_architecture,
    repeating_image,
    small_image,
)
from tests.real.tools import need

pytestmark = pytest.mark.real


def _docker_archive(archive: Archive) -> str:
    """Name the image in the file: skopeo looks it up in manifest.json."""
    return f"docker-archive:{archive.path}:{archive.name}"


def _oci_archive(archive: Archive) -> str:
    """Name the image in the file: skopeo looks it up in index.json.

    Up to 1.9 it doesn't find a schema 2 manifest by name (containers/image, oci/layout: only OCI's media types).
    """
    return f"oci-archive:{archive.path}:{archive.tag}" if archive.kind == "oci" else f"oci-archive:{archive.path}"


def _copied(skopeo: Tool, source: str, folder: Path, *options: str) -> dict[str, bytes]:
    """Copy an image into a folder, which makes skopeo check all digests, and give the files with theirs."""
    skopeo("copy", *options, source, f"dir:{folder}")
    contents = [file.read_bytes() for file in folder.iterdir() if file.name != "version"]
    return {digest_of(content): content for content in contents}


def test_as_docker_archive_skopeo_finds_the_image_by_its_name(skopeo: Tool, archive: Archive) -> None:
    seen = json.loads(skopeo("inspect", _docker_archive(archive)))
    assert (seen["Os"], seen["Architecture"]) == ("linux", architecture())
    assert seen["Layers"] == archive.diff_ids


def test_as_docker_archive_skopeo_copies_every_layer(skopeo: Tool, archive: Archive, tmp_path: Path) -> None:
    copied = _copied(skopeo, _docker_archive(archive), tmp_path / "copy")
    assert set(archive.diff_ids) | {str(archive.image.config.digest)} < set(copied)


def test_as_oci_archive_skopeo_sees_the_digest_of_the_registry(skopeo: Tool, archive: Archive) -> None:
    assert digest_of(skopeo("inspect", "--raw", _oci_archive(archive)).encode()) == archive.digest
    seen = json.loads(skopeo("inspect", _oci_archive(archive)))
    assert seen["Digest"] == archive.digest
    assert seen["Layers"] == [str(layer.digest) for layer in archive.image.layers]


def test_as_oci_archive_skopeo_copies_the_bytes_of_the_registry(skopeo: Tool, archive: Archive, tmp_path: Path) -> None:
    copied = _copied(skopeo, _oci_archive(archive), tmp_path / "copy", "--preserve-digests")
    there = (archive.image.manifest, *archive.image.blobs.values())
    assert copied == {str(blob.digest): blob.content for blob in there}


def test_a_layer_that_comes_twice_is_read_twice(skopeo: Tool, shelf: Shelf, tmp_path: Path) -> None:
    archive = shelf.image("repeating", repeating_image())
    assert json.loads(skopeo("inspect", _docker_archive(archive)))["Layers"] == archive.diff_ids
    copied = _copied(skopeo, _oci_archive(archive), tmp_path / "copy", "--preserve-digests")
    assert set(copied) == {archive.digest, *map(str, archive.image.blobs)}


@pytest.mark.parametrize("kind", KINDS)
def test_of_an_index_the_image_of_this_machine_comes(skopeo: Tool, shelf: Shelf, kind: str) -> None:
    archive = shelf.index(kind)
    assert json.loads(skopeo("inspect", _docker_archive(archive)))["Architecture"] == architecture()
    assert digest_of(skopeo("inspect", "--raw", _oci_archive(archive)).encode()) == archive.digest


@pytest.mark.parametrize("kind", KINDS)
def test_of_an_index_the_image_of_the_asked_platform_comes(skopeo: Tool, shelf: Shelf, kind: str) -> None:
    archive = shelf.index(kind, foreign_architecture())
    assert json.loads(skopeo("inspect", _docker_archive(archive)))["Architecture"] == foreign_architecture()
    assert digest_of(skopeo("inspect", "--raw", _oci_archive(archive)).encode()) == archive.digest


@pytest.mark.parametrize("kind", KINDS)
def test_skopeo_needs_no_root_to_read_an_oci_archive(shelf: Shelf, tmp_path: Path, kind: str) -> None:
    skopeo, setpriv = need("skopeo"), need("setpriv")
    with Cell(tmp_path / "cell") as cell:
        home = cell.folder / "opt" / "home"  # where anybody in this cell can go
        home.mkdir()
        home.chmod(0o777)
        shutil.copy(shelf.image(f"small-{kind}", small_image(oci=kind == "oci")).path, home / "image.tar")
        nobody = (setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/opt/home")
        cell.run(*nobody, skopeo, "inspect", "oci-archive:/opt/home/image.tar")
