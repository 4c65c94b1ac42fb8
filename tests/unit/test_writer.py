"""The archive is whole and in place, or it isn't there: commits, failures, kills, races and full disks."""

from __future__ import annotations

import errno
import gc
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecrdrag.archive.file import PositionedFile, SeekingFile, positioned
from ecrdrag.archive.writer import ArchiveWriter
from ecrdrag.errors import ArchiveError
from tests.archives import Sample, sample_of
from tests.unit.test_check import open_descriptors, ordinary_user

resource = pytest.importorskip("resource", reason="these tests need a POSIX system")
fcntl = pytest.importorskip("fcntl", reason="these tests need a POSIX system")


@pytest.fixture
def sample() -> Sample:
    chance = random.Random(7)
    return sample_of([chance.randbytes(40_000), b"", chance.randbytes(700)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.tar"


@pytest.fixture
def partial(path: Path) -> Path:
    return path.with_name("app.tar.partial")


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """Hold every test of this file to closing what it opened."""
    gc.collect()
    before = open_descriptors()
    yield
    assert open_descriptors() <= before, "a descriptor stayed open"


def fill(archive: ArchiveWriter, sample: Sample) -> None:
    for blob, offset in sample.plan.blobs:
        archive.sink(offset).write_at(memoryview(sample.contents[blob.digest]), 0)


def write(
    path: Path,
    sample: Sample,
    open_file: Callable[[int], PositionedFile] = positioned,
    *,
    before_commit: Callable[[], None] = lambda: None,
    replace: bool = False,
) -> None:
    with ArchiveWriter(path, sample.plan, replace=replace, open_file=open_file) as archive:
        fill(archive, sample)
        before_commit()
        archive.commit()


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def refusing(code: int) -> Callable[..., None]:
    return failing(OSError(code, os.strerror(code)))


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


# --- in place or not there ---------------------------------------------------------------------


def test_before_commit_there_is_a_partial_file_and_nothing_at_the_path(path: Path, sample: Sample) -> None:
    with ArchiveWriter(path, sample.plan) as archive:
        assert names_in(path.parent) == ["app.tar.partial"]
        fill(archive, sample)
        assert names_in(path.parent) == ["app.tar.partial"]
        archive.commit()
        assert names_in(path.parent) == ["app.tar"]
    assert names_in(path.parent) == ["app.tar"]


@pytest.mark.parametrize("open_file", [positioned, SeekingFile])
def test_the_committed_file_has_every_byte_of_the_plan(
    path: Path, sample: Sample, open_file: Callable[[int], PositionedFile]
) -> None:
    write(path, sample, open_file)
    assert path.read_bytes() == sample.archive


def test_a_sink_reads_back_what_it_wrote_at_its_own_offsets(path: Path, sample: Sample) -> None:
    with ArchiveWriter(path, sample.plan) as archive:
        fill(archive, sample)
        for blob, offset in sample.plan.blobs:
            content = sample.contents[blob.digest]
            buffer = bytearray(len(content[100:]))
            assert archive.sink(offset).read_at(memoryview(buffer), 100) >= len(buffer)
            assert bytes(buffer) == content[100:]


@pytest.mark.parametrize("failure", [ValueError("bug"), ArchiveError("full"), KeyboardInterrupt()], ids=repr)
def test_after_a_failure_there_is_neither_an_archive_nor_a_partial_file(
    path: Path, sample: Sample, failure: BaseException
) -> None:
    with pytest.raises(type(failure)) as caught:
        write(path, sample, before_commit=failing(failure))
    assert caught.value is failure
    assert names_in(path.parent) == []


def test_without_commit_nothing_is_left(path: Path, sample: Sample) -> None:
    with ArchiveWriter(path, sample.plan) as archive:
        fill(archive, sample)
    assert names_in(path.parent) == []


def test_a_file_at_the_path_stays_as_it_is_until_commit_and_after_a_failure(path: Path, sample: Sample) -> None:
    path.write_bytes(b"precious")
    seen: list[bytes] = []
    with pytest.raises(ValueError, match="bug"):
        write(path, sample, before_commit=failing(ValueError("bug")), replace=True)
    assert path.read_bytes() == b"precious"
    write(path, sample, before_commit=lambda: seen.append(path.read_bytes()), replace=True)
    assert seen == [b"precious"]
    assert path.read_bytes() == sample.archive


@pytest.mark.parametrize("replacing", [True, False])
def test_the_file_is_on_stable_storage_before_it_gets_its_name_and_the_folder_after(
    path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch, replacing: bool
) -> None:
    events: list[str] = []
    fsync, replace, link = os.fsync, Path.replace, os.link

    def recording_fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("fsync folder" if is_folder else f"fsync {os.fstat(descriptor).st_size}")
        fsync(descriptor)

    def recording_replace(source: Path, target: Path) -> Path:
        events.append(f"{source.name} → {target.name}")
        return replace(source, target)

    def recording_link(source: Path, target: Path) -> None:
        events.append(f"{source.name} → {target.name}")
        link(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "link", recording_link)
    monkeypatch.setattr(Path, "replace", recording_replace)
    write(path, sample, replace=replacing)
    assert events == [f"fsync {sample.plan.total_size}", "app.tar.partial → app.tar", "fsync folder"]


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_commit_that_fails_leaves_nothing(
    path: Path, sample: Sample, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os if name == "fsync" else Path, name, refusing(errno.EIO))
    with pytest.raises(ArchiveError, match=f"can't write {path}: Input/output error"):
        write(path, sample, replace=True)
    assert names_in(path.parent) == []


def test_a_file_that_somebody_creates_meanwhile_is_kept(path: Path, sample: Sample) -> None:
    def create() -> None:
        path.write_bytes(b"precious")

    with pytest.raises(ArchiveError, match="was created by somebody else meanwhile") as caught:
        write(path, sample, before_commit=create)
    assert (caught.value.exit_code, path.read_bytes()) == (7, b"precious")
    assert names_in(path.parent) == ["app.tar"]


def test_a_file_system_without_links_gets_the_archive_by_a_rename(
    path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    write(path, sample)
    assert (path.read_bytes(), names_in(path.parent)) == (sample.archive, ["app.tar"])


def test_a_folder_at_the_path_is_not_replaced(path: Path, sample: Sample) -> None:
    path.mkdir()
    with pytest.raises(ArchiveError, match="directory"):
        write(path, sample, replace=True)
    assert names_in(path.parent) == ["app.tar"]


def test_a_file_system_that_complains_at_close_does_not_take_back_a_finished_archive(
    path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def complain(descriptor: int) -> None:
        close(descriptor)  # a second one for the same descriptor fails with EBADF
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with ArchiveWriter(path, sample.plan) as archive:
        fill(archive, sample)
        with monkeypatch.context() as patch:
            patch.setattr(os, "close", complain)
            archive.commit()
    assert path.read_bytes() == sample.archive


# --- kills and other writers -------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from ecrdrag.archive.writer import ArchiveWriter
from tests.archives import sample_of
with ArchiveWriter(Path(sys.argv[1]), sample_of([b"another image" * 9999]).plan) as archive:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_partial_file_left_by_a_kill_is_taken_over(path: Path, partial: Path, sample: Sample) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert names_in(path.parent) == [partial.name]
    write(path, sample)
    assert path.read_bytes() == sample.archive
    assert names_in(path.parent) == ["app.tar"]


@pytest.mark.parametrize("surplus", [-1000, 0, 100_000])
def test_whatever_a_partial_file_held_is_forgotten(path: Path, partial: Path, sample: Sample, surplus: int) -> None:
    partial.write_bytes(b"\xff" * (sample.plan.total_size + surplus))
    write(path, sample)
    assert path.read_bytes() == sample.archive


def test_a_second_writer_is_refused_and_the_first_one_finishes_unharmed(
    path: Path, partial: Path, sample: Sample
) -> None:
    with ArchiveWriter(path, sample.plan) as archive:
        fill(archive, sample)
        with pytest.raises(ArchiveError, match=f"another pull is writing {path}") as caught:
            write(path, sample_of([b"another image"]))
        assert caught.value.exit_code == 7
        assert "-o" in caught.value.hint
        assert partial.stat().st_size == sample.plan.total_size
        archive.commit()
    assert path.read_bytes() == sample.archive


@pytest.mark.parametrize("first_commits", [True, False])
def test_a_writer_that_opened_the_partial_file_before_the_first_one_ended_starts_its_own(
    path: Path, sample: Sample, first_commits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = sample_of([b"a later image"])
    flock = fcntl.flock
    first = ArchiveWriter(path, sample.plan)

    def first_ends_just_before(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        if first_commits:
            first.commit()
        first.__exit__(None, None, None)
        flock(descriptor, operation)

    with first as archive:
        fill(archive, sample)
        monkeypatch.setattr(fcntl, "flock", first_ends_just_before)
        with ArchiveWriter(path, late.plan, replace=True) as second:
            assert path.exists() == first_commits
            assert not first_commits or path.read_bytes() == sample.archive
            fill(second, late)
            second.commit()
    assert path.read_bytes() == late.archive
    assert names_in(path.parent) == ["app.tar"]


def test_a_writer_gives_up_when_the_partial_file_is_never_its_own(
    path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    with pytest.raises(ArchiveError, match="another pull is writing"):
        write(path, sample)


@pytest.mark.parametrize("commits", [True, False])
def test_a_writer_whose_partial_file_was_replaced_touches_neither_the_new_one_nor_the_path(
    path: Path, partial: Path, sample: Sample, commits: bool
) -> None:
    """As when a user removes the partial file of a running pull and starts another one."""
    late = sample_of([b"a later image"])
    with ArchiveWriter(path, sample.plan) as first:
        fill(first, sample)
        partial.unlink()
        with ArchiveWriter(path, late.plan) as second:
            if commits:
                with pytest.raises(ArchiveError, match=f"{partial} was removed or replaced"):
                    first.commit()
            first.__exit__(None, None, None)
            assert names_in(path.parent) == [partial.name]
            fill(second, late)
            second.commit()
    assert path.read_bytes() == late.archive


def test_a_partial_file_that_someone_removed_is_named_at_commit(path: Path, partial: Path, sample: Sample) -> None:
    with pytest.raises(ArchiveError, match=f"{partial} was removed or replaced") as caught:
        write(path, sample, before_commit=partial.unlink)
    assert caught.value.hint
    assert names_in(path.parent) == []


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_written_to_without_a_lock(
    path: Path, sample: Sample, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    write(path, sample)
    assert path.read_bytes() == sample.archive


def test_a_lock_that_fails_for_another_reason_is_an_archive_error(
    path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EIO))
    with pytest.raises(ArchiveError, match="Input/output error"):
        write(path, sample)


def test_a_symbolic_link_in_place_of_the_partial_file_is_not_followed(
    path: Path, partial: Path, sample: Sample
) -> None:
    """Or anyone who may write to the folder could have the user empty a file elsewhere."""
    precious = path.with_name("precious")
    precious.write_bytes(b"precious")
    partial.symlink_to(precious)
    with pytest.raises(ArchiveError, match=str(partial)) as caught:
        write(path, sample)
    assert "symbolic link" in caught.value.hint
    assert precious.read_bytes() == b"precious"
    assert not path.exists()


# --- what the disk refuses ---------------------------------------------------------------------


class SmallDisk:
    """A file on a disk that is full after so many bytes."""

    def __init__(self, file: PositionedFile, room: int) -> None:
        self._file, self._room = file, room

    def write_at(self, view: memoryview, offset: int) -> None:
        self._file.write_at(view[: self._room], offset)
        if len(view) > self._room:
            refusing(errno.ENOSPC)()
        self._room -= len(view)

    def read_at(self, buffer: memoryview, offset: int) -> int:
        return self._file.read_at(buffer, offset)


@pytest.mark.parametrize("room", [0, 600, 20_000], ids=["in the first header", "in the index", "in a layer"])
def test_a_disk_that_fills_up_is_an_archive_error_and_nothing_is_left(path: Path, sample: Sample, room: int) -> None:
    with pytest.raises(ArchiveError, match=r"can't write .*app\.tar\.partial: No space left") as caught:
        write(path, sample, lambda descriptor: SmallDisk(positioned(descriptor), room))
    assert caught.value.exit_code == 7
    assert "the disk is full" in caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)
    assert names_in(path.parent) == []


def test_a_limit_on_the_size_of_files_is_an_archive_error_and_nothing_is_left(path: Path, sample: Sample) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sample.plan.total_size - 1, hard))
    try:
        with pytest.raises(ArchiveError, match="File too large") as caught:
            write(path, sample)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "no file of that size" in caught.value.hint
    assert names_in(path.parent) == []


@pytest.mark.parametrize("missing", [-1, 0, 1])
def test_an_archive_that_the_disk_has_no_room_for_is_not_begun(
    path: Path, sample: Sample, missing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = sample.plan.total_size
    usage = shutil.disk_usage(path.parent)._replace(free=needed - missing)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    if missing <= 0:
        write(path, sample)
        return
    message = rf"the disk of {path} has {needed - missing:,} bytes free, the archive needs {needed:,}"
    with pytest.raises(ArchiveError, match=message) as caught:
        write(path, sample)
    assert "-o" in caught.value.hint
    assert names_in(path.parent) == []


def test_room_that_an_old_partial_file_takes_counts_as_free(
    path: Path, partial: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial.write_bytes(bytes(sample.plan.total_size))
    usage, disk = shutil.disk_usage(path.parent), sample.plan.total_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=disk - partial.stat().st_size))
    write(path, sample)
    assert path.read_bytes() == sample.archive


def test_a_missing_folder_is_named_with_a_hint(tmp_path: Path, sample: Sample) -> None:
    path = tmp_path / "missing" / "app.tar"
    with pytest.raises(ArchiveError, match=rf"can't write {path}.*: No such file or directory") as caught:
        write(path, sample)
    assert "the folder does not exist" in caught.value.hint
    assert caught.value.exit_code == 7
    assert names_in(tmp_path) == []


def test_a_file_where_the_folder_should_be_is_named_with_a_hint(tmp_path: Path, sample: Sample) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveError, match="Not a directory") as caught:
        write(tmp_path / "file" / "app.tar", sample)
    assert "the folder is a file" in caught.value.hint


def test_a_folder_that_may_not_be_written_is_an_archive_error(sample: Sample) -> None:
    with tempfile.TemporaryDirectory() as folder:  # unlike tmp_path, any user may enter it
        Path(folder).chmod(0o555)
        with ordinary_user(), pytest.raises(ArchiveError, match=f"can't write {folder}.*: Permission denied"):
            write(Path(folder) / "app.tar", sample)
        assert names_in(Path(folder)) == []
        Path(folder).chmod(0o700)


def test_a_folder_at_the_place_of_the_partial_file_is_an_archive_error(
    path: Path, partial: Path, sample: Sample
) -> None:
    partial.mkdir()
    with pytest.raises(ArchiveError, match="Is a directory"):
        write(path, sample)
    assert names_in(path.parent) == [partial.name]


def test_a_disk_that_fails_to_give_back_what_was_written_is_said_to_fail_at_reading(
    path: Path, partial: Path, sample: Sample
) -> None:
    class Unreadable(SmallDisk):
        def read_at(self, buffer: memoryview, offset: int) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with (
        pytest.raises(ArchiveError, match=f"can't read {partial}: Input/output error"),
        ArchiveWriter(path, sample.plan, open_file=lambda number: Unreadable(positioned(number), 10**6)) as archive,
    ):
        archive.sink(512).read_at(memoryview(bytearray(10)), 0)
    assert names_in(path.parent) == []


def test_a_failure_while_the_file_is_prepared_leaves_nothing(path: Path, sample: Sample) -> None:
    def fail(_: int) -> PositionedFile:
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        write(path, sample, fail)
    assert names_in(path.parent) == []
