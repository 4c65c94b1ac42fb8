"""What docker, podman and skopeo write is pushed by docker_push.py, comes back by docker_pull.py, and runs."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from ecrdrag.localecr import Settings
from tests.real.cell import Cell
from tests.real.conftest import Tool
from tests.real.shelf import (
    KINDS,
    NAME,
    WAYS,
    Sent,
    Shelf,
    architecture,
    digest_of,
    foreign_architecture,
    open_shelf,
    small_image,
)
from tests.real.tools import need

pytestmark = pytest.mark.real

# The greeting comes, goes and comes again, so that one layer is there twice: docker save before 25 links it.
RECIPE = """\
FROM scratch
COPY busybox /bin/busybox
COPY greeting /greeting
RUN ["/bin/busybox", "rm", "/greeting"]
COPY greeting /greeting
RUN ["/bin/busybox", "mkdir", "/made"]
CMD ["/bin/busybox", "cat", "/greeting"]
"""
RECIPE_UPON_IT = """\
FROM built:1
COPY other /greeting
"""
GREETING = "hello from what was built here\n"
OTHER_GREETING = "hello from what was built upon it\n"
LAYERS = 5
SEVERAL = (f"{NAME}/several:1", f"{NAME}/several:stable", f"{NAME}/other:2")
WRITERS = (
    ("docker", "docker-archive"),
    ("docker-gzip", "docker-archive"),
    ("podman", "docker-archive"),
    ("podman", "oci-archive"),
    ("skopeo", "docker-archive"),
    ("skopeo", "oci-archive"),
    ("skopeo", "oci"),
)


@dataclass(frozen=True)
class Saved:
    """A file or folder that a tool wrote, and what skopeo calls the image in it."""

    path: Path
    skopeo_name: str

    @property
    def is_oci(self) -> bool:
        return self.skopeo_name.startswith("oci")


@dataclass(frozen=True)
class Delivery:
    """A saved image, pushed under a name and pulled back."""

    saved: Saved
    name: str
    sent: Sent
    pulled: Path
    digest: str


@dataclass(frozen=True)
class Built:
    """What docker built and saved: an image, then two with three names in ECR, then two with names of their own."""

    one: Path
    several: Path
    unaddressed: Path


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out what is built."""
    folder = tmp_path_factory.mktemp("context")
    shutil.copy(need("busybox"), folder / "busybox")
    files = {"Dockerfile": RECIPE, "Upon": RECIPE_UPON_IT, "greeting": GREETING, "other": OTHER_GREETING}
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture(scope="module")
def built(docker: Tool, context: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build and save with docker; then it forgets all layers, so that it has to read them when images come back."""
    folder = tmp_path_factory.mktemp("built")
    built = Built(folder / "one.tar", folder / "several.tar", folder / "unaddressed.tar")
    docker("build", "--network", "none", "--tag", "built:1", context)
    docker("build", "--network", "none", "--tag", "other:1", "--file", context / "Upon", context)
    for name, source in zip(SEVERAL, ("built:1", "built:1", "other:1"), strict=True):
        docker("tag", source, name)
    docker("save", "--output", built.one, "built:1")
    docker("save", "--output", built.several, *SEVERAL)
    docker("save", "--output", built.unaddressed, "built:1", "other:1")
    identity = docker("image", "inspect", "--format", "{{.Id}}", "built:1").strip()
    assert f"Deleted: {identity}" in docker("image", "rm", *SEVERAL, "other:1", "built:1").splitlines()
    return built


@pytest.fixture(scope="module")
def builder(podman: Tool, context: Path) -> Tool:
    """Podman, which has built the image too; in a chroot, since a build takes --cgroup-parent for its own cgroup."""
    podman("build", "--isolation", "chroot", "--tag", "built:1", context)
    return podman


@pytest.fixture(scope="module", params=WRITERS, ids="-".join)
def delivery(
    request: pytest.FixtureRequest,
    built: Built,
    builder: Tool,
    skopeo: Tool,
    shelf: Shelf,
    tmp_path_factory: pytest.TempPathFactory,
) -> Delivery:
    """Save an image in every way, push it, pull it."""
    tool, kind = request.param
    path = tmp_path_factory.mktemp("saved") / "image"
    if tool == "docker":
        shutil.copy(built.one, path)
    elif tool == "docker-gzip":
        path.write_bytes(gzip.compress(built.one.read_bytes(), 1))
    elif tool == "podman":
        builder("save", "--format", kind, "--output", path, "built:1")
    else:
        skopeo("copy", f"docker-archive:{built.one}", f"{kind}:{path}:built:1")
    plain = built.one if tool == "docker-gzip" else path  # skopeo 1.9 reads no gzip
    name = f"{NAME}/{tool}-{kind}:1"
    (sent,) = shelf.push(path, name)
    return Delivery(Saved(path, f"{kind}:{plain}"), name, sent, *shelf.pull(name))


def _greeting(docker: Tool, archive: Path, name: str) -> str:
    """Load an archive, run it and forget it."""
    assert docker("load", stdin=archive) == f"Loaded image: {name}\n"
    printed = docker("run", "--rm", "--network", "none", "--pull", "never", name)
    docker("image", "rm", name)
    return printed


def test_what_a_tool_saved_is_in_the_registry_with_the_digest_that_was_printed(delivery: Delivery) -> None:
    assert delivery.sent.references == [f"{delivery.name}@{delivery.digest}"]
    assert delivery.sent.digest == delivery.digest
    assert delivery.sent.fates == {"uploaded"}


def test_what_a_tool_saved_comes_back_with_its_config_and_layers(delivery: Delivery, skopeo: Tool) -> None:
    back = f"docker-archive:{delivery.pulled}:{delivery.name}"
    config = skopeo("inspect", "--config", "--raw", delivery.saved.skopeo_name)
    assert skopeo("inspect", "--config", "--raw", back) == config
    assert delivery.sent.configs == [digest_of(config.encode())]
    diff_ids = json.loads(config)["rootfs"]["diff_ids"]
    assert json.loads(skopeo("inspect", back))["Layers"] == diff_ids
    assert len(diff_ids) == LAYERS
    assert diff_ids[1] == diff_ids[3]


def test_what_a_tool_saved_comes_back_and_runs(delivery: Delivery, docker: Tool) -> None:
    assert _greeting(docker, delivery.pulled, delivery.name) == GREETING


def test_manifests_that_a_tool_wrote_are_kept_and_others_are_made(delivery: Delivery, skopeo: Tool) -> None:
    written = digest_of(skopeo("inspect", "--raw", delivery.saved.skopeo_name).encode())
    assert (written == delivery.digest) == delivery.saved.is_oci


def test_a_second_push_uploads_nothing_and_has_the_same_digest(delivery: Delivery, shelf: Shelf) -> None:
    (again,) = shelf.push(delivery.saved.path, delivery.name)
    assert (again.digest, again.fates) == (delivery.digest, {"existed"})


def test_docker_save_is_pushed_through_a_pipe(docker_cell: Cell, docker: Tool, built: Built, shelf: Shelf) -> None:
    name = f"{NAME}/piped:1"
    docker("load", stdin=built.one)
    with docker_cell.piping(need("docker"), "save", "built:1") as pipe:
        (piped,) = shelf.push("-", name, stdin=pipe)
    docker("image", "rm", "built:1")
    (named,) = shelf.push(built.one, name)
    assert (piped.digest, piped.fates, named.fates) == (named.digest, {"uploaded"}, {"existed"})
    assert _greeting(docker, shelf.pull(name)[0], name) == GREETING


@pytest.mark.parametrize("tool", ["docker", "podman"])
def test_several_images_in_one_archive_all_go_to_their_own_names(
    tool: str, docker: Tool, podman: Tool, built: Built, elsewhere: Shelf, tmp_path: Path
) -> None:
    path = built.several
    if tool == "podman":
        podman("load", "--input", built.several)
        path = tmp_path / "several.tar"
        podman("save", "--multi-image-archive", "--output", path, *SEVERAL)
        podman("image", "rm", *SEVERAL)
    other, one = sorted(elsewhere.push(path), key=lambda image: len(image.references))  # docker's order is random
    assert [one.references, other.references] == [
        [f"{SEVERAL[0]}@{one.digest}", f"{SEVERAL[1]}@{one.digest}"],
        [f"{SEVERAL[2]}@{other.digest}"],
    ]
    for name, greeting in (SEVERAL[1], GREETING), (SEVERAL[2], OTHER_GREETING):
        assert _greeting(docker, elsewhere.pull(name)[0], name) == greeting


def test_one_of_several_images_is_chosen_by_its_name(docker: Tool, built: Built, shelf: Shelf) -> None:
    name = f"{NAME}/chosen:1"
    done = shelf.run("docker_push.py", str(built.unaddressed), name)
    assert (done.returncode, done.stdout) == (2, "")
    assert {"built:1", "other:1"} <= set(done.stderr.split())
    shelf.push(built.unaddressed, name, "--image", "other:1")
    assert _greeting(docker, shelf.pull(name)[0], name) == OTHER_GREETING


def test_of_an_oci_layout_with_two_images_each_is_chosen_by_its_tag(
    docker: Tool, skopeo: Tool, built: Built, shelf: Shelf, tmp_path: Path
) -> None:
    for tag, image in ("1", "built:1"), ("2", "other:1"):
        skopeo("copy", f"docker-archive:{built.unaddressed}:{image}", f"oci:{tmp_path}/layout:{tag}")
    for tag, greeting in ("1", GREETING), ("2", OTHER_GREETING):
        name = f"{NAME}/layout:{tag}"
        (sent,) = shelf.push(tmp_path / "layout", name, "--image", tag)
        written = skopeo("inspect", "--raw", f"oci:{tmp_path}/layout:{tag}")
        assert sent.digest == digest_of(written.encode())
        assert _greeting(docker, shelf.pull(name)[0], name) == greeting


def test_an_index_in_an_oci_layout_is_pushed_whole_and_pulled_by_platform(
    docker: Tool, podman: Tool, skopeo: Tool, shelf: Shelf, tmp_path: Path
) -> None:
    images = (shelf.busybox("oci", "tag"), shelf.image("foreign", small_image(foreign=True)))
    for image in images:
        podman("load", "--input", image.path)
    podman("manifest", "create", "both", *(f"containers-storage:{image.name}" for image in images))
    podman("manifest", "push", "--all", "both", f"oci:{tmp_path}/layout:both")
    podman("image", "rm", "both", *(image.name for image in images))
    raw = skopeo("inspect", "--raw", f"oci:{tmp_path}/layout:both")
    children = [entry["digest"] for entry in json.loads(raw)["manifests"]]

    (sent,) = shelf.push(tmp_path / "layout", f"{NAME}/both:1")
    assert (sent.digest, sent.documents) == (digest_of(raw.encode()), [*children, digest_of(raw.encode())])
    platforms = (architecture(), foreign_architecture())
    pulls = [shelf.pull(f"{NAME}/both:1", "--platform", f"linux/{each}") for each in platforms]
    assert [digest for _, digest in pulls] == children
    assert _greeting(docker, pulls[0][0], f"{NAME}/both:1") == "hello oci\n"
    assert shelf.pull(f"{NAME}/both@{children[1]}")[1] == children[1]


def test_the_folder_of_podman_s_docker_dir_is_refused_with_what_to_give(
    builder: Tool, shelf: Shelf, tmp_path: Path
) -> None:
    builder("save", "--format", "docker-dir", "--output", tmp_path / "folder", "built:1")
    done = shelf.run("docker_push.py", str(tmp_path / "folder"), f"{NAME}/refused:1", "--create-repository")
    assert (done.returncode, done.stdout) == (7, "")
    assert f"{tmp_path}/folder: is a folder without the file oci-layout" in done.stderr
    assert "an OCI image layout, in a tar or a folder" in done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_our_own_archive_goes_to_its_name_in_another_registry_and_comes_back_byte_for_byte(
    shelf: Shelf, elsewhere: Shelf, way: str
) -> None:
    archive = shelf.busybox("oci", way)
    name = archive.repository if way == "digest" else archive.name
    (sent,) = elsewhere.push(archive.path)
    assert sent.references == [f"{name}@{archive.digest}"]
    path, digest = elsewhere.pull(f"{name}@{archive.digest}" if way == "digest" else name)
    assert (path.read_bytes(), digest) == (archive.path.read_bytes(), archive.digest)


@pytest.mark.parametrize("kind", KINDS)
def test_our_own_archive_comes_back_from_another_account_with_nothing_but_the_name_changed(
    shelf: Shelf, kind: str, tmp_path: Path
) -> None:
    archive = shelf.busybox(kind, "tag")
    settings = Settings(accounts=("210987654321",), region="eu-west-1")
    host = f"{settings.account}.dkr.ecr.{settings.region}.amazonaws.com"
    repository = f"{host}/ma/ppy/{kind}"
    assert len(repository) == len(archive.repository)  # so that whole tars can be compared
    with open_shelf(tmp_path, settings) as abroad:
        (sent,) = abroad.push(archive.path, f"{repository}:{archive.tag}")
        path, digest = abroad.pull(f"{repository}:{archive.tag}")
    assert sent.digest == digest == archive.digest
    renamed = archive.path.read_bytes().replace(archive.repository.encode(), repository.encode())
    assert path.read_bytes() == renamed
