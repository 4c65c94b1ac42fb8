"""Own the names of images: ImageReference.parse reads every way to name an image in ECR.

The stories, registry, localecr and cli may enter; below cli no function takes a reference as text.
Host names know no case, all else does. Which region is in which partition is botocore's data.

    [ecr.aws/]arn:PARTITION:ecr:REGION:ACCOUNT:repository/NAME[:TAG][@DIGEST]
    [https://]ACCOUNT.dkr.ecr[-fips].REGION.SUFFIX/NAME[:TAG][@DIGEST]        dkr-ecr where dual-stack
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

from ecrdrag.content import Digest
from ecrdrag.errors import UsageError

# RegistryId, RepositoryName and its length: ECR's model, botocore data/ecr/2015-09-21/service-2.json.
ACCOUNT: Final = re.compile(r"[0-9]{12}")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY: Final = re.compile(rf"{_PART}(?:/{_PART})*")
MIN_REPOSITORY_LENGTH: Final = 2
MAX_REPOSITORY_LENGTH: Final = 256
# OCI distribution spec, "Pulling manifests"; ECR's API allows longer tags, which no client can pull.
TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
MAX_TAG_LENGTH: Final = 128

# A region is one DNS label (RFC 1035 §2.3.4); botocore's patterns alone would let \w through.
_REGION = re.compile(r"[a-z0-9-]{1,63}")
_OTHER_SCHEME = re.compile(r"(?!https://)[A-Za-z][A-Za-z0-9+.-]*://", re.IGNORECASE)
_USER_INFO = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?(?P<secret>[^/]*@)[^/@]*/")
_LIKE_ECR = re.compile(r"[^/]*\.dkr[.-]ecr|[0-9]{12}\.", re.IGNORECASE)

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

# Of the user's text, in characters: shown in a message, left of the pointer, on the pointer's line.
_SHOWN, _SHOWN_LEFT, _SHOWN_LINE = 40, 50, 76


@dataclass(frozen=True, slots=True)
class EcrHost:
    """Place a registry: one account in one region, and the kind of host name that leads there."""

    account: str
    region: str
    partition: str
    fips: bool = False
    dual_stack: bool = False

    def __str__(self) -> str:
        service = ("dkr-ecr" if self.dual_stack else "dkr.ecr") + ("-fips" if self.fips else "")
        suffix = _partitions()[self.partition].suffix(dual_stack=self.dual_stack)
        return f"{self.account}.{service}.{self.region}.{suffix}"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """Name an image: a registry, a repository, and a tag, a digest, both or neither."""

    ecr: EcrHost
    repository: str
    tag: str | None
    digest: Digest | None
    text: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read any form; raise UsageError that says what is wrong at which character, from 1."""
        cursor = _Cursor(text)
        _check_characters(cursor)
        ecr = _registry(cursor)
        repository = _repository(cursor)
        tag = _tag(cursor) if cursor.take(":") else None
        digest = _digest(cursor) if cursor.take("@") else None
        return cls(ecr, repository, tag, digest, text)

    def with_default_tag(self) -> ImageReference:
        """Add the tag latest where there is neither tag nor digest; say so to the user."""
        return self if self.tag or self.digest else replace(self, tag="latest")

    @property
    def registry(self) -> str:
        """The host name of the registry."""
        return str(self.ecr)

    @property
    def name(self) -> str:
        """The host form with neither tag nor digest."""
        return f"{self.ecr}/{self.repository}"

    @property
    def arn(self) -> str:
        """The ARN form, after ecr.aws/; an ARN has no place for FIPS and dual-stack, which are lost."""
        ecr = self.ecr
        return f"ecr.aws/arn:{ecr.partition}:ecr:{ecr.region}:{ecr.account}:repository/{self.repository}{self._version}"

    @property
    def _version(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._version


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


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the reference and how many characters stand before it."""

    text: str
    start: int

    def after(self, count: int) -> _Piece:
        return _Piece(self.text[count:], self.start + count)

    def lower(self) -> _Piece:
        return _Piece(self.text.lower(), self.start)

    def __str__(self) -> str:
        shown = repr(self.text[:_SHOWN]) if self.text else "nothing"
        return shown + "..." if len(self.text) > _SHOWN else shown


class _Cursor:
    """Walk through a reference, piece by piece."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._place = 0

    @property
    def rest(self) -> _Piece:
        return _Piece(self.text[self._place :], self._place)

    def take(self, literal: str, *, any_case: bool = False) -> bool:
        """Step over literal if it comes next."""
        found = self.text[self._place : self._place + len(literal)]
        taken = (found.lower() if any_case else found) == literal
        self._place += len(literal) if taken else 0
        return taken

    def until(self, stops: str) -> _Piece:
        start = self._place
        while self._place < len(self.text) and self.text[self._place] not in stops:
            self._place += 1
        return _Piece(self.text[start : self._place], start)

    def field(self, stop: str) -> _Piece:
        piece = self.until(stop)
        self.take(stop)
        return piece

    def instead(self, piece: _Piece, text: str) -> str:
        return f"did you mean {self.text[: piece.start]}{text}{self.text[piece.start + len(piece.text) :]}"

    def error(self, piece: _Piece, problem: str, *, hint: str = "") -> UsageError:
        """Say what is wrong at the start of piece; without a better hint, point at it."""
        message = f"bad reference at character {piece.start + 1}: {problem}"
        return UsageError(message, hint=hint or self._pointer(piece.start))

    def _pointer(self, place: int) -> str:
        left, right = _printable(self.text[max(0, place - _SHOWN_LEFT) : place]), _printable(self.text[place:])
        left = "..." + left if place > _SHOWN_LEFT else left
        right = right[: _SHOWN_LINE - len(left)] + "..." if len(left + right) > _SHOWN_LINE else right
        return f"{left}{right}\n{' ' * len(left)}^"


def _printable(text: str) -> str:
    return "".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in text)


