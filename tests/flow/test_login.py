"""`login` with a password from AWS: without docker, and with a program that stands for it."""

from __future__ import annotations

import base64
import json
import re
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ecrdrag.credentials.docker_config import DockerKeyring, encode_auth
from ecrdrag.localecr import LocalEcr
from ecrdrag.registry.auth import Login
from tests.dockerhome import configure
from tests.flow.conftest import HOST
from tests.flow.logins import User, noted
from tests.localecr import running
from tests.registry import basic, visiting

ARN = "arn:aws:ecr:us-west-2:123456789012:repository/my/app"
UNTIL = r"until 20[0-9-]{8}T[0-9:]{8}Z\n"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEcr]:
    with running(tmp_path_factory.mktemp("ecr")) as ecr:
        yield ecr


@pytest.fixture
def user(tmp_path: Path, registry: LocalEcr) -> User:
    home = tmp_path / "home"
    home.mkdir()
    return User(home, registry)


@pytest.mark.parametrize(
    "name",
    [
        *(HOST, HOST.upper(), f"{HOST}/", f"https://{HOST}", f"{HOST}/my/app:1.2", f"https://{HOST}/my/app"),
        *(ARN, f"ecr.aws/{ARN}:1.2", HOST.replace(".ecr.", ".ecr-fips."), f"{HOST[:12]}.dkr-ecr.us-west-2.on.aws"),
    ],
)
def test_every_name_of_an_ecr_registry_leads_to_where_the_api_says_that_it_is(
    user: User, name: str, registry: LocalEcr
) -> None:
    done = user.log_in(name)
    assert done.code == 0, done.err
    assert re.fullmatch(f"logged in to {user.registry} as AWS {UNTIL}", done.out)
    assert f"belongs to the registry {user.registry}: logging in there, not at " in done.err
    found = DockerKeyring(user.environ).find(user.registry)
    assert isinstance(found, Login)
    assert user.written == {"auths": {user.registry: {"auth": encode_auth(found)}}}
    with visiting(registry, basic(found.password, found.username)) as v2:
        assert v2.get("/v2/").status == 200


def test_what_is_written_is_the_user_s_alone_and_warned_of_as_docker_does(user: User) -> None:
    done = user.log_in(HOST)
    assert (
        f"WARNING! Your credentials are stored unencrypted in '{user.config}'. Configure a credential helper to remove "
        "this warning. See https://docs.docker.com/go/credential-store/\n"
    ) in done.err
    assert stat.S_IMODE(user.config.stat().st_mode) == 0o600
    assert stat.S_IMODE(user.config.parent.stat().st_mode) == 0o700
    assert user.log_in(HOST, "-q").err == ""


def test_a_login_keeps_all_else_in_the_configuration(user: User) -> None:
    before = {"psFormat": "x", "auths": {"else": {"auth": "eA=="}}, "credHelpers": {"else": "y"}, "plugins": {"a": {}}}
    configure(user.home, before)
    assert user.log_in(HOST).code == 0
    after = user.written
    assert list(after) == list(before)
    assert after["auths"].pop(user.registry)  # type: ignore[attr-defined]
    assert after == before


def test_json_says_the_same_and_times_are_utc(user: User) -> None:
    done = user.log_in(HOST, "--json", TZ="XYZ-9")
    said = json.loads(done.out)
    assert said.keys() == {"registry", "username", "expires"}
    assert (said["registry"], said["username"]) == (user.registry, "AWS")
    assert re.fullmatch(UNTIL, f"until {said['expires']}\n")
    left = datetime.fromisoformat(said["expires"].replace("Z", "+00:00")) - datetime.now(timezone.utc)
    assert timedelta(hours=11) < left < timedelta(hours=13)


