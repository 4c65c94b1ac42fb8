"""The secret of a pull-through cache rule: which one it can have, what a validation says of it, who pulls with it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from ecrdrag.cli.serve_upstreams import upstreams_of
from ecrdrag.localecr import LocalEcr, Settings
from tests.flow.cached import HELLO, Cache, caching
from tests.localecr import ACCOUNT, REGION, client, running
from tests.putting import put_image
from tests.vaults import PREFIX, keep_login, login, secrets_client

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

HUB = "registry-1.docker.io"
GONE = (
    "The ARN of the secret specified in the pull through cache rule was not found. "
    "Update the pull through cache rule with a valid secret ARN and try again."
)
NO_ACCESS = "The secret is unable to be accessed. Verify the resource permissions for the secret and try again."
LAYER = str(HELLO.layers[0].digest)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with caching(tmp_path / "ecr") as cache:
        yield cache


@pytest.fixture
def secrets(cache: Cache) -> Iterator[SecretsManagerClient]:
    with secrets_client(cache.ecr) as api:
        yield api


def refused(cache: Cache, arn: str) -> tuple[str, str]:
    """Give what creating a rule and updating one are both refused with."""
    found = set()
    for call in (
        lambda: cache.rule("hub", HUB, credentialArn=arn),
        lambda: cache.api.update_pull_through_cache_rule(ecrRepositoryPrefix="cache", credentialArn=arn),
    ):
        with pytest.raises(ClientError) as caught:
            call()
        error = caught.value.response["Error"]
        found.add((error["Code"], error["Message"]))
    (only,) = found
    assert [one["ecrRepositoryPrefix"] for one in rules(cache)] == ["cache"]
    assert "credentialArn" not in rules(cache)[0]
    return only


def rules(cache: Cache) -> list[Any]:
    return list(cache.api.describe_pull_through_cache_rules()["pullThroughCacheRules"])


def validated(cache: Cache, prefix: str = "cache") -> tuple[bool, str]:
    found = cache.api.validate_pull_through_cache_rule(ecrRepositoryPrefix=prefix)
    return found["isValid"], found.get("failure", "")


def test_a_rule_can_have_no_secret_that_is_not_there(cache: Cache, secrets: SecretsManagerClient) -> None:
    arn = keep_login(secrets, "hub")
    for other in (f"{arn[:-6]}{'x' * 6}", arn.replace("hub", "bub"), arn.replace(REGION, "eu-west-1")):
        assert refused(cache, other) == ("SecretNotFoundException", GONE)


def test_a_rule_can_have_no_secret_of_another_account(cache: Cache, secrets: SecretsManagerClient) -> None:
    arn = keep_login(secrets, "hub").replace(ACCOUNT, "210987654321")
    assert refused(cache, arn) == ("UnableToAccessSecretException", NO_ACCESS)


def test_a_rule_can_have_no_secret_that_is_marked_for_deletion(cache: Cache, secrets: SecretsManagerClient) -> None:
    arn = keep_login(secrets, "hub")
    secrets.delete_secret(SecretId=arn)
    assert refused(cache, arn) == ("UnableToAccessSecretException", NO_ACCESS)


def test_a_rule_can_have_no_secret_under_a_key_of_ones_own(cache: Cache, secrets: SecretsManagerClient) -> None:
    arn = secrets.create_secret(Name=f"{PREFIX}mine", SecretString=login("a", "b"), KmsKeyId="alias/mine")["ARN"]
    assert refused(cache, arn)[0] == "UnableToDecryptSecretValueException"
    for number, key in enumerate(
        ("alias/aws/secretsmanager", f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/aws/secretsmanager")
    ):
        secrets.update_secret(SecretId=arn, KmsKeyId=key)
        cache.rule(f"hub-{number}", HUB, credentialArn=arn)


def test_a_rule_can_have_no_secret_of_another_name(cache: Cache, secrets: SecretsManagerClient) -> None:
    arn = secrets.create_secret(Name="mine/ecr-pullthroughcache", SecretString=login("a", "b"))["ARN"]
    code, message = refused(cache, arn)
    assert code == "InvalidParameterException"
    assert "'credentialArn'" in message


def test_a_rule_may_name_its_secret_without_the_end_of_the_arn(cache: Cache, secrets: SecretsManagerClient) -> None:
    arn = keep_login(secrets, "hub")[:-7]
    cache.rule("hub", HUB, credentialArn=arn)
    assert rules(cache)[1]["credentialArn"] == arn


def test_a_pull_asks_upstream_as_the_secret_says_and_as_it_says_now(
    cache: Cache, secrets: SecretsManagerClient
) -> None:
    arn = keep_login(secrets, "quay", "me", "one")
    cache.rule("mine", credentialArn=arn)
    name = "mine/library/hello"
    assert cache.manifest(repository=name, imageTag="1") == HELLO.manifest.content
    assert cache.upstream.logins == [("me", "one")]
    secrets.put_secret_value(SecretId=arn, SecretString=login("you", "two"))
    assert cache.layer(LAYER, repository=name) == HELLO.layers[0].content
    assert validated(cache, "mine") == (True, "")
    assert cache.upstream.logins[1:] == [("you", "two")] * 2


def test_a_rule_without_a_secret_asks_as_nobody_in_particular(cache: Cache, secrets: SecretsManagerClient) -> None:
    keep_login(secrets, "quay")
    cache.manifest(imageTag="1")
    assert cache.upstream.logins == []


@pytest.mark.parametrize(
    "value",
    [
        "no JSON",
        "[" * 100_000,
        "[]",
        '"text"',
        "{}",
        '{"username": "me"}',
        '{"username": "me", "accesstoken": "t0ken"}',
        '{"username": "", "accessToken": "t0ken"}',
        '{"username": "me", "accessToken": ["t0ken"]}',
        '{"username": "me", "accessToken": "t0ken\\ud800"}',
        '{"username": "\\udfff", "accessToken": "t0ken"}',
    ],
    ids=lambda value: value[:40],
)
def test_a_secret_that_is_no_login_lets_nothing_in(
    cache: Cache, secrets: SecretsManagerClient, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    arn = secrets.create_secret(Name=f"{PREFIX}bad", SecretString=value[:65536])["ARN"]
    cache.rule("bad", credentialArn=arn)
    is_valid, why = validated(cache, "bad")
    assert not is_valid
    assert why == f"The value of the secret {arn} isn't JSON with a username and an accessToken."
    with pytest.raises(cache.api.exceptions.UnableToGetUpstreamImageException, match="isn't JSON with a username"):
        cache.get(repository="bad/library/hello", imageTag="1")
    assert cache.upstream.asked == []
    assert "t0ken" not in caplog.text


def test_a_secret_without_a_value_or_of_bytes_is_no_login_either(cache: Cache, secrets: SecretsManagerClient) -> None:
    empty = secrets.create_secret(Name=f"{PREFIX}empty")["ARN"]
    binary = secrets.create_secret(Name=f"{PREFIX}binary", SecretBinary=login("a", "b").encode())["ARN"]
    for prefix, arn in (("empty", empty), ("binary", binary)):
        cache.rule(prefix, credentialArn=arn)
        assert not validated(cache, prefix)[0]


def test_a_secret_that_is_gone_is_found_by_a_validation_and_by_the_next_pull(
    cache: Cache, secrets: SecretsManagerClient
) -> None:
    arn = keep_login(secrets, "quay")
    cache.rule("mine", credentialArn=arn)
    name = "mine/library/hello"
    cache.manifest(repository=name, imageTag="1")
    secrets.delete_secret(SecretId=arn)
    assert validated(cache, "mine") == (False, NO_ACCESS)
    secrets.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    assert validated(cache, "mine") == (False, GONE)
    assert cache.manifest(repository=name, imageTag="1") == HELLO.manifest.content
    with pytest.raises(cache.api.exceptions.UnableToGetUpstreamImageException, match="was not found"):
        cache.get(repository=name, imageTag="2")
    with pytest.raises(cache.api.exceptions.UnableToGetUpstreamLayerException, match="was not found"):
        cache.layer(LAYER, repository=name)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[LocalEcr]:
    """A registry with my/app:1 in it that asks for a login: another local ECR."""
    with running(tmp_path / "far") as far, client(far) as api:
        api.create_repository(repositoryName="my/app")
        put_image(api, "my/app", HELLO, "1")
        yield far


def test_the_login_of_the_secret_opens_a_real_registry_and_that_of_docker_does_not(
    tmp_path: Path, far: LocalEcr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with ExitStack() as stack:
        there = stack.enter_context(client(far))
        upstreams = stack.enter_context(upstreams_of([("quay.io", far.endpoint)]))
        near = stack.enter_context(LocalEcr(tmp_path / "near", settings=Settings(region=REGION), upstreams=upstreams))
        here, secrets = stack.enter_context(client(near)), stack.enter_context(secrets_client(near))
        arn = keep_login(secrets, "far", *password(there))
        here.create_pull_through_cache_rule(ecrRepositoryPrefix="in", upstreamRegistryUrl="quay.io", credentialArn=arn)
        here.create_pull_through_cache_rule(ecrRepositoryPrefix="out", upstreamRegistryUrl="quay.io")
        (found,) = here.batch_get_image(repositoryName="in/my/app", imageIds=[{"imageTag": "1"}])["images"]
        assert found["imageManifest"].encode() == HELLO.manifest.content
        (failed,) = here.batch_get_image(repositoryName="out/my/app", imageIds=[{"imageTag": "1"}])["failures"]
        assert failed["failureCode"] == "UpstreamAccessDenied"
        assert here.validate_pull_through_cache_rule(ecrRepositoryPrefix="in")["isValid"]
        secrets.put_secret_value(SecretId=arn, SecretString=login("AWS", "wrong"))
        bad = here.validate_pull_through_cache_rule(ecrRepositoryPrefix="in")
        assert not bad["isValid"]
        assert "wrong" not in json.dumps(bad["failure"])


def password(api: Any) -> tuple[str, str]:
    """Return the login that docker has for a local ECR."""
    (data,) = api.get_authorization_token()["authorizationData"]
    username, _, word = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    return username, word
