"""A name is an archive's or an image's, and bytes are written as they are, after all that was printed before."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from ecrdrag.cli.inspect import is_archive
from ecrdrag.cli.streams import write_result
from ecrdrag.errors import ArchiveError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nowhere")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        *("-", "/", "/x", "./x", "../x", "there", "file", "dangling", "there/../file"),
        *("app.tar", "app.tar.gz", "out/app.TGZ", "a b.tar", "Big.tar.zst", "app.txz", "app.tar.bz2", "c:\\x\\app.tar"),
    ],
)
def test_what_is_there_or_is_written_as_a_path_is_an_archive(name: str) -> None:
    assert is_archive(name)


@pytest.mark.parametrize(
    "name",
    [
        *("alpine", "alpine:3", "there:1", "gone", "-x", ".x", "my/app@sha256:" + "0" * 64, "app.tar:1", "app.gz"),
        *(
            "quay.io/my/app.tar",
            "localhost/app.tar",
            "docker.io/my/app.tar",
            "index.docker.io/app.tar",
            "DOCKER.IO/a.tar",
        ),
        "123456789012.dkr.ecr.us-west-2.amazonaws.com/app.tar",
        "x" * 5000,
        "nul\0",
    ],
)
def test_all_else_is_a_reference(name: str) -> None:
    assert not is_archive(name)


def test_bytes_come_after_what_was_printed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    into = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(into, encoding="ascii", newline="\r\n"))
    sys.stdout.write("before")
    write_result(b"\xff\n\0")
    assert into.getvalue() == b"before\xff\n\0"


def test_a_full_disk_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("no /dev/full here")
    with device.open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(ArchiveError, match="No space left"):
            write_result(b"x")


def test_a_closed_pipe_is_known_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = os.pipe()
    os.close(theirs)
    with os.fdopen(ours, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(BrokenPipeError):
            write_result(b"x")
