"""Docker's configuration as it is changed: what an edit writes, and what it leaves as it was."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.credentials.docker_config import docker_file, install, write_auth
from ecrdrag.errors import ArchiveError, UsageError
from ecrdrag.registry.auth import Login
from tests.dockerhome import HUB_KEY, auth, configure, environment

HOST = "registry.example.com:5000"
ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
ME = Login("me", "s3cret:with a colon")
OTHER = Login("other", "word")


def test_a_new_file_is_the_user_s_alone_and_written_as_docker_does(tmp_path: Path) -> None:
    os.umask(os.umask(0o022))
    file = install(environment(tmp_path), [ECR, "public.ecr.aws"], "ecrdrag")
    assert file == tmp_path / ".docker" / "config.json" == docker_file(environment(tmp_path))
    assert (
        file.read_text()
        == f'{{\n\t"credHelpers": {{\n\t\t"{ECR}": "ecrdrag",\n\t\t"public.ecr.aws": "ecrdrag"\n\t}}\n}}'
    )
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in file.parent.iterdir()] == ["config.json"]


def test_an_edit_keeps_mode_link_and_order_and_nothing_half_written(tmp_path: Path) -> None:
    text = '{"z": {"é": [1, 2.5, null, "\\ud800"]}, "credHelpers": {"other": "x", "ECR": "y"}, "a": true}'
    real = configure(tmp_path, text.replace("ECR", ECR), "elsewhere/real.json")
    real.chmod(0o640)
    link = tmp_path / ".docker" / "config.json"
    link.parent.mkdir()
    link.symlink_to(real)
    assert install(environment(tmp_path), [ECR, "new"], "ecrdrag") == link
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    kept = json.loads(real.read_text(encoding="utf-8"))
    assert list(kept) == ["z", "credHelpers", "a"]
    assert kept == {**json.loads(text), "credHelpers": {"other": "x", ECR: "ecrdrag", "new": "ecrdrag"}}
    assert list(kept["credHelpers"]) == ["other", ECR, "new"]
    assert "é" in real.read_text(encoding="utf-8")
    assert [each.name for each in real.parent.iterdir()] == ["real.json"]


def test_a_link_to_nothing_is_followed_and_its_file_made(tmp_path: Path) -> None:
    link = tmp_path / ".docker" / "config.json"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "there" / "real.json")
    configure(tmp_path, {}, ".config/containers/auth.json")  # which counts no more, since docker has a file
    write_auth(environment(tmp_path), HOST, ME)
    assert link.is_symlink()
    assert json.loads((tmp_path / "there" / "real.json").read_text()) == {"auths": {HOST: auth(ME)}}


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    file = configure(tmp_path, f'{{"credHelpers": {{"{ECR}": "ecrdrag"}}}}')
    before = file.stat()
    assert install(environment(tmp_path), [ECR], "ecrdrag") == file
    assert file.stat().st_ino == before.st_ino
    assert file.stat().st_mtime_ns == before.st_mtime_ns


def test_a_login_replaces_what_was_under_its_key_and_one_kept_elsewhere_leaves_nothing(tmp_path: Path) -> None:
    file = configure(tmp_path, {"auths": {HOST: {"identitytoken": "old"}, "else": auth(ME)}})
    write_auth(environment(tmp_path), HOST, ME)
    assert json.loads(file.read_text()) == {"auths": {HOST: auth(ME), "else": auth(ME)}}
    write_auth(environment(tmp_path), HOST, None)
    write_auth(environment(tmp_path), "docker.io", OTHER)
    assert json.loads(file.read_text()) == {"auths": {HOST: {}, "else": auth(ME), HUB_KEY: auth(OTHER)}}


def test_a_login_goes_into_the_file_that_is_read_and_a_helper_always_into_docker_s(tmp_path: Path) -> None:
    podman = configure(tmp_path, {"auths": {HOST: auth(ME)}}, ".config/containers/auth.json")
    assert write_auth(environment(tmp_path), ECR, OTHER) == podman
    assert json.loads(podman.read_text()) == {"auths": {HOST: auth(ME), ECR: auth(OTHER)}}
    assert install(environment(tmp_path), [ECR], "ecrdrag") == tmp_path / ".docker" / "config.json"


def test_docker_hub_is_called_as_docker_calls_it(tmp_path: Path) -> None:
    file = install(environment(tmp_path), ["docker.io", "index.docker.io"], "fake")
    assert json.loads(file.read_text()) == {"credHelpers": {HUB_KEY: "fake"}}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5), st.lists(st.text(min_size=1), max_size=3))
def test_every_other_member_and_their_order_survive_an_edit(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object], hosts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("home")
    document.pop("credHelpers", None)
    file = configure(folder, document)
    install(environment(folder), [ECR, *hosts], "ecrdrag")
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert set(kept.pop("credHelpers").values()) == {"ecrdrag"}
    assert list(kept.items()) == list(document.items())


@pytest.mark.parametrize(
    "text", ["s3cret", '{"auths": {"s3cret', '["s3cret"]', '{"auths": "s3cret"}', '{"credsStore": 1}']
)
def test_a_file_that_docker_could_not_read_stays_as_it_is(tmp_path: Path, text: str) -> None:
    file = configure(tmp_path, text)
    edits: list[Callable[[], Path]] = [
        lambda: install(environment(tmp_path), [ECR], "ecrdrag"),
        lambda: write_auth(environment(tmp_path), HOST, ME),
    ]
    for edit in edits:
        with pytest.raises(UsageError, match=r"config\.json is not a configuration of docker's, and stays") as refused:
            edit()
        assert "s3cret" not in str(refused.value)
    assert file.read_text(encoding="utf-8") == text


def test_what_the_disk_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / ".docker" / "config.json").mkdir(parents=True)
    with pytest.raises(ArchiveError, match=r"config\.json can't be changed: Is a directory"):
        install(environment(tmp_path), [ECR], "ecrdrag")
    with pytest.raises(ArchiveError, match=r"config\.json can't be changed: Not a directory"):
        install(environment(tmp_path, DOCKER_CONFIG="/dev/null/x"), [ECR], "ecrdrag")
    assert [each.name for each in (tmp_path / ".docker").iterdir()] == ["config.json"]


def test_a_full_disk_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    file = configure(tmp_path, {"auths": {}})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(ArchiveError, match=r"config\.json can't be changed: File too large"):
            write_auth(environment(tmp_path), HOST, ME)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert json.loads(file.read_text()) == {"auths": {}}
    assert [each.name for each in file.parent.iterdir()] == ["config.json"]
