"""Own what stands in a folder where an archive's files should be: links, pipes, sockets, folders, nothing.

tests/flow/mutants.py and test_push_fuzz.py enter.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

Deed = Callable[[Path, Path], None]
"""Do something to a file's place in a folder; the other path is that of a file outside."""


def _cleared(path: Path) -> Path:
    """Move away what has the name, so that something else can."""
    if path.exists() or path.is_symlink():
        path.rename(path.with_name(f"{path.name[:100]}.old"))
    return path


def _link(target: str, path: Path, outside: Path) -> None:
    _cleared(path).symlink_to(target.format(outside=outside, name=path.name, folder=path.parent))


def _chain(length: int, path: Path, outside: Path) -> None:
    """Lead through many links to what was there."""
    _cleared(path).symlink_to("link0")
    for place in range(length):
        path.with_name(f"link{place}").symlink_to(f"link{place + 1}")
    path.with_name(f"link{length}").symlink_to(f"{path.name[:100]}.old")


def _pipe(path: Path, outside: Path) -> None:
    os.mkfifo(_cleared(path))


def _socket(path: Path, outside: Path) -> None:
    _cleared(path)
    here = os.open(path.parent, os.O_RDONLY)
    try:
        with closing(socket.socket(socket.AF_UNIX)) as made:
            made.bind(f"/proc/self/fd/{here}/{path.name}"[:100])  # a socket's path has 107 bytes at most
    finally:
        os.close(here)


def _folder(path: Path, outside: Path) -> None:
    _cleared(path).mkdir()


def _file(path: Path, outside: Path) -> None:
    _cleared(path).write_bytes(b"{}")


def _gone(path: Path, outside: Path) -> None:
    _cleared(path)


def _odd_names(path: Path, outside: Path) -> None:
    for name in (b"\xff\xfe", b"a\\b", b"new\nline", "é".encode(), b"e" * 255):
        with open(os.path.join(os.fsencode(path.parent), name), "wb"):  # noqa: PTH118, PTH123 - names in bytes
            pass


DEEDS: Final[Mapping[str, Deed]] = {
    "gone": _gone,
    "a folder": _folder,
    "a file": _file,
    "a pipe": _pipe,
    "a socket": _socket,
    "odd names beside": _odd_names,
    "a link to what was there": partial(_link, "{name}.old"),
    "a link out": partial(_link, "{outside}"),
    "a link out through ..": partial(_link, "../../../../../../../../../../../../../../../..{outside}"),
    "a link to the folder of what is outside": partial(_link, "{outside}/.."),
    "a link to itself": partial(_link, "{name}"),
    "a link to nothing": partial(_link, "nothing"),
    "a link to a device": partial(_link, "/dev/zero"),
    "a link to this process": partial(_link, "/proc/self/mem"),
    "a link to its own folder": partial(_link, "."),
    "a link back in": partial(_link, "{folder}/{name}.old"),
    "a link of 4000 characters": partial(_link, "./" * 1990 + "{name}.old"),
    "10 links": partial(_chain, 10),
    "1500 links": partial(_chain, 1500),
}
