"""Is the file that is already there the archive of this plan? Asked of real files, sound and damaged."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecrdrag.archive.check import difference
from ecrdrag.archive.plan import ArchivePlan, ImageName
from ecrdrag.content import Digest
from ecrdrag.errors import ArchiveError
from tests.archives import HOST_NAME, Sample, sample_of
from tests.planned import plan_image

OTHER = "holds another image or no image"
LAYERS = (b"bottom" * 300, b"top" * 300)


@pytest.fixture
def sample() -> Sample:
    return sample_of(LAYERS)


@pytest.fixture
def path(tmp_path: Path, sample: Sample) -> Path:
    path = tmp_path / "app.tar"
    path.write_bytes(sample.archive)
    return path


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


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_the_same_archive_has_no_difference(path: Path, sample: Sample) -> None:
    assert difference(path, sample.plan) == ""


def test_an_archive_of_empty_layers_has_no_difference(tmp_path: Path) -> None:
    sample = sample_of([b"", b""], b"")
    (tmp_path / "app.tar").write_bytes(sample.archive)
    assert difference(tmp_path / "app.tar", sample.plan) == ""


@pytest.mark.parametrize("change", [-512, -1, 1, 512])
def test_a_file_of_another_size_is_another_image(path: Path, sample: Sample, change: int) -> None:
    os.truncate(path, sample.plan.total_size + change)
    assert difference(path, sample.plan) == OTHER


def test_an_empty_file_is_no_image(path: Path, sample: Sample) -> None:
    path.write_bytes(b"")
    assert difference(path, sample.plan) == OTHER


def test_the_same_image_under_another_name_of_the_same_length_is_another_image(path: Path, sample: Sample) -> None:
    renamed = plan_image(sample.manifest, b"{}", ImageName(HOST_NAME, "1.3"))
    assert renamed.total_size == sample.plan.total_size
    assert difference(path, renamed) == OTHER


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("layer", LAYERS, ids=["bottom", "top"])
def test_a_damaged_blob_is_named_by_its_digest(path: Path, sample: Sample, layer: bytes, place: str) -> None:
    (offset,) = [at for blob, at in sample.plan.blobs if blob.digest == Digest.of(layer)]
    flip(path, offset + {"first": 0, "middle": len(layer) // 2, "last": len(layer) - 1}[place])
    assert difference(path, sample.plan) == f"holds this image with a damaged blob {Digest.of(layer)}"


def test_damage_in_any_header_small_member_padding_or_end_is_seen(path: Path, sample: Sample) -> None:
    for slot in sample.plan.slots:
        places = [slot.offset - len(slot.header), slot.stop - 1]
        places += [slot.offset] if isinstance(slot.content, bytes) else []
        for place in places:
            flip(path, place)
            assert difference(path, sample.plan) == OTHER
            flip(path, place)
    flip(path, sample.plan.total_size - 1)
    assert difference(path, sample.plan) == OTHER


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="this system has no preadv")
def test_a_file_system_that_reads_in_short_pieces_makes_no_difference(
    path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda number, views, at: preadv(number, [views[0][:7]], at))
    assert difference(path, sample.plan) == ""


def test_a_file_cut_while_it_is_read_is_a_damaged_blob(
    path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob, offset = sample.plan.blobs[0]

    def cut(_: ArchivePlan) -> Iterator[tuple[int, bytes]]:
        os.truncate(path, offset + 1)
        return iter(())

    monkeypatch.setattr(ArchivePlan, "known_pieces", cut)
    assert difference(path, sample.plan) == f"holds this image with a damaged blob {blob.digest}"


def test_a_folder_and_a_pipe_are_no_regular_files(tmp_path: Path, sample: Sample) -> None:
    assert difference(tmp_path, sample.plan) == "is not a regular file"
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert difference(tmp_path / "pipe", sample.plan) == "is not a regular file"


def test_a_file_that_may_not_be_read_is_an_archive_error(sample: Sample) -> None:
    with tempfile.TemporaryDirectory() as folder:  # unlike tmp_path, any user may enter it
        path = Path(folder) / "app.tar"
        path.write_bytes(sample.archive)
        path.chmod(0)
        Path(folder).chmod(0o755)
        with ordinary_user(), pytest.raises(ArchiveError, match=f"can't read {path}: Permission denied") as caught:
            difference(path, sample.plan)
    assert caught.value.exit_code == 7


def test_a_file_in_a_folder_that_may_not_be_entered_is_an_archive_error(sample: Sample) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "app.tar"
        path.write_bytes(sample.archive)
        Path(folder).chmod(0)
        with ordinary_user(), pytest.raises(ArchiveError, match="Permission denied"):
            difference(path, sample.plan)
        Path(folder).chmod(0o700)


def test_a_disk_that_fails_to_read_is_an_archive_error(
    path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", fail)
    opened = open_descriptors()
    with pytest.raises(ArchiveError, match=f"can't read {path}: Input/output error"):
        difference(path, sample.plan)
    assert open_descriptors() == opened


def open_descriptors() -> set[int]:
    return {number for number in range(256) if _is_open(number)}


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
