"""A disk that is really full: the writer's view, and what a user of docker_pull.py sees."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecrdrag.archive.writer import ArchiveWriter
from ecrdrag.errors import ArchiveError
from ecrdrag.localecr import LocalEcr
from tests.archives import sample_of
from tests.flow.conftest import HOST, stock
from tests.flow.scripts import environment_of
from tests.flow.scripts import run as run_script
from tests.real.test_tar import run, write
from tests.real.tools import missing, need

pytestmark = pytest.mark.real

DISK_SIZE = 256 * 1024  # bytes of the disk that fills up


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount, umount = need("mount"), need("umount")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = [mount, "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if mounted.returncode != 0:
        missing(f"a tmpfs can't be mounted here: {mounted.stderr.strip()}")
    yield folder
    run(umount, str(folder))


def test_an_archive_larger_than_the_disk_is_refused_at_once_and_nothing_is_left(small_disk: Path) -> None:
    with pytest.raises(ArchiveError, match=r"the disk of .* has [0-9,]+ bytes free, the archive needs"):
        write(small_disk / "app.tar", [bytes(DISK_SIZE)])
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_others_fill_in_the_middle_is_an_archive_error_and_no_archive_is_left(small_disk: Path) -> None:
    sample = sample_of([random.Random(2).randbytes(DISK_SIZE // 2)])
    ((_, offset),) = sample.plan.blobs
    (layer,) = [content for content in sample.contents.values() if len(content) > 2]
    path = small_disk / "app.tar"
    with ArchiveWriter(path, sample.plan) as archive:
        archive.sink(offset).write_at(memoryview(layer)[:1000], 0)
        (small_disk / "others").write_bytes(bytes(DISK_SIZE // 2))
        with pytest.raises(ArchiveError, match="No space left on device") as caught:
            archive.sink(offset).write_at(memoryview(layer), 0)
    assert caught.value.exit_code == 7
    assert "the disk is full" in caught.value.hint
    assert [each.name for each in small_disk.iterdir()] == ["others"]


def test_an_archive_that_just_fits_is_written(small_disk: Path) -> None:
    archive = write(small_disk / "app.tar", [random.Random(3).randbytes(DISK_SIZE - 32 * 1024)])
    assert (small_disk / "app.tar").read_bytes() == archive


def test_a_pull_to_a_full_disk_ends_with_7_and_leaves_nothing(small_disk: Path, tmp_path: Path) -> None:
    with LocalEcr(tmp_path / "data") as ecr:
        stock(ecr)
        ended = run_script("docker_pull.py", f"{HOST}/my/app:noise", cwd=small_disk, env=environment_of(ecr))
    assert (ended.code, ended.out, list(small_disk.iterdir())) == (7, "", [])
    assert "make room, or write to another disk with -o" in ended.err
