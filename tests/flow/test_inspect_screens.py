"""What inspect shows on a terminal of 80 and of 200 columns, held against golden files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.localecr import LocalEcr
from tests import kinds
from tests.flow.conftest import HOST
from tests.flow.scripts import environment_of
from tests.images import Blob, tar_of
from tests.inspected import windows_image
from tests.kinds import Parcel, index
from tests.localecr import client, running
from tests.packed import packed, without, write
from tests.saved import docker_save_old, tar_with
from tests.schema1_images import Step, old_image, put_old_image
from tests.screens import check_golden, screen


def greeter(architecture: str) -> Parcel:
    """Build an image whose digest is the same with every zlib."""
    tars = [tar_of({"hello": kinds.program(architecture, "hello\n")}), tar_of({"more": b"more"})]
    return kinds.image(tars, architecture=architecture, pack=bytes)


IMAGES = {each: greeter(each) for each in ("amd64", "arm64")}
INDEX = index([*IMAGES.values(), *map(kinds.attestation, IMAGES.values())])
CHART = kinds.artifact([(Blob(b"a chart", kinds.HELM_CHART), {})], config=Blob(b"{}", kinds.HELM_CONFIG))
OLD = old_image([Step("ADD file:1 in /", b"some files"), Step("/bin/sh -c #(nop) ENV A=b"), Step("make it", b"more")])
LONG = f"{'long-' * 50}name"
STOCK: dict[str, Parcel] = {
    "index": INDEX,
    "windows": index([windows_image(), IMAGES["amd64"]]),
    "nested": index([INDEX, CHART, kinds.wasm()]),
    "chart": CHART,
}


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEcr]:
    with running(tmp_path_factory.mktemp("ecr")) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="my/app")
        for tag, parcel in STOCK.items():
            kinds.put(api, "my/app", parcel, tag)
        for parcel in (*kinds.all_about(INDEX), kinds.signature(IMAGES["amd64"])):
            kinds.put(api, "my/app", parcel)
        put_old_image(api, "my/app", OLD, "old")
        api.create_repository(repositoryName=LONG)
        kinds.put(api, LONG, STOCK["index"], "t" * 128)
        yield ecr


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("index", (f"{HOST}/my/app:index", "--platform", "linux/arm64", "--referrers")),
        ("windows", (f"{HOST}/my/app:windows", "--platform", "windows/amd64")),
        ("nested", (f"{HOST}/my/app:nested", "--platform", "all")),
        ("chart", (f"{HOST}/my/app:chart",)),
        ("schema1", (f"{HOST}/my/app:old",)),
        ("long", (f"{HOST}/{LONG}:{'t' * 128}", "--platform", "linux/amd64")),
    ],
)
def test_an_image_in_a_registry(stocked: LocalEcr, name: str, arguments: tuple[str, ...], columns: int) -> None:
    check_golden(f"inspect-{name}-{columns}", screen(["inspect", *arguments], environment_of(stocked), columns))


@pytest.mark.parametrize("columns", [80, 200])
def test_an_archive(tmp_path: Path, columns: int) -> None:
    """One image is not whole in it, and one has something about it."""
    files = packed({f"{HOST}/my/app:1": INDEX, "chart": CHART}, [kinds.cosign_signature(INDEX), kinds.sbom(CHART)])
    write(tmp_path / "app.tar", without(files, IMAGES["arm64"].digest))
    arguments = ["inspect", "app.tar", "--platform", "linux/amd64"]
    check_golden(f"inspect-archive-{columns}", screen(arguments, environment_of(None), columns, cwd=tmp_path))


@pytest.mark.parametrize("columns", [80, 200])
def test_an_archive_of_docker(tmp_path: Path, columns: int) -> None:
    (tmp_path / "saved.tar").write_bytes(tar_with(docker_save_old()))
    shown = screen(["inspect", "saved.tar"], environment_of(None), columns, cwd=tmp_path)
    check_golden(f"inspect-docker-{columns}", shown)
