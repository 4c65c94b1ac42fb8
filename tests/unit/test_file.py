"""Positioned reads and writes: both ways pass the same tests."""

from __future__ import annotations

import itertools
import os
import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ecrdrag.archive.file import PositionedFile, PosixFile, SeekingFile, positioned

Kind = Callable[[int], PositionedFile]
THREADS = 8
SIZE = 300_000
SCRIPTED = 7  # bytes that a system call moves at most, where a test scripts it


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
    yield number
    os.close(number)


@pytest.fixture(params=[PosixFile, SeekingFile])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param is PosixFile and not hasattr(os, "preadv"):
        pytest.skip("this system has no preadv")
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def file(kind: Kind, descriptor: int) -> PositionedFile:
    return kind(descriptor)


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Let threads change as often as Python can, so that a race shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def short_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Script the kernel: no call writes or reads more than a few bytes."""
    write, read = os.write, os.read
    monkeypatch.setattr(os, "write", lambda number, data: write(number, data[:SCRIPTED]))
    monkeypatch.setattr(os, "read", lambda number, size: read(number, min(size, SCRIPTED)))
    if hasattr(os, "preadv"):
        pwrite, preadv = os.pwrite, os.preadv
        monkeypatch.setattr(os, "pwrite", lambda number, data, offset: pwrite(number, data[:SCRIPTED], offset))
        monkeypatch.setattr(os, "preadv", lambda number, views, at: preadv(number, [views[0][:SCRIPTED]], at))


def pieces_of(size: int, longest: int, seed: int) -> list[tuple[int, int]]:
    """Cut [0, size) into pieces (start, stop) of any length, in any order."""
    chance = random.Random(seed)
    cuts = [0]
    while cuts[-1] < size:
        cuts.append(min(size, cuts[-1] + chance.randint(1, longest)))
    pieces = list(itertools.pairwise(cuts))
    chance.shuffle(pieces)
    return pieces


def write_from_many_threads(file: PositionedFile, content: bytes, pieces: list[tuple[int, int]]) -> None:
    def write_and_read_back(piece: tuple[int, int]) -> None:
        start, stop = piece
        file.write_at(memoryview(content)[start:stop], start)
        assert read(file, start, stop - start) == content[start:stop]

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(write_and_read_back, pieces))


def read(file: PositionedFile, offset: int, size: int) -> bytes:
    """Read until size bytes have come or nothing more comes."""
    buffer = bytearray(size)
    done = 0
    while done < size and (count := file.read_at(memoryview(buffer)[done:], offset + done)):
        done += count
    return bytes(buffer[:done])


@pytest.mark.usefixtures("eager_switches")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_many_threads_write_at_once_reads_back(file: PositionedFile, tmp_path: Path, seed: int) -> None:
    content = random.Random(seed).randbytes(SIZE)
    write_from_many_threads(file, content, pieces_of(SIZE, 2000, seed))
    assert (tmp_path / "file").read_bytes() == content


@pytest.mark.usefixtures("short_calls")
def test_a_short_write_is_continued_where_it_ended(file: PositionedFile, tmp_path: Path) -> None:
    content = random.Random(4).randbytes(10 * SCRIPTED + 3)
    file.write_at(memoryview(content), 5)
    assert (tmp_path / "file").read_bytes() == bytes(5) + content


@pytest.mark.usefixtures("short_calls", "eager_switches")
def test_short_writes_of_many_threads_do_not_mix(file: PositionedFile, tmp_path: Path) -> None:
    content = random.Random(5).randbytes(20_000)
    write_from_many_threads(file, content, pieces_of(len(content), 10 * SCRIPTED, 5))
    assert (tmp_path / "file").read_bytes() == content


def test_a_read_beyond_the_end_gives_nothing_and_leaves_the_buffer_alone(file: PositionedFile) -> None:
    file.write_at(memoryview(b"abc"), 0)
    buffer = bytearray(b"....")
    assert file.read_at(memoryview(buffer), 3) == 0
    assert file.read_at(memoryview(buffer), 1_000_000) == 0
    assert buffer == b"...."


def test_a_read_across_the_end_gives_what_there_is(file: PositionedFile) -> None:
    file.write_at(memoryview(b"abc"), 0)
    buffer = bytearray(b"....")
    assert file.read_at(memoryview(buffer), 1) == 2
    assert buffer == b"bc.."


def test_what_was_never_written_reads_as_zeros(file: PositionedFile) -> None:
    file.write_at(memoryview(b"x"), 4)
    assert read(file, 0, 5) == b"\0\0\0\0x"


def test_an_empty_write_writes_nothing(file: PositionedFile, tmp_path: Path) -> None:
    file.write_at(memoryview(b""), 100)
    assert (tmp_path / "file").stat().st_size == 0


def test_what_the_system_refuses_is_an_os_error(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with (tmp_path / "file").open("rb") as read_only, pytest.raises(OSError, match="Bad file descriptor"):
        kind(read_only.fileno()).write_at(memoryview(b"x"), 0)
    with (tmp_path / "file").open("ab") as write_only, pytest.raises(OSError, match="Bad file descriptor"):
        read(kind(write_only.fileno()), 0, 1)


def test_pwrite_is_chosen_where_there_is_one(descriptor: int) -> None:
    expected = PosixFile if hasattr(os, "pwrite") and hasattr(os, "preadv") else SeekingFile
    assert isinstance(positioned(descriptor), expected)


@pytest.mark.parametrize("missing", ["pwrite", "preadv"])
def test_seeking_is_chosen_where_a_system_has_no_positioned_call(
    descriptor: int, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, missing, raising=False)
    assert isinstance(positioned(descriptor), SeekingFile)
