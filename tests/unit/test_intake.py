"""Every way in for archives: folders, files and pipes, plain and compressed, and what is wrong with them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard

from ecrdrag.archive.folder import FolderMembers
from ecrdrag.archive.intake import open_members
from ecrdrag.archive.members import Members
from ecrdrag.archive.plan import blob_path
from ecrdrag.errors import ArchiveError, UnsupportedError, UsageError
from tests.archives import Sample, sample_of

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": partial(lzma.compress, preset=0),
    "zstd": zstandard.ZstdCompressor().compress,
}
NOTHING = io.BytesIO()
posix_only = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes and terminals")


class Counter:
    def __init__(self) -> None:
        self.counts: list[int] = []

    def __call__(self, count: int) -> None:
        self.counts.append(count)


@pytest.fixture
def taken() -> Counter:
    return Counter()


@pytest.fixture
def sample() -> Sample:
    return sample_of([random.Random(1).randbytes(1_200_000), b"top" * 300])


@pytest.fixture(params=COMPRESS)
def kind(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@contextmanager
def closing(members: Members) -> Iterator[Members]:
    try:
        yield members
    finally:
        members.close()


def check(members: Members, sample: Sample) -> None:
    """Read every blob back, and close."""
    with closing(members):
        for digest, content in sample.contents.items():
            member = members.find(blob_path(digest))
            assert member is not None
            assert b"".join([bytes(view) for view in members.read(member, 0, member.size)]) == content


@contextmanager
def pipe_of(data: bytes) -> Iterator[BinaryIO]:
    """Feed a pipe from another thread, as a process would."""
    read_end, write_end = os.pipe()

    def feed() -> None:
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with os.fdopen(read_end, "rb") as pipe:
            yield pipe
    finally:
        feeder.join()


def test_a_file_is_read_plain_or_compressed(kind: str, sample: Sample, tmp_path: Path, taken: Counter) -> None:
    path = tmp_path / "app.tar"
    path.write_bytes(COMPRESS[kind](sample.archive))
    members = open_members(path, NOTHING, taken)
    assert members.where == str(path)
    path.unlink()  # what is open stays readable
    check(members, sample)


def test_what_is_read_in_place_is_not_counted_and_what_is_unpacked_is(
    kind: str, sample: Sample, tmp_path: Path, taken: Counter
) -> None:
    path = tmp_path / "app.tar"
    path.write_bytes(COMPRESS[kind](sample.archive))
    open_members(path, NOTHING, taken).close()
    assert sum(taken.counts) == (0 if kind == "plain" else path.stat().st_size)
    assert 0 not in taken.counts


def test_a_pipe_is_read_plain_or_compressed(kind: str, sample: Sample, taken: Counter) -> None:
    data = COMPRESS[kind](sample.archive)
    with pipe_of(data) as pipe:
        members = open_members(None, pipe, taken)
    assert members.where == "stdin"
    check(members, sample)
    assert sum(taken.counts) == len(data)
    assert len(taken.counts) > 1, "progress shows on the way"


def test_stdin_may_be_anything_that_reads(kind: str, sample: Sample, taken: Counter) -> None:
    check(open_members(None, io.BytesIO(COMPRESS[kind](sample.archive)), taken), sample)
    assert sum(taken.counts) == len(COMPRESS[kind](sample.archive))


def test_a_pipe_that_gives_a_byte_at_a_time_is_read(kind: str, taken: Counter) -> None:
    class Drop(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(1)

    sample = sample_of([b"small"])
    check(open_members(None, Drop(COMPRESS[kind](sample.archive)), taken), sample)


def test_a_file_on_stdin_is_read_in_place(sample: Sample, tmp_path: Path, taken: Counter) -> None:
    (tmp_path / "app.tar").write_bytes(sample.archive)
    with (tmp_path / "app.tar").open("rb") as stdin:
        members = open_members(None, stdin, taken)
    check(members, sample)
    assert taken.counts == []


def test_a_file_on_stdin_is_read_from_where_it_stands(
    kind: str, sample: Sample, tmp_path: Path, taken: Counter
) -> None:
    path = tmp_path / "two"
    path.write_bytes(b"read already" + COMPRESS[kind](sample.archive))
    with path.open("rb") as stdin:
        assert stdin.read(12) == b"read already"
        check(open_members(None, stdin, taken), sample)
    assert sum(taken.counts) == path.stat().st_size - 12


@posix_only
def test_a_named_pipe_is_read_like_stdin(kind: str, sample: Sample, tmp_path: Path, taken: Counter) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = COMPRESS[kind](sample.archive)
    feeder = threading.Thread(target=path.write_bytes, args=(data,))
    feeder.start()
    members = open_members(path, NOTHING, taken)
    feeder.join()
    assert members.where == str(path)
    check(members, sample)
    assert sum(taken.counts) == len(data)


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="this system has no /dev/stdin")
def test_dev_stdin_is_read_whatever_it_is(kind: str, sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "app.tar").write_bytes(COMPRESS[kind](sample.archive))
    script = (
        "import sys; from pathlib import Path; from ecrdrag.archive.intake import open_members\n"
        "print(len(open_members(Path('/dev/stdin'), sys.stdin.buffer, lambda _: None).names()))"
    )
    command = [sys.executable, "-c", script]
    with (tmp_path / "app.tar").open("rb") as file:
        from_file = subprocess.run(command, stdin=file, capture_output=True, check=True)
    from_pipe = subprocess.run(command, input=COMPRESS[kind](sample.archive), capture_output=True, check=True)
    files = len([slot for slot in sample.plan.slots if not slot.name.endswith("/")])
    assert (int(from_file.stdout), int(from_pipe.stdout)) == (files, files)


def test_a_stream_of_many_members_is_one_archive(kind: str, sample: Sample, taken: Counter) -> None:
    archive, third = sample.archive, len(sample.archive) // 3
    parts = (archive[:third], archive[third : 2 * third], archive[2 * third :])
    data = b"".join(map(COMPRESS[kind], parts)) + (bytes(10_000) if kind == "gzip" else b"")
    check(open_members(None, io.BytesIO(data), taken), sample)


def test_the_folder_of_an_oci_layout_is_read(sample: Sample, tmp_path: Path, taken: Counter) -> None:
    (tmp_path / "oci-layout").write_bytes(b"{}")
    for digest, content in sample.contents.items():
        path = tmp_path / blob_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    members = open_members(tmp_path, NOTHING, taken)
    assert isinstance(members, FolderMembers)
    check(members, sample)
    assert taken.counts == []


# What is wrong


def failing(data: bytes) -> ArchiveError:
    with pytest.raises(ArchiveError, match=r"^stdin: ") as caught:
        open_members(None, io.BytesIO(data), lambda _: None)
    assert caught.value.exit_code == 7
    return caught.value


def test_a_folder_of_something_else_is_refused_with_what_is_read(tmp_path: Path, taken: Counter) -> None:
    with pytest.raises(ArchiveError, match=f"^{tmp_path}: is a folder without the file oci-layout$") as caught:
        open_members(tmp_path, NOTHING, taken)
    assert "a tar as docker_pull.py, docker save, podman save, skopeo" in caught.value.hint
    assert "OCI image layout" in caught.value.hint


def test_a_file_that_isnt_there_is_an_archive_error(tmp_path: Path, taken: Counter) -> None:
    with pytest.raises(ArchiveError, match=f"^{tmp_path}/none: can't be read: No such file or directory$") as caught:
        open_members(tmp_path / "none", NOTHING, taken)
    assert caught.value.exit_code == 7


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Put off root's right to read and write everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)  # nobody
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_is_an_archive_error(sample: Sample, taken: Counter) -> None:
    with tempfile.TemporaryDirectory() as name:  # unlike tmp_path, any user may enter it
        folder = Path(name)
        (folder / "app.tar").write_bytes(sample.archive)
        (folder / "app.tar").chmod(0)
        (folder / "inner").mkdir(0)
        folder.chmod(0o755)
        for path in (folder / "app.tar", folder / "inner", folder / "inner" / "app.tar"):
            with ordinary_user(), pytest.raises(ArchiveError, match=f"^{path}: .*Permission denied"):
                open_members(path, NOTHING, taken)


@posix_only
def test_a_terminal_is_a_usage_error(taken: Counter) -> None:
    leader, follower = os.openpty()
    with os.fdopen(leader, "rb", buffering=0), os.fdopen(follower, "rb", buffering=0) as stdin:
        with pytest.raises(UsageError, match=r"^stdin is a terminal: pipe an archive in, or name a file$") as caught:
            open_members(None, stdin, taken)
        path = Path(os.ttyname(stdin.fileno()))
        with pytest.raises(UsageError, match=f"^{path} is a terminal"):
            open_members(path, NOTHING, taken)
    assert caught.value.exit_code == 2


def test_an_empty_pipe_is_refused() -> None:
    assert str(failing(b"")) == "stdin: is empty"


def test_what_is_no_tar_is_refused_compressed_too(kind: str) -> None:
    for data in (b"some text", gzip.compress(sample_of([]).archive) if kind != "plain" else b"x"):
        assert str(failing(COMPRESS[kind](data))) == "stdin: is not a tar archive"


def test_compressed_nothing_is_refused(kind: str) -> None:
    assert str(failing(COMPRESS[kind](b""))) == "stdin: is empty"


def test_a_cut_archive_is_refused(kind: str, sample: Sample) -> None:
    assert "cut short" in str(failing(COMPRESS[kind](sample.archive)[:-200_000]))


def test_a_damaged_archive_is_refused(kind: str, sample: Sample) -> None:
    data = bytearray(COMPRESS[kind](sample.archive))
    data[:300] = data[:20] + b"\xa5" * 280
    failing(bytes(data))


def test_garbage_behind_compressed_data_is_refused(kind: str, sample: Sample) -> None:
    if kind != "plain":
        data = COMPRESS[kind](sample.archive) + b"garbage and more of it"
        assert "followed by something else" in str(failing(data))


def test_zstd_without_a_module_is_unsupported(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    data = COMPRESS["zstd"](sample.archive)
    for module in ("compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)  # as where it isn't installed
    with pytest.raises(UnsupportedError, match=r"^stdin: is compressed with zstd"):
        open_members(None, io.BytesIO(data), lambda _: None)


def test_a_full_disk_says_where_and_what_to_do(kind: str, sample: Sample, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        error = failing(COMPRESS[kind](sample.archive))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert tempfile.gettempdir() in str(error)
    assert "File too large" in str(error)
    assert "set TMPDIR to a folder with" in error.hint


def test_a_source_that_breaks_is_an_archive_error(taken: Counter) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError(5, "Input/output error")
            return super().read(size)

    for first in (b"abc", bytes(512)):
        with pytest.raises(ArchiveError, match=r"^stdin: can't be read: Input/output error$"):
            open_members(None, Broken(first), taken)


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system doesn't list open files")
def test_nothing_stays_open_or_on_the_disk(
    kind: str, sample: Sample, tmp_path: Path, taken: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "room").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "room"))
    before = open_descriptors()
    path = tmp_path / "app.tar"
    for data in (sample.archive, sample.archive[:-200_000], b"no tar"):
        path.write_bytes(COMPRESS[kind](data))
        try:
            members = open_members(path, NOTHING, taken)
        except ArchiveError:
            assert data is not sample.archive
        else:
            assert list((tmp_path / "room").iterdir()) == []
            members.close()
        assert open_descriptors() == before
    assert list((tmp_path / "room").iterdir()) == []


def test_what_advance_raises_ends_it_and_leaves_nothing_open(sample: Sample) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_members(None, io.BytesIO(gzip.compress(sample.archive)), stop)
