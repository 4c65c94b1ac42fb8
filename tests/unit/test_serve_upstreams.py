"""``serve --upstream``: which mappings are taken, and what is said of the others."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from ecrdrag.cli.serve_upstreams import add_upstream_arguments, upstreams_of
from ecrdrag.errors import AuthError, UsageError
from tests.scripted_registry import Reply, guarded, scripted


def parsed(*options: str) -> list[tuple[str, str]]:
    parser = argparse.ArgumentParser()
    add_upstream_arguments(parser)
    found: list[tuple[str, str]] = parser.parse_args(options).upstream
    return found


def test_names_and_urls_are_paired() -> None:
    options = ("--upstream", "registry-1.docker.io=http://127.0.0.1:5000", "--upstream", "r.test:5000=https://[::1]/x")
    assert parsed(*options) == [
        ("registry-1.docker.io", "http://127.0.0.1:5000"),
        ("r.test:5000", "https://[::1]/x"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quay.io", "needs a URL"),
        ("=http://127.0.0.1:5000", "begins with a host name"),
        ("https://quay.io=http://127.0.0.1", "begins with a host name"),
        ("quay.io=127.0.0.1:5000", "needs a URL"),
        ("quay.io=ftp://127.0.0.1", "needs a URL"),
        ("quay.io=http://", "needs a URL"),
        ("quay.io=http://h:99999", "needs a URL"),
        ("quay.io=http://[::1", "needs a URL"),
        ("quay.io=http://h/?x=1", "needs a URL"),
        ("quay.io=https://me:s3cret@quay.io", "docker login"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--upstream", text)
    printed = capsys.readouterr().err
    assert said in printed
    assert "s3cret" not in printed


def test_a_name_is_mapped_once() -> None:
    twice = [("quay.io", "http://a.test"), ("quay.io", "http://b.test")]
    with pytest.raises(UsageError, match="twice"), upstreams_of(twice):
        pass


def test_each_name_gets_a_client_and_nothing_is_asked_before_it_is_needed() -> None:
    with upstreams_of([("quay.io", "http://127.0.0.1:1")]) as upstreams:
        assert set(upstreams) == {"quay.io"}
    with upstreams_of(None) as upstreams:
        assert upstreams == {}


def test_the_login_is_the_one_that_docker_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with scripted() as registry:
        registry.replies["/v2/"] = guarded(Reply(b"{}"), "Basic bWU6d29yZA==", "Basic")
        with upstreams_of([("quay.io", registry.url)]) as upstreams, pytest.raises(AuthError):
            upstreams["quay.io"].check()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": "bWU6d29yZA=="}}}))
        with upstreams_of([("quay.io", registry.url)]) as upstreams:
            upstreams["quay.io"].check()


def test_the_login_of_a_rule_goes_before_the_one_that_docker_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with scripted() as registry:
        registry.replies["/v2/"] = guarded(Reply(b"{}"), "Basic bWU6d29yZA==", "Basic")
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": "eW91OndvcmQ="}}}))
        with upstreams_of([("quay.io", registry.url)]) as upstreams:
            upstreams["quay.io"].logged_in("me", "word").check()
            with pytest.raises(AuthError):
                upstreams["quay.io"].check()


def test_upstreams_need_no_good_aws_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with upstreams_of([("quay.io", "http://a.test")]) as found:
        assert found.keys() == {"quay.io"}
