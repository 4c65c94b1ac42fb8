"""`ecrdrag copy` as a user runs it, in every direction between docker-registry and a local ECR, read by skopeo."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ecrdrag.content import Platform
from tests.dockerhome import auth, configure
from tests.images import ImageIndex, index_of, noise_image
from tests.real.conftest import Tool
from tests.real.local import Local, open_local
from tests.real.registry_servers import LOGIN, RegistryServer, docker_registry
from tests.real.shelf import NAME, PROJECT
from tests.real.tools import need

pytestmark = pytest.mark.real

ENDS = ("open", "guarded", "ecr")
DOORS = ("ecr", "registry")
WAYS = [way for way in itertools.product(ENDS, ENDS, DOORS) if way[2] == "ecr" or "ecr" in way[:2]]
_PATIENCE = 120.0  # seconds


@dataclass(frozen=True)
class Site:
    """A local ECR and two docker-registries, one of them with a login and under TLS of a private authority."""

    ecr: Local
    registries: dict[str, RegistryServer]
    index: ImageIndex
    home: Path

    def name(self, end: str, repository: str) -> str:
        """Name a repository as a user of copy does."""
        return f"{NAME}/{repository}" if end == "ecr" else f"{self.registries[end].host}/{repository}"

    def copy(self, *arguments: str, code: int = 0) -> str:
        """Run it, and give what it printed; its last words where it was to fail."""
        authority = str(self.registries["guarded"].ca_file)
        command = [sys.executable, "-m", "ecrdrag", "copy", "--progress", "none", "--ca-file", authority, *arguments]
        environment = {**self.ecr.environment, "HOME": str(self.home), "AWS_EC2_METADATA_DISABLED": "true"}
        done = subprocess.run(
            command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def skopeo_words(self, end: str, repository: str) -> list[str]:
        """Give skopeo's words for a repository to read from."""
        if end != "ecr":
            registry = self.registries[end]
            return [*registry.skopeo_options("src"), f"docker://{registry.host}/{repository}:1"]
        login = f"--src-creds=AWS:{self.ecr.login.read_text().strip()}"
        return ["--src-tls-verify=false", login, f"docker://{self.ecr.name(repository)}:1"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    need("docker-registry")
    folder = tmp_path_factory.mktemp("copy")
    attestation = replace(noise_image([300], seed=2), platform=Platform("unknown", "unknown"))
    index = index_of([noise_image([3_000_000, 70_000]), noise_image([12_000_000], seed=1), attestation])
    (folder / "ecr").mkdir()
    with (
        open_local(folder / "ecr", "--data", str(folder / "data")) as ecr,
        docker_registry(folder / "open") as plain,
        docker_registry(folder / "guarded", htpasswd=True, tls=True) as guarded,
    ):
        configure(folder, {"auths": {guarded.host: auth(LOGIN)}})
        site = Site(ecr, {"open": plain, "guarded": guarded}, index, folder)
        ecr.stock("source", index, "1")
        for end in ("open", "guarded"):
            site.copy(f"{NAME}/source:1", site.name(end, "source"))
        yield site


@pytest.mark.parametrize(("source", "destination", "door"), WAYS)
def test_an_index_arrives_with_its_digest_and_all_that_it_names(
    site: Site, skopeo: Tool, tmp_path: Path, source: str, destination: str, door: str
) -> None:
    repository = f"{source}-{door}"
    if destination == "ecr":
        site.ecr.create(repository)
    to = site.name(destination, repository)
    assert site.copy("--api", door, f"{site.name(source, 'source')}:1", to) == f"{to}:1@{site.index.manifest.digest}\n"
    words = site.skopeo_words(destination, repository)
    (tmp_path / "found").mkdir()
    skopeo("copy", "--all", "--quiet", *words, f"dir:{tmp_path / 'found'}")
    manifest = (tmp_path / "found" / "manifest.json").read_bytes()
    assert f"sha256:{hashlib.sha256(manifest).hexdigest()}" == str(site.index.manifest.digest)


def test_what_is_there_already_is_said_to_be(site: Site) -> None:
    arguments = (f"{NAME}/source:1", site.name("guarded", "twice"))
    assert json.loads(site.copy("--json", *arguments))["bytes"] > 3_000_000
    again = json.loads(site.copy("--json", *arguments))
    assert (again["existed"], again["bytes"]) == (True, 0)


def test_inside_one_registry_layers_are_mounted(site: Site) -> None:
    found = json.loads(site.copy("--json", f"{site.name('open', 'source')}:1", site.name("open", "mounted")))
    assert (found["bytes"], found["mounted"] > 3_000_000) == (0, True)
    assert {layer["status"] for layer in found["layers"]} == {"mounted"}


def test_without_a_login_the_registry_is_named_and_what_to_do(site: Site) -> None:
    configuration = site.home / ".docker" / "config.json"
    kept = configuration.read_text()
    configuration.write_text("{}")
    try:
        said = site.copy(f"{NAME}/source:1", site.name("guarded", "nobody"), code=3)
    finally:
        configuration.write_text(kept)
    assert site.registries["guarded"].host in said
    assert "ecrdrag login" in said
    assert LOGIN.password not in said
