"""`login` with a user's own name and password, and who keeps a login where there is no docker."""

from __future__ import annotations

import json
import os
import pty
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ecrdrag.credentials.docker_config import encode_auth
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.web.tls import server_context
from ecrdrag.registry.auth import Login
from tests.certificate import write_certificate
from tests.dockerhome import configure, helper, program
from tests.flow.conftest import HOST
from tests.flow.logins import User, noted
from tests.flow.scripts import Run
from tests.localecr import REGION, running
from tests.registry import password_of

STDIN = ("--password-stdin", "--username")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEcr]:
    with running(tmp_path_factory.mktemp("ecr")) as ecr:
        yield ecr


@pytest.fixture
def password(registry: LocalEcr) -> str:
    return password_of(registry)


@pytest.fixture
def user(tmp_path: Path, registry: LocalEcr) -> User:
    home = tmp_path / "home"
    home.mkdir()
    return User(home, registry)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r"])
def test_a_login_is_asked_for_at_the_registry_and_written(user: User, password: str, end: str) -> None:
    done = user.log_in(user.registry, *STDIN, "AWS", stdin=password + end)
    assert done.code == 0, done.err
    assert done.out == f"logged in to {user.registry} as AWS\n"
    assert user.written == {"auths": {user.registry: {"auth": encode_auth(Login("AWS", password))}}}
    assert password not in done.err


def test_json_says_that_nobody_knows_until_when(user: User, password: str) -> None:
    done = user.log_in(f"{user.registry}/my/app", "--json", *STDIN, "AWS", stdin=password)
    assert json.loads(done.out) == {"registry": user.registry, "username": "AWS", "expires": None}


def test_a_login_that_the_registry_refuses_is_not_written(user: User, password: str) -> None:
    done = user.log_in(user.registry, "-vv", *STDIN, "AWS", stdin=password.swapcase())
    assert (done.code, done.out) == (3, "")
    assert user.registry.partition(":")[0] in done.err
    assert password.swapcase() not in done.err
    assert not user.config.exists()


def test_a_registry_that_is_not_there_is_no_answer(user: User) -> None:
    done = user.log_in("127.0.0.1:1", *STDIN, "me", stdin="s3cret")
    assert (done.code, done.out) == (5, "")
    assert "no connection to 127.0.0.1" in done.err
    assert not user.config.exists()


def test_docker_is_given_the_login_of_any_registry_even_of_ecr_s(user: User) -> None:
    file = user.docker()
    for name, host in (("registry.example.com:5000/app", "registry.example.com:5000"), (HOST, HOST)):
        done = user.log_in(name, *STDIN, "me", stdin=" two words\n\n")
        assert done.out == f"logged in to {host} as me\n"
        _, arguments, stdin = noted(file)
        assert arguments == ["login", "--username", "me", "--password-stdin", host]
        assert stdin == " two words\n\n"


@pytest.mark.parametrize("name", ["docker.io", "https://index.docker.io/v1/", "registry-1.docker.io", "library/alpine"])
def test_docker_hub_has_one_name(user: User, name: str) -> None:
    file = user.docker()
    done = user.log_in(name, *STDIN, "me", stdin="s3cret")
    assert done.out == "logged in to docker.io as me\n"
    assert noted(file)[1][-1] == "docker.io"


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["--password-stdin"], "s3cret", "the --password-stdin option requires --username to be set"),
        (["--username", "me"], "s3cret", "cannot perform an interactive login from a non-TTY device"),
        ([*STDIN, ""], "s3cret", "username is empty"),
        ([*STDIN, "me"], "", "password is empty"),
        ([*STDIN, "me"], " \n", "password is empty"),
        (["--print", *STDIN, "me"], "s3cret", "--print prints a password from AWS alone"),
        (["--print", "--json"], "", "--print prints a password from AWS alone"),
    ],
)
def test_half_a_login_is_a_usage_error_in_docker_s_words(
    user: User, arguments: list[str], stdin: str, said: str
) -> None:
    file = user.docker()
    done = user.log_in("registry.example.com", *arguments, stdin=stdin)
    assert (done.code, done.out) == (2, "")
    assert f"ecrdrag login: {said}" in done.err
    assert not file.exists()


