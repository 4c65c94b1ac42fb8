"""Docker and skopeo reach a local ECR by the names that ECR has, over TLS, with amazon-ecr-credential-helper.

The helper knows nothing but those names, so here they are this machine's: for what runs in a cell alone.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import conftest
from tests.real.cell import Cell
from tests.real.conftest import Tool
from tests.real.local import REGISTRY, Local, open_local
from tests.real.shelf import NAME, REGION, Shelf
from tests.real.tools import missing, need

pytestmark = pytest.mark.real

HELPER = "docker-credential-ecr-login"
API = f"api.ecr.{REGION}.amazonaws.com"
HTTPS = 443
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(scope="module")
def address() -> str:
    """Find a loopback address whose port for HTTPS nobody has."""
    need(HELPER)
    free = (address for address in (f"127.0.0.{last}" for last in range(77, 255)) if _is_free(address))
    return next(free, "") or missing(f"no loopback address lets us have its port {HTTPS}")


def _is_free(address: str) -> bool:
    try:
        socket.create_server((address, HTTPS)).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def certificate(address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate for ECR's names, which vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    names = f"subjectAltName=DNS:{REGISTRY},DNS:{API},IP:{address}"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=ecr")
    public, key = folder / "cert.pem", folder / "key.pem"
    command = [need("openssl"), "req", "-x509", *kind, "-addext", names, "-out", str(public), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return public, key


@pytest.fixture(scope="module")
def ecr(address: str, certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A local ECR where Amazon's would be."""
    folder, (public, key) = tmp_path_factory.mktemp("ecr"), certificate
    arguments = ("--listen", f"{address}:{HTTPS}", "--tls-cert", str(public), "--tls-key", str(key))
    with open_local(folder, "--data", str(folder / "data"), *arguments, host=REGISTRY, authority=public) as local:
        yield local


@pytest.fixture(scope="module")
def cell(
    ecr: Local, address: str, certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cell]:
    """A place where ECR's names lead to it, and its certificate is trusted; no tool there is told of an endpoint."""
    environment = {**{key: ecr.environment[key] for key in KEYS}, "SSL_CERT_FILE": str(certificate[0])}
    hosts = {REGISTRY: address, API: address}
    with Cell(tmp_path_factory.mktemp("helper"), hosts=hosts, environment=environment) as cell:
        conftest.trust(cell)
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
