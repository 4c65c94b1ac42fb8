"""Docker's credential helpers: what they are asked, what their answers mean, and what is said when they fail."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from ecrdrag.credentials.programs import NOT_FOUND, Program
from ecrdrag.errors import AuthError
from ecrdrag.registry.auth import Credential, IdentityToken, Login
from tests.dockerhome import environment, helper, program

HOST = "registry.example.com:5000"
ME = Login("me", "s3cret")


def of(folder: Path, name: str = "fake", patience: float = 60.0, **more: str) -> Program:
    return Program(name, "credsStore in config.json", environment(folder, **more), patience)


def saying(folder: Path, text: str, code: int = 0) -> Program:
    """Make a program that says something and ends so."""
    (folder / "said").write_text(text)
    program(folder, "docker-credential-fake", f"/bin/cat '{folder}/said'; exit {code}")
    return of(folder)


def refusal(asked: Program) -> AuthError:
    with pytest.raises(AuthError) as caught:
        asked.get(HOST)
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"
    return caught.value


def test_get_sends_the_server_alone_and_reads_the_login(tmp_path: Path) -> None:
    asked = helper(tmp_path, "fake", {"Username": "me", "Secret": "s3cret"})
    assert of(tmp_path).get(HOST) == ME
    assert asked.read_text() == f"get {HOST}\n"


def test_store_sends_one_line_of_json_and_erase_the_server(tmp_path: Path) -> None:
    asked = helper(tmp_path, "fake", {})
    of(tmp_path).store(HOST, ME)
    of(tmp_path).store(HOST, IdentityToken("t0ken"))
    of(tmp_path).erase(HOST)
    first, _, second, _, third = asked.read_text().splitlines()
    assert first.startswith("store {")
    assert json.loads(first.removeprefix("store ")) == {"ServerURL": HOST, "Username": "me", "Secret": "s3cret"}
    kept = {"ServerURL": HOST, "Username": "<token>", "Secret": "t0ken"}
    assert json.loads(second.removeprefix("store ")) == kept
    assert third == f"erase {HOST}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"ServerURL":"x","Username":"me","Secret":"s3cret"}\n', ME),
        ('{"username":"me","SECRET":"s3cret"} and more', ME),
        ('{"Username":"<token>","Secret":"t0ken"}', IdentityToken("t0ken")),
        ('{"Username":"me","Secret":"é"}', Login("me", "é")),
        ('{"Username":"","Secret":""}', None),
        ('{"Username":"me"}', None),
        ('{"Secret":"s3cret"}', None),
        ("{}", None),
    ],
)
def test_an_answer_is_read_as_docker_reads_it(tmp_path: Path, text: str, expected: Credential | None) -> None:
    assert saying(tmp_path, text).get(HOST) == expected


@pytest.mark.parametrize(
    "text",
    ["", "s3cret", '{"Username":"me","Secret":"s3cret', '["s3cret"]', '{"Username":1,"Secret":"s3cret"}', "null"],
)
def test_an_answer_that_is_none_is_not_shown(tmp_path: Path, text: str) -> None:
    error = refusal(saying(tmp_path, text))
    assert str(error) == f"docker-credential-fake (credsStore in config.json) didn't answer with the login for {HOST}"


@pytest.mark.parametrize("text", [NOT_FOUND, f"  {NOT_FOUND}\n"])
def test_not_found_is_nobody_but_only_where_it_fails(tmp_path: Path, text: str) -> None:
    assert saying(tmp_path, text, 1).get(HOST) is None
    refusal(saying(tmp_path, text, 0))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("the keychain is locked\nand more\n", "the keychain is locked"),
        ("no credentials server URL", "no credentials server URL"),
        (f"error: {NOT_FOUND}", f"error: {NOT_FOUND}"),
        ("x" * 1000, "x" * 200),
        ("", "it gave no reason"),
        ('{"Username":"me","Secret":"s3cret"}', "it gave no reason"),
    ],
)
def test_what_it_complains_of_is_repeated_but_no_answer(tmp_path: Path, text: str, reason: str) -> None:
    error = refusal(saying(tmp_path, text, 1))
    assert str(error) == f"docker-credential-fake (credsStore in config.json) can't get {HOST}: {reason}"


def test_a_complaint_with_the_secret_in_it_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(AuthError, match=f"can't store {HOST}: it gave no reason") as caught:
        saying(tmp_path, "can't keep s3cret", 1).store(HOST, ME)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(AuthError, match=f"can't store {HOST}: not implemented"):
        saying(tmp_path, "not implemented", 1).store(HOST, ME)
    with pytest.raises(AuthError, match=f"can't erase {HOST}: {NOT_FOUND}"):
        saying(tmp_path, NOT_FOUND, 1).erase(HOST)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("desktop.exe", "docker-credential-desktop.exe"),
        ("ecr-login", "amazon-ecr-credential-helper"),
        ("pass", "docker-credential-helpers"),
    ],
)
def test_a_missing_program_is_named_with_who_names_it_and_what_to_install(
    tmp_path: Path, name: str, package: str
) -> None:
    error = refusal(of(tmp_path, name))
    assert str(error) == f"docker-credential-{name} is not in PATH, but credsStore in config.json names it"
    assert error.hint.startswith(f"install {package}")
    assert error.hint.endswith("or take it out of credsStore in config.json")


@pytest.mark.parametrize("name", ["../../bin/sh", "a/b", "a\\b", "", ".", "a b", "-x", "a\0", "é", "x\n"])
def test_a_name_that_could_lead_elsewhere_is_no_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "bin" / "docker-credential-..").mkdir(parents=True)
    assert "can't be one" in str(refusal(of(tmp_path, name)))


def test_path_is_the_environment_s_own_and_the_current_folder_is_never_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, "fake", {"Username": "me", "Secret": "s3cret"})
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path / "bin")
    for path in ("", ".", "/nowhere"):
        assert "is not in PATH" in str(refusal(of(tmp_path, PATH=path)))
    assert "is not in PATH" in str(refusal(Program("fake", "config.json", {})))
    assert of(tmp_path, PATH=f"/nowhere:{tmp_path}/bin").get(HOST) == ME


def test_it_sees_the_environment_that_is_given_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "no")
    program(tmp_path, "docker-credential-fake", f"/usr/bin/env >'{tmp_path}/seen'; echo '{{}}'")
    assert of(tmp_path, GIVEN="yes").get(HOST) is None
    seen = (tmp_path / "seen").read_text().splitlines()
    assert "GIVEN=yes" in seen
    assert not [line for line in seen if line.startswith("FROM_HERE")]


def test_one_that_never_answers_is_ended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never")
    program(tmp_path, "docker-credential-fake", f"read line <'{tmp_path}/never'")
    error = refusal(of(tmp_path, patience=0.01))
    assert str(error) == f"docker-credential-fake (credsStore in config.json) didn't get {HOST} within 0.01 seconds"


def test_what_the_system_can_not_run_is_said(tmp_path: Path) -> None:
    program(tmp_path, "docker-credential-fake", "").write_bytes(b"\x7fELF")
    assert str(refusal(of(tmp_path))).endswith("can't be run: Exec format error")


def test_one_that_does_not_read_what_it_is_sent_may_answer(tmp_path: Path) -> None:
    program(tmp_path, "docker-credential-fake", 'exec <&-; echo \'{"Username":"me","Secret":"s3cret"}\'')
    assert of(tmp_path).get("h" * 1_000_000) == ME


def test_no_secret_is_logged_or_printed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    helper(tmp_path, "fake", {"Username": "me", "Secret": "s3cret"})
    fake = of(tmp_path, AWS_SECRET_ACCESS_KEY="s3cret-key")
    fake.store(HOST, ME)
    assert fake.get(HOST) == ME
    assert "docker-credential-fake" in caplog.text
    assert "s3cret" not in f"{caplog.text} {fake!r} {fake.get(HOST)!r}"
