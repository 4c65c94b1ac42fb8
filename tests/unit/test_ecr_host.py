"""EcrHost: the host names of private registries by themselves, as a login and docker's helper get them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from ecrdrag.errors import UsageError
from ecrdrag.reference import EcrHost
from tests.references import ACCOUNT, ARN, HOST, Refusal, check_refusal, ecr_hosts

HOSTS = [
    (HOST, EcrHost(ACCOUNT, "us-west-2", "aws")),
    (f"{ACCOUNT}.dkr.ecr-fips.us-gov-west-1.amazonaws.com", EcrHost(ACCOUNT, "us-gov-west-1", "aws-us-gov", fips=True)),
    (f"{ACCOUNT}.dkr-ecr.us-west-2.on.aws", EcrHost(ACCOUNT, "us-west-2", "aws", dual_stack=True)),
    (f"{ACCOUNT}.dkr-ecr-fips.us-west-2.on.aws", EcrHost(ACCOUNT, "us-west-2", "aws", fips=True, dual_stack=True)),
    (f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn", EcrHost(ACCOUNT, "cn-north-1", "aws-cn")),
    (
        f"{ACCOUNT}.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
        EcrHost(ACCOUNT, "cn-north-1", "aws-cn", dual_stack=True),
    ),
    (f"{ACCOUNT}.dkr.ecr.us-iso-east-1.c2s.ic.gov", EcrHost(ACCOUNT, "us-iso-east-1", "aws-iso")),
    (f"{ACCOUNT}.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", EcrHost(ACCOUNT, "us-isob-east-1", "aws-iso-b")),
    (f"{ACCOUNT}.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", EcrHost(ACCOUNT, "eu-isoe-west-1", "aws-iso-e")),
    (f"{ACCOUNT}.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", EcrHost(ACCOUNT, "us-isof-south-1", "aws-iso-f")),
    (f"{ACCOUNT}.dkr.ecr.eusc-de-east-1.amazonaws.eu", EcrHost(ACCOUNT, "eusc-de-east-1", "aws-eusc")),
]
FORM = "name one, as ACCOUNT.dkr.ecr.REGION.amazonaws.com"
NO_USER = "a registry holds no user name or password"

BAD: list[Refusal] = [
    ("", 1, "the registry is empty", FORM),
    (" ", 1, "' ' can't stand in a registry", None),
    (f"{HOST}\n", 45, r"'\n' can't stand in a registry", f"{HOST}\\n\n{' ' * 44}^"),
    ("docker.io", 1, "expected a private ECR registry, found 'docker.io'", FORM),
    ("https://public.ecr.aws/", 9, "expected a private ECR registry, found 'public.ecr.aws'", FORM),
    ("not.ecr.io", 1, "expected a private ECR registry, found 'not.ecr.io'", FORM),
    (
        "api.ecr.us-west-2.amazonaws.com",
        1,
        "expected a private ECR registry, found 'api.ecr.us-west-2.amazonaws.com'",
        FORM,
    ),
    (f"{ARN}app", 1, "expected a private ECR registry, found 'arn'", FORM),
    (
        f"{ACCOUNT}.dkr.ecr.us-west-2.localhost:5080",
        1,
        f"expected a private ECR registry, found '{ACCOUNT}.dkr.ecr.us-west-2.localhost'",
        FORM,
    ),
    (".dkr.ecr.us-west-2.amazonaws.com", 1, "expected an account of 12 digits, found nothing", None),
    ("12345678901.dkr.ecr.us-west-2.amazonaws.com", 1, "expected an account of 12 digits, found '12345678901'", None),
    (f"{ACCOUNT}.dkr.ecr.amazonaws.com", 22, "expected a region such as us-west-2, found 'amazonaws'", None),
    (f"{ACCOUNT}.dkr.ecr.not-real.amazonaws.com", 22, "expected a region such as us-west-2, found 'not-real'", None),
    (f"{ACCOUNT}.dkr-ecr.us-iso-east-1.on.aws", 14, "partition aws-iso has no dual-stack registries (dkr-ecr)", None),
    (
        f"{HOST}.",
        32,
        "expected amazonaws.com as the end of a registry in us-west-2, found 'amazonaws.com.'",
        f"did you mean {HOST}",
    ),
    (f"{HOST}:443", 45, "nothing can stand after the registry, found ':443'", None),
    (f"{HOST}/app", 45, "nothing can stand after the registry, found '/app'", None),
    (f"{HOST}//", 45, "nothing can stand after the registry, found '//'", None),
    (f"http://{HOST}", 1, "expected https:// or no scheme, found 'http://'", f"did you mean {HOST}"),
    (f"https://AWS:hun/ter2@{HOST}", 9, NO_USER, f"did you mean https://{HOST}"),
    (f"AWS:hunter2@{HOST}/", 1, NO_USER, f"did you mean {HOST}/"),
    (f"hunter2@{HOST}", 1, NO_USER, f"did you mean {HOST}"),
    (f"https://hunter2@{HOST}", 9, NO_USER, f"did you mean https://{HOST}"),
    (f"hunter2 é\n@{HOST}", 1, NO_USER, f"did you mean {HOST}"),
]


@pytest.mark.parametrize(("host", "expected"), HOSTS)
@pytest.mark.parametrize("written", ["{}", "https://{}", "HTTPS://{}/", "{}/"])
def test_a_host_is_read_with_https_and_a_slash_or_without(host: str, expected: EcrHost, written: str) -> None:
    assert EcrHost.parse(written.format(host)) == expected
    assert EcrHost.parse(written.format(host.upper())) == expected
    assert str(expected) == host


@settings(deadline=None)
@given(ecr_hosts())
def test_what_is_printed_is_read_back(host: EcrHost) -> None:
    assert EcrHost.parse(str(host)) == host


@pytest.mark.parametrize("refusal", BAD, ids=[ascii(case[0])[:60] for case in BAD])
def test_what_is_no_private_registry_is_refused_with_the_place_and_the_reason(refusal: Refusal) -> None:
    with pytest.raises(UsageError) as caught:
        EcrHost.parse(refusal[0])
    check_refusal(caught.value, refusal, "registry")
