"""Where docker clients are sent by the API, by the name that the API was asked at."""

from __future__ import annotations

import pytest

from ecrdrag.localecr.hosts import registry_host


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
