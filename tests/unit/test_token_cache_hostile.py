"""Passwords on disk where somebody else could get at them, and where the disk has no place for one."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tokens import CALLER, HOUR, REGISTRY, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "xdg" / "ecrdrag")


def write_by_others(folder: Path) -> None:
    folder.chmod(0o777)


def write_by_a_group(folder: Path) -> None:
    folder.chmod(0o720)


def a_link(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def somebody_else_s(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give folders away")
    os.chown(folder, 12345, 12345)


SPOILS = [write_by_others, write_by_a_group, a_link, somebody_else_s]


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_folder_that_others_can_change_is_neither_read_nor_written(
    world: World, spoil: Callable[[Path], None]
) -> None:
    world.get()
    before = {path.name: path.read_bytes() for path in world.file.parent.iterdir()}
    spoil(world.file.parent)
    assert world.cache.fresh(REGISTRY, CALLER) is None
    assert world.get() == "password-2"
    assert world.get(caller="beef" * 16) == "password-3"
    assert {path.name: path.read_bytes() for path in world.file.parent.iterdir()} == before


def test_a_folder_that_others_can_look_into_does_as_its_files_are_closed(world: World) -> None:
    world.get()
    world.file.parent.chmod(0o755)
    assert world.get() == "password-1"


def test_a_link_in_place_of_a_password_is_not_followed(world: World, tmp_path: Path) -> None:
    world.get()
    world.file.rename(tmp_path / "another")
    world.file.symlink_to(tmp_path / "another")
    kept = (tmp_path / "another").read_bytes()
    assert world.cache.fresh(REGISTRY, CALLER) is None
    assert world.get() == "password-2"
    assert not world.file.is_symlink()
    assert (tmp_path / "another").read_bytes() == kept


def test_a_link_in_place_of_a_lock_makes_no_file_elsewhere(world: World, tmp_path: Path) -> None:
    world.get()
    lock = world.file.with_suffix(".lock")
    lock.unlink()
    lock.symlink_to(tmp_path / "made")
    world.now += 7 * HOUR
    assert world.get() == "password-2"
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("suffix", [".json", ".lock"])
def test_nobody_waits_for_a_pipe(world: World, suffix: str) -> None:
    world.get()
    world.file.with_suffix(suffix).unlink()
    os.mkfifo(world.file.with_suffix(suffix), 0o600)
    world.now += 7 * HOUR
    assert world.get() == "password-2"


def test_a_full_disk_costs_a_call_each_time_and_leaves_nothing_half_written(world: World) -> None:
    world.get()
    world.now += 7 * HOUR
    before = {path.name: path.read_bytes() for path in world.file.parent.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, limits[1]))
    try:
        assert [world.get(), world.get()] == ["password-2", "password-3"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in world.file.parent.iterdir()} == before


@pytest.mark.parametrize("hours", [-24 * 365, -7, -1, 6, 13, 24 * 365])
def test_a_clock_that_jumps_costs_one_call(world: World, hours: int) -> None:
    world.get()
    world.now += hours * HOUR
    assert [world.get(), world.get()] == ["password-2", "password-2"]
