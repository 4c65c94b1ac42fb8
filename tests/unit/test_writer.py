"""The archive is whole and in place, or it isn't there: commits, failures, kills, races and full disks."""

from __future__ import annotations

import errno
import gc
import logging
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecrdrag.archive.file import PositionedFile, PosixFile, SeekingFile, positioned
from ecrdrag.archive.journal import System
from ecrdrag.archive.writer import ArchiveWriter, sweep
from ecrdrag.errors import ArchiveError
from tests.archives import Sample, assemble, sample_of
from tests.unit.test_check import open_descriptors, ordinary_user

resource = pytest.importorskip("resource", reason="these tests need a POSIX system")
fcntl = pytest.importorskip("fcntl", reason="these tests need a POSIX system")

MIB = 1024 * 1024


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
        assert names_in(path.parent) == ["app.tar.partial", "app.tar.partial.journal"]
        fill(archive, sample)
        assert names_in(path.parent) == ["app.tar.partial", "app.tar.partial.journal"]
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
def test_after_a_failure_before_anything_landed_there_is_neither_an_archive_nor_a_partial_file(
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
    assert names_in(path.parent) == [partial.name, f"{partial.name}.journal"]
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
            assert names_in(path.parent) == [partial.name, f"{partial.name}.journal"]
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


# --- going on where an earlier run ended -------------------------------------------------------

KEPT = ["app.tar.partial", "app.tar.partial.journal"]
HALF = 20_000  # bytes of the first layer
NEXT_BOOT = System(boot_id="after-a-crash")


def fill_half(archive: ArchiveWriter, sample: Sample) -> None:
    """Write and note the first half of the first layer, and write more that is not noted."""
    blob, offset = sample.plan.blobs[0]
    sink = archive.sink(offset)
    sink.write_at(memoryview(sample.contents[blob.digest])[: HALF + 5000], 0)
    sink.note(0, HALF // 2)
    sink.note(HALF // 2, HALF)


def fill_rest(archive: ArchiveWriter, sample: Sample) -> None:
    """Write and note all but the first half of the first layer."""
    start = HALF
    for blob, offset in sample.plan.blobs:
        archive.sink(offset).write_at(memoryview(sample.contents[blob.digest])[start:], start)
        archive.sink(offset).note(start, blob.size)
        start = 0


def leave_half(path: Path, sample: Sample) -> None:
    with ArchiveWriter(path, sample.plan) as archive:
        fill_half(archive, sample)


def finish(archive: ArchiveWriter, sample: Sample, *, before_commit: Callable[[], None] = lambda: None) -> None:
    fill_half(archive, sample)
    fill_rest(archive, sample)
    before_commit()
    archive.commit()


def landed(archive: ArchiveWriter, sample: Sample) -> list[list[tuple[int, int]]]:
    return [list(archive.sink(offset).landed()) for _, offset in sample.plan.blobs]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("failure", [ValueError("bug"), ArchiveError("full"), KeyboardInterrupt()], ids=repr)
def test_a_failure_keeps_what_landed(path: Path, sample: Sample, failure: BaseException) -> None:
    with pytest.raises(type(failure)) as caught, ArchiveWriter(path, sample.plan) as archive:
        finish(archive, sample, before_commit=failing(failure))
    assert caught.value is failure
    assert names_in(path.parent) == KEPT


@pytest.mark.parametrize("open_file", [positioned, SeekingFile])
@pytest.mark.parametrize("system", [None, NEXT_BOOT, System("unknown")], ids=["this run", "crash", "no boot id"])
def test_what_landed_before_a_failure_is_where_the_next_run_goes_on(
    path: Path, sample: Sample, system: System | None, open_file: Callable[[int], PositionedFile]
) -> None:
    leave_half(path, sample)
    assert names_in(path.parent) == KEPT
    with ArchiveWriter(path, sample.plan, system=system, open_file=open_file) as archive:
        assert landed(archive, sample) == [[(0, HALF)], [], []]
        fill_rest(archive, sample)
        assert landed(archive, sample) == [[(0, 40_000)], [], [(0, 700)]]
        archive.commit()
    assert path.read_bytes() == sample.archive
    assert names_in(path.parent) == ["app.tar"]


def test_leaving_says_how_much_is_kept_and_how_to_go_on(
    path: Path, partial: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sample = sample_of([bytes(3 * 1024 * 1024), b"x" * 1024 * 1024])
    with ArchiveWriter(path, sample.plan) as archive:
        archive.sink(sample.plan.blobs[0][1]).note(0, 1_300_000)
    assert warnings(caplog) == [f"{partial} keeps 1.2 of 4.0 MiB: run the same command again to go on"]


KILLED_AT_HALF = """
import os, signal, sys
from pathlib import Path
from ecrdrag.archive.writer import ArchiveWriter
from tests.unit.test_writer import fill_half, sample_to_kill
with ArchiveWriter(Path(sys.argv[1]), sample_to_kill().plan) as archive:
    fill_half(archive, sample_to_kill())
    os.kill(os.getpid(), signal.SIGKILL)
"""


def sample_to_kill() -> Sample:
    chance = random.Random(8)
    return sample_of([chance.randbytes(40_000), chance.randbytes(700)])


@pytest.mark.parametrize("crash", [False, True])
def test_a_kill_costs_what_was_not_noted_and_a_crash_right_after_costs_all(path: Path, crash: bool) -> None:
    sample = sample_to_kill()
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_HALF, str(path)], cwd=ROOT, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert names_in(path.parent) == KEPT
    with ArchiveWriter(path, sample.plan, system=NEXT_BOOT if crash else None) as archive:
        assert landed(archive, sample) == ([[], []] if crash else [[(0, HALF)], []])
        fill(archive, sample)
        archive.commit()
    assert path.read_bytes() == sample.archive


def test_a_failure_before_it_is_known_what_has_landed_touches_nothing(path: Path, sample: Sample) -> None:
    def interrupt(_: int) -> PositionedFile:
        raise KeyboardInterrupt

    leave_half(path, sample)
    with pytest.raises(KeyboardInterrupt):
        write(path, sample, interrupt)
    assert names_in(path.parent) == KEPT
    with ArchiveWriter(path, sample.plan) as archive:
        assert landed(archive, sample) == [[(0, HALF)], [], []]


def test_headers_and_small_members_are_written_anew(path: Path, partial: Path, sample: Sample) -> None:
    leave_half(path, sample)
    first = sample.plan.blobs[0][1]
    partial.write_bytes(b"\xff" * first + partial.read_bytes()[first:])
    with ArchiveWriter(path, sample.plan) as archive:
        fill_rest(archive, sample)
        archive.commit()
    assert path.read_bytes() == sample.archive


def test_what_landed_of_another_image_is_dropped(path: Path, sample: Sample, caplog: pytest.LogCaptureFixture) -> None:
    other = sample_of([b"x" * 40_000, b"", b"x" * 700])
    assert other.plan.total_size == sample.plan.total_size
    leave_half(path, other)
    caplog.clear()
    with ArchiveWriter(path, sample.plan) as archive:
        assert landed(archive, sample) == [[], [], []]
        archive.commit()
    assert warnings(caplog) == [f"{path}.partial.journal is of another image: starting over"]
    nothing = {blob.digest: bytes(blob.size) for blob, _ in sample.plan.blobs}
    assert path.read_bytes() == assemble(sample.plan, nothing), "a byte of the other image is there"


def test_a_blob_that_was_forgotten_has_landed_no_more_and_the_others_have(path: Path, sample: Sample) -> None:
    with ArchiveWriter(path, sample.plan) as archive:
        fill_half(archive, sample)
        fill_rest(archive, sample)
        archive.sink(sample.plan.blobs[0][1]).forget()
        assert landed(archive, sample) == [[], [], [(0, 700)]]
    with ArchiveWriter(path, sample.plan) as archive:
        assert landed(archive, sample) == [[], [], [(0, 700)]]


def test_after_all_was_forgotten_nothing_is_left(path: Path, sample: Sample) -> None:
    with ArchiveWriter(path, sample.plan) as archive:
        fill_half(archive, sample)
        archive.sink(sample.plan.blobs[0][1]).forget()
    assert names_in(path.parent) == []


@pytest.mark.parametrize("resume", [True, False])
def test_without_resume_nothing_is_kept_and_nothing_is_believed(path: Path, sample: Sample, resume: bool) -> None:
    leave_half(path, sample)
    with ArchiveWriter(path, sample.plan, resume=resume) as archive:
        assert names_in(path.parent) == (KEPT if resume else KEPT[:1])
        assert landed(archive, sample)[0] == ([(0, HALF)] if resume else [])
        fill_rest(archive, sample)
        archive.sink(sample.plan.blobs[2][1]).forget()
    assert names_in(path.parent) == (KEPT if resume else [])


def test_a_partial_file_without_its_journal_is_not_believed(path: Path, sample: Sample) -> None:
    leave_half(path, sample)
    path.with_name(KEPT[1]).unlink()
    with ArchiveWriter(path, sample.plan) as archive:
        assert landed(archive, sample) == [[], [], []]


def test_a_commit_that_fails_keeps_what_landed(path: Path, sample: Sample) -> None:
    with pytest.raises(ArchiveError, match="created by somebody else"), ArchiveWriter(path, sample.plan) as archive:
        finish(archive, sample, before_commit=path.touch)
    assert names_in(path.parent) == ["app.tar", *KEPT]
    with ArchiveWriter(path, sample.plan, replace=True, system=NEXT_BOOT) as archive:
        assert landed(archive, sample) == [[(0, 40_000)], [], [(0, 700)]]
        archive.commit()
    assert (path.read_bytes(), names_in(path.parent)) == (sample.archive, ["app.tar"])


def test_a_second_writer_touches_neither_the_partial_file_nor_the_journal(path: Path, sample: Sample) -> None:
    with ArchiveWriter(path, sample.plan) as archive:
        fill_half(archive, sample)
        before = [path.with_name(name).read_bytes() for name in KEPT]
        for resume in (True, False):
            with pytest.raises(ArchiveError, match="another pull is writing"):
                ArchiveWriter(path, sample_of([b"another image"]).plan, resume=resume).__enter__()
        sweep(path)
        assert [path.with_name(name).read_bytes() for name in KEPT] == before
        fill_rest(archive, sample)
        archive.commit()
    assert path.read_bytes() == sample.archive


def test_a_journal_that_cannot_be_written_is_said_and_the_pull_goes_on(
    path: Path, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    path.with_name(KEPT[1]).mkdir()
    with ArchiveWriter(path, sample.plan) as archive:
        fill_half(archive, sample)
        assert f"can't write {path}.partial.journal: File exists" in warnings(caplog)[-1]
    assert names_in(path.parent) == KEPT[1:], "a partial file stays that nobody can go on with"
    with ArchiveWriter(path, sample.plan) as archive:
        fill_half(archive, sample)
        fill_rest(archive, sample)
        assert landed(archive, sample) == [[], [], []]
        archive.commit()
    assert path.read_bytes() == sample.archive


def test_a_full_disk_keeps_what_landed(path: Path, sample: Sample) -> None:
    room = sum(len(piece) for _, piece in sample.plan.known_pieces()) + HALF + 6000
    with (
        pytest.raises(ArchiveError, match="No space left"),
        ArchiveWriter(path, sample.plan, open_file=lambda number: SmallDisk(positioned(number), room)) as archive,
    ):
        finish(archive, sample)
    with ArchiveWriter(path, sample.plan, system=NEXT_BOOT) as archive:
        assert landed(archive, sample) == [[(0, HALF)], [], []]


@pytest.mark.parametrize("noticed_by", ["commit", "note"])
def test_bytes_that_a_sync_lost_fail_the_pull_though_later_syncs_succeed(
    path: Path, sample: Sample, noticed_by: str
) -> None:
    """The kernel tells a descriptor once; that the journal's thread has heard it must not hide it."""
    failed = threading.Event()

    def fail(_: int) -> None:
        failed.set()
        refusing(errno.EIO)()

    def go_on() -> None:
        assert failed.wait(10)
        for _ in range(10**6 if noticed_by == "note" else 0):  # until the thread has come back from its sync
            archive.sink(sample.plan.blobs[0][1]).note(0, 1)

    with (
        pytest.raises(ArchiveError, match=r"can't write .*: Input/output error"),
        ArchiveWriter(path, sample.plan, system=System(sync=fail, interval=0.001)) as archive,
    ):
        finish(archive, sample, before_commit=go_on)
    assert names_in(path.parent) == KEPT


@pytest.mark.parametrize("missing", [0, 1])
def test_going_on_needs_room_for_the_rest_only(
    path: Path, partial: Path, sample: Sample, missing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_half(path, sample)
    needed = sample.plan.total_size - partial.stat().st_blocks * 512
    assert 0 < needed <= sample.plan.total_size - HALF
    usage = shutil.disk_usage(path.parent)._replace(free=needed - missing)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    if not missing:
        with ArchiveWriter(path, sample.plan) as archive:
            fill_rest(archive, sample)
            archive.commit()
        assert path.read_bytes() == sample.archive
        return
    with pytest.raises(ArchiveError, match=rf"{needed - 1:,} bytes free, the archive needs {needed:,} more"):
        ArchiveWriter(path, sample.plan).__enter__()
    assert names_in(path.parent) == KEPT


# --- a kill within a commit --------------------------------------------------------------------

KILLED_IN_COMMIT = """
import os, signal, sys
from pathlib import Path
from ecrdrag.archive.writer import ArchiveWriter
from tests.unit.test_writer import fill, fill_half, sample_to_kill
step = int(sys.argv[2])
def counted(function):
    def call(*arguments, **options):
        global step
        result = function(*arguments, **options)
        step -= 1
        if step == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
with ArchiveWriter(Path(sys.argv[1]), sample_to_kill().plan, replace=sys.argv[3] == "replace") as archive:
    fill_half(archive, sample_to_kill())
    fill(archive, sample_to_kill())
    os.link, Path.unlink, Path.replace = counted(os.link), counted(Path.unlink), counted(Path.replace)
    archive.commit()
"""


@pytest.mark.parametrize(
    ("way", "step", "left"),
    [("link", 1, KEPT), ("link", 2, KEPT[:1]), ("link", 3, []), ("replace", 1, KEPT[1:]), ("replace", 2, [])],
)
def test_a_kill_within_a_commit_leaves_a_whole_archive_that_no_later_pull_writes_to(
    path: Path, sample: Sample, way: str, step: int, left: list[str]
) -> None:
    command = [sys.executable, "-c", KILLED_IN_COMMIT, str(path), str(step), way]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == -signal.SIGKILL
    assert (names_in(path.parent), path.read_bytes()) == (["app.tar", *left], sample_to_kill().archive)
    kept = path.with_name("kept")
    path.replace(kept)  # the archive has this name now, and may have the partial one too
    for later in (sample, sample_to_kill()):
        with ArchiveWriter(path, later.plan) as archive:
            assert not any(landed(archive, later))
            fill(archive, later)
            archive.commit()
        assert (path.read_bytes(), kept.read_bytes()) == (later.archive, sample_to_kill().archive)
        path.unlink()
    assert names_in(path.parent) == ["kept"]


@pytest.mark.parametrize("left", [KEPT, KEPT[:1], KEPT[1:], []], ids=str)
def test_sweeping_takes_away_what_a_kill_within_a_commit_left(path: Path, left: list[str]) -> None:
    path.write_bytes(b"whole")
    for name in left:
        if name == KEPT[0]:
            os.link(path, path.with_name(name))
        else:
            path.with_name(name).touch()
    sweep(path)
    assert (names_in(path.parent), path.read_bytes()) == (["app.tar"], b"whole")


def test_sweeping_spares_what_a_later_run_goes_on_with(path: Path, sample: Sample) -> None:
    leave_half(path, sample)
    for exists in (False, True):
        sweep(path)
        assert names_in(path.parent) == ["app.tar"] * exists + KEPT
        path.touch()
    with ArchiveWriter(path, sample.plan) as archive:
        assert landed(archive, sample)[0] == [(0, HALF)]


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

    def start_writeback(self, offset: int, size: int) -> None:
        self._file.start_writeback(offset, size)


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_at_the_place_of_the_partial_file_is_an_archive_error_and_stays(
    path: Path, partial: Path, sample: Sample
) -> None:
    os.mkfifo(partial)
    with pytest.raises(ArchiveError, match=f"{partial} is not a regular file") as caught:
        write(path, sample)
    assert "remove it" in caught.value.hint
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
        archive.sink(sample.plan.blobs[0][1]).read_at(memoryview(bytearray(10)), 0)
    assert names_in(path.parent) == []


def test_a_failure_while_the_file_is_prepared_leaves_nothing(path: Path, sample: Sample) -> None:
    def fail(_: int) -> PositionedFile:
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        write(path, sample, fail)
    assert names_in(path.parent) == []


def test_the_disk_is_started_on_whole_strides_and_on_each_byte_once(path: Path) -> None:
    started: list[tuple[int, int]] = []

    class Watched(PosixFile):
        def start_writeback(self, offset: int, size: int) -> None:
            started.append((offset, offset + size))

    sample = sample_of([random.Random(5).randbytes(3 * MIB + 700)])
    ((blob, offset),) = sample.plan.blobs
    content = memoryview(sample.contents[blob.digest])
    with ArchiveWriter(path, sample.plan, open_file=Watched) as archive:
        for start in range(0, blob.size, 300_000):
            archive.sink(offset).write_at(content[start : start + 300_000], start)
    assert started == [(place, place + MIB) for place in (0, MIB, 2 * MIB)]
