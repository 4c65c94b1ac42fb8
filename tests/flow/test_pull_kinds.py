"""docker_pull.py with every kind of image, and several at once, against the local ECR: what comes, and what is said."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecrdrag.cli.main import main_of
from ecrdrag.localecr import LocalEcr
from tests import kinds
from tests.flow.conftest import HOST
from tests.flow.offered import offering
from tests.flow.scripts import Run
from tests.kinds import Parcel
from tests.localecr import Recorder, client, running

APP = f"{HOST}/my/app"
ONE, TWO, THREE = (kinds.greeter("amd64", f"hello from {name}\n", shared=b"shared") for name in ("one", "two", "three"))
INDEX = kinds.buildx_index(("amd64", "arm64", "s390x"))
ABOUT = kinds.all_about(INDEX)
CHILD = INDEX.of("amd64")
SIGNED_CHILD = kinds.signature(CHILD)
INSIDE = kinds.foreign_image(greeting="hello inside\n", url="https://127.0.0.1:1/layer?X-Amz-Signature=s3cret")
STOCK = {
    "one": ONE,
    "two": TWO,
    "three": THREE,
    "stable": ONE,
    TWO.digest.hex: THREE,
    "index": INDEX,
    "nested": kinds.nested_index(),
    "zstd": kinds.zstd_image(),
    "foreign": kinds.foreign_image(),
    "inside": INSIDE,
    "chart": kinds.helm_chart(),
    "wasm": kinds.wasm(),
}
KINDS = ("index", "nested", "zstd", "chart", "wasm", "foreign")
AMD64 = "--platform=linux/amd64"
ALL = "--platform=all"


class User:
    """Somebody in a folder, who runs docker_pull.py and other commands."""

    def __init__(self, folder: Path, recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.recorder, self._capsys = folder, recorder, capsys
        recorder.requests.clear()

    def run(self, command: str, *arguments: str) -> Run:
        self._capsys.readouterr()
        code = main_of(command, [*arguments, "--progress", "none"], program=command)
        return Run(code, *self._capsys.readouterr())

    def pull(self, *arguments: str, file: str = "app.tar") -> Run:
        """Pull with these, where a reference is a tag of the one repository."""
        named = [f"{APP}:{each}" if each in STOCK or each.startswith("gone") else each for each in arguments]
        return self.run("pull", *named, "-o", file)

    def report(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Pull, and give the JSON that was printed."""
        ended = self.pull(*arguments, "--json", "--force")
        assert ended.code == code, ended.err
        found = json.loads(ended.out)
        assert isinstance(found, dict)
        return found

    def contents(self, file: str = "app.tar") -> dict[str, bytes]:
        with tarfile.open(self.folder / file) as archive:
            return {member.name: part.read() for member in archive if (part := archive.extractfile(member))}

    def blobs(self, file: str = "app.tar") -> dict[str, bytes]:
        return {name: data for name, data in self.contents(file).items() if name.startswith("blobs/")}


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def stocked(recorder: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEcr]:
    with running(tmp_path_factory.mktemp("ecr"), recorder=recorder) as ecr:
        with client(ecr) as api:
            api.create_repository(repositoryName="my/app")
            for tag, parcel in STOCK.items():
                kinds.put(api, "my/app", parcel, tag)
            for parcel in (*ABOUT, SIGNED_CHILD):
                kinds.put(api, "my/app", parcel)
        yield ecr


