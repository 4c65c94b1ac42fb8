"""Pushes of every kind of thing, and of what is about it, to Debian's docker-registry; skopeo reads what came."""

from __future__ import annotations

import io
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest

from ecrdrag.archive.intake import open_members
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.errors import TransferError
from ecrdrag.push import Pushed, PushOptions, push
from ecrdrag.reference import ImageReference
from ecrdrag.transfer.progress import Silence
from ecrdrag.transfer.retry import RetryPolicy
from tests import kinds
from tests.kinds import Parcel
from tests.packed import Files, packed, write
from tests.real.registry_servers import RegistryServer, docker_registry
from tests.real.test_distribution_push import destination_at
from tests.real.tools import need

pytestmark = pytest.mark.real

KINDS = {
    "chart": kinds.helm_chart(),
    "wasm": kinds.wasm(),
    "file": kinds.bare_artifact(),
    "attested": kinds.buildx_index(),
    "attested-by-artifacts": kinds.buildx_index(artifacts=True),
    "nested": kinds.nested_index(),
    "zstd": kinds.zstd_image(),
    "docker-zstd": kinds.zstd_image(oci=False),
    "docker-list": kinds.index([kinds.greeter("amd64", "a\n", oci=False)], oci=False),
}
FOREIGN = (kinds.foreign_image(), kinds.foreign_image(oci=False))


def pushed(registry: RegistryServer, folder: Path, files: Files) -> Pushed:
    archive = write(folder / "app.tar", files)
    options = PushOptions(retry=RetryPolicy(tries=3, base=0.0))
    with ArchiveReader(open_members(archive, io.BytesIO(), lambda _: None)) as reader, destination_at(registry) as to:
        reference = ImageReference.parse(f"{registry.host}/my/app:1") if len(reader.images) == 1 else None
        return push(reader, reference, lambda _: to, options, lambda _: nullcontext(Silence()))


def read(registry: RegistryServer, version: str) -> bytes:
    """Let skopeo read a manifest by :TAG or @DIGEST."""
    command = [need("skopeo"), "inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/my/app{version}"]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def check_there(registry: RegistryServer, parcel: Parcel, *tags: str) -> None:
    for tag in tags:
        assert read(registry, f":{tag}") == parcel.root.content
    for document in parcel.documents:
        assert read(registry, f"@{document.digest}") == document.content


def test_every_kind_arrives_byte_for_byte(tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry") as registry:
        names = {f"{registry.host}/my/app:{tag}": parcel for tag, parcel in KINDS.items()}
        pushed(registry, tmp_path, packed(names))
        for tag, parcel in KINDS.items():
            check_there(registry, parcel, tag)


def test_what_is_about_an_image_arrives_with_it(tmp_path: Path) -> None:
    image = KINDS["attested"]
    about = [*kinds.all_about(image), kinds.sbom(image.of("amd64"))]
    with docker_registry(tmp_path / "registry") as registry:
        (found,) = pushed(registry, tmp_path, packed({"1": image}, about)).images
        assert len(found.referrers) == len(about)
        check_there(registry, image, "1")
        for parcel in about:
            check_there(registry, parcel, *([parcel.tag] if parcel.tag else []))


@pytest.mark.parametrize("image", FOREIGN, ids=["oci", "docker"])
@pytest.mark.parametrize("is_here", [True, False])
def test_foreign_layers_that_its_settings_do_not_allow_are_said_to_be_why_it_takes_no_manifest(
    tmp_path: Path, image: Parcel, is_here: bool
) -> None:
    here = {f"blobs/sha256/{digest.hex}": layer.content for digest, layer in image.elsewhere.items()}
    files = packed({"1": image}) | (here if is_here else {})
    with docker_registry(tmp_path / "registry") as registry, pytest.raises(TransferError) as caught:
        pushed(registry, tmp_path, files)
    assert f"gave up on the manifest {image.digest} after 3 tries" in str(caught.value)
    assert "names foreign layers, which docker's registry takes only from URLs" in caught.value.hint


@pytest.mark.parametrize("image", FOREIGN, ids=["oci", "docker"])
def test_foreign_layers_that_its_settings_allow_are_left_out_or_given(
    tmp_path: Path, image: Parcel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW", '["^https://layers\\\\.example\\\\.com/"]')
    ((digest, layer),) = image.elsewhere.items()
    away = packed({"1": image})
    with docker_registry(tmp_path / "registry") as registry:
        fates = [
            pushed(registry, tmp_path, files).images[0].fates[digest].value
            for files in (away, {**away, f"blobs/sha256/{digest.hex}": layer.content})
        ]
        assert fates == ["left out", "uploaded"]
        check_there(registry, image, "1")
