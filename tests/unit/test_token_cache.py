"""Passwords on disk: how long they live, who can read them, and what happens when many want one at once."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaitingError
from contextlib import suppress
from pathlib import Path

import pytest

from ecrdrag.errors import AuthError, BusyError, EcrdragError, TransferError
from ecrdrag.registry.auth import EcrToken, Login
from ecrdrag.registry.ecr_errors import UnansweredError
from tests.tokens import CALLER, FILE, HOUR, REGISTRY, START, World, held


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "xdg" / "ecrdrag")


def test_a_password_is_kept_for_half_of_its_life_and_then_renewed(world: World) -> None:
    assert world.get() == "password-1"
    assert world.cache.fresh(REGISTRY, CALLER) == Login("AWS", "password-1")
    world.now += 6 * HOUR - 1
    assert world.get() == "password-1"
    world.now += 1
    assert world.cache.fresh(REGISTRY, CALLER) is None
    assert world.get() == "password-2"
    assert world.get() == "password-2"
    assert world.calls == 2


def test_a_clock_that_was_set_back_makes_a_password_old(world: World) -> None:
    world.get()
    world.now -= 1
    assert world.get() == "password-2"


def test_registries_and_callers_have_passwords_of_their_own(world: World) -> None:
    assert world.get() == "password-1"
    assert world.get(caller="beef" * 16) == "password-2"
    assert world.get(registry="public.ecr.aws") == "password-3"
    assert world.get() == "password-1"


def test_only_the_owner_can_read_what_is_kept_whatever_the_umask(world: World) -> None:
    before = os.umask(0)
    try:
        world.get()
    finally:
        os.umask(before)
    modes = {str(path.relative_to(world.folder.parent)): path.stat().st_mode & 0o777 for path in sorted_tree(world)}
    assert modes == {
        "ecrdrag": 0o700,
        "ecrdrag/tokens": 0o700,
        f"ecrdrag/tokens/{FILE}.json": 0o600,
        f"ecrdrag/tokens/{FILE}.lock": 0o600,
    }


def sorted_tree(world: World) -> list[Path]:
    return sorted(world.folder.parent.rglob("*"))


@pytest.mark.parametrize(
    "error", [TransferError("no TLS"), UnansweredError("no connection"), BusyError("Rate exceeded")], ids=str
)
def test_out_of_reach_an_old_password_does_until_it_expires(
    world: World, caplog: pytest.LogCaptureFixture, error: EcrdragError
) -> None:
    world.get()
    world.fails = error
    world.now += 12 * HOUR - 90
    assert world.get() == "password-1"
    assert caplog.messages == [f"AWS is out of reach, so the old password does, for 2 minutes more: {error}"]
    world.now += 90
    with pytest.raises(TransferError):
        world.get()


def test_refused_credentials_are_no_reason_to_take_an_old_password(world: World) -> None:
    world.get()
    world.now += 7 * HOUR
    world.fails = AuthError("the security token is invalid")
    with pytest.raises(AuthError):
        world.get()


def test_an_unreachable_aws_leaves_the_old_password_where_it_is(world: World) -> None:
    world.get()
    kept = world.file.read_bytes()
    world.now += 7 * HOUR
    world.fails = UnansweredError("no connection")
    world.get()
    assert world.file.read_bytes() == kept


GOOD = {"registry": REGISTRY, "username": "AWS", "password": "kept", "fetched": START, "expires": START + 12 * HOUR}


def dumped(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"[" * 20_000,
        dumped()[:-1],
        b" " * 64 * 1024 + dumped(),
        dumped(registry="other"),
        dumped(username=""),
        dumped(password=""),
        dumped(password=7),
        dumped(fetched="now"),
        dumped(fetched=float("nan")),
        dumped(expires=float("inf")),
        dumped(expires=None),
        json.dumps({key: GOOD[key] for key in GOOD if key != "expires"}).encode(),
    ],
)
def test_a_damaged_file_is_as_good_as_none(world: World, raw: bytes) -> None:
    world.get()
    world.file.write_bytes(raw)
    assert world.cache.fresh(REGISTRY, CALLER) is None
    assert world.cache.registries() in ({}, {"other": "AWS"})
    assert world.get() == "password-2"
    assert world.get() == "password-2"


def test_the_damaged_files_are_nearly_good_ones(world: World) -> None:
    world.get()
    world.file.write_bytes(dumped())
    assert world.get() == "kept"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_can_read_or_write_is_as_good_as_none(world: World, mode: int) -> None:
    world.get()
    world.file.chmod(mode)
    assert world.get() == "password-2"
    assert world.file.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_as_good_as_none(world: World) -> None:
    world.get()
    os.chown(world.file, 12345, 12345)
    assert world.get() == "password-2"


def spoil_the_file(world: World) -> None:
    world.file.mkdir(parents=True)
    (world.file / "x").touch()


def spoil_the_folder(world: World) -> None:
    world.folder.mkdir(parents=True)
    world.file.parent.touch()


def spoil_the_home(world: World) -> None:
    world.folder.parent.touch()


def spoil_the_lock(world: World) -> None:
    world.file.with_suffix(".lock").mkdir(parents=True)


@pytest.mark.parametrize("spoil", [spoil_the_file, spoil_the_folder, spoil_the_home])
def test_where_nothing_can_be_kept_each_time_costs_a_call(
    world: World, spoil: Callable[[World], None], caplog: pytest.LogCaptureFixture
) -> None:
    spoil(world)
    assert [world.get(), world.get()] == ["password-1", "password-2"]
    assert world.cache.registries() == {}
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_without_a_lock_passwords_are_kept_all_the_same(world: World) -> None:
    spoil_the_lock(world)
    assert [world.get(), world.get()] == ["password-1", "password-1"]
    world.now += 7 * HOUR
    assert world.get() == "password-2"


def test_many_at_once_make_one_call(world: World) -> None:
    together, calling = threading.Barrier(8), threading.Barrier(2)

    def fetch() -> EcrToken:
        with suppress(threading.BrokenBarrierError):
            calling.wait(0.1)  # for another call, which must not come
        return world.fetch()

    def one() -> str:
        together.wait(10)
        return world.cache.login(REGISTRY, CALLER, fetch).password

    with ThreadPoolExecutor(8) as pool:
        assert {each.result() for each in [pool.submit(one) for _ in range(8)]} == {"password-1"}
    assert world.calls == 1


def test_while_somebody_renews_an_old_password_does_at_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.get()
    world.now += 7 * HOUR
    with held(world):
        assert world.get() == "password-1"
    assert world.calls == 1
    assert caplog.messages == []
    assert world.get() == "password-2"


@pytest.mark.parametrize("was_there", [False, True], ids=["none was there", "one had expired"])
def test_who_waits_finds_what_the_other_fetched(world: World, was_there: bool) -> None:
    world.get()
    expired = world.file.read_bytes()
    world.now += 13 * HOUR
    world.get()
    fetched = world.file.read_bytes()
    world.file.write_bytes(expired if was_there else b"")
    with held(world), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(world.get)
        with pytest.raises(StillWaitingError):
            waiting.result(0.01)
        world.file.write_bytes(fetched)
    assert waiting.result() == "password-2"
    assert world.calls == 2


def test_a_wait_has_an_end(world: World) -> None:
    world.file.parent.mkdir(parents=True)
    with held(world):
        assert world.get() == "password-1"
    world.now += 12 * HOUR
    with held(world):
        assert world.get() == "password-2"


def test_the_list_has_each_registry_with_a_password_that_is_good(world: World) -> None:
    assert world.cache.registries() == {}
    world.get()
    world.get(caller="beef" * 16)
    world.now += 7 * HOUR
    world.get(registry="public.ecr.aws")
    assert world.cache.registries() == {REGISTRY: "AWS", "public.ecr.aws": "AWS"}
    world.now += 5 * HOUR
    assert world.cache.registries() == {"public.ecr.aws": "AWS"}


def test_rubbish_goes_when_something_new_is_kept(world: World) -> None:
    world.get()
    folder = world.file.parent
    for name, age in (("killed.new", 25 * HOUR), ("former-caller.json", 25 * HOUR), ("other.lock", 23 * HOUR)):
        (folder / name).touch()
        os.utime(folder / name, (START - age, START - age))
    world.now += HOUR
    world.get(caller="beef" * 16)
    assert {path.name for path in folder.iterdir() if not path.name.startswith(REGISTRY)} == {"other.lock"}


def test_a_password_is_in_no_name_and_no_representation(world: World) -> None:
    login = world.cache.login(REGISTRY, CALLER, world.fetch)
    assert "password-1" not in repr(login)
    assert "password-1" not in repr(world.cache)
    assert not [path for path in sorted_tree(world) if "password" in path.name]
