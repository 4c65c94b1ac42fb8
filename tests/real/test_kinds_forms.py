"""Images that docker before 23, or no docker, can load as they are: zstd, schema 1, charts; what comes of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import kinds
from tests.images import GREETING
from tests.kinds import Parcel
from tests.real.conftest import Tool
from tests.real.loaders import (
    Pulled,
    contents_of,
    copied,
    ctr_said,
    docker_said,
    podman_said,
    pulled,
    pulled_again,
)
from tests.real.local import Local
from tests.real.shelf import NAME, REPOSITORY, architecture, digest_of
from tests.real.tools import want
from tests.schema1_images import KEYS, OldImage, hello_steps, old_image, put_old_image

pytestmark = pytest.mark.real

STYLES = ("oci", "docker")
ZSTD = {style: f"hello from {style}'s zstd\n" for style in STYLES}
FORMS = ("gzip", "plain")
TYPES = {
    ("oci", "gzip"): "application/vnd.oci.image.layer.v1.tar+gzip",
    ("oci", "plain"): "application/vnd.oci.image.layer.v1.tar",
    ("docker", "gzip"): "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ("docker", "plain"): "application/vnd.docker.image.rootfs.diff.tar",
}
SIGNERS = {"unsigned": 0, "signed": 1}
FIRST_WITH_ZSTD = 23  # of docker's engine: moby/moby#41759


@pytest.fixture(scope="module")
def zstds(local: Local) -> Mapping[str, Pulled]:
    """Images of zstd layers, as the registry has them."""
    images = {style: kinds.zstd_image(architecture(), ZSTD[style], oci=style == "oci") for style in STYLES}
    return {style: pulled(local, f"kinds/zstd-{style}", image) for style, image in images.items()}


@pytest.fixture(scope="module")
def made(local: Local, zstds: Mapping[str, Pulled]) -> Mapping[tuple[str, str], Pulled]:
    """The same images in other forms."""
    wanted = itertools.product(STYLES, FORMS)
    return {(style, form): pulled_again(local, zstds[style], "--layers", form) for style, form in wanted}


@pytest.mark.parametrize("style", STYLES)
def test_docker_before_23_can_not_load_zstd_as_it_is(docker: Tool, zstds: Mapping[str, Pulled], style: str) -> None:
    version = docker("version", "--format", "{{.Server.Version}}")
    if int(version.partition(".")[0]) >= FIRST_WITH_ZSTD:
        assert docker_said(docker, zstds[style]) == ZSTD[style]
    else:
        assert "unexpected EOF" in docker.refusal("load", stdin=zstds[style].path)


@pytest.mark.parametrize("style", STYLES)
def test_podman_runs_zstd_as_it_is(podman: Tool, zstds: Mapping[str, Pulled], style: str) -> None:
    # containers/image takes docker's type of zstd layers from manifest.json alone, for which it makes a manifest.
    assert podman_said(podman, zstds[style], keeps_digest=style == "oci") == ZSTD[style]


def test_ctr_runs_oci_s_type_of_zstd_as_it_is_and_before_2_not_docker_s(ctr: Tool, zstds: Mapping[str, Pulled]) -> None:
    assert ctr_said(ctr, zstds["oci"]) == ZSTD["oci"]
    if ctr("version").partition("Version:")[2].split()[0].startswith("1."):
        flags = ("images", "import", "--snapshotter", "native")
        assert "no processor for media-type" in ctr.refusal(*flags, zstds["docker"].path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("style", STYLES)
def test_docker_and_podman_run_zstd_in_another_form(
    docker: Tool, podman: Tool, made: Mapping[tuple[str, str], Pulled], style: str, form: str
) -> None:
    assert docker_said(docker, made[style, form]) == ZSTD[style]
    assert podman_said(podman, made[style, form]) == ZSTD[style]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("style", STYLES)
def test_zstd_in_another_form_keeps_its_config_and_is_pushed(
    local: Local, zstds: Mapping[str, Pulled], made: Mapping[tuple[str, str], Pulled], style: str, form: str
) -> None:
    before, after = (json.loads(each.parcel.root.content) for each in (zstds[style], made[style, form]))
    assert (after["config"], after["mediaType"]) == (before["config"], before["mediaType"])
    assert {layer["mediaType"] for layer in after["layers"]} == {TYPES[style, form]}
    (sent,) = local.shelf.push(made[style, form].path, f"{NAME}/kinds/made:{style}-{form}")
    assert sent.digest == str(made[style, form].parcel.digest) != str(zstds[style].parcel.digest)


@pytest.fixture(scope="module", params=SIGNERS)
def old(request: pytest.FixtureRequest, local: Local) -> Pulled:
    """A schema 1 image of layers and empty layers, which has become a schema 2 image."""
    repository = f"kinds/old-{request.param}"
    image = old_image_of(SIGNERS[request.param])
    local.create(repository)
    put_old_image(local.ecr, f"{REPOSITORY}/{repository}", image, "1")
    return pulled_again(local, Pulled(Path(), Parcel((kinds.EMPTY,)), f"{NAME}/{repository}:1"))


def old_image_of(signers: int) -> OldImage:
    top = {"architecture": architecture(), "config": {"Cmd": ["/hello"]}}
    return old_image(hello_steps(architecture()), keys=KEYS[:signers], name=REPOSITORY, top=top)


def test_docker_podman_and_ctr_run_what_was_schema_1(docker: Tool, podman: Tool, ctr: Tool, old: Pulled) -> None:
    assert docker_said(docker, old) == GREETING
    assert podman_said(podman, old) == GREETING
    assert ctr_said(ctr, old) == GREETING


def test_skopeo_reads_what_was_schema_1(skopeo: Tool, old: Pulled) -> None:
    config = json.loads(skopeo("inspect", "--config", "--raw", f"oci-archive:{old.path}"))
    steps = [step.command for step in hello_steps()]
    assert [each["created_by"] for each in config["history"]] == steps
    assert len(config["rootfs"]["diff_ids"]) == sum(not each.get("empty_layer") for each in config["history"]) == 4


def test_what_was_schema_1_is_pushed_and_pulled_as_what_it_has_become(local: Local, old: Pulled) -> None:
    name = old.name.replace("/old-", "/new-")
    (sent,) = local.shelf.push(old.path, name)
    assert sent.digest == str(old.parcel.digest)
    path, _ = local.shelf.pull(name)
    assert path.read_bytes() == old.path.read_bytes().replace(old.name.encode(), name.encode())


@pytest.fixture(scope="module")
def artifacts(local: Local) -> Mapping[str, Pulled]:
    made = {"chart": kinds.helm_chart(), "wasm": kinds.wasm(), "bare": kinds.bare_artifact()}
    return {name: pulled(local, f"kinds/{name}", parcel) for name, parcel in made.items()}


@pytest.mark.parametrize("name", ["chart", "wasm", "bare"])
def test_skopeo_reads_an_artifact_as_an_oci_layout(
    skopeo: Tool, artifacts: Mapping[str, Pulled], name: str, tmp_path: Path
) -> None:
    archive = artifacts[name]
    raw = skopeo("inspect", "--raw", f"oci-archive:{archive.path}:1")
    assert digest_of(raw.encode()) == str(archive.parcel.digest)
    found = copied(skopeo, f"oci-archive:{archive.path}:1", tmp_path / "copy", "--preserve-digests")
    assert set(found.values()) == set(archive.parcel.contents.values())


@pytest.mark.parametrize("name", ["chart", "wasm", "bare"])
def test_docker_can_not_load_an_artifact(docker: Tool, artifacts: Mapping[str, Pulled], name: str) -> None:
    assert "manifest.json" not in artifacts[name].contents
    assert docker.refusal("load", stdin=artifacts[name].path)


def test_oras_reads_a_chart_as_an_oci_layout(artifacts: Mapping[str, Pulled], skopeo: Tool) -> None:
    oras, chart = want("oras"), artifacts["chart"]
    said = skopeo.cell.run(oras, "manifest", "fetch", "--oci-layout", f"{chart.path}:1")
    assert digest_of(said.encode()) == str(chart.parcel.digest)


@pytest.mark.parametrize("name", ["chart", "wasm", "bare"])
def test_an_artifact_is_pushed_with_its_digest_and_comes_again(
    local: Local, artifacts: Mapping[str, Pulled], name: str
) -> None:
    archive = artifacts[name]
    (sent,) = local.shelf.push(archive.path, f"{NAME}/kinds/again-{name}:1")
    assert sent.digest == str(archive.parcel.digest)
    path, digest = local.shelf.pull(f"{NAME}/kinds/again-{name}:1")
    assert digest == sent.digest
    assert archive.parcel.contents.items() <= contents_of(path).items()
