"""Own what the real tests share: pulled archives, and every tool in a cell of its own for the whole session."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.cell import CGROUP, Cell, is_root
from tests.real.shelf import KINDS, WAYS, Archive, Shelf, open_shelf
from tests.real.tools import need

Tool = Callable[..., str]
"""Takes a tool's arguments and gives what it printed."""


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with open_shelf(tmp_path_factory.mktemp("shelf")) as shelf:
        yield shelf


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """A second registry, with nothing in it."""
    with open_shelf(tmp_path_factory.mktemp("elsewhere")) as shelf:
        yield shelf


@pytest.fixture(params=[(kind, way) for kind in KINDS for way in WAYS], ids=lambda each: f"{each[0]}-by-{each[1]}")
def archive(request: pytest.FixtureRequest, shelf: Shelf) -> Archive:
    """An image with busybox in it, of both kinds, named in every way. Ask for the tool first: it may be missing."""
    kind, way = request.param
    return shelf.busybox(kind, way)


@pytest.fixture(scope="session")
def docker_cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """Where an engine of its own runs, without network."""
    client, engine = need("docker"), need("dockerd")
    flags = ("--storage-driver=vfs", "--bridge=none", "--iptables=false", "--ip6tables=false")
    cgroups = ("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{CGROUP}")
    with Cell(tmp_path_factory.mktemp("docker")) as cell:
        settings = cell.folder / "daemon.json"
        settings.write_text("{}")  # not the machine's own /etc/docker/daemon.json
        with cell.serving(engine, "--config-file", settings, *flags, *cgroups, ready=(client, "version")):
            yield cell


@pytest.fixture(scope="session")
def docker(docker_cell: Cell) -> Tool:
    """The engine's client, which builds with what the engine brings: BuildKit's client is a plugin."""
    command = ("env", "DOCKER_BUILDKIT=0", need("docker"))
    return lambda *arguments, stdin=Path(os.devnull): docker_cell.run(*command, *arguments, stdin=stdin)


@pytest.fixture(scope="session")
def ctr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """A client of a containerd of its own, in a namespace whose name is its cgroup's too."""
    client, daemon = need("ctr"), need("containerd")
    with Cell(tmp_path_factory.mktemp("containerd")) as cell:
        settings = cell.folder / "config.toml"
        settings.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        with cell.serving(daemon, "--config", settings, ready=(client, "version")):
            yield lambda *arguments: cell.run(client, "--namespace", CGROUP, *arguments)


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """Podman with an empty store. It has no daemon."""
    tool = need("podman")
    flags = ("--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file")
    with Cell(tmp_path_factory.mktemp("podman")) as cell:
        _trust(cell)
        yield lambda *arguments: cell.run(tool, *flags, *arguments)


@pytest.fixture(scope="session")
def skopeo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tool]:
    """Skopeo, which any user can run: it only copies files."""
    tool = need("skopeo")
    with Cell(tmp_path_factory.mktemp("skopeo"), walls=is_root()) as cell:
        _trust(cell)
        yield lambda *arguments: cell.run(tool, *arguments)


def _trust(cell: Cell) -> None:
    """Let containers/image take what nobody signed (containers-policy.json(5)); without a policy it doesn't start."""
    policy = cell.folder / ".config" / "containers" / "policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
