"""Where a user's files are, also where the environment and the system say little."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ecrdrag.credentials import folders

HOME = {"HOME": "/home/me"}


@pytest.mark.parametrize(
    ("find", "variable", "usual"),
    [
        (folders.configuration, "XDG_CONFIG_HOME", "/home/me/.config/ecrdrag"),
        (folders.cache, "XDG_CACHE_HOME", "/home/me/.cache/ecrdrag"),
    ],
)
def test_a_folder_is_where_xdg_has_it(find: Callable[..., Path], variable: str, usual: str) -> None:
    assert find(HOME) == find({**HOME, variable: ""}) == find({**HOME, variable: "relative"}) == Path(usual)
    assert find({**HOME, variable: "/else"}) == Path("/else/ecrdrag")


def test_without_home_the_system_s_own_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    assert folders.home({}) == folders.home({"HOME": ""}) == Path("~").expanduser()
    assert folders.home({}).is_absolute()


def test_a_user_whom_the_system_does_not_know_has_no_home_in_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # as in a container that is run with --user
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").mkdir()
    assert not folders.home({}).exists()
    assert folders.cache({}).is_absolute()
