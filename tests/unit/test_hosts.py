"""What the name that a client asks at says: where docker clients are sent by the API, and which registry is meant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ecrdrag.localecr.hosts import Place, place_of, registry_host
from ecrdrag.localecr.names import PUBLIC, RegistryKey
from ecrdrag.localecr.settings import Dialect, Settings

SETTINGS = Settings(accounts=("1" * 12,), region="eu-west-1")


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("api.ecr.us-west-2.amazonaws.com", "123456789012.dkr.ecr.us-west-2.amazonaws.com"),
        ("API.ECR.cn-north-1.amazonaws.com.cn:443", "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn:443"),
        ("api.ecr-fips.us-east-1.amazonaws.com", "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com"),
        ("api.ecr.us-west-2.localhost:5080", "123456789012.dkr.ecr.us-west-2.localhost:5080"),
        ("127.0.0.1:5080", "127.0.0.1:5080"),
        ("[::1]:5080", "[::1]:5080"),
        ("localhost", "localhost"),
        ("210987654321.dkr.ecr.us-west-2.localhost", "210987654321.dkr.ecr.us-west-2.localhost"),
        ("evil.api.ecr.us-west-2.amazonaws.com", "evil.api.ecr.us-west-2.amazonaws.com"),
    ],
)
def test_the_api_of_a_region_sends_to_its_registry_and_any_other_host_to_itself(asked: str, sent: str) -> None:
    assert registry_host(asked, "123456789012") == sent


@pytest.mark.parametrize(
    ("host", "account", "region", "dialect"),
    [
        ("210987654321.dkr.ecr.us-west-2.localhost:5080", "210987654321", "us-west-2", Dialect.ECR),
        ("210987654321.DKR-ecr-fips.us-west-2.on.aws", "210987654321", "us-west-2", Dialect.ECR),
        ("210987654321.dkr.ecr.publicity.localhost", "210987654321", "publicity", Dialect.ECR),
        ("public.ecr.aws", "1" * 12, PUBLIC, Dialect.PUBLIC),
    ],
)
def test_a_host_says_whose_registry_is_meant(host: str, account: str, region: str, dialect: Dialect) -> None:
    assert place_of(host, SETTINGS) == Place(RegistryKey(account, region), dialect)


@pytest.mark.parametrize("host", ["127.0.0.1:5080", "[::1]:5080", "localhost", "registry.test", ""])
@pytest.mark.parametrize("dialect", [Dialect.ECR, Dialect.OCI])
def test_a_host_that_says_nothing_is_the_first_accounts_unless_somebody_says_more(host: str, dialect: Dialect) -> None:
    settings = replace(SETTINGS, dialect=dialect)
    assert place_of(host, settings) == Place(RegistryKey("1" * 12, "eu-west-1"), dialect, named=False)


def test_no_host_of_private_registries_leads_to_public_ones() -> None:
    assert not place_of(f"210987654321.dkr.ecr.{PUBLIC}.localhost", SETTINGS).registry.is_public