@pytest.fixture
def user(
    stocked: LocalEcr,
    recorder: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> User:
    for name, value in stocked.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return User(tmp_path / "work", recorder, capsys)


def all_of(*parcels: Parcel) -> dict[str, bytes]:
    return {name: data for parcel in parcels for name, data in parcel.contents.items()}


def test_several_images_come_in_one_file_whatever_their_order(user: User) -> None:
    ended = user.pull("one", "two", "three", AMD64)
    lines = [f"app.tar {parcel.digest} {APP}:{tag}" for tag, parcel in (("one", ONE), ("two", TWO), ("three", THREE))]
    assert (ended.code, ended.out.splitlines()) == (0, lines), ended.err
    assert user.blobs() == all_of(ONE, TWO, THREE)
    assert user.pull("three", "one", "two", "one", AMD64, file="other.tar").code == 0
    assert (user.folder / "app.tar").read_bytes() == (user.folder / "other.tar").read_bytes()


def test_layers_that_images_share_are_fetched_once(user: User) -> None:
    assert user.pull("one", "two", "three", AMD64).code == 0
    assert user.recorder.count("GET ") == len(ONE.blobs) + len(TWO.blobs) + len(THREE.blobs) - 2


def test_names_of_one_image_all_come(user: User) -> None:
    assert user.pull("stable", "one", AMD64).code == 0
    entries = json.loads(user.contents()["index.json"])["manifests"]
    assert {entry["digest"] for entry in entries} == {str(ONE.digest)}
    names = [f"{APP}:one", f"{APP}:stable"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in entries] == names
    assert [entry["RepoTags"] for entry in json.loads(user.contents()["manifest.json"])] == [names]


def test_two_images_of_one_name_are_refused(user: User) -> None:
    ended = user.pull(f"{APP}@{TWO.digest}", TWO.digest.hex, AMD64)
    assert (ended.code, list(user.folder.iterdir())) == (2, [])
    assert f"both would be called {APP}:{TWO.digest.hex}" in ended.err


def test_references_come_from_a_list_too(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"# the release\n{APP}:one\n\n  {APP}:two  # of today\n"
    (user.folder / "images.txt").write_text(text)
    assert user.pull("--from", "images.txt", AMD64, "three").code == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert user.pull("three", "--from", "-", AMD64, file="other.tar").code == 0
    assert (user.folder / "app.tar").read_bytes() == (user.folder / "other.tar").read_bytes()
    assert user.blobs() == all_of(ONE, TWO, THREE)


def test_all_that_is_missing_is_said_before_a_layer_moves(user: User) -> None:
    ended = user.pull("one", "gone-1", "chart", "gone-2", AMD64)
    assert (ended.code, ended.out, list(user.folder.iterdir())) == (4, "", [])
    assert "3 of 4 references can't be pulled" in ended.err
    assert [f"  {APP}:{tag}" in ended.err for tag in ("gone-1", "chart", "gone-2", "one")] == [True, True, True, False]
    layers = {digest for digest, blob in ONE.blobs.items() if "layer" in blob.media_type}
    assert not [request for request in user.recorder.requests for digest in layers if digest.hex in request]


def test_keep_going_pulls_the_rest_and_ends_with_the_first_problem(user: User) -> None:
    ended = user.pull("gone", "one", "two", AMD64, "--keep-going")
    assert (ended.code, len(ended.out.splitlines())) == (4, 2)
    assert f"{APP}:gone" in ended.err
    assert user.blobs() == all_of(ONE, TWO)
    report = user.report("gone", "one", "two", AMD64, "--keep-going", code=4)
    assert [one["reference"] for one in report["problems"]] == [f"{APP}:gone"]
    assert user.pull("gone", "--keep-going", file="none.tar").code == 4
    assert not (user.folder / "none.tar").exists()


def test_a_second_pull_of_several_images_finds_them_there(user: User) -> None:
    assert user.pull("one", "two", AMD64).code == 0
    ended = user.pull("two", "one", AMD64)
    assert ended.code == 0
    assert "app.tar holds these images already, verified: nothing was downloaded" in ended.err


def test_an_index_comes_whole(user: User) -> None:
    report = user.report("index", ALL, AMD64)
    assert (report["digest"], report["platform"]) == (str(INDEX.digest), "linux/amd64")
    assert report["manifests"] == [str(document.digest) for document in INDEX.documents]
    assert user.blobs() == all_of(INDEX)


def test_docker_gets_the_first_platform_that_is_named(user: User) -> None:
    for first, second in (("arm64", "amd64"), ("amd64", "arm64")):
        options = (f"--platform=linux/{first}", f"--platform=linux/{second}")
        report = user.report("index", *options)
        assert (report["digest"], report["platform"]) == (str(INDEX.digest), f"linux/{first}")
        (entry,) = json.loads(user.contents()["manifest.json"])
        assert json.loads(user.contents()[entry["Config"]])["architecture"] == first


def test_an_index_of_some_platforms_is_made_where_it_is_asked_for(user: User) -> None:
    options = ("--platform=linux/arm64", AMD64, "--index=subset")
    report = user.report("index", *options)
    made = json.loads(user.contents()[f"blobs/sha256/{report['digest'].removeprefix('sha256:')}"])
    there = [entry["platform"]["architecture"] for entry in made["manifests"]]
    assert there == ["amd64", "arm64", "unknown", "unknown"]
    ended = user.pull("index", *options, file="other.tar")
    assert f"{INDEX.digest} becomes {report['digest']}" in ended.err


def test_an_index_in_an_index_comes_whole(user: User) -> None:
    nested = STOCK["nested"]
    assert user.report("nested", ALL)["digest"] == str(nested.digest)
    assert user.blobs() == all_of(nested)
    assert user.report("nested", "--platform=linux/arm64")["platform"] == "linux/arm64"


def test_a_platform_that_is_not_there_is_not_found_among_all_either(user: User) -> None:
    ended = user.pull("index", ALL, "--platform=linux/ppc64le")
    assert (ended.code, list(user.folder.iterdir())) == (4, [])
    assert "it has linux/amd64, linux/arm64, linux/s390x\n" in ended.err


def referrers_in(user: User, file: str = "app.tar") -> dict[str, str]:
    """Give the digests in referrers.json, with their tags."""
    listed = json.loads(user.contents(file)["referrers.json"])["manifests"]
    return {one["digest"]: one.get("annotations", {}).get("org.opencontainers.image.ref.name", "") for one in listed}


@pytest.mark.parametrize("api", ["ecr", "registry"])
def test_what_is_about_an_index_and_its_images_comes_along(user: User, api: str) -> None:
    report = user.report("index", ALL, "--referrers", "--api", api)
    assert {one["digest"] for one in report["referrers"]} == {str(each.digest) for each in (*ABOUT, SIGNED_CHILD)}
    assert referrers_in(user) == {str(each.digest): each.tag for each in (*ABOUT, SIGNED_CHILD)}
    assert user.blobs() == all_of(INDEX, *ABOUT, SIGNED_CHILD)


def test_without_referrers_nothing_is_asked_about_them(user: User) -> None:
    assert user.pull("index", ALL).code == 0
    assert "referrers.json" not in user.contents()
    assert user.recorder.count("ListImageReferrers") == 0


def test_one_type_of_referrers_comes_alone(user: User) -> None:
    report = user.report("index", ALL, f"--referrers={kinds.SPDX}")
    assert {one["artifactType"] for one in report["referrers"]} == {kinds.SPDX}
    assert user.blobs() == all_of(INDEX, ABOUT[3])


def test_of_one_platform_only_what_is_about_it_comes_and_the_rest_is_counted(user: User) -> None:
    ended = user.pull("index", AMD64, "--referrers")
    assert referrers_in(user) == {str(SIGNED_CHILD.digest): ""}
    assert "5 referrers are about the index as a whole" in ended.err
    assert "--platform all takes both" in ended.err


def test_zstd_is_kept_and_said_to_be_unreadable_for_old_docker(user: User) -> None:
    ended = user.pull("zstd", AMD64)
    assert (ended.code, user.blobs()) == (0, all_of(STOCK["zstd"]))
    assert f"{APP}:zstd has zstd layers" in ended.err
    assert "--layers gzip" in ended.err


@pytest.mark.parametrize("form", ["gzip", "plain"])
def test_zstd_becomes_another_form_which_is_the_same_each_time(user: User, form: str) -> None:
    report = user.report("zstd", AMD64, "--layers", form)
    magic = {blob["mediaType"].rpartition("tar")[2] for blob in report["layers"]}
    assert magic == {"+gzip" if form == "gzip" else ""}
    assert report["digest"] != str(STOCK["zstd"].digest)
    ended = user.pull("zstd", AMD64, "--layers", form, "-j", "1", file="other.tar")
    assert (user.folder / "app.tar").read_bytes() == (user.folder / "other.tar").read_bytes()
    assert f"{STOCK['zstd'].digest} becomes {report['digest']}" in ended.err
    assert "zstd layers" not in ended.err


def test_a_foreign_layer_is_left_out_and_named(user: User) -> None:
    ((digest, layer),) = STOCK["foreign"].elsewhere.items()
    ended = user.pull("foreign", AMD64)
    assert (ended.code, user.blobs()) == (0, all_of(STOCK["foreign"]))
    assert f"left out layer {digest}" in ended.err
    assert "--foreign-layers fetches it from layers.example.com" in ended.err
    (left_out,) = user.report("foreign", AMD64)["leftOut"]
    assert left_out == {"digest": str(digest), "size": len(layer.content), "mediaType": layer.media_type}


def test_a_foreign_layer_is_not_fetched_from_this_machine_and_no_secret_is_said(user: User) -> None:
    ended = user.pull("inside", AMD64, "--foreign-layers")
    assert (ended.code, list(user.folder.iterdir())) == (5, [])
    assert "127.0.0.1" in ended.err
    assert "leave out --foreign-layers" in ended.err
    assert "s3cret" not in ended.err


@pytest.mark.parametrize("kind", ["chart", "wasm"])
def test_an_artifact_comes_as_a_layout_that_docker_is_said_not_to_load(user: User, kind: str) -> None:
    ended = user.pull(kind)
    assert (ended.code, ended.out) == (0, f"app.tar {STOCK[kind].digest}\n"), ended.err
    assert user.blobs() == all_of(STOCK[kind])
    assert "manifest.json" not in user.contents()
    assert "docker load can't make an image of it" in ended.err
    assert user.report(kind)["platform"] is None


def test_images_and_artifacts_come_in_one_file(user: User) -> None:
    assert user.pull("one", "chart", "wasm").code == 0
    assert user.blobs() == all_of(ONE, STOCK["chart"], STOCK["wasm"])
    assert [entry["RepoTags"] for entry in json.loads(user.contents()["manifest.json"])] == [[f"{APP}:one"]]


def test_what_is_served_of_an_archive_is_pulled_as_that_archive(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert user.pull(*KINDS, ALL, "--referrers").code == 0
    with offering(tmp_path / "served", user.folder / "app.tar") as ecr:
        for name, value in ecr.environment.items():
            monkeypatch.setenv(name, value)
        for api in ("ecr", "registry"):
            ended = user.pull(*KINDS, ALL, "--referrers", "--api", api, file=f"{api}.tar")
            assert ended.code == 0, ended.err
            assert (user.folder / f"{api}.tar").read_bytes() == (user.folder / "app.tar").read_bytes()


@pytest.mark.parametrize("api", ["ecr", "registry"])
def test_every_kind_is_copied_with_what_is_about_it(user: User, api: str) -> None:
    copies = f"{HOST}/my/{api}"
    options = ("--referrers", "--create-repository", "--api", api)
    for kind in KINDS:
        ended = user.run("copy", f"{APP}:{kind}", f"{copies}:{kind}", *options)
        assert (ended.code, ended.out.splitlines()[0]) == (0, f"{copies}:{kind}@{STOCK[kind].digest}"), ended.err
    assert user.run("pull", *(f"{copies}:{kind}" for kind in KINDS), ALL, "--referrers", "-o", "app.tar").code == 0
    assert user.blobs() == all_of(*(STOCK[kind] for kind in KINDS), *ABOUT, SIGNED_CHILD)
