"""Every kind of thing that an archive can hold goes up byte for byte: charts, WASM, all platforms, foreign layers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ecrdrag.localecr import LocalEcr
from tests import kinds
from tests.flow.conftest import HOST
from tests.flow.scripts import Run, environment_of, run
from tests.kinds import Parcel
from tests.localecr import client, running
from tests.packed import Files, packed, without, write
from tests.registry import visiting

APP = f"{HOST}/my/app"
CREATE = "--create-repository"
KINDS = {
    "chart": kinds.helm_chart(),
    "wasm": kinds.wasm(),
    "any-file": kinds.bare_artifact(),
    "signature": replace(kinds.cosign_signature(kinds.wasm()), tag=""),
    "all-platforms": kinds.buildx_index(),
    "attestations-as-artifacts": kinds.buildx_index(artifacts=True),
    "nested": kinds.nested_index(),
    "index-of-nothing": kinds.index([], artifactType="application/vnd.example.list"),
    "zstd": kinds.zstd_image(),
    "docker-zstd": kinds.zstd_image(oci=False),
    "docker-list": kinds.index([kinds.greeter("amd64", "a\n", oci=False)], oci=False),
    "foreign": kinds.foreign_image(),
    "docker-foreign": kinds.foreign_image(oci=False),
}
SPARSE = kinds.buildx_index(["amd64", "arm64", "s390x"])


@pytest.fixture
def ecr(tmp_path: Path) -> Iterator[LocalEcr]:
    with running(tmp_path / "data") as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder for archives, apart from the server's."""
    made = tmp_path / "work"
    made.mkdir()
    return made


def push(ecr: LocalEcr, folder: Path, files: Files, *arguments: str) -> Run:
    write(folder / "app.tar", files)
    return run("docker_push.py", "app.tar", *arguments, cwd=folder, env=environment_of(ecr))


def check_there(ecr: LocalEcr, parcel: Parcel, tag: str) -> None:
    """Hold all that a client would pull against what it is."""
    with visiting(ecr) as v2:
        root = v2.get(f"/v2/my/app/manifests/{tag}", Accept=parcel.root.media_type)
        assert (root.body, root.headers["Content-Type"]) == (parcel.root.content, parcel.root.media_type)
        for document in parcel.documents:
            found = v2.get(f"/v2/my/app/manifests/{document.digest}", Accept=document.media_type)
            assert found.body == document.content
        for digest, blob in parcel.blobs.items():
            assert v2.follow(v2.get(f"/v2/my/app/blobs/{digest}")).body == blob.content


@pytest.mark.parametrize("api", ["ecr", "registry"])
def test_every_kind_arrives_byte_for_byte(ecr: LocalEcr, folder: Path, api: str) -> None:
    names = {f"{APP}:{tag}": parcel for tag, parcel in KINDS.items()}
    ended = push(ecr, folder, packed(names), CREATE, "--api", api)
    assert ended.out.splitlines() == [f"{name}@{parcel.digest}" for name, parcel in names.items()], ended.err
    for tag, parcel in KINDS.items():
        check_there(ecr, parcel, tag)


@pytest.mark.parametrize("kind", ["chart", "index-of-nothing"])
def test_what_is_no_image_goes_where_it_is_told_to(ecr: LocalEcr, folder: Path, kind: str) -> None:
    ended = push(ecr, folder, packed({"1": KINDS[kind]}), f"{APP}:told", CREATE)
    assert ended.out == f"{APP}:told@{KINDS[kind].digest}\n", ended.err
    check_there(ecr, KINDS[kind], "told")


@pytest.mark.parametrize("oci", [True, False])
def test_a_foreign_layer_that_the_archive_has_goes_up(ecr: LocalEcr, folder: Path, oci: bool) -> None:
    image = kinds.foreign_image(oci=oci)
    ((digest, layer),) = image.elsewhere.items()
    away = packed({"1": image})
    here = {**away, f"blobs/sha256/{digest.hex}": layer.content}
    for files, fate in ((away, "left out"), (here, "uploaded"), (here, "existed")):
        ended = push(ecr, folder, files, f"{APP}:1", CREATE, "--json")
        (report,) = json.loads(ended.out)["images"]
        assert [one["status"] for one in report["layers"] if one["digest"] == str(digest)] == [fate]
        with client(ecr) as api:
            (found,) = api.batch_check_layer_availability(repositoryName="my/app", layerDigests=[str(digest)])["layers"]
        assert (found["layerAvailability"] == "AVAILABLE") is (fate != "left out")
    check_there(ecr, image, "1")


def test_of_a_part_of_an_index_each_platform_can_be_pushed_and_the_error_says_how(ecr: LocalEcr, folder: Path) -> None:
    amd, arm, other, _, attestation, another = SPARSE.documents[:6]
    files = without(packed({"1": SPARSE}), other.digest, another.digest)
    ended = push(ecr, folder, files, f"{APP}:1", CREATE)
    assert (ended.code, ended.out) == (7, "")
    what, *lines = ended.err.splitlines()
    assert what.endswith(f"{other.digest.hex} is missing: the image for linux/s390x that its index names")
    assert lines[:-1] == [
        "  push one by one what the archive has of it:",
        f"  --image {amd.digest}  linux/amd64",
        f"  --image {arm.digest}  linux/arm64",
    ]
    assert "registries take an index only together with all that it names" in lines[-1]
    assert "--platform all" in lines[-1]
    assert "--index subset" in lines[-1]
    assert str(attestation.digest) not in ended.err
    for architecture, document in (("amd64", amd), ("arm64", arm)):
        chosen = push(ecr, folder, files, f"{APP}:{architecture}", CREATE, "--image", str(document.digest))
        assert chosen.out == f"{APP}:{architecture}@{document.digest}\n", chosen.err
        check_there(ecr, SPARSE.of(architecture), architecture)


def test_an_index_of_which_nothing_is_there_is_said_to_be_in_an_archive_that_is_not_whole(
    ecr: LocalEcr, folder: Path
) -> None:
    image = kinds.index([kinds.wasm()])
    ended = push(ecr, folder, without(packed({"1": image}), image.documents[0].digest), f"{APP}:1", CREATE)
    assert ended.err.splitlines()[1:] == ["  the archive is not whole: fetch or save it again"]
