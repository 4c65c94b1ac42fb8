"""Engines pull from the archives that ``serve`` was given, without a login, under the names in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.real.cell import CGROUP
from tests.real.conftest import Tool
from tests.real.local import Local, open_local
from tests.real.shelf import KINDS, NAME, Shelf, busybox_image, digest_of, small_image

pytestmark = pytest.mark.real


@pytest.mark.parametrize("kind", KINDS)
def test_docker_pulls_and_runs(docker: Tool, carried: Local, kind: str) -> None:
    name = f"{carried.name(kind)}:1.2"
    assert f"Digest: {busybox_image(kind).manifest.digest}" in docker("pull", name).splitlines()
    assert docker("run", "--rm", "--network", "none", name) == f"hello {kind}\n"
    docker("image", "rm", name)


def test_docker_pulls_by_digest(docker: Tool, carried: Local) -> None:
    name = f"{carried.name('oci')}@{busybox_image('oci').manifest.digest}"
    docker("pull", name)
    assert docker("run", "--rm", "--network", "none", name) == "hello oci\n"
    docker("image", "rm", name)


@pytest.mark.parametrize("kind", KINDS)
def test_podman_pulls_and_runs(podman: Tool, carried: Local, kind: str) -> None:
    name = f"{carried.name(kind)}:1.2"
    podman("pull", "--quiet", "--tls-verify=false", name)
    seen = podman("image", "inspect", "--format", "{{.Digest}}", name).strip()
    assert seen == str(busybox_image(kind).manifest.digest)
    assert podman("run", "--rm", "--network", "none", "--cgroup-parent", f"/{CGROUP}", name) == f"hello {kind}\n"
    podman("image", "rm", name)


def test_containerd_pulls_and_runs(ctr: Tool, carried: Local) -> None:
    name = f"{carried.name('oci')}:1.2"
    ctr("images", "pull", "--plain-http", "--snapshotter", "native", name)
    assert ctr("run", "--rm", "--snapshotter", "native", name, "archived") == "hello oci\n"
    assert str(busybox_image("oci").manifest.digest) in ctr("images", "list", f"name=={name}")
    ctr("images", "rm", "--sync", name)


def test_skopeo_copies_every_byte(skopeo: Tool, carried: Local, tmp_path: Path) -> None:
    image = busybox_image("oci")
    skopeo("copy", "--src-tls-verify=false", f"docker://{carried.name('oci')}:1.2", f"dir:{tmp_path}/copy")
    copied = {digest_of(file.read_bytes()) for file in (tmp_path / "copy").iterdir()}
    assert {str(each.digest) for each in (image.manifest, image.config, *image.layers)} <= copied
    tags = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{carried.name('oci')}"))["Tags"]
    assert tags == ["1.2"]


@pytest.mark.parametrize("kind", KINDS)
def test_we_pull_the_very_archive_that_was_carried_in(shelf: Shelf, carried: Local, kind: str) -> None:
    archive = shelf.busybox(kind, "tag")
    path, digest = carried.shelf.pull(f"{NAME}/{kind}:1.2")
    assert (path.read_bytes(), digest) == (archive.path.read_bytes(), archive.digest)


def test_nothing_is_pushed_there_or_deleted(skopeo: Tool, carried: Local) -> None:
    name = f"docker://{carried.name('oci')}"
    flags = ("--src-tls-verify=false", "--dest-tls-verify=false")
    assert "read-only" in skopeo.refusal("copy", *flags, f"{name}:1.2", f"{name}:2")
    skopeo.refusal("delete", "--tls-verify=false", f"{name}:1.2")
    assert carried.tags("oci") == {"1.2": str(busybox_image("oci").manifest.digest)}


def test_what_docker_saved_is_pulled_as_it_was(docker: Tool, shelf: Shelf, tmp_path: Path) -> None:
    docker("load", stdin=shelf.image("plain", small_image(compressed=False)).path)
    docker("tag", f"{NAME}/plain:latest", "alpine:3")
    identity = docker("image", "inspect", "--format", "{{.Id}}", "alpine:3")
    docker("save", "--output", tmp_path / "saved.tar", "alpine:3")
    docker("image", "rm", f"{NAME}/plain:latest", "alpine:3")
    with open_local(tmp_path, str(tmp_path / "saved.tar")) as saved:
        for name in (f"{saved.host}/alpine:3", f"{saved.host}/library/alpine:3"):
            docker("pull", name)
            assert docker("image", "inspect", "--format", "{{.Id}}", name) == identity
            docker("image", "rm", name)
