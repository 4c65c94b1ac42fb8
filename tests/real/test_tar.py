"""The archive as GNU tar sees it, and the writer on a disk that is really full."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from ecrdrag.archive.writer import ArchiveWriter
from tests.archives import EIGHT_GIB, read_back, sample_of, sparse_archive
from tests.real.tools import missing, need

pytestmark = pytest.mark.real


@pytest.fixture
def tar() -> str:
    path = need("tar")
    version = run(path, "--version")
    return path if "GNU tar" in version else missing(f"{path} is not GNU tar")


def run(*command: str) -> str:
    """Run a tool in English; its errors and warnings fail the test."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={"LC_ALL": "C"})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def write(path: Path, layers: list[bytes]) -> bytes:
    sample = sample_of(layers)
    with ArchiveWriter(path, sample.plan) as archive:
        for blob, offset in sample.plan.blobs:
            archive.sink(offset).write_at(memoryview(sample.contents[blob.digest]), 0)
        archive.commit()
    return sample.archive


def test_gnu_tar_lists_and_extracts_every_member(tar: str, tmp_path: Path) -> None:
    archive = write(tmp_path / "app.tar", [b"", b"a" * 511, b"b" * 513])
    members = read_back(archive)
    listed = run(tar, "-tvf", str(tmp_path / "app.tar"), "--full-time", "--utc").splitlines()
    files = [line.split() for line in listed if not line.endswith("/")]
    folders = [line.split() for line in listed if line.endswith("/")]
    assert [(line[0], line[1], line[-1]) for line in folders] == [
        ("drwxr-xr-x", "0/0", "blobs/"),
        ("drwxr-xr-x", "0/0", "blobs/sha256/"),
    ]
    assert [line[:2] for line in files] == [["-rw-r--r--", "0/0"]] * len(members)
    assert [line[2:] for line in files] == [
        [str(len(content)), "1970-01-01", "00:00:00", name] for name, content in members.items()
    ]
    (tmp_path / "out").mkdir()
    run(tar, "-xf", str(tmp_path / "app.tar"), "-C", str(tmp_path / "out"))
    assert {name: (tmp_path / "out" / name).read_bytes() for name in members} == members


def test_gnu_tar_writes_the_same_bytes(tar: str, tmp_path: Path) -> None:
    archive = write(tmp_path / "app.tar", [b"", b"a" * 511, b"b" * 513])
    names = run(tar, "-tf", str(tmp_path / "app.tar")).splitlines()
    folder = tmp_path / "members"
    for name, content in read_back(archive).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    nobody = ["--owner=0", "--group=0", "--numeric-owner", "--mode=u=rw,go=r,a+X", "--mtime=@0"]
    two_zero_blocks = "--blocking-factor=1"
    run(
        *(
            tar,
            "--create",
            "--format=gnu",
            *nobody,
            two_zero_blocks,
            "--no-recursion",
            "-f",
            str(tmp_path / "theirs.tar"),
        ),
        *("-C", str(folder), *names),
    )
    assert (tmp_path / "app.tar").read_bytes() == (tmp_path / "theirs.tar").read_bytes()


def test_gnu_tar_lists_a_member_over_8_gib_and_extracts_a_small_one_behind_it(tar: str, tmp_path: Path) -> None:
    path = tmp_path / "app.tar"
    sample = sparse_archive(path, [EIGHT_GIB + 12345, 1000])
    content = random.Random(1).randbytes(1000)
    big, small = sample.plan.slots[-2:]
    with path.open("r+b") as file:
        file.seek(small.offset)
        file.write(content)
    listed = [line.split() for line in run(tar, "-tvf", str(path)).splitlines()]
    assert [(line[2], line[-1]) for line in listed[-2:]] == [(str(EIGHT_GIB + 12345), big.name), ("1000", small.name)]
    run(tar, "-xf", str(path), "-C", str(tmp_path), small.name)
    assert (tmp_path / small.name).read_bytes() == content
