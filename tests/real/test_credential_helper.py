"""Docker and skopeo reach a local ECR by the names that ECR has, over TLS, with amazon-ecr-credential-helper.

The helper knows nothing but those names, so here they are this machine's: for what runs in a cell alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import conftest
from tests.real.cell import Cell
from tests.real.conftest import Tool
from tests.real.local import REGISTRY, Local
from tests.real.named import Named, open_named
from tests.real.shelf import NAME, Shelf
from tests.real.tools import need

pytestmark = pytest.mark.real

HELPER = "docker-credential-ecr-login"


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Named]:
    need(HELPER)
    with open_named(tmp_path_factory.mktemp("ecr")) as named:
        yield named


@pytest.fixture(scope="module")
def ecr(named: Named) -> Local:
    """A local ECR where Amazon's would be."""
    return named.local


@pytest.fixture(scope="module")
def cell(named: Named, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """A place where ECR's names lead to it, and docker asks Amazon's helper for its password."""
    with named.cell(tmp_path_factory.mktemp("helper")) as cell:
        settings = cell.folder / ".docker" / "config.json"
        settings.parent.mkdir()
        settings.write_text(json.dumps({"credHelpers": {REGISTRY: HELPER.removeprefix("docker-credential-")}}))
        yield cell


@pytest.fixture(scope="module")
def docker(cell: Cell) -> Iterator[Tool]:
    """An engine in that place."""
    with conftest.engine(cell) as client:
        yield client


def test_the_helper_gives_a_password_for_ecr_s_name_and_keeps_it(cell: Cell, tmp_path: Path) -> None:
    (tmp_path / "name").write_text(f"{REGISTRY}\n")
    given = json.loads(cell.run(HELPER, "get", stdin=tmp_path / "name"))
    assert (given["ServerURL"], given["Username"]) == (REGISTRY, "AWS")
    (kept,) = json.loads((cell.folder / ".ecr" / "cache.json").read_text())["Registries"].values()
    assert kept["ProxyEndpoint"] == f"https://{REGISTRY}"
    assert base64.b64decode(kept["AuthorizationToken"]).decode() == f"AWS:{given['Secret']}"


def test_docker_pushes_and_pulls_by_ecr_s_name_without_a_login(docker: Tool, ecr: Local, shelf: Shelf) -> None:
    archive = shelf.busybox("schema2", "tag")
    name = f"{ecr.create('docker')}:1"
    assert name == f"{NAME}/docker:1"
    docker("load", stdin=archive.path)
    docker("tag", archive.name, name)
    digest = docker("push", name).split()[-3]
    docker("image", "rm", name, archive.name)
    assert ecr.tags("docker") == {"1": digest}
    assert ecr.shelf.pull(name)[1] == digest
    assert f"Status: Downloaded newer image for {name}" in docker("pull", name)
    assert docker("run", "--rm", "--network", "none", name) == "hello schema2\n"
    docker("image", "rm", name)


def test_skopeo_copies_what_we_pushed_by_ecr_s_name(cell: Cell, ecr: Local, shelf: Shelf) -> None:
    archive = shelf.busybox("oci", "tag")
    (sent,) = ecr.shelf.push(archive.path, f"{NAME}/skopeo:1")
    assert sent.digest == archive.digest
    skopeo, names = need("skopeo"), [f"docker://{NAME}/skopeo:{tag}" for tag in (1, 2)]
    cell.run(skopeo, "copy", *names)
    assert json.loads(cell.run(skopeo, "inspect", names[1]))["Digest"] == archive.digest
    assert ecr.tags("skopeo") == {"1": archive.digest, "2": archive.digest}


def test_without_our_authority_the_certificate_is_refused(cell: Cell, ecr: Local) -> None:
    said = cell.refusal("env", "-u", "SSL_CERT_FILE", need("skopeo"), "list-tags", f"docker://{NAME}/skopeo")
    assert "certificate signed by unknown authority" in said
