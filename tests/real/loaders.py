"""Own what real tools do with an archive: load it, run what is in it, forget it; and how the archive came about.

The tests of kinds of images enter.
"""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests import kinds
from tests.images import Blob
from tests.kinds import Parcel
from tests.real.cell import CGROUP
from tests.real.conftest import Tool
from tests.real.local import Local
from tests.real.shelf import NAME, REPOSITORY, digest_of


@dataclass(frozen=True)
class Pulled:
    """A file, what it is of, and the name of that; contents are those of its files."""

    path: Path
    parcel: Parcel
    name: str

    @property
    def contents(self) -> dict[str, bytes]:
        return contents_of(self.path)


def pulled(local: Local, repository: str, parcel: Parcel, *options: str, about: tuple[Parcel, ...] = ()) -> Pulled:
    """Put an image and what is about it into a new repository over the API, and pull it as a user does."""
    local.create(repository)
    for each, tags in ((parcel, ("1",)), *((one, ()) for one in about)):
        kinds.put(local.ecr, f"{REPOSITORY}/{repository}", each, *tags)
    return pulled_again(local, Pulled(Path(), parcel, f"{NAME}/{repository}:1"), *options)


def pulled_again(local: Local, known: Pulled, *options: str) -> Pulled:
    """Pull what is there already, with other options; the digest may have become another one."""
    path, digest = local.shelf.pull(known.name, *options)
    if digest == str(known.parcel.digest):
        return Pulled(path, known.parcel, known.name)
    raw = contents_of(path)[f"blobs/sha256/{digest.removeprefix('sha256:')}"]
    return Pulled(path, Parcel((Blob(raw, json.loads(raw)["mediaType"]),)), known.name)


def contents_of(path: Path) -> dict[str, bytes]:
    """Read all files of a tar."""
    with tarfile.open(path) as archive:
        return {member.name: file.read() for member in archive if (file := archive.extractfile(member))}


def docker_said(docker: Tool, archive: Pulled) -> str:
    """Load with docker, hold it to the name, run it and forget it, so that the next test can't find it."""
    assert docker("load", stdin=archive.path) == f"Loaded image: {archive.name}\n"
    return docker_run(docker, archive.name)


def docker_run(docker: Tool, name: str) -> str:
    """Run what was loaded, and forget it."""
    printed = docker("run", "--rm", "--network", "none", "--pull", "never", name)
    docker("image", "rm", name)
    return printed


def podman_said(podman: Tool, archive: Pulled, *, keeps_digest: bool = True) -> str:
    """Load with podman, hold it to the name and to whether it keeps the registry's digest, run it and forget it."""
    assert podman("load", "-i", archive.path) == f"Loaded image: {archive.name}\n"
    digests = podman("image", "inspect", "--format", "{{json .RepoDigests}}", archive.name)
    assert (str(archive.parcel.digest) in digests) == keeps_digest
    return podman_run(podman, archive.name)


def podman_run(podman: Tool, name: str) -> str:
    """Run what was loaded, and forget it."""
    words = ("run", "--rm", "--network", "none", "--pull", "never", "--cgroup-parent", f"/{CGROUP}")
    printed = podman(*words, name)
    podman("image", "rm", name)
    return printed


def ctr_said(ctr: Tool, archive: Pulled, *options: str) -> str:
    """Import into containerd, hold it to the name and the digest of the registry, and run it."""
    assert ctr_imported(ctr, archive.path, *options) == {archive.name: str(archive.parcel.digest)}
    return ctr_run(ctr, archive.name)


def ctr_run(ctr: Tool, name: str) -> str:
    """Run what was imported."""
    return ctr("run", "--rm", "--snapshotter", "native", name, "once")


def ctr_imported(ctr: Tool, path: Path, *options: str) -> dict[str, str]:
    """Import where nothing is left of the test before; give the digest of every image that containerd names."""
    for name in _listed(ctr):
        ctr("images", "rm", "--sync", name)
    ctr("images", "import", "--snapshotter", "native", *options, path)
    return _listed(ctr)


def copied(skopeo: Tool, source: str, folder: Path, *options: str) -> dict[str, bytes]:
    """Copy with skopeo, which checks all digests on the way; give what came, by its digest."""
    skopeo("copy", *options, source, f"dir:{folder}")
    contents = [file.read_bytes() for file in folder.iterdir() if file.name != "version"]
    return {digest_of(content): content for content in contents}


def _listed(ctr: Tool) -> dict[str, str]:
    lines = [line.split() for line in ctr("images", "list").splitlines()[1:]]
    return {name: digest for name, _, digest, *_ in lines}