def test_a_profile_is_whose_password_it_is(user: User) -> None:
    kept = {name: user.environ.pop(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    file = user.home / ".aws" / "credentials"
    file.parent.mkdir()
    file.write_text("[other]\n" + "".join(f"{name.lower()} = {value}\n" for name, value in kept.items()))
    assert user.log_in(HOST).code == 3
    assert user.log_in(HOST, "--profile", "other").code == 0


def test_an_endpoint_url_goes_before_the_environment_s(user: User) -> None:
    endpoint = user.environ["AWS_ENDPOINT_URL_ECR"]
    done = user.log_in(HOST, "--print", "--endpoint-url", endpoint, AWS_ENDPOINT_URL_ECR="http://127.0.0.1:1")
    assert done.code == 0, done.err


def test_docker_gets_the_password_by_stdin_alone_and_what_it_says_is_shown(user: User) -> None:
    file = user.docker(said="WARNING! it is stored\\n\\nunencrypted\\n")
    done = user.log_in(HOST, "-vv", DOCKER_CONFIG="/seen")
    assert done.code == 0, done.err
    assert re.fullmatch(f"logged in to {user.registry} as AWS {UNTIL}", done.out)
    for line in ("WARNING! it is stored", "unencrypted", "Login Succeeded"):
        assert f": docker: {line}\n" in done.err
    environment, arguments, stdin = noted(file)
    assert arguments == ["login", "--username", "AWS", "--password-stdin", user.registry]
    assert "DOCKER_CONFIG=/seen" in environment
    assert stdin.endswith("\n")
    password = stdin.removesuffix("\n")
    assert len(password) > 100
    assert password not in f"{environment} {arguments} {done.out} {done.err}"
    assert base64.b64encode(f"AWS:{password}".encode()).decode() not in done.err
    assert not user.config.exists()


def test_docker_s_own_success_is_not_repeated(user: User) -> None:
    user.docker()
    done = user.log_in(HOST)
    assert "Succeeded" not in done.out + done.err


@pytest.mark.parametrize(
    ("said", "reason", "hint"),
    [
        ("Error response from daemon: unauthorized\\n", "Error response from daemon: unauthorized", ""),
        ("first\\nthen no\\n", "then no", ""),
        ("", "it gave no reason, and ended with 7", ""),
        (
            "Cannot connect to the Docker daemon at unix:x",
            "Cannot connect to the Docker daemon at unix:x",
            "start docker",
        ),
    ],
)
def test_what_docker_refuses_is_a_credentials_error_with_its_words(
    user: User, said: str, reason: str, hint: str
) -> None:
    user.docker(said, 7)
    done = user.log_in(HOST)
    assert (done.code, done.out) == (3, "")
    assert f"ecrdrag login: docker could not log in to {user.registry} as AWS: {reason}\n" in done.err
    assert hint in done.err
    assert all(line in done.err for line in said.split("\\n"))


def test_a_docker_that_can_not_be_run_is_said(user: User) -> None:
    user.docker()
    (user.home / "bin" / "docker").write_bytes(b"\x7fELF")
    done = user.log_in(HOST)
    assert done.code == 3
    assert "docker can't be run: Exec format error" in done.err


@pytest.mark.parametrize("name", ["public.ecr.aws", "public.ecr.aws/docker/library/alpine:3.20", "ecr-public.aws.com"])
def test_ecr_public_has_a_password_of_its_own(user: User, name: str) -> None:
    file = user.docker()
    endpoint = user.environ["AWS_ENDPOINT_URL_ECR"]
    done = user.log_in(name, AWS_ENDPOINT_URL_ECR_PUBLIC=endpoint)
    assert done.code == 0, done.err
    host = name.partition("/")[0]
    assert re.fullmatch(f"logged in to {host} as AWS {UNTIL}", done.out)
    _, arguments, stdin = noted(file)
    assert arguments[-1] == host
    assert len(stdin) > 100


def test_print_gives_the_password_alone_and_touches_nothing(user: User, registry: LocalEcr) -> None:
    file = user.docker()
    before = sorted(user.home.rglob("*"))
    done = user.log_in("--print", HOST)
    assert done.code == 0, done.err
    with visiting(registry, basic(done.out.removesuffix("\n"))) as v2:
        assert v2.get("/v2/").status == 200
    assert done.out.count("\n") == 1
    assert done.err == ""
    assert sorted(user.home.rglob("*")) == before
    assert not file.exists()


@pytest.mark.parametrize("options", [(), ("--print",)])
def test_without_credentials_of_aws_nothing_is_done(user: User, options: tuple[str, ...]) -> None:
    file = user.docker()
    nothing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    done = user.log_in(HOST, *options, **nothing)
    assert (done.code, done.out) == (3, "")
    assert f"ecrdrag login: {HOST}: no AWS credentials found" in done.err
    assert not file.exists()
    assert not user.config.exists()


def test_credentials_that_aws_refuses_end_it(user: User) -> None:
    done = user.log_in(HOST, AWS_SECRET_ACCESS_KEY="wr0ng")
    assert (done.code, done.out) == (3, "")
    assert "GetAuthorizationToken was refused" in done.err
    assert "wr0ng" not in done.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("12345.dkr.ecr.us-west-2.amazonaws.com", "expected an account of 12 digits"),
        (f"{HOST}.cn", "expected amazonaws.com as the end"),
        (f"{HOST}/UPPER", "a repository name can't have 'U' here"),
        ("arn:aws:s3:::bucket", "expected an ARN of ecr"),
        ("under_score", "'under_score' can't be the name of a registry"),
        ("-x.example.com", "the following arguments are required: REGISTRY"),
        ("registry.example.com:port", "can't be the name of a registry"),
        ("registry.example.com:99999", "can't be the name of a registry"),
        ("", "can't be the name of a registry"),
        ("ftp://registry.example.com", "expected https://"),
        (f"AWS:s3cret@{HOST}", "holds no user name or password"),
        ("https://me:s3cret@registry.example.com", "holds no user name or password"),
        ("https://me:s3cret@registry.example.com/app", "holds no user name or password"),
        ("registry.example.com", "registry.example.com is not a registry of Amazon's"),
        ("docker.io", "docker.io is not a registry of Amazon's"),
        ("127.0.0.1:5000", "127.0.0.1:5000 is not a registry of Amazon's"),
    ],
)
def test_a_name_of_no_registry_of_amazon_s_is_a_usage_error(user: User, name: str, said: str) -> None:
    done = user.log_in(name)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "s3cret" not in done.err
    assert not user.config.exists()


def test_a_configuration_that_can_not_be_read_is_left_alone(user: User) -> None:
    configure(user.home, '{"auths": {"s3cret"')
    done = user.log_in(HOST)
    assert (done.code, done.out) == (3, "")
    assert f"{user.config} is not a configuration of docker's" in done.err
    assert user.config.read_text() == '{"auths": {"s3cret"'
