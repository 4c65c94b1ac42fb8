"""Indexes and several images in one archive of docker_pull.py: what each loader makes of the whole, and of a part."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import kinds
from tests.kinds import Parcel
from tests.real.conftest import Tool
from tests.real.loaders import (
    Pulled,
    copied,
    ctr_imported,
    ctr_run,
    ctr_said,
    docker_run,
    docker_said,
    podman_run,
    podman_said,
    pulled,
    pulled_again,
)
from tests.real.local import Local
from tests.real.shelf import NAME, REPOSITORY, Shelf, architecture, digest_of, foreign_architecture

pytestmark = pytest.mark.real

GREETING = "hello from buildx\n"
OTHER = "s390x"  # which no test runs on
SHARED = b"shared by all three\n" * 20_000
GREETINGS = {"one": "hello from one\n", "two": "hello from two\n", "three": "hello from three\n"}
FORMS = ("whole", "part", "remade")


@pytest.fixture(scope="module")
def archives(local: Local) -> Mapping[str, Pulled]:
    """Two platforms with their attestations: all of an index, two of three, and these under an index of their own."""
    both = (foreign_architecture(), architecture())
    wanted = [f"--platform=linux/{each}" for each in reversed(both)]
    whole = pulled(local, "kinds/whole", kinds.buildx_index(both), "--platform", "all")
    part = pulled(local, "kinds/part", kinds.buildx_index((OTHER, *both)), *wanted)
    remade = pulled_again(local, part, *wanted, "--index", "subset")
    return dict(zip(FORMS, (whole, part, remade), strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_docker_loads_and_runs_this_machine_s_image(docker: Tool, archives: Mapping[str, Pulled], form: str) -> None:
    assert docker_said(docker, archives[form]) == GREETING


@pytest.mark.parametrize("form", FORMS)
def test_podman_loads_and_runs_this_machine_s_image(podman: Tool, archives: Mapping[str, Pulled], form: str) -> None:
    assert podman_said(podman, archives[form]) == GREETING


@pytest.mark.parametrize("form", FORMS)
def test_ctr_imports_and_runs_this_machine_s_image(ctr: Tool, archives: Mapping[str, Pulled], form: str) -> None:
    assert ctr_said(ctr, archives[form]) == GREETING


@pytest.mark.parametrize("form", ["whole", "remade"])
def test_ctr_imports_all_platforms_of_what_is_whole(ctr: Tool, archives: Mapping[str, Pulled], form: str) -> None:
    assert ctr_said(ctr, archives[form], "--all-platforms") == GREETING
    held = set(ctr("content", "list", "--quiet").split())
    names = {name.rpartition("/")[2] for name in archives[form].contents if name.startswith("blobs/sha256/")}
    assert {f"sha256:{name}" for name in names} == held


def test_ctr_says_not_found_of_all_platforms_of_a_part(ctr: Tool, archives: Mapping[str, Pulled]) -> None:
    flags = ("--all-platforms", "--snapshotter", "native")
    assert "not found" in ctr.refusal("images", "import", *flags, archives["part"].path)


@pytest.mark.parametrize("form", ["whole", "remade"])
def test_skopeo_copies_all_of_what_is_whole(
    skopeo: Tool, archives: Mapping[str, Pulled], form: str, tmp_path: Path
) -> None:
    archive = archives[form]
    found = copied(skopeo, f"oci-archive:{archive.path}", tmp_path / "copy", "--all", "--preserve-digests")
    blobs = {data for name, data in archive.contents.items() if name.startswith("blobs/sha256/")}
    assert set(found.values()) == blobs


def test_skopeo_says_no_such_file_of_all_of_a_part(
    skopeo: Tool, archives: Mapping[str, Pulled], tmp_path: Path
) -> None:
    said = skopeo.refusal("copy", "--all", f"oci-archive:{archives['part'].path}", f"dir:{tmp_path}")
    assert "no such file or directory" in said


@pytest.mark.parametrize("form", FORMS)
def test_skopeo_copies_any_one_platform(
    skopeo: Tool, archives: Mapping[str, Pulled], form: str, tmp_path: Path
) -> None:
    for wanted in (architecture(), foreign_architecture()):
        taken = Tool(skopeo.cell, (*skopeo.words, "--override-arch", wanted))
        found = copied(taken, f"oci-archive:{archives[form].path}", tmp_path / wanted)
        assert set(found) == {digest_of(data) for data in archives["whole"].parcel.of(wanted).contents.values()}


def test_a_part_holds_what_was_chosen_with_its_attestations(archives: Mapping[str, Pulled]) -> None:
    whole, part = archives["whole"].parcel, archives["part"]
    below = {name: data for name, data in whole.contents.items() if data != whole.root.content}
    root = {f"blobs/sha256/{part.parcel.digest.hex}": part.parcel.root.content}
    assert {name: data for name, data in part.contents.items() if name.startswith("blobs/")} == {**below, **root}


def test_an_index_written_anew_names_what_was_chosen_as_it_was_named(archives: Mapping[str, Pulled]) -> None:
    before, after = (json.loads(archives[form].parcel.root.content) for form in ("part", "remade"))
    chosen = {str(document.digest) for document in archives["whole"].parcel.documents}
    before["manifests"] = [entry for entry in before["manifests"] if entry["digest"] in chosen]
    assert after == before
    assert len(after["manifests"]) == 4


def test_a_whole_index_is_pushed_with_its_digest_and_pulled_again_byte_for_byte(
    local: Local, archives: Mapping[str, Pulled]
) -> None:
    whole = archives["whole"]
    name = whole.name.replace("/whole:", "/whale:")  # as long: whole tars can be compared
    (sent,) = local.shelf.push(whole.path, name)
    assert (sent.digest, sent.fates) == (str(whole.parcel.digest), {"uploaded"})
    assert sent.documents == [str(each.digest) for each in whole.parcel.documents]
    path, _ = local.shelf.pull(name, "--platform", "all")
    assert path.read_bytes() == whole.path.read_bytes().replace(whole.name.encode(), name.encode())


@dataclass(frozen=True)
class Several:
    """Three images upon one layer in one file."""

    path: Path
    names: Mapping[str, str]
    parcels: Mapping[str, Parcel]


@pytest.fixture(scope="module")
def several(local: Local, tmp_path_factory: pytest.TempPathFactory) -> Several:
    parcels = {key: kinds.greeter(architecture(), text, shared=SHARED) for key, text in GREETINGS.items()}
    for key, parcel in parcels.items():
        local.create(f"kinds/{key}")
        kinds.put(local.ecr, f"{REPOSITORY}/kinds/{key}", parcel, key)
    names = {key: f"{NAME}/kinds/{key}:{key}" for key in parcels}
    path = tmp_path_factory.mktemp("several") / "release.tar"
    done = local.shelf.run("docker_pull.py", *names.values(), "-o", str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{path} {parcels[key].digest} {names[key]}" for key in parcels]
    return Several(path, names, parcels)


def test_what_several_images_share_is_in_their_archive_once(several: Several) -> None:
    blobs = {name: data for parcel in several.parcels.values() for name, data in parcel.contents.items()}
    assert len(blobs) == sum(len(parcel.contents) for parcel in several.parcels.values()) - 2  # the layer of all three
    with tarfile.open(several.path) as archive:
        members = archive.getmembers()
    assert {one.name for one in members if one.name.startswith("blobs/sha256/") and one.isfile()} == set(blobs)
    around = sum(_in_tar(one.size) for one in members if one.name not in blobs)
    assert several.path.stat().st_size == sum(map(_in_tar, map(len, blobs.values()))) + around + 1024


def _in_tar(size: int) -> int:
    """Count a header and whole blocks (POSIX ustar)."""
    return 512 + -(-size // 512) * 512


def test_docker_load_prints_every_name_and_all_of_them_run(docker: Tool, several: Several) -> None:
    said = docker("load", stdin=several.path).splitlines()
    assert sorted(said) == sorted(f"Loaded image: {name}" for name in several.names.values())
    for key, name in several.names.items():
        assert docker_run(docker, name) == GREETINGS[key]


def test_podman_load_prints_every_name_and_all_of_them_run(podman: Tool, several: Several) -> None:
    assert set(several.names.values()) <= set(podman("load", "-i", several.path).replace(",", " ").split())
    for key, name in several.names.items():
        assert podman_run(podman, name) == GREETINGS[key]


def test_ctr_imports_every_name_and_all_of_them_run(ctr: Tool, several: Several) -> None:
    wanted = {several.names[key]: str(parcel.digest) for key, parcel in several.parcels.items()}
    assert ctr_imported(ctr, several.path) == wanted
    for key, name in several.names.items():
        assert ctr_run(ctr, name) == GREETINGS[key]


def test_skopeo_finds_each_of_several_images_by_its_tag(skopeo: Tool, several: Several) -> None:
    for key, parcel in several.parcels.items():
        assert digest_of(skopeo("inspect", "--raw", f"oci-archive:{several.path}:{key}").encode()) == str(parcel.digest)


def test_several_images_go_to_their_names_in_another_registry(several: Several, elsewhere: Shelf) -> None:
    sent = elsewhere.push(several.path)
    named = [[f"{several.names[key]}@{parcel.digest}"] for key, parcel in several.parcels.items()]
    assert sorted(image.references for image in sent) == sorted(named)


def test_one_of_several_images_is_pushed_by_its_name(local: Local, several: Several) -> None:
    (sent,) = local.shelf.push(several.path, f"{NAME}/kinds/taken:1", "--image", several.names["two"])
    assert sent.digest == str(several.parcels["two"].digest)
