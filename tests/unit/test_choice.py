"""The options by which pulls and copies choose, and lists of references in files."""

from __future__ import annotations

import argparse
import io
import platform
from pathlib import Path
from types import SimpleNamespace

import pytest

from ecrdrag.archive.compress import Compression
from ecrdrag.cli.choice import add_choice_arguments, layers_of, types_of, wish_of
from ecrdrag.cli.lists import references_in
from ecrdrag.content import Platform
from ecrdrag.errors import ArchiveError, UsageError
from ecrdrag.resolve import Wish

HERE = Platform.of_machine(platform.machine())
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("references", nargs="*")
    add_choice_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        ((), Wish((HERE,), explicit=False)),
        (("linux/arm64",), Wish((ARM64,))),
        (("linux/arm64", "linux/amd64"), Wish((ARM64, AMD64))),
        (("linux/arm64", "linux/arm64"), Wish((ARM64,))),
        (("all",), Wish((HERE,), explicit=False, everything=True)),
        (("all", "linux/arm64"), Wish((ARM64,), everything=True)),
        (("linux/arm64", "all"), Wish((ARM64,), everything=True)),
    ],
)
def test_platforms_are_a_wish(words: tuple[str, ...], wish: Wish) -> None:
    options = [text for word in words for text in ("--platform", word)]
    assert wish_of(parsed(*options).platform) == wish


@pytest.mark.parametrize("text", ["", "arm64", "linux/", "All", "linux/a/b/c"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--platform"):
        wish_of([text])


@pytest.mark.parametrize(
    ("words", "types"),
    [
        ((), None),
        (("--referrers",), ()),
        (("--referrers", "application/vnd.in-toto+json"), ("application/vnd.in-toto+json",)),
        (("--referrers", "a/b", "--referrers", "c/d", "--referrers", "a/b"), ("a/b", "c/d")),
        (("--referrers", "a/b", "--referrers"), ()),
    ],
)
def test_referrers_have_types_or_are_all(words: tuple[str, ...], types: tuple[str, ...] | None) -> None:
    assert types_of(parsed("REF", *words).referrers) == types


@pytest.mark.parametrize("text", ["alpine", "host/my/app:1", "123456789012.dkr.ecr.us-west-2.amazonaws.com/app:1"])
def test_a_reference_that_referrers_has_eaten_is_seen(text: str) -> None:
    with pytest.raises(UsageError, match="artifact type") as caught:
        types_of(parsed("--referrers", text).referrers)
    assert "behind REF" in caught.value.hint


def test_layers_have_two_forms() -> None:
    assert [layers_of(text) for text in (None, "gzip", "plain")] == [None, Compression(), Compression(None)]


def test_a_list_has_a_reference_a_line(tmp_path: Path) -> None:
    path = tmp_path / "images.txt"
    path.write_bytes(b"\xef\xbb\xbf# ours\r\nhost.example/app:1\r\n\r\n  host.example/db:2  # the database\nalpine")
    assert [each.text for each in references_in(str(path))] == ["host.example/app:1", "host.example/db:2", "alpine"]


def test_a_list_comes_from_standard_input_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"host.example/app:1\n")))
    assert [str(each) for each in references_in("-")] == ["host.example/app:1"]


def test_all_lines_that_are_wrong_are_named(tmp_path: Path) -> None:
    path = tmp_path / "images.txt"
    path.write_text("# ours\nhost.example/app 1\nhost.example/app:1\nhost.example/App:1\n")
    with pytest.raises(UsageError, match="has lines that are no references") as caught:
        references_in(str(path))
    lines = [line.partition(": ")[0] for line in caught.value.hint.splitlines() if line.startswith("line ")]
    assert lines == ["line 2", "line 4"]
    path.write_text("no image\n" * 12)
    with pytest.raises(UsageError) as caught:
        references_in(str(path))
    assert caught.value.hint.endswith("\nand 2 more")


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"can't read .*nowhere: No such file"):
        references_in(str(tmp_path / "nowhere"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no text"):
        references_in(str(tmp_path / "binary"))
    (tmp_path / "huge").write_bytes(b"a" * (4 * 1024 * 1024 + 1))
    with pytest.raises(UsageError, match="more than"):
        references_in(str(tmp_path / "huge"))
