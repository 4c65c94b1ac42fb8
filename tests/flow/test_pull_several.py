"""Several images in one archive, as a user pulls them from the local ECR."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.localecr import LocalEcr
from tests.flow.conftest import HOST
from tests.flow.scripts import Run, environment_of, run
from tests.images import image_of, tar_of
from tests.localecr import client
from tests.putting import put_image

SHARED = tar_of({"shared": bytes(200_000)})
APP, DB = image_of([SHARED, tar_of({"app": b"app"})]), image_of([SHARED, tar_of({"db": b"db"})], oci=False)
NAMES = [f"{HOST}/team/app:1", f"{HOST}/team/db:2", f"{HOST}/other/app:1"]
AMD64 = ("--platform", "linux/amd64")


@pytest.fixture(scope="module")
def ecr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEcr]:
    with LocalEcr(tmp_path_factory.mktemp("ecr")) as ecr, client(ecr) as api:
        for repository in ("team/app", "team/db", "other/app"):
            api.create_repository(repositoryName=repository)
        put_image(api, "team/app", APP, "1")
        put_image(api, "team/app", APP, "same")
        put_image(api, "team/app", DB, "moved")
        put_image(api, "team/db", DB, "2")
        put_image(api, "other/app", APP, "1")
        yield ecr


def pull(ecr: LocalEcr, folder: Path, *arguments: str, stdin: str = "") -> Run:
    return run("docker_pull.py", *arguments, *AMD64, cwd=folder, env=environment_of(ecr), stdin=stdin)


def names_in(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        return archive.getnames()


def json_in(path: Path, name: str) -> object:
    with tarfile.open(path) as archive:
        member = archive.extractfile(name)
        assert member is not None
        return json.load(member)


def test_several_images_have_each_blob_once(ecr: LocalEcr, tmp_path: Path) -> None:
    ended = pull(ecr, tmp_path, *NAMES[:2], "-o", "release.tar")
    assert ended.code == 0, ended.err
    digests = [APP.manifest.digest, DB.manifest.digest]
    assert ended.out == "".join(f"release.tar {digest} {name}\n" for digest, name in zip(digests, NAMES, strict=False))
    found = [name for name in names_in(tmp_path / "release.tar") if name.startswith("blobs/sha256/")]
    blobs = {**APP.blobs, **DB.blobs}
    assert sorted(found) == sorted(f"blobs/sha256/{digest.hex}" for digest in {*blobs, *digests})
    listed = json_in(tmp_path / "release.tar", "manifest.json")
    assert isinstance(listed, list)
    assert [each["RepoTags"] for each in listed] == [[NAMES[0]], [NAMES[1]]]


def test_the_order_of_references_changes_no_byte(ecr: LocalEcr, tmp_path: Path) -> None:
    written = []
    for order in (NAMES, NAMES[::-1], [NAMES[1], NAMES[0], NAMES[2], NAMES[1]]):
        assert pull(ecr, tmp_path, *order, "-o", "release.tar", "--force").code == 0
        written.append((tmp_path / "release.tar").read_bytes())
    assert written[0] == written[1] == written[2]


def test_one_image_under_several_names_is_there_once(ecr: LocalEcr, tmp_path: Path) -> None:
    ended = pull(ecr, tmp_path, NAMES[0], NAMES[2], f"{HOST}/team/app:same", "-o", "app.tar", "--json")
    listed = json_in(tmp_path / "app.tar", "manifest.json")
    assert isinstance(listed, list)
    assert [each["RepoTags"] for each in listed] == [sorted([NAMES[0], NAMES[2], f"{HOST}/team/app:same"])]
    found = json.loads(ended.out)
    assert [each["reference"] for each in found["images"]] == [NAMES[0], NAMES[2], f"{HOST}/team/app:same"]
    assert (tmp_path / "app.tar").stat().st_size == found["size"]


def test_a_list_names_images_too(ecr: LocalEcr, tmp_path: Path) -> None:
    (tmp_path / "images.txt").write_text(f"# ours\n{NAMES[1]}  # the database\n\n")
    ended = pull(ecr, tmp_path, NAMES[0], "--from", "images.txt", "-o", "one.tar")
    assert [line.split()[2] for line in ended.out.splitlines()] == NAMES[:2]
    ended = pull(ecr, tmp_path, "--from", "-", "-o", "two.tar", stdin="\n".join(NAMES[:2]))
    assert ended.code == 0, ended.err
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_all_that_is_missing_is_said_before_a_layer_moves(ecr: LocalEcr, tmp_path: Path) -> None:
    nowhere, wrong = f"{HOST}/no/where:1", f"{HOST}/team/db:99"
    ended = pull(ecr, tmp_path, NAMES[0], nowhere, wrong, "-o", "release.tar")
    assert (ended.code, ended.out, list(tmp_path.iterdir())) == (4, "", [])
    assert "2 of 3 references can't be pulled" in ended.err
    assert f"\n  {nowhere}: " in ended.err
    assert f"\n  {wrong}: " in ended.err
    assert "--keep-going" in ended.err
    assert NAMES[0] not in ended.err


def test_the_rest_is_pulled_where_that_is_wished(ecr: LocalEcr, tmp_path: Path) -> None:
    wrong = f"{HOST}/team/db:99"
    ended = pull(ecr, tmp_path, NAMES[0], wrong, NAMES[1], "-o", "release.tar", "--keep-going", "--json")
    assert ended.code == 4
    found = json.loads(ended.out)
    assert [each["reference"] for each in found["images"]] == NAMES[:2]
    assert [each["reference"] for each in found["problems"]] == [wrong]
    assert f"{wrong}: " in ended.err
    assert (tmp_path / "release.tar").is_file()


def test_an_image_is_named_wherever_several_were_asked_for(ecr: LocalEcr, tmp_path: Path) -> None:
    line = f"release.tar {APP.manifest.digest} {NAMES[0]}\n"
    ended = pull(ecr, tmp_path, NAMES[0], f"{HOST}/team/db:99", "-o", "release.tar", "--keep-going")
    assert (ended.code, ended.out) == (4, line)
    (tmp_path / "images.txt").write_text(NAMES[0])
    ended = pull(ecr, tmp_path, "--from", "images.txt", "-o", "release.tar")
    assert (ended.code, ended.out) == (0, line)


def test_where_nothing_can_be_had_nothing_is_pulled(ecr: LocalEcr, tmp_path: Path) -> None:
    ended = pull(ecr, tmp_path, f"{HOST}/team/db:98", f"{HOST}/team/db:99", "-o", "release.tar", "--keep-going")
    assert (ended.code, ended.out, list(tmp_path.iterdir())) == (4, "", [])
    assert "2 of 2 references" in ended.err


def test_several_images_that_are_there_are_only_checked(ecr: LocalEcr, tmp_path: Path) -> None:
    for said in ("", "release.tar holds these images already, verified"):
        ended = pull(ecr, tmp_path, *NAMES[:2], "-o", "release.tar")
        assert ended.code == 0
        assert said in ended.err
