"""`login` beside the real docker and skopeo: they take what it writes, and we take what they write."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecrdrag.credentials.docker_config import DockerKeyring
from ecrdrag.registry.auth import Login
from tests.localecr import ROOT
from tests.real.cell import NOTHING, Cell
from tests.real.conftest import Tool
from tests.real.local import REGISTRY, Local, open_local
from tests.real.shelf import small_image

pytestmark = pytest.mark.real

OURS = (sys.executable, "-m", "ecrdrag", "login")
PLAIN = "--tls-verify=false"
Words = tuple[str | Path, ...]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A local ECR of its own, which needs no image from elsewhere."""
    folder = tmp_path_factory.mktemp("local")
    with open_local(folder, "--data", str(folder / "data")) as local:
        yield local


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where docker's configuration is to be."""
    return tmp_path / "docker-config"


@pytest.fixture
def as_user(local: Local, folder: Path) -> Words:
    """What begins a command line of a user of the local ECR, docker in PATH or not."""
    settings = {**local.environment, "DOCKER_CONFIG": str(folder), "PYTHONPATH": str(ROOT)}
    return ("env", *(f"{name}={value}" for name, value in settings.items()))


@pytest.fixture
def without_docker(docker_cell: Cell, as_user: Words) -> Callable[..., str]:
    def run(*arguments: str, stdin: Path = NOTHING) -> str:
        return docker_cell.run(*as_user, "PATH=/nowhere", *OURS, *arguments, stdin=stdin)

    return run


def password_of(local: Local) -> str:
    return local.login.read_text().removesuffix("\n")


def comes_and_goes(docker: Tool, folder: Path, name: str) -> bool:
    """Pull an image and push it under another tag, with a configuration."""
    pulled = docker("--config", folder, "pull", f"{name}:1")
    docker("tag", f"{name}:1", f"{name}:2")
    pushed = docker("--config", folder, "push", f"{name}:2")
    docker("image", "rm", f"{name}:1", f"{name}:2")
    return "Status: Downloaded newer image" in pulled and "2: digest: sha256:" in pushed


def test_docker_logs_in_by_us_and_pulls_and_pushes(
    docker: Tool, docker_cell: Cell, local: Local, as_user: Words, folder: Path
) -> None:
    name = local.stock("login-docker", small_image(), "1")
    said = docker_cell.run(*as_user, *OURS, REGISTRY)
    assert said.startswith(f"logged in to {local.host} as AWS until 20")
    found = DockerKeyring({"DOCKER_CONFIG": str(folder)}).find(local.host)
    assert isinstance(found, Login)
    assert comes_and_goes(docker, folder, name)
    assert local.tags("login-docker").keys() == {"1", "2"}
    docker("--config", folder, "logout", local.host)
    assert DockerKeyring({"DOCKER_CONFIG": str(folder)}).find(local.host) is None


def test_docker_s_refusal_is_ours(
    docker_cell: Cell, local: Local, as_user: Words, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "wrong").write_text(password_of(local).swapcase())
    given = ("--username", "AWS", "--password-stdin", local.host)
    said = docker_cell.refusal(*as_user, *OURS, *given, stdin=tmp_path / "wrong")
    assert f"docker could not log in to {local.host} as AWS: Error response from daemon: " in said
    assert f"login attempt to http://{local.host}/v2/ failed with status: 400 Bad Request" in said
    assert not (folder / "config.json").exists()


def test_docker_and_skopeo_take_what_we_write_without_docker(
    docker: Tool, skopeo: Tool, local: Local, without_docker: Callable[..., str], folder: Path
) -> None:
    name = local.stock("login-alone", small_image(), "1")
    said = without_docker(REGISTRY)
    assert said.startswith(f"logged in to {local.host} as AWS until 20")
    assert comes_and_goes(docker, folder, name)
    seen = skopeo("inspect", PLAIN, "--authfile", folder / "config.json", f"docker://{name}:1")
    assert json.loads(seen)["Digest"] == str(small_image().manifest.digest)


def test_docker_changes_what_we_wrote_and_we_what_it_wrote_and_nothing_is_lost(
    docker: Tool, local: Local, without_docker: Callable[..., str], folder: Path
) -> None:
    folder.mkdir()
    written = {"psFormat": "table {{.ID}}", "auths": {"else.example.com": {"auth": "bWU6czNjcmV0"}}}
    (folder / "config.json").write_text(json.dumps(written))
    without_docker(REGISTRY)
    ours = (folder / "config.json").read_text()
    docker("--config", folder, "login", "--username", "AWS", "--password-stdin", local.host, stdin=local.login)
    theirs = json.loads((folder / "config.json").read_text())
    without_docker("--username", "AWS", "--password-stdin", local.host, stdin=local.login)
    assert json.loads((folder / "config.json").read_text()) == theirs
    for document in (json.loads(ours), theirs):
        assert document["psFormat"] == written["psFormat"]
        assert document["auths"].keys() == {"else.example.com", local.host}
    assert ours.startswith('{\n\t"psFormat": ')


def test_we_find_what_skopeo_wrote(skopeo: Tool, local: Local, tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    given = ("--username", "AWS", "--password-stdin", local.host)
    skopeo("login", PLAIN, "--authfile", file, *given, stdin=local.login)
    environ = {"HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(file)}
    assert DockerKeyring(environ).find(local.host) == Login("AWS", password_of(local))
    assert DockerKeyring(environ).find("else.example.com") is None


def test_what_print_prints_is_what_docker_logs_in_with(
    docker: Tool, docker_cell: Cell, local: Local, as_user: Words, folder: Path, tmp_path: Path
) -> None:
    printed = docker_cell.run(*as_user, *OURS, "--print", REGISTRY)
    (tmp_path / "password").write_text(printed)
    given = ("--username", "AWS", "--password-stdin", local.host)
    assert docker("--config", folder, "login", *given, stdin=tmp_path / "password") == "Login Succeeded\n"
