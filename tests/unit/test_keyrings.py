"""Keyrings: a password of ECR is renewed in time and outlives AWS's silence, and who is asked first."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from ecrdrag.credentials.keyrings import AwsKeyring, InTurn, Typed, Willing
from ecrdrag.errors import AuthError, EcrdragError, TransferError
from ecrdrag.registry.auth import Credential, EcrToken, Login, Nobody
from ecrdrag.registry.authority import Authority
from ecrdrag.registry.challenge import Challenge

HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
ME = Typed(Login("me", "word"))


class Aws:
    """Give passwords that live for 100 seconds, numbered, or raise what a test wants."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls = 0
        self.error: Exception | None = None

    def fetch(self) -> EcrToken:
        self.calls += 1
        if self.error:
            raise self.error
        return EcrToken(Login("AWS", f"word {self.calls}"), self.now + 100, "https://there")

    def keyring(self) -> AwsKeyring:
        return AwsKeyring(self.fetch, lambda: self.now)


class Refusing:
    """A keyring that can't say."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def find(self, registry: str, *, renew: bool = False) -> Credential | None:
        raise self.error


def test_a_password_is_kept_for_half_of_its_life() -> None:
    aws = Aws()
    keyring = aws.keyring()
    for now, word in [(1000.0, 1), (1049.9, 1), (1050.0, 2), (1099.9, 2), (1100.0, 3)]:
        aws.now = now
        assert keyring.find(HOST) == Login("AWS", f"word {word}")


def test_one_that_was_refused_is_fetched_anew() -> None:
    keyring = Aws().keyring()
    assert keyring.find(HOST) == keyring.find(HOST)
    assert keyring.find(HOST, renew=True) == Login("AWS", "word 2")
    assert keyring.find(HOST) == Login("AWS", "word 2")


def test_while_the_older_one_lives_a_newer_one_that_cannot_be_had_is_no_harm() -> None:
    aws = Aws()
    keyring = aws.keyring()
    keyring.find(HOST)
    aws.error = TransferError("no connection")
    for aws.now, calls in [(1051.0, 2), (1099.0, 2)]:  # AWS isn't asked again for a while
        assert keyring.find(HOST) == Login("AWS", "word 1")
        assert aws.calls == calls
    aws.now = 1111.0
    with pytest.raises(TransferError, match="no connection"):
        keyring.find(HOST)


def test_one_that_was_refused_is_not_given_again_when_aws_is_silent() -> None:
    aws = Aws()
    keyring = aws.keyring()
    keyring.find(HOST)
    aws.error = TransferError("no connection")
    with pytest.raises(TransferError):
        keyring.find(HOST, renew=True)


def test_many_threads_make_one_call() -> None:
    aws = Aws()
    keyring, ready = aws.keyring(), threading.Barrier(8)

    def find() -> Credential | None:
        ready.wait(10)
        return keyring.find(HOST)

    with ThreadPoolExecutor(8) as pool:
        found = {future.result() for future in [pool.submit(find) for _ in range(8)]}
    assert found == {Login("AWS", "word 1")}
    assert aws.calls == 1


def test_the_first_keyring_that_finds_something_counts() -> None:
    assert InTurn([Nobody(), ME, Refusing(ZeroDivisionError())]).find(HOST) == Login("me", "word")
    assert InTurn([Refusing(AuthError("none")), ME]).find(HOST) == Login("me", "word")
    assert InTurn([Nobody()]).find(HOST) is None


@pytest.mark.parametrize("error", [AuthError("none"), TransferError("gone")])
def test_a_keyring_that_fails_is_passed_over_and_said_so(error: EcrdragError, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert InTurn([Refusing(error), ME]).find(HOST) == Login("me", "word")
    assert caplog.messages == [f"{error}; going on with another login"]


def test_when_none_finds_anything_the_first_failure_counts() -> None:
    with pytest.raises(TransferError, match="first"):
        InTurn([Refusing(TransferError("first")), Nobody(), Refusing(AuthError("second"))]).find(HOST)


@pytest.mark.parametrize("error", [AuthError("none"), TransferError("gone")])
def test_who_may_be_anybody_goes_on_without_a_login(error: Exception) -> None:
    assert Willing(Refusing(error)).find(HOST) is None
    assert Willing(ME).find(HOST) == Login("me", "word")


def test_who_may_be_anybody_goes_on_without_a_login_that_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    keyring = Willing(ME)
    assert [keyring.find(HOST), keyring.find(HOST, renew=True)] == [Login("me", "word"), None]
    assert [keyring.find(HOST), keyring.find(HOST, renew=True)] == [None, None]
    assert caplog.messages == [f"{HOST} refuses the login that was found; going on without one"]


def test_a_token_server_that_refuses_a_login_gives_anybody_s_token_where_that_does() -> None:
    asked: list[str] = []

    def ask(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        asked.append(headers.get("Authorization", ""))
        if asked[-1]:
            raise AuthError("too old")
        return b'{"token": "anybody"}'

    challenges = (Challenge("bearer", {"realm": "https://auth.test/token"}),)
    assert Authority(HOST, Willing(ME), ask).answer(challenges, "repository:a:pull", "") == "Bearer anybody"
    assert [bool(each) for each in asked] == [True, False]
    with pytest.raises(AuthError, match="too old"):
        Authority(HOST, ME, ask).answer(challenges, "repository:a:pull", "")


def test_a_bug_is_not_taken_for_a_missing_login() -> None:
    with pytest.raises(ZeroDivisionError):
        Willing(Refusing(ZeroDivisionError())).find(HOST)


def test_no_password_stands_in_what_is_printed() -> None:
    assert "word" not in repr(Login("me", "word")) + repr(EcrToken(Login("me", "word"), 0.0))
