"""Own how things are named inside: a repository with its account and region, an image by digest or tag.

Every room of the local ECR may enter.
"""

from __future__ import annotations

from base64 import b32encode
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from typing import Final

from botocore.exceptions import UnknownRegionError
from botocore.loaders import create_loader
from botocore.regions import EndpointResolver

PUBLIC: Final = "public"
"""What stands for the region of ECR Public's registries, which have none."""
PUBLIC_HOST: Final = "public.ecr.aws"


@dataclass(frozen=True, slots=True)
class RegistryKey:
    """Name a registry: what one account has in one region, or in public."""

    account: str
    region: str

    @property
    def is_public(self) -> bool:
        """Whether it is a registry of ECR Public."""
        return self.region == PUBLIC

    @property
    def alias(self) -> str:
        """What stands for the account in public names: AWS gives a letter and seven letters or digits at random."""
        return "l" + b32encode(sha256(self.account.encode()).digest()).decode()[:7].lower()

    @property
    def host(self) -> str:
        """The registry's name for docker, as AWS prints it; of a public one with the alias."""
        if self.is_public:
            return f"{PUBLIC_HOST}/{self.alias}"
        return f"{self.account}.dkr.ecr.{self.region}.{partition(self.region)[1]}"

    def repository(self, name: str) -> RepositoryKey:
        """Name one of its repositories."""
        return RepositoryKey(self.account, self.region, name)


@dataclass(frozen=True, slots=True)
class RepositoryKey:
    """Name a repository among all accounts and regions of one server."""

    account: str
    region: str
    name: str

    @property
    def registry(self) -> RegistryKey:
        """The registry that it is in."""
        return RegistryKey(self.account, self.region)

    @property
    def arn(self) -> str:
        """The repository's ARN in its region's partition."""
        if self.registry.is_public:
            return f"arn:aws:ecr-public::{self.account}:repository/{self.name}"
        return f"arn:{partition(self.region)[0]}:ecr:{self.region}:{self.account}:repository/{self.name}"

    @property
    def uri(self) -> str:
        """The repository's name for docker, as AWS prints it."""
        return f"{self.registry.host}/{self.name}"


@dataclass(frozen=True, slots=True)
class ImageName:
    """Name an image in a repository as ImageIdentifier does: by digest, by tag, or by both that must agree."""

    digest: str = ""
    tag: str = ""

    def as_output(self) -> dict[str, object]:
        """Return the ImageIdentifier structure, without what is empty."""
        pairs = {"imageDigest": self.digest, "imageTag": self.tag}
        return {name: value for name, value in pairs.items() if value}


@lru_cache(maxsize=256)  # clients say what is a region
def partition(region: str) -> tuple[str, str]:
    """Return a region's partition and DNS suffix, from botocore's endpoint data; what fits none is in ``aws``."""
    resolver = _resolver()
    try:
        name = resolver.get_partition_for_region(region)
    except UnknownRegionError:
        name = "aws"
    return name, resolver.get_partition_dns_suffix(name)


@cache
def _resolver() -> EndpointResolver:
    return EndpointResolver(create_loader().load_data("endpoints"))
