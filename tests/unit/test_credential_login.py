"""Where a password from AWS is for, and what of a login stays between docker and us."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ecrdrag.credentials.docker_config import DockerKeyring
from ecrdrag.credentials.login import Access, log_in, private_access
from ecrdrag.errors import AuthError
from ecrdrag.reference import EcrHost
from ecrdrag.registry.auth import EcrToken, Login
from tests.dockerhome import environment, program

HOST = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
ME = Login("AWS", "s3cret")
EXPIRES = 1767323045.0


def token(endpoint: str) -> EcrToken:
    return EcrToken(ME, EXPIRES, endpoint)


@pytest.mark.parametrize(
    "name",
    [
        HOST,
        "123456789012.dkr.ecr-fips.us-west-2.amazonaws.com",
        "123456789012.dkr-ecr.us-west-2.on.aws",
        "123456789012.dkr-ecr-fips.us-west-2.on.aws",
    ],
)
@pytest.mark.parametrize("endpoint", [f"https://{HOST}", ""])
def test_aws_s_own_registry_is_called_as_the_user_calls_it(name: str, endpoint: str) -> None:
    access = private_access(EcrHost.parse(name), token(endpoint))
    assert access == Access(name, ME, EXPIRES)
    assert "s3cret" not in repr(access)


@pytest.mark.parametrize(
    ("endpoint", "registry"),
    [
        ("http://127.0.0.1:5080", "127.0.0.1:5080"),
        ("https://ecr:5080/", "ecr:5080"),
        ("http://123456789012.dkr.ecr.us-west-2.localhost:5080", "123456789012.dkr.ecr.us-west-2.localhost:5080"),
        ("https://[::1]:5080", "[::1]:5080"),
    ],
)
def test_a_registry_that_is_not_aws_s_is_called_as_it_calls_itself(endpoint: str, registry: str) -> None:
    assert private_access(EcrHost.parse(HOST), token(endpoint)).registry == registry


@pytest.mark.parametrize("endpoint", ["nonsense", "https://-x", "https://user:s3cret@host", "https://[", "https://"])
def test_an_endpoint_that_is_none_is_an_error(endpoint: str) -> None:
    with pytest.raises(AuthError, match=f"{HOST}: GetAuthorizationToken answered with an endpoint") as caught:
        private_access(EcrHost.parse(HOST), token(endpoint))
    assert "s3cret" not in str(caught.value)


def test_docker_is_the_environment_s_own_and_sees_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ours").mkdir()
    program(tmp_path / "ours", "docker", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "ours" / "bin"))
    program(tmp_path, "docker", f"/usr/bin/env >'{tmp_path}/seen'; /bin/cat >/dev/null")
    monkeypatch.setenv("FROM_HERE", "no")
    log_in(Access(HOST, ME), environment(tmp_path, GIVEN="yes"), refuse)
    seen = (tmp_path / "seen").read_text()
    assert "GIVEN=yes\n" in seen
    assert "FROM_HERE" not in seen


def test_without_a_path_there_is_no_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "docker", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    asked: list[tuple[str, Login]] = []
    log_in(Access(HOST, ME), {"HOME": str(tmp_path)}, lambda registry, login: asked.append((registry, login)))
    assert asked == [(HOST, ME)]
    assert DockerKeyring({"HOME": str(tmp_path)}).find(HOST) == ME


def test_a_docker_in_the_current_folder_is_not_given_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "docker", "exit 1")
    monkeypatch.chdir(tmp_path / "bin")
    asked: list[str] = []
    for path in (".", "", ":/nowhere"):
        log_in(Access(HOST, ME), environment(tmp_path, PATH=path), lambda registry, login: asked.append(registry))
    assert asked == [HOST] * 3


@pytest.mark.parametrize("stream", [1, 2])
def test_a_docker_that_repeats_the_password_is_not_repeated(
    tmp_path: Path, stream: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    program(tmp_path, "docker", f"echo first >&{stream}; /bin/cat >&{stream}; exit 1")
    with pytest.raises(AuthError) as caught:
        log_in(Access(HOST, ME), environment(tmp_path), refuse)
    assert str(caught.value) == f"docker could not log in to {HOST} as AWS: ***"
    assert caplog.messages == ["docker: first"]


def refuse(registry: str, login: Login) -> None:
    """Be asked only where there is no docker."""
    raise AssertionError(registry)
