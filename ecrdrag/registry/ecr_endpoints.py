"""Own where ECR answers in a region: the hosts of its API and of a registry, as far as botocore's data knows them.

control/ and the command line may enter. What loads urllib3 is imported late: --help doesn't wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError

from ecrdrag.errors import UsageError
from ecrdrag.reference import EcrHost

if TYPE_CHECKING:
    from botocore.endpoint_provider import EndpointProvider
    from botocore.loaders import Loader

# What a variant is called here → its tags in botocore's data/endpoints.json.
_VARIANTS: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset(),
    "DualStack": frozenset({"dualstack"}),
    "Fips": frozenset({"fips"}),
    "FipsDualStack": frozenset({"fips", "dualstack"}),
}
_ENDPOINT: Final = "api.ecr"  # what endpoints.json calls the service
_DUAL_STACK: Final = ("aws", "aws-us-gov", "aws-cn")  # ECR user guide, "Making requests to Amazon ECR registries"


def registry_host(account: str, region: str) -> EcrHost:
    """Name the registry of an account in a region; one that botocore doesn't know is taken to be in partition aws."""
    from botocore.endpoint_provider import RuleSetStandardLibrary

    partition = RuleSetStandardLibrary(_loader().load_data("partitions")).aws_partition(region)
    return EcrHost(account, region, partition["name"])


def endpoints(region: str, account: str | None) -> dict[str, str]:
    """List host names: api, apiDualStack, apiFips, apiFipsDualStack, and registry… where the account is known.

    Which variants there are is said by endpoints.json, for a region that it lists; how the API's are called by the
    rules that boto3 goes by.
    """
    there = [name for name, tags in _VARIANTS.items() if tags in _tags(region)]
    found = {f"api{name}": _api(region, _VARIANTS[name]) for name in there}
    if account:
        host = registry_host(account, region)
        found |= {f"registry{name}": str(one) for name in there if (one := _variant(host, _VARIANTS[name]))}
    return found


def _variant(host: EcrHost, tags: frozenset[str]) -> EcrHost | None:
    if "dualstack" in tags and host.partition not in _DUAL_STACK:
        return None
    return replace(host, fips="fips" in tags, dual_stack="dualstack" in tags)


def _api(region: str, tags: frozenset[str]) -> str:
    try:
        url = _provider().resolve_endpoint(Region=region, UseFIPS="fips" in tags, UseDualStack="dualstack" in tags).url
    except BotoCoreError as error:
        raise UsageError(f"{region}: {error}") from None
    return urlsplit(url).netloc


def _tags(region: str) -> list[frozenset[str]]:
    """Say which variants a region has."""
    for partition in _loader().load_data("endpoints")["partitions"]:
        known = partition["services"].get(_ENDPOINT, {}).get("endpoints", {})
        if region in known:
            return [frozenset(), *(frozenset(one["tags"]) for one in known[region].get("variants", ()))]
    return [frozenset()]


@cache
def _provider() -> EndpointProvider:
    from botocore.endpoint_provider import EndpointProvider

    rules = _loader().load_service_model("ecr", "endpoint-rule-set-1")
    return EndpointProvider(rules, _loader().load_data("partitions"))


@cache
def _loader() -> Loader:
    from botocore.loaders import Loader

    return Loader()
