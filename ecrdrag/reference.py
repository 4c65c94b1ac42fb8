"""Own the names of images: ImageReference.parse reads every way to name an image in ECR or any other registry.

The stories, registry, localecr and cli may enter; below cli no function takes a reference as text.
Host names know no case, all else does. Which region is in which partition is botocore's data.

    [ecr.aws/]arn:PARTITION:ecr:REGION:ACCOUNT:repository/NAME[:TAG][@DIGEST]
    [https://]ACCOUNT.dkr.ecr[-fips].REGION.SUFFIX/NAME[:TAG][@DIGEST]        dkr-ecr where dual-stack
    [https://]HOST[:PORT]/NAME[:TAG][@DIGEST]                                 public.ecr.aws, and all others
    NAME[:TAG][@DIGEST]                                                       Docker Hub, as docker reads it
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

from ecrdrag.content import Digest
from ecrdrag.cursor import Cursor, Piece
from ecrdrag.errors import UsageError
from ecrdrag.hostname import SCHEME, check_no_login, read_host, starts_with_host
from ecrdrag.naming import check_characters, read_digest, read_repository, read_tag

# RegistryId: ECR's model, botocore data/ecr/2015-09-21/service-2.json.
ACCOUNT: Final = re.compile(r"[0-9]{12}")

# ECR Public, and its name where dual-stack: ECR Public user guide, "Registry authentication" and endpoints.
PUBLIC_HOSTS: Final = ("public.ecr.aws", "ecr-public.aws.com")
# Docker Hub by its names in references, and the folder of names of one word: distribution/reference, normalize.go.
# The last is where its registry answers; docker takes that for a registry of its own, with other credentials.
DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_SERVER: Final = "registry-1.docker.io"
DOCKER_HUB_NAMES: Final = (DOCKER_HUB, "index.docker.io", _DOCKER_HUB_SERVER)
_OFFICIAL: Final = "library/"
# What docker takes for an image's ID or digest: normalize.go, ParseAnyReference.
_ID = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-f]{64})")

# A region is one DNS label (RFC 1035 §2.3.4); botocore's patterns alone would let \w through.
_REGION = re.compile(r"[a-z0-9-]{1,63}")
# What means ECR, with slips. The names of local ECRs, ours and LocalStack's, are ordinary registries.
LIKE_ECR: Final = re.compile(
    r"(?![^/:@]*\.localhost(?:[.:/]|\Z))(?:(?:[^/:@]*\.|[0-9]*)dkr[.-]ecr|[0-9-]{11,}\.[^/:@]*(?:ecr|dkr|aws))",
    re.IGNORECASE,
)
_ECR_FORM: Final = "ACCOUNT.dkr.ecr.REGION.amazonaws.com"

# What follows the account in a host name → (fips, dual_stack): ECR user guide, "Making requests to
# Amazon ECR registries", and the pattern in amazon-ecr-credential-helper, ecr-login/api/client.go.
_SERVICES = {
    "dkr.ecr.": (False, False),
    "dkr.ecr-fips.": (True, False),
    "dkr-ecr.": (False, True),
    "dkr-ecr-fips.": (True, True),
}
# Partition → suffix of dual-stack registries (same sources); botocore has those of API hosts only.
_DUAL_STACK_SUFFIXES = {"aws": "on.aws", "aws-us-gov": "on.aws", "aws-cn": "on.amazonwebservices.com.cn"}


@dataclass(frozen=True, slots=True)
class EcrHost:
    """Place a registry: one account in one region, and the kind of host name that leads there."""

    account: str
    region: str
    partition: str
    fips: bool = False
    dual_stack: bool = False

    @classmethod
    def parse(cls, text: str) -> EcrHost:
        """Read the host name of a private ECR registry, with https:// or without; raise UsageError for another."""
        cursor = Cursor(text, "registry")
        check_no_login(cursor, has_digest=False)
        check_characters(cursor, f"name one, as {_ECR_FORM}")
        _scheme(cursor)
        _check_is_ecr(cursor)
        ecr = _ecr_host(cursor)
        if cursor.rest.text not in ("", "/"):
            raise cursor.error(cursor.rest, f"nothing can stand after the registry, found {cursor.rest}")
        return ecr

    def __str__(self) -> str:
        service = ("dkr-ecr" if self.dual_stack else "dkr.ecr") + ("-fips" if self.fips else "")
        suffix = _partitions()[self.partition].suffix(dual_stack=self.dual_stack)
        return f"{self.account}.{service}.{self.region}.{suffix}"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """Name an image: a registry, a repository, and a tag, a digest, both or neither.

    registry is HOST or HOST:PORT in small letters, docker.io for Docker Hub; ecr says more of a private one of ECR.
    """

    registry: str
    repository: str
    tag: str | None
    digest: Digest | None
    ecr: EcrHost | None
    text: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read any form; raise UsageError that says what is wrong at which character, from 1."""
        cursor = Cursor(text)
        check_no_login(cursor, has_digest=True)
        check_characters(cursor, "name an image, as REGISTRY/NAME:TAG, or in ECR by its ARN")
        registry, ecr = _registry(cursor)
        repository = read_repository(cursor, folder=_OFFICIAL if registry == DOCKER_HUB else "", at_ecr=ecr is not None)
        tag = read_tag(cursor) if cursor.take(":") else None
        digest = read_digest(cursor) if cursor.take("@") else None
        return cls(registry, repository, tag, digest, ecr, text)

    def with_default_tag(self) -> ImageReference:
        """Add the tag latest where there is neither tag nor digest; say so to the user."""
        return self if self.tag or self.digest else replace(self, tag="latest")

    @property
    def server(self) -> str:
        """Where the registry answers, HOST or HOST:PORT."""
        return _DOCKER_HUB_SERVER if self.registry == DOCKER_HUB else self.registry

    @property
    def name(self) -> str:
        """The host form with neither tag nor digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def private(self) -> EcrHost:
        """The private ECR registry; raises UsageError where it is any other."""
        if self.ecr is None:
            raise UsageError(f"{self.registry} is not a private ECR registry")
        return self.ecr

    @property
    def arn(self) -> str:
        """The ARN form, after ecr.aws/; an ARN has no place for FIPS and dual-stack, which are lost."""
        ecr = self.private
        return f"ecr.aws/arn:{ecr.partition}:ecr:{ecr.region}:{ecr.account}:repository/{self.repository}{self._version}"

    @property
    def _version(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._version


def fallback_tag(digest: Digest) -> str:
    """Name the tag of the index of what refers to an image: OCI distribution spec, "Referrers Tag Schema"."""
    return f"{digest.algorithm[:32]}-{digest.hex[:64]}"


@dataclass(frozen=True, slots=True)
class _Partition:
    """One of AWS's separate worlds, with its own regions and domain names."""

    name: str
    dns_suffix: str
    regions: re.Pattern[str]

    def suffix(self, *, dual_stack: bool) -> str:
        """What registry hosts end in; empty where this partition has none."""
        return _DUAL_STACK_SUFFIXES.get(self.name, "") if dual_stack else self.dns_suffix


@cache
def _partitions() -> Mapping[str, _Partition]:
    from botocore.loaders import Loader  # late: --help doesn't wait for botocore

    data = Loader().load_data("partitions")["partitions"]
    return {
        entry["id"]: _Partition(entry["id"], entry["outputs"]["dnsSuffix"], re.compile(entry["regionRegex"], re.ASCII))
        for entry in data
    }


def _registry(cursor: Cursor) -> tuple[str, EcrHost | None]:
    """Read what stands before the repository, which comes next then."""
    has_prefix = cursor.take("ecr.aws/", any_case=True)
    if cursor.take("arn:"):
        ecr = _arn(cursor)
        return str(ecr), ecr
    if has_prefix:
        raise cursor.error(cursor.rest, f"expected an ARN (arn:aws:ecr:...) after ecr.aws/, found {cursor.rest}")
    has_scheme = _scheme(cursor)
    if LIKE_ECR.match(cursor.rest.text):
        ecr = _ecr_host(cursor)
        if not cursor.take("/"):
            raise cursor.error(cursor.rest, f"expected / and a repository after the registry, found {cursor.rest}")
        return str(ecr), ecr
    if has_scheme or starts_with_host(cursor.rest.text):
        host = read_host(cursor)
        return DOCKER_HUB if host in DOCKER_HUB_NAMES else host, None
    if match := _ID.fullmatch(cursor.rest.text):
        hint = f"name the repository that it is in, as NAME@sha256:{match['hex']}"
        raise cursor.error(cursor.rest, "expected the name of an image, found a digest or an ID alone", hint=hint)
    return DOCKER_HUB, None


def _arn(cursor: Cursor) -> EcrHost:
    partition = cursor.field(":")
    if partition.text not in _partitions():
        raise cursor.error(partition, f"expected a partition ({', '.join(_partitions())}), found {partition}")
    service = cursor.field(":")
    if service.text != "ecr":
        raise cursor.error(service, f"expected an ARN of ecr, found {service}")
    region = cursor.field(":")
    home = _partition_of(cursor, region)
    if partition.text != home.name:
        problem = f"expected partition {home.name}, where {region.text} is, found {partition}"
        raise cursor.error(partition, problem, hint=cursor.instead(partition, home.name))
    account = _account(cursor, cursor.field(":"))
    if not cursor.take("repository/"):
        raise cursor.error(cursor.rest, f"expected repository/ and its name after the account, found {cursor.rest}")
    return EcrHost(account, region.text, home.name)


def _ecr_host(cursor: Cursor) -> EcrHost:
    account = _account(cursor, cursor.field("."))
    service = cursor.rest
    fips, dual_stack = _service(cursor)
    region = cursor.until("./:@").lower()
    home = _partition_of(cursor, region)
    cursor.take(".")
    if not home.suffix(dual_stack=dual_stack):
        raise cursor.error(service, f"partition {home.name} has no dual-stack registries (dkr-ecr)")
    _suffix(cursor, region, home.suffix(dual_stack=dual_stack))
    return EcrHost(account, region.text, home.name, fips, dual_stack)


def _scheme(cursor: Cursor) -> bool:
    """Step over https://; say whether it was there."""
    match = SCHEME.match(cursor.text)
    scheme = Piece(match[0] if match else "", 0)
    rest = cursor.rest.after(len(scheme.text)).text
    without = cursor.instead(scheme, "")
    if scheme.text.lower() not in ("", "https://"):
        if scheme.text.lower().startswith("http:") and not LIKE_ECR.match(rest):
            without += " (and --plain-http, if it speaks no TLS)"
        raise cursor.error(scheme, f"expected https:// or no scheme, found {scheme}", hint=without)
    if scheme.text and rest.startswith(("arn:", "ecr.aws/")):
        raise cursor.error(scheme, "an ARN has no scheme", hint=without)
    return cursor.take("https://", any_case=True)


def _check_is_ecr(cursor: Cursor) -> None:
    if not LIKE_ECR.match(cursor.rest.text):
        host = cursor.until("/:@")
        raise cursor.error(host, f"expected a private ECR registry, found {host}", hint=f"name one, as {_ECR_FORM}")


def _account(cursor: Cursor, account: Piece) -> str:
    if not ACCOUNT.fullmatch(account.text):
        raise cursor.error(account, f"expected an account of 12 digits, found {account}")
    return account.text


def _service(cursor: Cursor) -> tuple[bool, bool]:
    for literal, kind in _SERVICES.items():
        if cursor.take(literal, any_case=True):
            return kind
    found = cursor.until("/:@")
    raise cursor.error(found, f"expected dkr.ecr. or dkr-ecr. after the account, found {found}")


def _partition_of(cursor: Cursor, region: Piece) -> _Partition:
    for partition in _partitions().values():
        if _REGION.fullmatch(region.text) and partition.regions.fullmatch(region.text):
            return partition
    raise cursor.error(region, f"expected a region such as us-west-2, found {region}")


def _suffix(cursor: Cursor, region: Piece, expected: str) -> None:
    suffix = cursor.until("/:@")
    if suffix.text.lower() != expected:
        problem = f"expected {expected} as the end of a registry in {region.text}, found {suffix}"
        raise cursor.error(suffix, problem, hint=cursor.instead(suffix, expected) if suffix.text else "")
