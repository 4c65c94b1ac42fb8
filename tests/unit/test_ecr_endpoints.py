"""Where ECR answers in a region, by botocore's data."""

from __future__ import annotations

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config

from ecrdrag.reference import EcrHost
from ecrdrag.registry.ecr_endpoints import endpoints, registry_host

ACCOUNT = "123456789012"


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-west-2", "123456789012.dkr.ecr.us-west-2.amazonaws.com"),
        ("cn-north-1", "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu"),
        ("us-west-99", "123456789012.dkr.ecr.us-west-99.amazonaws.com"),
    ],
)
def test_a_registry_has_the_host_name_of_its_partition(region: str, host: str) -> None:
    assert str(registry_host(ACCOUNT, region)) == host
    assert registry_host(ACCOUNT, region) == EcrHost.parse(host)


def test_a_region_in_the_united_states_has_all_variants() -> None:
    assert endpoints("us-west-2", ACCOUNT) == {
        "api": "api.ecr.us-west-2.amazonaws.com",
        "apiDualStack": "ecr.us-west-2.api.aws",
        "apiFips": "api.ecr-fips.us-west-2.amazonaws.com",
        "apiFipsDualStack": "ecr-fips.us-west-2.api.aws",
        "registry": f"{ACCOUNT}.dkr.ecr.us-west-2.amazonaws.com",
        "registryDualStack": f"{ACCOUNT}.dkr-ecr.us-west-2.on.aws",
        "registryFips": f"{ACCOUNT}.dkr.ecr-fips.us-west-2.amazonaws.com",
        "registryFipsDualStack": f"{ACCOUNT}.dkr-ecr-fips.us-west-2.on.aws",
    }


@pytest.mark.parametrize(
    ("region", "variants"),
    [
        ("eu-west-1", {"", "DualStack"}),
        ("cn-north-1", {"", "DualStack"}),
        ("us-iso-east-1", {""}),
        ("us-west-99", {""}),  # one that this botocore doesn't know yet
    ],
)
def test_elsewhere_only_what_botocore_lists_is_shown(region: str, variants: set[str]) -> None:
    assert set(endpoints(region, ACCOUNT)) == {f"{kind}{one}" for kind in ("api", "registry") for one in variants}
    assert set(endpoints(region, None)) == {f"api{one}" for one in variants}


def test_every_host_name_of_a_registry_can_be_pulled_from() -> None:
    session = botocore.session.Session()
    for partition in session.get_available_partitions():
        for region in session.get_available_regions("ecr", partition):
            hosts = [host for name, host in endpoints(region, ACCOUNT).items() if name.startswith("registry")]
            assert hosts
            assert {(host.region, host.account) for host in map(EcrHost.parse, hosts)} == {(region, ACCOUNT)}


class SentError(Exception):
    """Stands for an answer."""


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("api", Config()),
        ("apiDualStack", Config(use_dualstack_endpoint=True)),
        ("apiFips", Config(use_fips_endpoint=True)),
        ("apiFipsDualStack", Config(use_fips_endpoint=True, use_dualstack_endpoint=True)),
    ],
)
def test_the_api_is_where_boto3_asks_for_it(name: str, config: Config) -> None:
    def note(request: AWSPreparedRequest, **_: object) -> None:
        raise SentError(request.url)

    client = boto3.client(
        "ecr", region_name="us-west-2", config=config, aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="s3cret"
    )
    client.meta.events.register("before-send.ecr", note)
    with pytest.raises(SentError) as caught:
        client.describe_registry()
    client.close()
    assert str(caught.value) == f"https://{endpoints('us-west-2', None)[name]}/"
