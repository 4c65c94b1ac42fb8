"""Docker's configuration as it is read: whose login is found for which registry."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.credentials.docker_config import DockerKeyring, decode_auth, encode_auth
from ecrdrag.errors import AuthError
from ecrdrag.registry.auth import Credential, IdentityToken, Login
from tests.dockerhome import HUB_KEY, auth, configure, environment, helper

HOST = "registry.example.com:5000"
ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
ME = Login("me", "s3cret:with a colon")
OTHER = Login("other", "word")


def found(folder: Path, registry: str = HOST, **more: str) -> Credential | None:
    return DockerKeyring(environment(folder, **more)).find(registry)


def test_without_a_file_nobody_is_found(tmp_path: Path) -> None:
    assert found(tmp_path) is None


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        (HOST, HOST),
        (f"https://{HOST}", HOST),
        (f"http://{HOST}/", HOST),
        (f"https://{HOST}/v1/", HOST),
        (f"{HOST}/v2/", HOST),
        ("Registry.Example.com:5000", HOST),
        (f"https://{HOST}/any/path", HOST),
        (HUB_KEY, "docker.io"),
        ("docker.io", "docker.io"),
        ("index.docker.io/v1/", "docker.io"),
        ("https://registry-1.docker.io", "docker.io"),
        (HUB_KEY, "index.docker.io"),
        (HUB_KEY, "registry-1.docker.io"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_registry_is_found_by_each_of_its_keys(tmp_path: Path, key: str, registry: str) -> None:
    configure(tmp_path, {"auths": {"else.example.com": auth(OTHER), key: auth(ME)}})
    assert found(tmp_path, registry) == ME


@pytest.mark.parametrize(
    "key", ["registry.example.com", f"{HOST}0", f"x.{HOST}", f"{HOST}/team", f"{HOST}/v1/team", "", "https://", HUB_KEY]
)
def test_a_login_is_given_to_no_other_registry(tmp_path: Path, key: str) -> None:
    configure(tmp_path, {"auths": {key: auth(ME)}})
    assert found(tmp_path) is None


def test_the_exact_key_goes_before_a_url(tmp_path: Path) -> None:
    configure(tmp_path, {"auths": {f"https://{HOST}/v1/": auth(OTHER), HOST: auth(ME)}})
    assert found(tmp_path) == ME
    configure(tmp_path, {"auths": {"docker.io": auth(OTHER), HUB_KEY: auth(ME)}})
    assert found(tmp_path, "docker.io") == ME


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": base64.b64encode(b"me:\0s3cret\0\0").decode()}, Login("me", "s3cret")),
        ({"auth": "bWU6\nczNjcmV0\n"}, Login("me", "s3cret")),
        ({"username": "me", "password": "s3cret"}, Login("me", "s3cret")),
        ({"username": "no", "password": "no", **auth(ME)}, ME),
        ({"identitytoken": "t0ken"}, IdentityToken("t0ken")),
        ({"identitytoken": "t0ken", **auth(ME)}, IdentityToken("t0ken")),
        ({"identitytoken": "", "email": None, **auth(ME)}, ME),
        ({"auth": encode_auth(Login("me", ""))}, None),
        ({"username": "me"}, None),
        ({"email": "me@example.com"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_an_entry_is_read_as_docker_reads_it(tmp_path: Path, entry: object, expected: Credential | None) -> None:
    configure(tmp_path, {"auths": {HOST: entry}})
    assert found(tmp_path) == expected


def test_a_registrytoken_is_passed_over_and_said_so_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configure(tmp_path, {"auths": {HOST: {"registrytoken": "t0ken"}}})
    assert found(tmp_path) is None
    assert "registrytoken" in caplog.text
    assert "t0ken" not in caplog.text


@pytest.mark.parametrize(
    "entry",
    [
        {"auth": "s3cret"},
        {"auth": "czNjcmV0"},
        {"auth": "OnMzY3JldA=="},
        {"auth": "bWU6!czNjcmV0"},
        {"auth": 5},
        "s3cret",
        ["s3cret"],
    ],
)
def test_a_broken_entry_fails_its_own_registry_alone_and_is_not_shown(tmp_path: Path, entry: object) -> None:
    file = configure(tmp_path, {"auths": {HOST: entry, "else.example.com": auth(ME)}})
    assert found(tmp_path, "else.example.com") == ME
    with pytest.raises(AuthError) as caught:
        found(tmp_path)
    assert f"{HOST} in {file} can't be read" in str(caught.value)
    assert "czNj" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


MALFORMED = [
    '{"auths": {"s3cret',
    "s3cret",
    '["s3cret"]',
    '{"auths": "s3cret"}',
    '{"credHelpers": {"s3cret": 1}}',
    '{"credsStore": ["s3cret"]}',
    '{"x": NaN, "s3cret": 1}',
    '{"s3cret":' + "[" * 100_000,
    "\ufeff{}",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_file_is_named_without_its_content(tmp_path: Path, text: str) -> None:
    file = configure(tmp_path, text)
    with pytest.raises(AuthError) as caught:
        found(tmp_path)
    assert str(caught.value) == f"{file} is not a configuration of docker's"
    assert "s3cret" not in caught.value.hint


@pytest.mark.parametrize("text", ["", " \n", "{}", "null", '{"auths": null, "credHelpers": null, "credsStore": null}'])
def test_a_file_that_says_nothing_is_none(tmp_path: Path, text: str) -> None:
    configure(tmp_path, text)
    assert found(tmp_path) is None


def test_a_file_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / ".docker" / "config.json").mkdir(parents=True)
    with pytest.raises(AuthError, match=r"config\.json can't be read: Is a directory") as caught:
        found(tmp_path)
    assert "let DOCKER_CONFIG name another folder" in caught.value.hint


def test_docker_config_names_the_folder(tmp_path: Path) -> None:
    configure(tmp_path, {"auths": {HOST: auth(OTHER)}})
    configure(tmp_path, {"auths": {HOST: auth(ME)}}, "there/config.json")
    assert found(tmp_path, DOCKER_CONFIG=str(tmp_path / "there")) == ME
    assert found(tmp_path, DOCKER_CONFIG="") == OTHER


def test_podman_s_file_counts_only_where_docker_has_none(tmp_path: Path) -> None:
    run = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    chosen = {"REGISTRY_AUTH_FILE": str(tmp_path / "chosen.json")}
    configure(tmp_path, {"auths": {HOST: auth(Login("config", "x"))}}, ".config/containers/auth.json")
    configure(tmp_path, {"auths": {HOST: auth(Login("xdg", "x"))}}, "xdg/containers/auth.json")
    assert found(tmp_path) == Login("config", "x")
    assert found(tmp_path, **run) == Login("config", "x")
    assert found(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "xdg")) == Login("xdg", "x")
    configure(tmp_path, {"auths": {HOST: auth(Login("run", "x"))}}, "run/containers/auth.json")
    assert found(tmp_path, **run) == Login("run", "x")
    assert found(tmp_path, **run, **chosen) is None
    configure(tmp_path, {"auths": {HOST: auth(Login("chosen", "x"))}}, "chosen.json")
    assert found(tmp_path, **run, **chosen) == Login("chosen", "x")
    configure(tmp_path, {})
    assert found(tmp_path, **run, **chosen) is None


def test_the_variable_goes_before_the_file_and_its_helpers(tmp_path: Path) -> None:
    configure(tmp_path, {"credsStore": "missing"})
    variable = json.dumps({"auths": {HOST: auth(ME), HUB_KEY: auth(OTHER)}})
    assert found(tmp_path, DOCKER_AUTH_CONFIG=variable) == ME
    assert found(tmp_path, "docker.io", DOCKER_AUTH_CONFIG=variable) == OTHER
    with pytest.raises(AuthError):
        found(tmp_path, "else.example.com", DOCKER_AUTH_CONFIG=variable)


@pytest.mark.parametrize(
    "document",
    [
        {"auths": {HOST: {**auth(OTHER), "email": "x"}}},
        {"auths": {HOST: auth(OTHER), "else": {}}},
        {"auths": {HOST: auth(OTHER)}, "credsStore": "x"},
        {"auths": {HOST: {"auth": ""}}},
        {"auths": {HOST: {"auth": "czNjcmV0"}}},
        ["s3cret"],
    ],
)
def test_a_variable_that_docker_does_not_take_is_passed_over_with_a_warning(
    tmp_path: Path, document: object, caplog: pytest.LogCaptureFixture
) -> None:
    configure(tmp_path, {"auths": {HOST: auth(ME)}})
    assert found(tmp_path, DOCKER_AUTH_CONFIG=json.dumps(document)) == ME
    assert caplog.messages == ["DOCKER_AUTH_CONFIG is passed over: it takes auths with an auth each, and nothing else"]


def test_a_helper_for_the_host_goes_before_the_store_and_that_before_the_file(tmp_path: Path) -> None:
    asked = helper(tmp_path, "own", {"Username": "own", "Secret": "x"})
    helper(tmp_path, "store", {"Username": "store", "Secret": "x"})
    document = {
        "auths": {HOST: auth(ME)},
        "credsStore": "store",
        "credHelpers": {HOST: "own", "plain": "", HUB_KEY: "own"},
    }
    configure(tmp_path, {**document, "auths": {HOST: auth(ME), "plain": auth(ME), "docker.io": auth(ME)}})
    assert found(tmp_path) == Login("own", "x")
    assert found(tmp_path, "docker.io") == Login("own", "x")
    assert found(tmp_path, "else") == Login("store", "x")
    assert found(tmp_path, "plain") == ME
    assert asked.read_text().split() == ["get", HOST, "get", HUB_KEY, "get", "else"]


def test_each_registry_is_looked_up_once_until_it_is_refused(tmp_path: Path) -> None:
    configure(tmp_path, {"auths": {HOST: auth(ME), ECR: auth(ME)}})
    keyring = DockerKeyring(environment(tmp_path))
    assert keyring.find(HOST) == ME
    assert keyring.find("nobody") is None
    configure(tmp_path, {"auths": {HOST: auth(OTHER), ECR: auth(OTHER)}})
    assert keyring.find(HOST) == ME
    assert keyring.find(ECR) == OTHER
    assert keyring.find(HOST, renew=True) == OTHER
    assert keyring.find(HOST) == OTHER


def test_no_secret_is_in_what_is_printed_of_a_keyring(tmp_path: Path) -> None:
    variable = json.dumps({"auths": {HOST: auth(ME)}})
    keyring = DockerKeyring(environment(tmp_path, DOCKER_AUTH_CONFIG=variable))
    assert keyring.find(HOST) == ME
    shown = f"{keyring!r} {keyring._variable!r}"
    assert ME.password not in shown
    assert encode_auth(ME) not in shown


@given(
    st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"]), min_size=1),
    st.text(st.characters(exclude_categories=["Cs"])).map(lambda text: text.strip("\0")),
)
def test_a_login_is_read_back_as_it_was_written(user: str, password: str) -> None:
    assert decode_auth(encode_auth(Login(user, password))) == (user, password)


@given(st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()))
def test_no_auth_breaks_more_than_itself(auth: str) -> None:
    try:
        user, _ = decode_auth(auth)
    except ValueError:
        return
    assert user
