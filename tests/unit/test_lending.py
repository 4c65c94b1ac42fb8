"""Blobs that lie in files of others: found as long as the file is what it was, and read side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ecrdrag.content import Digest, Extent
from ecrdrag.localecr.storage.blobs import Blobs
from ecrdrag.localecr.storage.lending import Lent
from ecrdrag.localecr.web.files import FileSlice

CONTENT = bytes(range(256)) * 64
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(b"before" + CONTENT + b"behind")
    os.utime(path, ns=(1_000_000_000, 2_500_000_000))
    return path


def read(found: FileSlice) -> bytes:
    with found.opened() as reader:
        reader.seek(found.start)
        return reader.read(found.size)


def test_a_lent_blob_is_found_where_it_lies(tmp_path: Path, file: Path) -> None:
    blobs = Blobs(tmp_path / "data")
    assert blobs.find(DIGEST.hex) is None
    blobs.lend(DIGEST, Extent(file, 6, len(CONTENT), "archive"))
    found = blobs.find(DIGEST.hex)
    assert found == FileSlice(file, 6, 6 + len(CONTENT), 2.5)
    assert read(found) == CONTENT


def test_a_file_without_a_name_is_read_by_its_descriptor(file: Path) -> None:
    with file.open("rb") as opened:
        file.unlink()
        found = Lent.of(Extent(opened.fileno(), 6, len(CONTENT), "archive")).find()
        assert found is not None
        assert found.file == opened.fileno()
        assert read(found) == CONTENT
        assert opened.tell() == 0  # nobody else's position is moved
        assert os.fstat(opened.fileno()).st_nlink == 0


def test_readers_of_one_descriptor_do_not_move_each_other(file: Path) -> None:
    def pieces(start: int) -> bytes:
        with FileSlice(opened.fileno(), 0, 0).opened() as reader:
            reader.seek(start)
            return b"".join(reader.read(7) for _ in range(1000))

    with file.open("rb") as opened, ThreadPoolExecutor(8) as pool:
        whole = file.read_bytes()
        starts = range(0, 4000, 100)
        assert list(pool.map(pieces, starts)) == [whole[start : start + 7000] for start in starts]


def _cut(path: Path) -> None:
    os.truncate(path, 100)


def _touch(path: Path) -> None:
    os.utime(path)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")
    os.utime(path, ns=(1_000_000_000, 2_500_000_000))


def _replace_by_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [_cut, _touch, _grow, _replace_by_link, _replace_by_folder, Path.unlink])
def test_a_file_that_was_changed_is_not_read(
    file: Path, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    lent = Lent.of(Extent(file, 6, len(CONTENT), "app.tar"))
    assert lent.find() is not None
    change(file)
    assert lent.find() is None
    assert "app.tar was changed while it is served" in caplog.text


@pytest.mark.parametrize("change", [_cut, _touch, _grow])
def test_an_open_file_that_was_changed_is_not_read(file: Path, change: Callable[[Path], None]) -> None:
    with file.open("rb") as opened:
        lent = Lent.of(Extent(opened.fileno(), 6, len(CONTENT), "app.tar"))
        change(file)
        assert lent.find() is None


def test_a_file_that_has_gone_cannot_be_lent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Blobs(tmp_path / "data").lend(DIGEST, Extent(tmp_path / "nowhere", 0, 1, "nowhere"))
