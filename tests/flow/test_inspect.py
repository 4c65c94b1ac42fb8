"""inspect shows every kind of image as one document, through the ECR API, through /v2/ and in archives."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ecrdrag.cli.main import main_of
from ecrdrag.localecr import LocalEcr
from tests import kinds
from tests.flow.conftest import HOST
from tests.flow.scripts import HOME, Run, environment_of, run
from tests.kinds import Parcel
from tests.localecr import Recorder, client, running
from tests.packed import packed, write
from tests.saved import CONFIG, docker_save_old, folder_with, tar_with
from tests.schema1_images import hello_schema1, put_old_image

APP = f"{HOST}/my/app"
INDEX = kinds.buildx_index(("amd64", "arm64", "s390x"))
ABOUT = (*kinds.all_about(INDEX), kinds.signature(INDEX.of("amd64")))
INSIDE = kinds.foreign_image(url="https://user:s3cret@127.0.0.1:1/layer?X-Amz-Signature=s3cret")
OLD = hello_schema1()
STOCK = {
    "one": kinds.greeter("amd64", "hello\n", shared=b"shared"),
    "docker": kinds.greeter("arm64", "hello\n", oci=False),
    "index": INDEX,
    "artifacts": kinds.buildx_index(artifacts=True),
    "nested": kinds.nested_index(),
    "zstd": kinds.zstd_image(),
    "foreign": kinds.foreign_image(),
    "inside": INSIDE,
    "chart": kinds.helm_chart(),
    "wasm": kinds.wasm(),
    "bare": kinds.bare_artifact(),
}


@dataclass(frozen=True)
class User:
    """Somebody in a folder, who inspects."""

    folder: Path
    recorder: Recorder
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str, command: str = "inspect") -> Run:
        self.capsys.readouterr()
        code = main_of(command, [*arguments, "--progress", "none"], program=command)
        return Run(code, *self.capsys.readouterr())

    def document(self, *arguments: str) -> dict[str, Any]:
        """Give the one image of the JSON document."""
        ended = self.run(*arguments, "--json")
        assert ended.code == 0, ended.err
        assert "s3cret" not in ended.out + ended.err
        (image,) = json.loads(ended.out)["images"]
        assert isinstance(image, dict)
        return image


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def stocked(recorder: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEcr]:
    with running(tmp_path_factory.mktemp("ecr"), recorder=recorder) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="my/app")
        for tag, parcel in STOCK.items():
            kinds.put(api, "my/app", parcel, tag)
        for parcel in ABOUT:
            kinds.put(api, "my/app", parcel)
        put_old_image(api, "my/app", OLD, "old")
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
    recorder.requests.clear()
    return User(tmp_path / "work", recorder, capsys)


@pytest.mark.parametrize("tag", STOCK)
def test_one_document_comes_from_everywhere(user: User, tag: str) -> None:
    reference = f"{APP}:{tag}"
    by_api = user.document(reference, "--referrers", "--platform=all", "--api=ecr")
    by_v2 = user.document(reference, "--referrers", "--platform=all", "--api=registry")
    assert user.run(reference, "--platform=all", "--referrers", "-o", "app.tar", command="pull").code == 0
    assert by_api == by_v2 == user.document("app.tar", "--platform=all")
    assert by_api["references"] == [reference]
    assert by_api["digest"] == str(STOCK[tag].digest)
    assert by_api["blobs"] == len(STOCK[tag].blobs) + len(STOCK[tag].elsewhere)


def test_an_image_before_2016_is_the_same_through_both_doors(user: User) -> None:
    found = user.document(f"{APP}:old", "--api=ecr")
    assert found == user.document(f"{APP}:old", "--api=registry")
    assert [layer["size"] for layer in found["layers"]] == [len(step) for step in OLD.steps]


@pytest.mark.parametrize("tag", STOCK)
@pytest.mark.parametrize("api", ["ecr", "registry"])
def test_raw_bytes_are_those_of_the_registry(user: User, tag: str, api: str) -> None:
    ended = user.run(f"{APP}:{tag}", "--raw", "--api", api)
    assert (ended.code, ended.out.encode()) == (0, STOCK[tag].root.content), ended.err


def test_raw_bytes_of_an_image_before_2016_have_their_signatures(user: User) -> None:
    assert user.run(f"{APP}:old", "--raw").out.encode() == OLD.raw
    ended = user.run(f"{APP}:old", "--raw", "--config")
    assert (ended.code, ended.out) == (8, "")
    assert "--raw alone prints it" in ended.err


def test_raw_asks_for_one_document_alone(user: User) -> None:
    assert user.run(f"{APP}:index", "--raw", "--api=ecr").code == 0
    assert user.recorder.requests == ["BatchGetImage"]


def test_a_raw_config_is_that_of_a_platform(user: User) -> None:
    child = INDEX.of("arm64")
    config = json.loads(child.root.content)["config"]["digest"]
    (content,) = [blob.content for digest, blob in child.blobs.items() if str(digest) == config]
    assert user.run(f"{APP}:index", "--raw", "--config", "--platform=linux/arm64").out.encode() == content
    assert user.run(f"{APP}:index", "--raw", "--platform=linux/arm64").out.encode() == child.root.content


def test_bytes_reach_a_pipe_as_they_are(stocked: LocalEcr, tmp_path: Path) -> None:
    environment = environment_of(stocked, PYTHONPATH=str(HOME), PYTHONIOENCODING="ascii", NO_COLOR="1")
    ended = run("ecrdrag", "inspect", f"{APP}:chart", "--raw", "--config", cwd=tmp_path, env=environment)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.encode() == next(iter(STOCK["chart"].blobs.values())).content


def test_no_layer_is_asked_for(user: User) -> None:
    for tag in STOCK:
        assert user.run(f"{APP}:{tag}", "--platform=all", "--referrers", "--api=ecr").code == 0
    configs = {json.loads(one.content)["config"]["digest"][7:] for each in STOCK.values() for one in images_of(each)}
    fetched = {request.rpartition("/")[2].partition("?")[0] for request in user.recorder.requests if "GET" in request}
    assert fetched
    assert all(any(digest in request for digest in configs) for request in fetched)


def images_of(parcel: Parcel) -> list[Any]:
    return [document for document in parcel.documents if b'"layers"' in document.content]


def test_people_see_the_whole_tree(user: User) -> None:
    ended = user.run(f"{APP}:index", "--platform=linux/arm64", "--referrers")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"{APP}:index\n{INDEX.digest}\n")
    for text in ("├─ linux/s390x", "attestation of linux/amd64", "\nlinux/arm64\n", "\nREFERRER", kinds.SPDX):
        assert text in ended.out


def test_a_query_picks_of_the_document(user: User) -> None:
    query = "images[0].manifests[?kind=='image'].[platform, digest]"
    ended = user.run(f"{APP}:index", "--query", query, "--tsv")
    assert ended.out.splitlines() == [f"linux/{each}\t{INDEX.of(each).digest}" for each in ("amd64", "arm64", "s390x")]
    assert json.loads(user.run(f"{APP}:one", "--query", "images[0].config.env").out) == ["PATH=/bin"]
    assert user.run(f"{APP}:one", "--query", "images[").code == 2


def test_tabs_have_a_line_for_each_thing(user: User) -> None:
    lines = [line.split("\t") for line in user.run(f"{APP}:index", "--tsv").out.splitlines()]
    assert {len(line) for line in lines} == {6}
    assert [line[0] for line in lines].count("attestation") == 3
    assert {line[2] for line in lines} == {
        str(each) for each in (*INDEX.blobs, *(one.digest for one in INDEX.documents))
    }


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((f"{APP}:gone",), 4, "gone"),
        ((f"{HOST}/no/such:1",), 4, "no/such"),
        ((f"{APP}:index", "--platform=linux/riscv64"), 4, "it has linux/amd64, linux/arm64, linux/s390x"),
        ((f"{APP}:chart", "--platform=linux/amd64"), 4, "no image at all"),
        ((f"{APP}:index", "--platform=nonsense"), 2, "--platform"),
        ((f"{APP}:one", "--image=x"), 2, "--image"),
        ((f"{APP}:one", "--config"), 2, "--raw"),
        ((f"{APP}:one", "--raw", "--json"), 2, "--raw"),
        ((f"{APP}:one", "--raw", "--query=x"), 2, "--raw"),
        ((f"{APP}:one", "--raw", "--tsv"), 2, "--raw"),
        ((f"{APP}:one", "--raw", "--referrers"), 2, "--raw"),
        (("-", "--password-stdin", "-u", "x"), 2, "standard input"),
        (("",), 2, "ARCHIVE is empty"),
        ((f"{APP}::",), 2, "bad reference"),
    ],
)
def test_what_can_not_be_has_its_exit_code(user: User, arguments: tuple[str, ...], code: int, words: str) -> None:
    ended = user.run(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err


def test_a_reference_without_a_tag_means_latest(user: User) -> None:
    ended = user.run(APP)
    assert ended.code == 4
    assert "taking :latest" in ended.err
    assert user.document(f"{APP}@{INDEX.digest}")["references"] == [f"{APP}@{INDEX.digest}"]


# Archives


@pytest.fixture
def archive(user: User) -> Path:
    return write(user.folder / "app.tar", packed({f"{APP}:index": INDEX, "registry.example.com/x:1": STOCK["chart"]}))


@pytest.mark.parametrize("name", ["app.tar", "./app.tar", "../work/app.tar"])
def test_what_is_there_is_an_archive(user: User, archive: Path, name: str) -> None:
    found = json.loads(user.run(name, "--json").out)
    assert [each["digest"] for each in found["images"]] == [str(INDEX.digest), str(STOCK["chart"].digest)]
    assert found["archive"].endswith("app.tar")
    assert user.recorder.requests == []


def test_one_image_of_an_archive_is_chosen(user: User, archive: Path) -> None:
    assert user.document("app.tar", "--image", "registry.example.com/x:1")["kind"] == "artifact"
    ended = user.run("app.tar", "--image", "other")
    assert (ended.code, ended.out) == (4, "")
    assert "registry.example.com/x:1" in ended.err
    assert user.run("app.tar", "--raw").code == 2


def test_folders_compressed_files_and_stdin_are_archives(
    user: User, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = json.loads(user.run("app.tar", "--json").out)["images"]
    (user.folder / "app.tgz").write_bytes(gzip.compress(archive.read_bytes()))
    folder_with(user.folder / "layout", packed({f"{APP}:index": INDEX, "registry.example.com/x:1": STOCK["chart"]}))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(archive.read_bytes())))
    for name in ("app.tgz", "layout", "-"):
        found = json.loads(user.run(name, "--json").out)
        assert found["images"] == expected
        assert found["archive"] == ("stdin" if name == "-" else name)


def test_an_archive_of_docker_is_shown_and_its_config_is_given(user: User) -> None:
    (user.folder / "saved.tar").write_bytes(tar_with(docker_save_old()))
    assert user.document("saved.tar")["config"]["cmd"] == ["/hello"]
    assert user.run("saved.tar", "--raw", "--config").out.encode() == CONFIG
    assert user.run("saved.tar", "--raw").code == 8


@pytest.mark.parametrize(
    "name", ["gone.tar", "gone.tgz", "./gone", "My Images/gone.tar.zst", "out/app.tar", "GONE.TAR"]
)
def test_a_path_that_is_not_there_is_no_such_file(user: User, name: str) -> None:
    ended = user.run(name)
    assert (ended.code, ended.out) == (7, "")
    assert "No such file" in ended.err
    assert user.recorder.requests == []


def test_a_folder_that_is_no_archive_leads_to_the_image_of_its_name(user: User) -> None:
    (user.folder / "alpine").mkdir()
    ended = user.run("alpine")
    assert ended.code == 7
    assert "docker.io/library/alpine" in ended.err
    assert "docker.io" not in user.run("./alpine").err
    assert "docker.io" not in user.run("gone.tar").err


def test_an_image_whose_name_ends_as_a_file_is_one_where_its_registry_is_named(user: User) -> None:
    ended = user.run(f"{HOST}/my/app.tar")
    assert (ended.code, user.recorder.requests[0]) == (4, "BatchGetImage")


def test_damage_is_an_integrity_error(user: User) -> None:
    files = packed({"a:1": INDEX})
    name = f"blobs/sha256/{INDEX.digest.hex}"
    write(user.folder / "bad.tar", {**files, name: files[name].replace(b"amd64", b"amd65")})
    ended = user.run("bad.tar")
    assert (ended.code, ended.out) == (6, "")
    assert INDEX.digest.hex in ended.err
