"""Own how things are named inside: a repository with its account and region, an image by digest or tag.

Every room of the local ECR may enter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from botocore.loaders import create_loader
from botocore.regions import EndpointResolver


@dataclass(frozen=True, slots=True)
class RepositoryKey:
    """Name a repository among all accounts and regions of one server."""

    account: str
    region: str
    name: str

    @property
    def arn(self) -> str:
        """The repository's ARN in its region's partition."""
        return f"arn:{partition(self.region)[0]}:ecr:{self.region}:{self.account}:repository/{self.name}"

    @property
    def uri(self) -> str:
        """The repository's name for docker, as AWS prints it."""
        return f"{self.account}.dkr.ecr.{self.region}.{partition(self.region)[1]}/{self.name}"


@dataclass(frozen=True, slots=True)
class ImageName:
    """Name an image in a repository as ImageIdentifier does: by digest, by tag, or by both that must agree."""

    digest: str = ""
    tag: str = ""

    def as_output(self) -> dict[str, object]:
        """Return the ImageIdentifier structure, without what is empty."""
        pairs = {"imageDigest": self.digest, "imageTag": self.tag}
        return {name: value for name, value in pairs.items() if value}


@cache
def partition(region: str) -> tuple[str, str]:
    """Return a region's partition and DNS suffix, from botocore's endpoint data; unknown regions are in ``aws``."""
    resolver = _resolver()
    known = region in _regions()
    name = resolver.get_partition_for_region(region) if known else "aws"
    return name, resolver.get_partition_dns_suffix(name)


@cache
def _resolver() -> EndpointResolver:
    return EndpointResolver(create_loader().load_data("endpoints"))


@cache
def _regions() -> frozenset[str]:
    resolver = _resolver()
    names = resolver.get_available_partitions()
    return frozenset(region for name in names for region in resolver.get_available_endpoints("ec2", name))
