"""Clients find what is about images in archives that ``serve`` was given, and copy images of every kind from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import kinds
from tests.packed import packed, without, write
from tests.real.cell import Cell
from tests.real.conftest import Tool
from tests.real.local import Local, open_local
from tests.real.shelf import digest_of
from tests.real.tools import want

pytestmark = pytest.mark.real

IMAGE = kinds.buildx_index()
ABOUT = kinds.all_about(IMAGE)  # by cosign's tag, two by subject, an SBOM, and a signature of that
SPARSE = kinds.buildx_index(["amd64", "arm64", "s390x"], greeting="hello from some of it\n")
KINDS = {"chart": kinds.helm_chart(), "wasm": kinds.wasm(), "zstd": kinds.zstd_image()}


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Serve a signed index, a part of another one, and a few of everything."""
    folder = tmp_path_factory.mktemp("offered")
    names = {"r.io/my/app/signed:1": IMAGE, "r.io/my/app/sparse:1": SPARSE}
    files = packed(names | {f"r.io/my/app/kinds:{tag}": parcel for tag, parcel in KINDS.items()}, ABOUT)
    gone = (SPARSE.documents[place].digest for place in (2, 5))  # s390x and its attestation
    archive = write(folder / "all.tar", without(files, *gone))
    with open_local(folder, str(archive)) as local:
        yield local


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """Where the tools keep what they are told."""
    with Cell(tmp_path_factory.mktemp("go"), walls=False) as cell:
        yield cell


def test_oras_discovers_and_copies_what_is_about_an_image(cell: Cell, offered: Local, tmp_path: Path) -> None:
    oras, name = Tool(cell, (want("oras"),)), f"{offered.name('signed')}:1"
    found = json.loads(oras("discover", "--plain-http", "--format", "json", name))["referrers"]
    assert sorted(one["digest"] for one in found) == sorted(str(one.digest) for one in ABOUT[1:4])
    materials = next(one for one in found if one["digest"] == str(ABOUT[3].digest))
    assert [one["digest"] for one in materials["referrers"]] == [str(ABOUT[4].digest)]
    oras("copy", "-r", "--from-plain-http", name, "--to-oci-layout", f"{tmp_path}/layout:1")
    copied = {file.name for file in (tmp_path / "layout" / "blobs" / "sha256").iterdir()}
    assert {document.digest.hex for one in (IMAGE, *ABOUT[1:]) for document in one.documents} <= copied


def test_regctl_lists_what_is_about_an_image_by_type(cell: Cell, offered: Local) -> None:
    regctl = Tool(cell, (want("regctl"),))
    regctl("registry", "set", offered.host, "--skip-check", "--tls", "disabled")
    found = json.loads(
        regctl(
            "artifact", "list", f"{offered.name('signed')}:1", "--filter-artifact-type", kinds.SPDX, "--format", "body"
        )
    )
    assert [one["digest"] for one in found["manifests"]] == [str(ABOUT[3].digest)]


def test_crane_finds_a_signature_by_cosigns_tag(cell: Cell, offered: Local) -> None:
    crane = Tool(cell, (want("crane"),))
    assert crane("digest", f"{offered.name('signed')}:{ABOUT[0].tag}").strip() == str(ABOUT[0].digest)
    assert sorted(crane("ls", offered.name("signed")).split()) == sorted(["1", ABOUT[0].tag])
    assert crane("manifest", f"{offered.name('signed')}:{ABOUT[0].tag}") == ABOUT[0].root.content.decode()


@pytest.mark.parametrize("name", ["signed:1", *(f"kinds:{tag}" for tag in KINDS)])
def test_skopeo_copies_all_of_an_image_of_any_kind(skopeo: Tool, offered: Local, tmp_path: Path, name: str) -> None:
    parcel = KINDS.get(name.removeprefix("kinds:"), IMAGE)
    skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{offered.name(name)}", f"dir:{tmp_path}/copy")
    copied = {digest_of(file.read_bytes()) for file in (tmp_path / "copy").iterdir()}
    wanted = {str(document.digest) for document in parcel.documents} | {str(digest) for digest in parcel.blobs}
    assert wanted <= copied


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_skopeo_copies_each_platform_of_a_part_of_an_index(
    skopeo: Tool, offered: Local, tmp_path: Path, architecture: str
) -> None:
    options = ("--override-arch", architecture, "--override-os", "linux")
    name = f"docker://{offered.name('sparse')}:1"
    skopeo(*options, "copy", "--src-tls-verify=false", name, f"dir:{tmp_path}/copy")
    image = SPARSE.of(architecture)
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == image.root.content
    assert "s390x" in skopeo("inspect", "--raw", "--tls-verify=false", name)
