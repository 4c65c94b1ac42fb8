"""Own what the real tests share: pulled archives, and every tool in a cell of its own for the whole session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real.cell import CGROUP, NOTHING, Cell, is_root
from tests.real.local import Local, open_local
from tests.real.shelf import KINDS, WAYS, Archive, Shelf, open_shelf
from tests.real.tools import need


@dataclass(frozen=True)
class Tool:
    """A tool in its cell, with the words that every command line of it begins with."""

    cell: Cell
    words: tuple[str | Path, ...]

    def __call__(self, *arguments: str | Path, stdin: Path = NOTHING) -> str:
        """Run it with these arguments and give what it printed."""
        return self.cell.run(*self.words, *arguments, stdin=stdin)

    def refusal(self, *arguments: str | Path, stdin: Path = NOTHING) -> str:
        """Run it with arguments that it can't follow, and give what it said."""
        return self.cell.refusal(*self.words, *arguments, stdin=stdin)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with open_shelf(tmp_path_factory.mktemp("shelf")) as shelf:
        yield shelf


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """A second registry, with nothing in it."""
    with open_shelf(tmp_path_factory.mktemp("elsewhere")) as shelf:
        yield shelf


@pytest.fixture(scope="session")
def carried(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A local ECR that serves two archives, the images with busybox in them, to everybody."""
    archives = [str(shelf.busybox(kind, "tag").path) for kind in KINDS]
    with open_local(tmp_path_factory.mktemp("carried"), *archives) as local:
        yield local


@pytest.fixture(scope="session")
def local(carried: Local, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A local ECR with a folder of its own, which thinks that the other one is Docker Hub."""
    folder = tmp_path_factory.mktemp("local")
    upstream = f"registry-1.docker.io=http://{carried.host}"
    with open_local(folder, "--data", str(folder / "data"), "--upstream", upstream) as local:
        yield local


@pytest.fixture(params=[(kind, way) for kind in KINDS for way in WAYS], ids=lambda each: f"{each[0]}-by-{each[1]}")
def archive(request: pytest.FixtureRequest, shelf: Shelf) -> Archive:
    """An image with busybox in it, of both kinds, named in every way. Ask for the tool first: it may be missing."""
    kind, way = request.param
    return shelf.busybox(kind, way)


@contextmanager
def engine(cell: Cell) -> Iterator[Tool]:
    """Run a docker engine without network, and give its client, which builds with what the engine brings.

    BuildKit's client is a plugin.
    """
    client, daemon = need("docker"), need("dockerd")
    flags = ("--storage-driver=vfs", "--bridge=none", "--iptables=false", "--ip6tables=false")
    cgroups = ("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{CGROUP}")
    settings = cell.folder / "daemon.json"
    settings.write_text("{}")  # not the machine's own /etc/docker/daemon.json
    with cell.serving(daemon, "--config-file", settings, *flags, *cgroups, ready=(client, "version")):
        yield Tool(cell, ("env", "DOCKER_BUILDKIT=0", client))


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """The client of an engine of its own."""
    need("docker")
    with Cell(tmp_path_factory.mktemp("docker")) as cell, engine(cell) as client:
        yield client


@pytest.fixture(scope="session")
def docker_cell(docker: Tool) -> Cell:
    """Where that engine runs."""
    return docker.cell


@pytest.fixture(scope="session")
def ctr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """A client of a containerd of its own, in a namespace whose name is its cgroup's too."""
    client, daemon = need("ctr"), need("containerd")
    with Cell(tmp_path_factory.mktemp("containerd")) as cell:
        settings = cell.folder / "config.toml"
        settings.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        with cell.serving(daemon, "--config", settings, ready=(client, "version")):
            yield Tool(cell, (client, "--namespace", CGROUP))


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """Podman with an empty store. It has no daemon."""
    tool = need("podman")
    flags = ("--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file")
    with Cell(tmp_path_factory.mktemp("podman")) as cell:
        trust(cell)
        yield Tool(cell, (tool, *flags))


@pytest.fixture(scope="session")
def skopeo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """Skopeo, which any user can run: it only copies files."""
    tool = need("skopeo")
    with Cell(tmp_path_factory.mktemp("skopeo"), walls=is_root()) as cell:
        trust(cell)
        yield Tool(cell, (tool,))


def trust(cell: Cell) -> None:
    """Let containers/image take what nobody signed (containers-policy.json(5)); without a policy it doesn't start."""
    policy = cell.folder / ".config" / "containers" / "policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