def test_a_password_that_is_no_text_is_a_usage_error(user: User) -> None:
    command = [sys.executable, "-m", "ecrdrag", "login", "registry.example.com", *STDIN, "me"]
    done = subprocess.run(command, env=user.environ, input=b"s3cret\xff", capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr == b"ecrdrag login: the password is not UTF-8\n"


def on_a_terminal(user: User, typed: bytes) -> tuple[Run, bytes]:
    """Run the command on a terminal, type when it has asked, and give what the terminal showed too."""
    ours, theirs = pty.openpty()
    # Whoever leads a session and opens a terminal has it for its own: tty_ioctl(4).
    lead = (
        "import os, sys; os.setsid(); os.dup2(os.open(sys.argv[1], os.O_RDWR), 0); os.execv(sys.argv[2], sys.argv[2:])"
    )
    command = [sys.executable, "-c", lead, os.ttyname(theirs), sys.executable, "-m", "ecrdrag", "login"]
    arguments = ["registry.example.com", "--username", "me"]
    with subprocess.Popen(
        command + arguments, env=user.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        shown = b""
        while not shown.endswith(b"Password: "):
            assert select.select([ours], [], [], 20)[0], "it asks for nothing"
            shown += os.read(ours, 100)
        os.write(ours, typed)
        out, err = process.communicate(timeout=60)
    os.write(theirs, b"the end")  # a read of no bytes would wait
    shown += os.read(ours, 100)
    os.close(ours)
    os.close(theirs)
    return Run(process.returncode, out, err), shown


def test_on_a_terminal_the_password_is_asked_for_and_not_shown(user: User) -> None:
    file = user.docker()
    done, shown = on_a_terminal(user, b"s3cret\n")
    assert done == Run(0, "logged in to registry.example.com as me\n", "")
    assert noted(file)[2] == "s3cret\n"
    assert b"s3cret" not in shown


@pytest.mark.parametrize("typed", [b"\n", b"\x04"])
def test_nothing_on_a_terminal_is_an_empty_password(user: User, typed: bytes) -> None:
    done, _ = on_a_terminal(user, typed)
    assert (done.code, done.out) == (2, "")
    assert "password is empty" in done.err


def test_a_private_authority_is_believed_where_it_is_named(user: User, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    with LocalEcr(tmp_path / "data", settings=Settings(region=REGION), tls=server_context(certificate, key)) as ecr:
        place = urlsplit(ecr.endpoint).netloc
        given = (place, *STDIN, "AWS")
        done = user.log_in(*given, stdin="s3cret")
        assert (done.code, "certificate of 127.0.0.1" in done.err) == (5, True)
        done = user.log_in(*given, "--ca-file", str(certificate), stdin="s3cret")
        assert done.code == 3, done.err
    assert "s3cret" not in done.err


@pytest.mark.parametrize(("options", "first"), [(["--plain-http"], b"GET "), ([], b"\x16\x03")])
def test_a_registry_is_asked_without_tls_only_where_that_is_wished(
    user: User, options: list[str], first: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard: list[bytes] = []

        def listen() -> None:
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(len(first)))

        listener = threading.Thread(target=listen)
        listener.start()
        done = user.log_in(f"127.0.0.1:{server.getsockname()[1]}", *options, *STDIN, "me", stdin="s3cret")
        listener.join()
    assert heard == [first]
    assert done.code == 5
    assert "s3cret" not in done.err


@pytest.mark.parametrize("member", ["credsStore", "credHelpers"])
def test_without_docker_a_credential_helper_keeps_the_login_and_the_file_none(
    user: User, password: str, member: str
) -> None:
    asked = helper(user.home, "fake", {})
    old = {user.registry: {"auth": "b2xkOm9sZA=="}}
    named = "fake" if member == "credsStore" else {user.registry: "fake"}
    configure(user.home, {"auths": old, member: named})
    done = user.log_in(user.registry, "-vv", *STDIN, "AWS", stdin=password)
    assert done.code == 0, done.err
    line, *_ = asked.read_text().splitlines()
    kept = {"ServerURL": user.registry, "Username": "AWS", "Secret": password}
    assert json.loads(line.removeprefix("store ")) == kept
    assert user.written == {"auths": {user.registry: {}}, member: named}
    assert "docker-credential-fake keeps the login" in done.err
    assert "unencrypted" not in done.err
    assert password not in done.err


def test_a_credential_helper_that_is_missing_ends_it_before_the_registry_is_asked(user: User) -> None:
    configure(user.home, {"credsStore": "desktop"})
    done = user.log_in("127.0.0.1:1", *STDIN, "AWS", stdin="s3cret")
    assert (done.code, done.out) == (3, "")
    assert f"docker-credential-desktop is not in PATH, but credsStore in {user.config} names it" in done.err
    assert "install Docker Desktop" in done.err
    assert user.written == {"credsStore": "desktop"}


def test_a_credential_helper_that_can_not_keep_it_says_why_and_nothing_is_changed(user: User, password: str) -> None:
    program(user.home, "docker-credential-full", "echo it is full; exit 1")
    before = {"credsStore": "full", "auths": {user.registry: {"auth": "b2xkOm9sZA=="}}}
    configure(user.home, before)
    done = user.log_in(user.registry, *STDIN, "AWS", stdin=password)
    assert (done.code, done.out) == (3, "")
    assert f"can't store {user.registry}: it is full" in done.err
    assert user.written == before


def test_a_login_in_the_environment_that_goes_before_is_pointed_at(user: User, password: str) -> None:
    done = user.log_in(user.registry, *STDIN, "AWS", stdin=password, DOCKER_AUTH_CONFIG='{"auths": {}}')
    assert done.code == 0, done.err
    assert "DOCKER_AUTH_CONFIG is set and takes precedence" in done.err


def test_a_file_that_can_not_be_written_is_a_disk_error(user: User, password: str) -> None:
    done = user.log_in(user.registry, *STDIN, "AWS", stdin=password, DOCKER_CONFIG="/proc/nowhere")
    assert (done.code, done.out) == (7, "")
    assert "/proc/nowhere/config.json can't be changed: " in done.err