def _check_characters(cursor: _Cursor) -> None:
    if not cursor.text:
        raise cursor.error(cursor.rest, "the reference is empty", hint="name an image in ECR by its host or ARN")
    for place, char in enumerate(cursor.text):
        if not "!" <= char <= "~":
            raise cursor.error(cursor.rest.after(place), f"{char!a} can't stand in a reference")


def _registry(cursor: _Cursor) -> EcrHost:
    if cursor.take("ecr.aws/", any_case=True):
        if cursor.take("arn:"):
            return _arn(cursor)
        raise cursor.error(cursor.rest, f"expected an ARN (arn:aws:ecr:...) after ecr.aws/, found {cursor.rest}")
    return _arn(cursor) if cursor.take("arn:") else _host(cursor)


def _arn(cursor: _Cursor) -> EcrHost:
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


def _host(cursor: _Cursor) -> EcrHost:
    _scheme(cursor)
    _check_is_ecr(cursor)
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


def _scheme(cursor: _Cursor) -> None:
    if match := _USER_INFO.match(cursor.text):
        secret = _Piece(match["secret"], match.start("secret"))
        raise cursor.error(secret, "a reference holds no user name or password", hint=cursor.instead(secret, ""))
    if match := _OTHER_SCHEME.match(cursor.text):
        scheme = _Piece(match[0], 0)
        raise cursor.error(scheme, f"expected https:// or no scheme, found {scheme}", hint=cursor.instead(scheme, ""))
    cursor.take("https://", any_case=True)


def _check_is_ecr(cursor: _Cursor) -> None:
    if not _LIKE_ECR.match(cursor.rest.text):
        host = cursor.until("/:@")
        hint = "name an image in ECR, as ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME or by its ARN"
        raise cursor.error(host, f"expected a private ECR registry, found {host}", hint=hint)


def _account(cursor: _Cursor, account: _Piece) -> str:
    if not ACCOUNT.fullmatch(account.text):
        raise cursor.error(account, f"expected an account of 12 digits, found {account}")
    return account.text


def _service(cursor: _Cursor) -> tuple[bool, bool]:
    for literal, kind in _SERVICES.items():
        if cursor.take(literal, any_case=True):
            return kind
    found = cursor.until("/:@")
    raise cursor.error(found, f"expected dkr.ecr. or dkr-ecr. after the account, found {found}")


def _partition_of(cursor: _Cursor, region: _Piece) -> _Partition:
    for partition in _partitions().values():
        if _REGION.fullmatch(region.text) and partition.regions.fullmatch(region.text):
            return partition
    raise cursor.error(region, f"expected a region such as us-west-2, found {region}")


def _suffix(cursor: _Cursor, region: _Piece, expected: str) -> None:
    suffix = cursor.until("/:@")
    if suffix.text.lower() != expected:
        problem = f"expected {expected} as the end of a registry in {region.text}, found {suffix}"
        raise cursor.error(suffix, problem, hint=cursor.instead(suffix, expected) if suffix.text else "")
    if not cursor.take("/"):
        raise cursor.error(cursor.rest, f"expected / and a repository after the registry, found {cursor.rest}")


def _repository(cursor: _Cursor) -> str:
    name = cursor.until(":@")
    if len(name.text) < MIN_REPOSITORY_LENGTH:
        raise cursor.error(name, f"expected a name of {MIN_REPOSITORY_LENGTH} or more characters, found {name}")
    if not REPOSITORY.fullmatch(name.text):
        raise _bad_repository(cursor, name)
    if len(name.text) > MAX_REPOSITORY_LENGTH:
        problem = f"a repository name has at most {MAX_REPOSITORY_LENGTH} characters"
        raise cursor.error(name.after(MAX_REPOSITORY_LENGTH), problem)
    return name.text


def _bad_repository(cursor: _Cursor, name: _Piece) -> UsageError:
    match = REPOSITORY.match(name.text)
    bad = name.after(match.end() if match else 0)
    separators = len(bad.text) - len(bad.text.lstrip("._/-"))
    stray = bad.after(separators)
    if not stray.text or REPOSITORY.match(stray.text):
        return cursor.error(bad, f"a repository name can't have {bad.text[:separators][:_SHOWN]!r} here")
    lower = name.text.lower()
    hint = cursor.instead(name, lower) if REPOSITORY.fullmatch(lower) else ""
    return cursor.error(stray, f"a repository name can't have {stray.text[0]!r} here", hint=hint)


def _tag(cursor: _Cursor) -> str:
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


def _digest(cursor: _Cursor) -> Digest:
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
