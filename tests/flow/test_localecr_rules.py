"""Pull-through cache rules: what is stored, what is refused and in which words, what a validation finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_ecr import ECRClient

from ecrdrag.errors import AuthError
from ecrdrag.localecr import LocalEcr, Settings
from tests.fake_upstream import FakeUpstream
from tests.localecr import ACCOUNT, REGION, client
from tests.vaults import keep_login, secrets_client

SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:ecr-pullthroughcache/hub-abc123"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/cache"


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream()


@pytest.fixture
def ecr(tmp_path: Path, upstream: FakeUpstream) -> Iterator[LocalEcr]:
    registries = {"registry.test:5000": upstream, "quay.io": upstream}
    with LocalEcr(tmp_path / "ecr", settings=Settings(region=REGION, max_rules=3), upstreams=registries) as ecr:
        yield ecr


@pytest.fixture
def api(ecr: LocalEcr) -> Iterator[ECRClient]:
    with client(ecr) as api:
        yield api


@pytest.fixture
def secret(ecr: LocalEcr) -> str:
    """The ARN of a secret that a rule can have."""
    with secrets_client(ecr) as secrets:
        return keep_login(secrets, "hub")


def test_a_rule_is_described_as_it_was_created(api: ECRClient, secret: str) -> None:
    created = api.create_pull_through_cache_rule(
        ecrRepositoryPrefix="docker.io", upstreamRegistryUrl="registry-1.docker.io", credentialArn=secret
    )
    (found,) = api.describe_pull_through_cache_rules()["pullThroughCacheRules"]
    assert found["createdAt"] == created["createdAt"] == found["updatedAt"]
    wanted = {
        "ecrRepositoryPrefix": "docker.io",
        "upstreamRegistryUrl": "registry-1.docker.io",
        "upstreamRegistry": "docker-hub",
        "upstreamRepositoryPrefix": "ROOT",
        "credentialArn": secret,
        "registryId": ACCOUNT,
    }
    for shown in (created, found):
        assert {name: value for name, value in shown.items() if name in wanted} == wanted


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("public.ecr.aws", "ecr-public"),
        ("registry.k8s.io", "k8s"),
        ("quay.io", "quay"),
        (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com", "ecr"),
    ],
)
def test_a_registry_without_a_secret_is_known_by_its_url(api: ECRClient, url: str, name: str) -> None:
    created = api.create_pull_through_cache_rule(ecrRepositoryPrefix="cache", upstreamRegistryUrl=url)
    assert created["upstreamRegistry"] == name


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            {"upstreamRegistryUrl": "harbor.example.com"},
            "UnsupportedUpstreamRegistryException",
            "The upstream registry URL harbor.example.com is invalid. Specify a valid upstream registry URL",
        ),
        ({"upstreamRegistryUrl": "https://quay.io"}, "UnsupportedUpstreamRegistryException", "is invalid"),
        ({"upstreamRegistryUrl": "xquay.io"}, "UnsupportedUpstreamRegistryException", "is invalid"),
        *(
            (
                {"upstreamRegistryUrl": url},
                "UnsupportedUpstreamRegistryException",
                "Specify a valid Secrets Manager ARN",
            )
            for url in ("registry-1.docker.io", "ghcr.io", "registry.gitlab.com", "ours.azurecr.io", "cgr.dev")
        ),
        (
            {"upstreamRegistryUrl": "999999999999.dkr.ecr.us-east-1.amazonaws.com"},
            "UnsupportedUpstreamRegistryException",
            "IAM role",
        ),
        (
            {"upstreamRegistryUrl": "quay.io", "upstreamRegistry": "k8s"},
            "InvalidParameterException",
            "upstreamRegistry",
        ),
        ({"upstreamRegistryUrl": "quay.io", "ecrRepositoryPrefix": "Quay"}, "InvalidParameterException", "Prefix"),
        ({"upstreamRegistryUrl": "quay.io", "ecrRepositoryPrefix": "q" * 31}, "InvalidParameterException", "30"),
        (
            {"upstreamRegistryUrl": "ghcr.io", "credentialArn": SECRET.replace("ecr-pullthroughcache/", "mine-")},
            "InvalidParameterException",
            "credentialArn",
        ),
        (
            {"upstreamRegistryUrl": "quay.io", "ecrRepositoryPrefix": "ROOT", "upstreamRepositoryPrefix": "mine"},
            "InvalidParameterException",
            "upstreamRepositoryPrefix",
        ),
    ],
)
def test_a_rule_that_cannot_be_is_refused(api: ECRClient, arguments: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(ClientError) as caught:
        api.create_pull_through_cache_rule(**{"ecrRepositoryPrefix": "cache", **arguments})
    assert caught.value.response["Error"]["Code"] == code
    assert words in caught.value.response["Error"]["Message"]
    assert api.describe_pull_through_cache_rules()["pullThroughCacheRules"] == []


def test_another_accounts_registry_is_taken_with_a_role(api: ECRClient) -> None:
    url = "999999999999.dkr.ecr.us-east-1.amazonaws.com"
    created = api.create_pull_through_cache_rule(
        ecrRepositoryPrefix="theirs", upstreamRegistryUrl=url, customRoleArn=ROLE, upstreamRepositoryPrefix="shared"
    )
    assert (created["customRoleArn"], created["upstreamRepositoryPrefix"]) == (ROLE, "shared")


def test_a_registry_that_this_server_knows_is_taken_though_aws_has_it_not(api: ECRClient) -> None:
    created = api.create_pull_through_cache_rule(ecrRepositoryPrefix="ours", upstreamRegistryUrl="registry.test:5000")
    assert created["upstreamRegistryUrl"] == "registry.test:5000"
    assert "upstreamRegistry" not in created


def test_a_prefix_has_one_rule_in_a_region_with_or_without_its_slash(ecr: LocalEcr, api: ECRClient) -> None:
    api.create_pull_through_cache_rule(ecrRepositoryPrefix="cache", upstreamRegistryUrl="quay.io")
    with pytest.raises(api.exceptions.PullThroughCacheRuleAlreadyExistsException, match="'cache'"):
        api.create_pull_through_cache_rule(ecrRepositoryPrefix="cache/", upstreamRegistryUrl="registry.k8s.io")
    with client(ecr, region="eu-west-1") as elsewhere:
        elsewhere.create_pull_through_cache_rule(ecrRepositoryPrefix="cache", upstreamRegistryUrl="quay.io")


def test_no_more_rules_than_the_quota(api: ECRClient) -> None:
    for number in range(3):
        api.create_pull_through_cache_rule(ecrRepositoryPrefix=f"cache-{number}", upstreamRegistryUrl="quay.io")
    with pytest.raises(api.exceptions.LimitExceededException):
        api.create_pull_through_cache_rule(ecrRepositoryPrefix="one-more", upstreamRegistryUrl="quay.io")


def test_rules_come_in_pages_and_by_name(api: ECRClient) -> None:
    for name in ("c1", "c2", "c3"):
        api.create_pull_through_cache_rule(ecrRepositoryPrefix=name, upstreamRegistryUrl="quay.io")
    pages = api.get_paginator("describe_pull_through_cache_rules").paginate(PaginationConfig={"PageSize": 2})
    found = [[rule["ecrRepositoryPrefix"] for rule in page["pullThroughCacheRules"]] for page in pages]
    assert found == [["c1", "c2"], ["c3"]]
    named = api.describe_pull_through_cache_rules(ecrRepositoryPrefixes=["c3/", "c1"])["pullThroughCacheRules"]
    assert [rule["ecrRepositoryPrefix"] for rule in named] == ["c3", "c1"]
    with pytest.raises(api.exceptions.PullThroughCacheRuleNotFoundException, match="'gone'"):
        api.describe_pull_through_cache_rules(ecrRepositoryPrefixes=["c1", "gone"])


def test_an_update_changes_the_secret_and_nothing_else(ecr: LocalEcr, api: ECRClient, secret: str) -> None:
    created = api.create_pull_through_cache_rule(
        ecrRepositoryPrefix="hub", upstreamRegistryUrl="registry-1.docker.io", credentialArn=secret
    )
    with secrets_client(ecr) as secrets:
        other = keep_login(secrets, "other")
    updated = api.update_pull_through_cache_rule(ecrRepositoryPrefix="hub", credentialArn=other)
    assert updated["credentialArn"] == other
    (found,) = api.describe_pull_through_cache_rules()["pullThroughCacheRules"]
    assert found["createdAt"] == created["createdAt"] <= found["updatedAt"] == updated["updatedAt"]
    assert (found["upstreamRegistryUrl"], found["credentialArn"]) == ("registry-1.docker.io", other)


def test_an_update_of_nothing_is_refused(api: ECRClient) -> None:
    api.create_pull_through_cache_rule(ecrRepositoryPrefix="cache", upstreamRegistryUrl="quay.io")
    with pytest.raises(api.exceptions.InvalidParameterException, match="either credential arn or role arn"):
        api.update_pull_through_cache_rule(ecrRepositoryPrefix="cache")


def test_a_deleted_rule_is_gone(api: ECRClient) -> None:
    api.create_pull_through_cache_rule(ecrRepositoryPrefix="cache", upstreamRegistryUrl="quay.io")
    assert api.delete_pull_through_cache_rule(ecrRepositoryPrefix="cache/")["upstreamRegistryUrl"] == "quay.io"
    for operation in ("delete", "update", "validate"):
        with pytest.raises(api.exceptions.PullThroughCacheRuleNotFoundException):
            getattr(api, f"{operation}_pull_through_cache_rule")(ecrRepositoryPrefix="cache")


def test_a_validation_really_asks_the_registry(api: ECRClient, upstream: FakeUpstream) -> None:
    api.create_pull_through_cache_rule(ecrRepositoryPrefix="cache", upstreamRegistryUrl="quay.io")
    good = api.validate_pull_through_cache_rule(ecrRepositoryPrefix="cache")
    assert good["isValid"]
    assert "failure" not in good
    upstream.failure = AuthError("quay.io answered 401")
    bad = api.validate_pull_through_cache_rule(ecrRepositoryPrefix="cache")
    assert (bad["isValid"], bad["failure"]) == (False, "quay.io answered 401")
    assert upstream.asked == ["check", "check"]


def test_a_validation_says_that_the_server_does_not_know_the_registry(api: ECRClient) -> None:
    api.create_pull_through_cache_rule(ecrRepositoryPrefix="cache", upstreamRegistryUrl="registry.k8s.io")
    found = api.validate_pull_through_cache_rule(ecrRepositoryPrefix="cache")
    assert not found["isValid"]
    assert "--upstream registry.k8s.io=URL" in found["failure"]
