"""Copies of every kind of image from repository to repository, as a user runs them, by both doors of the local ECR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.content import Digest
from ecrdrag.localecr import LocalEcr
from ecrdrag.manifest import Index, parse
from tests import kinds
from tests.flow.conftest import HOST
from tests.flow.scripts import HOME, Run, environment_of, run
from tests.localecr import client
from tests.schema1_images import hello_schema1, put_old_image

BUILDX = kinds.buildx_index(("amd64", "arm64", "s390x"))
ABOUT = kinds.all_about(BUILDX)
ZSTD, FOREIGN, CHART, OLD = kinds.zstd_image(), kinds.foreign_image(), kinds.helm_chart(), hello_schema1()


@pytest.fixture(scope="module")
def ecr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEcr]:
    with LocalEcr(tmp_path_factory.mktemp("ecr")) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="my/app")
        for tag, parcel in (("multi", BUILDX), ("zstd", ZSTD), ("foreign", FOREIGN), ("chart", CHART)):
            kinds.put(api, "my/app", parcel, tag)
        for one in ABOUT:
            kinds.put(api, "my/app", one)
        put_old_image(api, "my/app", OLD, "old")
        yield ecr


@pytest.fixture(params=["ecr", "registry"])
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def copy(ecr: LocalEcr, folder: Path, tag: str, to: str, *options: str) -> Run:
    arguments = ("copy", f"{HOST}/my/app:{tag}", f"{HOST}/{to}", "--create-repository", *options)
    return run("ecrdrag", *arguments, cwd=folder, env=environment_of(ecr, PYTHONPATH=str(HOME)))


def document_at(ecr: LocalEcr, repository: str, tag: str) -> bytes:
    with client(ecr) as api:
        found = api.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": tag}])
        return found["images"][0]["imageManifest"].encode()


def test_some_platforms_become_an_index_of_their_own(ecr: LocalEcr, tmp_path: Path, door: str) -> None:
    options = ("--platform", "linux/amd64", "--platform", "linux/s390x", "--api", door)
    ended = copy(ecr, tmp_path, "multi", f"part/{door}", *options)
    assert ended.code == 0, ended.err
    index = parse(document_at(ecr, f"part/{door}", "multi"))
    assert isinstance(index, Index)
    assert ended.out == f"{HOST}/part/{door}:multi@{index.digest}\n"
    platforms = [str(entry.platform) for entry in index.manifests]
    assert sorted(platforms) == ["linux/amd64", "linux/s390x", "unknown/unknown", "unknown/unknown"]
    assert f"{BUILDX.digest} becomes {index.digest}" in ended.err


def test_what_is_about_an_image_goes_along(ecr: LocalEcr, tmp_path: Path, door: str) -> None:
    ended = copy(ecr, tmp_path, "multi", f"signed/{door}", "--referrers", "--api", door, "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert {each["digest"] for each in found["referrers"]} == {str(one.digest) for one in ABOUT}
    with client(ecr) as api:
        there = api.list_images(repositoryName=f"signed/{door}")["imageIds"]
    everything = {document.digest for parcel in (BUILDX, *ABOUT) for document in parcel.documents}
    assert {Digest.parse(one["imageDigest"]) for one in there} == everything
    tags = {one["imageTag"]: one["imageDigest"] for one in there if "imageTag" in one}
    assert tags == {"multi": str(BUILDX.digest), **{one.tag: str(one.digest) for one in ABOUT if one.tag}}


def test_only_the_types_that_are_wished_for_go_along(ecr: LocalEcr, tmp_path: Path) -> None:
    ended = copy(ecr, tmp_path, "multi", "typed/app", "--referrers", kinds.SPDX, "--dry-run", "--json")
    found = json.loads(ended.out)
    assert {each["artifactType"] for each in found["referrers"]} == {kinds.SPDX}


def test_layers_are_converted_on_the_way(ecr: LocalEcr, tmp_path: Path, door: str) -> None:
    ended = copy(ecr, tmp_path, "zstd", f"gzip/{door}", "--layers", "gzip", "--api", door, "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert {each["mediaType"] for each in found["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    assert Digest.of(document_at(ecr, f"gzip/{door}", "zstd")) == Digest.parse(found["digest"]) != ZSTD.digest


def test_schema_1_becomes_schema_2_on_the_way(ecr: LocalEcr, tmp_path: Path, door: str) -> None:
    ended = copy(ecr, tmp_path, "old", f"new/{door}", "--api", door)
    assert ended.code == 0, ended.err
    raw = document_at(ecr, f"new/{door}", "old")
    assert parse(raw).media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert f"{HOST}/new/{door}:old@{Digest.of(raw)}\n" == ended.out


def test_a_foreign_layer_stays_out_and_an_artifact_goes_as_it_is(ecr: LocalEcr, tmp_path: Path, door: str) -> None:
    ended = copy(ecr, tmp_path, "foreign", f"foreign/{door}", "--api", door, "--json")
    assert ended.code == 0, ended.err
    assert [each["status"] for each in json.loads(ended.out)["layers"]].count("left out") == 1
    assert "--foreign-layers fetches it" in ended.err
    ended = copy(ecr, tmp_path, "chart", f"chart/{door}", "--api", door)
    assert ended.out == f"{HOST}/chart/{door}:chart@{CHART.digest}\n"
