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
from ecrdrag.cursor import SHOWN, Cursor, Piece
from ecrdrag.errors import UsageError
from ecrdrag.hostname import SCHEME, check_no_login, read_host, starts_with_host

# RegistryId, RepositoryName and its length: ECR's model, botocore data/ecr/2015-09-21/service-2.json.
ACCOUNT: Final = re.compile(r"[0-9]{12}")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY: Final = re.compile(rf"{_PART}(?:/{_PART})*")
MIN_REPOSITORY_LENGTH: Final = 2
MAX_REPOSITORY_LENGTH: Final = 256
# OCI distribution spec, "Pulling manifests"; ECR's API allows longer tags, which no client can pull.
TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
MAX_TAG_LENGTH: Final = 128

# ECR Public, and its name where dual-stack: ECR Public user guide, "Registry authentication" and endpoints.
PUBLIC_HOSTS: Final = ("public.ecr.aws", "ecr-public.aws.com")
# Docker Hub by its names in references, and the folder of names of one word: distribution/reference, normalize.go.
# The last is where its registry answers; docker takes that for a registry of its own, with other credentials.
DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_SERVER: Final = "registry-1.docker.io"
DOCKER_HUB_NAMES: Final = (DOCKER_HUB, "index.docker.io", _DOCKER_HUB_SERVER)
_OFFICIAL: Final = "library/"
# The same, reference.go: RepositoryNameTotalLengthMax, without the host.
_MAX_NAME_LENGTH: Final = 255
# What docker takes for an image's ID or digest: normalize.go, ParseAnyReference.
_ID = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-f]{64})")

# A region is one DNS label (RFC 1035 §2.3.4); botocore's patterns alone would let \w through.
_REGION = re.compile(r"[a-z0-9-]{1,63}")
# What means ECR, with slips. The names of local ECRs, ours and LocalStack's, are ordinary registries.
_LIKE_ECR = re.compile(
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
        _check_characters(cursor, f"name one, as {_ECR_FORM}")
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
        _check_characters(cursor, "name an image, as REGISTRY/NAME:TAG, or in ECR by its ARN")
        registry, ecr = _registry(cursor)
        repository = _repository(cursor, registry, ecr)
        tag = _tag(cursor) if cursor.take(":") else None
        digest = _digest(cursor) if cursor.take("@") else None
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


def _check_characters(cursor: Cursor, wanted: str) -> None:
    if not cursor.text:
        raise cursor.error(cursor.rest, f"the {cursor.kind} is empty", hint=wanted)
    for place, char in enumerate(cursor.text):
        if not "!" <= char <= "~":
            raise cursor.error(cursor.rest.after(place), f"{char!a} can't stand in a {cursor.kind}")


def _registry(cursor: Cursor) -> tuple[str, EcrHost | None]:
    """Read what stands before the repository, which comes next then."""
    has_prefix = cursor.take("ecr.aws/", any_case=True)
    if cursor.take("arn:"):
        ecr = _arn(cursor)
        return str(ecr), ecr
    if has_prefix:
        raise cursor.error(cursor.rest, f"expected an ARN (arn:aws:ecr:...) after ecr.aws/, found {cursor.rest}")
    has_scheme = _scheme(cursor)
    if _LIKE_ECR.match(cursor.rest.text):
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
        if scheme.text.lower().startswith("http:") and not _LIKE_ECR.match(rest):
            without += " (and --plain-http, if it speaks no TLS)"
        raise cursor.error(scheme, f"expected https:// or no scheme, found {scheme}", hint=without)
    if scheme.text and rest.startswith(("arn:", "ecr.aws/")):
        raise cursor.error(scheme, "an ARN has no scheme", hint=without)
    return cursor.take("https://", any_case=True)


def _check_is_ecr(cursor: Cursor) -> None:
    if not _LIKE_ECR.match(cursor.rest.text):
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


def _repository(cursor: Cursor, registry: str, ecr: EcrHost | None) -> str:
    least, most = (MIN_REPOSITORY_LENGTH, MAX_REPOSITORY_LENGTH) if ecr else (1, _MAX_NAME_LENGTH)
    name = cursor.until(":@")
    if len(name.text) < least:
        wanted = f"a name of {least} or more characters" if ecr else "the name of a repository"
        raise cursor.error(name, f"expected {wanted}, found {name}")
    if not REPOSITORY.fullmatch(name.text):
        raise _bad_repository(cursor, name)
    folder = _OFFICIAL if registry == DOCKER_HUB and "/" not in name.text else ""
    if len(folder + name.text) > most:
        most -= len(folder)
        raise cursor.error(name.after(most), f"a repository name has at most {most} characters")
    return folder + name.text


def _bad_repository(cursor: Cursor, name: Piece) -> UsageError:
    match = REPOSITORY.match(name.text)
    bad = name.after(match.end() if match else 0)
    separators = len(bad.text) - len(bad.text.lstrip("._/-"))
    stray = bad.after(separators)
    if not stray.text or REPOSITORY.match(stray.text):
        return cursor.error(bad, f"a repository name can't have {bad.text[:separators][:SHOWN]!r} here")
    lower = name.text.lower()
    hint = cursor.instead(name, lower) if REPOSITORY.fullmatch(lower) else ""
    return cursor.error(stray, f"a repository name can't have {stray.text[0]!r} here", hint=hint)


def _tag(cursor: Cursor) -> str:
    tag = cursor.until("@")
    if not tag.text:
        raise cursor.error(tag, f"expected a tag after the colon, found {cursor.rest}")
    match = TAG.match(tag.text)
    bad = tag.after(match.end() if match else 0)
    if bad.text:
        raise cursor.error(bad, f"a tag can't have {bad.text[0]!r} here")
    if len(tag.text) > MAX_TAG_LENGTH:
        raise cursor.error(tag.after(MAX_TAG_LENGTH), f"a tag has at most {MAX_TAG_LENGTH} characters")
    return tag.text


def _digest(cursor: Cursor) -> Digest:
    whole = cursor.rest
    cursor.until(":@")
    cursor.take(":")
    cursor.until(":@")
    if cursor.rest.text:
        raise cursor.error(cursor.rest, f"nothing can stand after a digest, found {cursor.rest}")
    try:
        return Digest.parse(whole.text)
    except ValueError as error:
        raise cursor.error(whole, str(error)) from None
