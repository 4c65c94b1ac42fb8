"""Which host of the ECR API a reference leads to: asked of botocore itself, at the moment of sending."""

from __future__ import annotations

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HTTPHeaders
from mypy_boto3_ecr import ECRClient

from ecrdrag.cli.aws import AwsSettings
from ecrdrag.errors import TransferError
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ecr import EcrSource
from ecrdrag.registry.transport import BlobTransport


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECR", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_REGION", "sa-east-1")  # must not matter
    monkeypatch.setenv("AWS_DEFAULT_REGION", "sa-east-1")


def requests_for(registry: str) -> list[tuple[str, str]]:
    """Give URL and signature scope of what would be sent to fetch a manifest; nothing is sent."""
    reference = ImageReference.parse(f"{registry}/my/app:1")
    sent: list[tuple[str, str]] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        sent.append((request.url, str(request.headers["Authorization"])))
        return AWSResponse(request.url, 400, HTTPHeaders(), None)

    api = AwsSettings(None, None).ecr(reference.private, connections=1)
    client: ECRClient = api  # type: ignore[assignment]
    client.meta.events.register("before-send.ecr.*", answer)  # type: ignore[arg-type]
    with BlobTransport(connections=1) as transport, pytest.raises(TransferError):
        EcrSource(api, transport, reference).manifest(tag="1")
    client.close()
    return sent


@pytest.mark.parametrize(
    ("registry", "host"),
    [
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com", "api.ecr.us-west-2.amazonaws.com"),
        ("123456789012.dkr.ecr-fips.us-west-2.amazonaws.com", "api.ecr-fips.us-west-2.amazonaws.com"),
        ("123456789012.dkr-ecr.us-west-2.on.aws", "ecr.us-west-2.api.aws"),
        ("123456789012.dkr-ecr-fips.us-west-2.on.aws", "ecr-fips.us-west-2.api.aws"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "api.ecr.cn-north-1.amazonaws.com.cn"),
        ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "ecr.cn-north-1.api.amazonwebservices.com.cn"),
        ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com", "api.ecr.us-gov-west-1.amazonaws.com"),
        ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "api.ecr.us-iso-east-1.c2s.ic.gov"),
        ("123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "api.ecr.us-isob-east-1.sc2s.sgov.gov"),
        ("123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "api.ecr.eu-isoe-west-1.cloud.adc-e.uk"),
        ("123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", "api.ecr.us-isof-south-1.csp.hci.ic.gov"),
        ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "api.ecr.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_a_registry_leads_to_its_own_api_and_region(registry: str, host: str) -> None:
    ((url, authorization),) = requests_for(registry)
    region = ImageReference.parse(f"{registry}/my/app:1").private.region
    assert url == f"https://{host}/"
    assert f"/{region}/ecr/aws4_request" in authorization


def test_fips_and_dual_stack_may_also_come_from_the_user_s_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    ((url, _),) = requests_for("123456789012.dkr.ecr.us-west-2.amazonaws.com")
    assert url == "https://ecr-fips.us-west-2.api.aws/"
