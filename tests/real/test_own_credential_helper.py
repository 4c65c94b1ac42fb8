"""Docker and skopeo reach a local ECR by the names that ECR has, over TLS, with our own credential helper.

It is installed by --install, as a user does it; nobody logs in.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import conftest
from tests.real.cell import Cell
from tests.real.conftest import Tool
from tests.real.local import REGISTRY, Local
from tests.real.named import Named, open_named
from tests.real.shelf import NAME, PROJECT, Shelf, small_image
from tests.real.tools import need

pytestmark = pytest.mark.real

HELPER = "docker-credential-ecrdrag"


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Named]:
    with open_named(tmp_path_factory.mktemp("ecr")) as named:
        yield named


@pytest.fixture(scope="module")
def ecr(named: Named) -> Local:
    """A local ECR where Amazon's would be."""
    return named.local


@pytest.fixture(scope="module")
def cell(named: Named, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """A place where ECR's names lead to it, and our helper is in PATH as pip would put it there."""
    programs = tmp_path_factory.mktemp("bin")
    script = f'#!/bin/sh\nPYTHONPATH="{PROJECT}" exec "{sys.executable}" -m ecrdrag.cli.credential_helper "$@"\n'
    (programs / HELPER).write_text(script)
    (programs / HELPER).chmod(0o755)
    path, bundle = f"{programs}:{os.environ['PATH']}:/usr/sbin:/sbin", str(named.certificate)
    with named.cell(tmp_path_factory.mktemp("helper"), PATH=path, AWS_CA_BUNDLE=bundle) as cell:
        printed = cell.run(HELPER, "--install", REGISTRY)
        assert printed == f"{cell.folder / '.docker' / 'config.json'}: docker asks {HELPER} for {REGISTRY}\n"
        yield cell


@pytest.fixture(scope="module")
def docker(cell: Cell) -> Iterator[Tool]:
    """An engine in that place."""
    with conftest.engine(cell) as client:
        yield client


def test_docker_pushes_and_pulls_by_ecr_s_name_without_a_login(
    docker: Tool, cell: Cell, ecr: Local, shelf: Shelf
) -> None:
    archive = shelf.busybox("schema2", "tag")
    name = f"{ecr.create('docker')}:1"
    assert name == f"{NAME}/docker:1"
    docker("load", stdin=archive.path)
    docker("tag", archive.name, name)
    digest = docker("push", name).split()[-3]
    docker("image", "rm", name, archive.name)
    assert ecr.tags("docker") == {"1": digest}
    assert f"Status: Downloaded newer image for {name}" in docker("pull", name)
    assert docker("run", "--rm", "--network", "none", name) == "hello schema2\n"
    docker("image", "rm", name)
    (kept,) = (cell.folder / ".cache" / "ecrdrag" / "tokens").glob("*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert json.loads(cell.run(HELPER, "list")) == {f"https://{REGISTRY}": "AWS"}


def test_docker_login_and_logout_don_t_fail_and_change_nothing(docker: Tool, cell: Cell, ecr: Local) -> None:
    settings = cell.folder / ".docker" / "config.json"
    helpers = {"credHelpers": {REGISTRY: "ecrdrag"}}
    assert json.loads(settings.read_text()) == helpers
    for how in (("--username", "AWS", "--password-stdin", REGISTRY), (REGISTRY,)):  # the second with what it finds
        assert "Login Succeeded" in docker("login", *how, stdin=ecr.login)
        assert json.loads(settings.read_text())["auths"] == {REGISTRY: {}}
    said = docker("logout", REGISTRY)
    assert f"Removing login credentials for {REGISTRY}" in said
    assert "WARNING" not in said
    assert {key: value for key, value in json.loads(settings.read_text()).items() if value} == helpers
    name = ecr.stock("login", small_image(), "1")
    docker("pull", f"{name}:1")
    docker("image", "rm", f"{name}:1")


def test_a_password_for_another_registry_is_not_taken_in_silence(docker: Tool, cell: Cell, tmp_path: Path) -> None:
    (tmp_path / "given").write_text(json.dumps({"ServerURL": "ghcr.io", "Username": "me", "Secret": "s3cret"}))
    assert "keeps no passwords" in cell.refusal(HELPER, "store", stdin=tmp_path / "given")


def test_skopeo_copies_what_we_pushed_by_ecr_s_name(cell: Cell, ecr: Local, shelf: Shelf) -> None:
    archive = shelf.busybox("oci", "tag")
    (sent,) = ecr.shelf.push(archive.path, f"{NAME}/skopeo:1")
    assert sent.digest == archive.digest
    skopeo, names = need("skopeo"), [f"docker://{NAME}/skopeo:{tag}" for tag in (1, 2)]
    cell.run(skopeo, "copy", *names)
    assert json.loads(cell.run(skopeo, "inspect", names[1]))["Digest"] == archive.digest
    assert ecr.tags("skopeo") == {"1": archive.digest, "2": archive.digest}


def test_without_keys_docker_is_told_of_no_password_and_people_why(docker: Tool, cell: Cell, ecr: Local) -> None:
    nobody = ("env", "-u", "AWS_ACCESS_KEY_ID", "AWS_EC2_METADATA_DISABLED=true", *docker.words)
    name = ecr.stock("refused", small_image(), "1")
    assert f"{HELPER}: {REGISTRY}: no AWS credentials found" in cell.refusal(*nobody, "pull", f"{name}:1")
    docker("pull", f"{name}:1")
    docker("image", "rm", f"{name}:1")
