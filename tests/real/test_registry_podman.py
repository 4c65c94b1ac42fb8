"""Podman pushes to a local ECR and pulls from it through /v2/, and so does docker_pull.py by the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.cell import CGROUP
from tests.real.conftest import Tool
from tests.real.local import Local
from tests.real.shelf import ACCOUNT, KINDS, NAME, Shelf, busybox_image

pytestmark = pytest.mark.real

PLAIN = "--tls-verify=false"
LOGIN = ("login", PLAIN, "--username", "AWS", "--password-stdin")
RUN = ("run", "--rm", "--network", "none", "--pull", "never", "--cgroup-parent", f"/{CGROUP}")


@pytest.fixture(scope="module")
def engine(podman: Tool, local: Local) -> Iterator[Tool]:
    """Podman, which has logged in."""
    assert podman(*LOGIN, local.host, stdin=local.login) == "Login Succeeded!\n"
    yield podman
    podman("logout", local.host)


@pytest.mark.parametrize("kind", KINDS)
def test_podman_pulls_with_the_digest_of_the_registry_and_runs(engine: Tool, local: Local, kind: str) -> None:
    image = busybox_image(kind)
    name = local.stock(f"podman-{kind}", image, "1.2")
    for each in (f"{name}:1.2", f"{name}@{image.manifest.digest}"):
        assert engine("pull", "--quiet", PLAIN, each).strip() == image.config.digest.hex
        assert engine("image", "inspect", "--format", "{{.Digest}}", each).strip() == str(image.manifest.digest)
        assert engine(*RUN, each) == f"hello {kind}\n"
        engine("image", "rm", each)


def test_what_podman_pushes_is_pulled_by_us_with_the_digest_that_it_tells(
    engine: Tool, shelf: Shelf, local: Local, tmp_path: Path
) -> None:
    archive = shelf.busybox("oci", "tag")
    name = f"{local.create('podman-push')}:1"
    engine("load", "--input", archive.path)
    engine("push", "--quiet", PLAIN, "--digestfile", tmp_path / "digest", archive.name, f"docker://{name}")
    engine("image", "rm", archive.name)
    digest = (tmp_path / "digest").read_text()
    assert local.tags("podman-push") == {"1": digest}
    path, ours = local.shelf.pull(f"{NAME}/podman-push:1")
    assert ours == digest
    assert engine("load", "--input", path) == f"Loaded image: {NAME}/podman-push:1\n"
    assert engine(*RUN, f"{NAME}/podman-push:1") == "hello oci\n"
    engine("image", "rm", f"{NAME}/podman-push:1")


def test_a_wrong_password_is_refused(podman: Tool, local: Local, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong\n")
    said = podman.refusal(*LOGIN, "--authfile", tmp_path / "auth.json", local.host, stdin=tmp_path / "wrong")
    assert "invalid status code from registry 400 (Bad Request)" in said


def test_a_push_to_a_repository_that_is_not_there_fails_with_the_words_of_ecr(
    engine: Tool, shelf: Shelf, local: Local
) -> None:
    archive = shelf.busybox("oci", "tag")
    engine("load", "--input", archive.path)
    said = engine.refusal("push", "--quiet", PLAIN, archive.name, f"docker://{local.host}/nowhere:1")
    engine("image", "rm", archive.name)
    assert (
        f"name unknown: The repository with name 'nowhere' does not exist in the registry with id '{ACCOUNT}'" in said
    )
