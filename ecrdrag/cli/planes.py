"""Own which registries an everyday command speaks to: by name, --region, --registry-id and the user's AWS settings.

The commands about registries enter.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, TypeVar

from ecrdrag.cli.arguments import MAX_JOBS, add_aws_arguments
from ecrdrag.cli.arguments import jobs as jobs_of
from ecrdrag.control.plane import DEFAULT_JOBS, SILENT_TRIES, Plane
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import AuthError, EcrdragError, RepositoryNotFoundError, UsageError
from ecrdrag.reference import ACCOUNT, EcrHost
from ecrdrag.registry.ecr_operations import EcrOperations
from ecrdrag.transfer.lookahead import in_order
from ecrdrag.transfer.pace import Paces

if TYPE_CHECKING:
    from ecrdrag.cli.aws import AwsSettings
    from ecrdrag.registry.ecr_operations import Operations

log = logging.getLogger(__name__)

ALL: Final = "all"
_REGION: Final = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")
_REGIONS_AT_ONCE: Final = 8
_USUAL_REGION: Final = "us-east-1"  # of the partition that is meant where no setting names one
# What the API says where an account hasn't enabled a region: AWS account management guide, "Enable or disable Regions".
_NOT_ENABLED: Final = ("UnrecognizedClientException", "InvalidClientTokenId", "OptInRequired")

Row = TypeVar("Row")


def add_plane_arguments(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Declare how a registry of ECR is found; several says that a list may be read from many regions."""
    group = parser.add_argument_group("which registry, and how it is reached")
    if several:
        usual = "AWS region, repeatable, or all of the partition (default: that of the name, else of the AWS settings)"
        group.add_argument("--region", metavar="R", action="append", type=_region, default=[], help=usual)
    else:
        usual = "AWS region (default: that of the name, else of the AWS settings)"
        group.add_argument("--region", metavar="R", type=_one_region, help=usual)
    owner = "account of the registry (default: that of the name, else of the credentials)"
    group.add_argument("--registry-id", metavar="ACCOUNT", type=_account, help=owner)
    most = f"calls at once{' in a region' if several else ''}, 1 to {MAX_JOBS} (default: {DEFAULT_JOBS})"
    group.add_argument("-j", "--jobs", metavar="N", type=jobs_of, default=DEFAULT_JOBS, help=most)
    add_aws_arguments(parser)


def reads_several(arguments: argparse.Namespace) -> bool:
    """Whether several regions are listed, so that each row says which one it is of."""
    return ALL in arguments.region or len(set(arguments.region)) > 1


class Planes:
    """Make the control planes of registries for one command."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._account: str | None = arguments.registry_id
        given = arguments.region
        self._regions: list[str] = given if isinstance(given, list) else [given] if given else []
        self._known: dict[str, AwsSettings] = {}

    def of(self, name: EcrName | None = None) -> Plane:
        """Give the plane of the registry that a name is in, or of the one that settings lead to.

        Raises UsageError for a region or an account that contradicts the name, and where none is known.
        """
        host = name.host if name else None
        if host is None:
            if len(self._regions) > 1 or ALL in self._regions:
                raise UsageError("this command speaks to one region", hint="give --region once, not all")
            return self._plane(self._only_region(), self._account, None)
        self._check(host)
        return self._plane(host.region, host.account, host)

    def all(self) -> list[Plane]:
        """Give a plane for each region that is wanted, each once."""
        return [self._plane(region, self._account, None) for region in self._wanted()]

    def across(self, read: Callable[[Plane], Iterable[Row]], name: EcrName | None = None) -> Iterator[Row]:
        """Yield what read gives of each region, in order; the first page of several regions is fetched at once.

        A name with a host is in that region alone. A region that fails doesn't keep the others from being read: its
        error is said, and at the end raised. With `all` a region that the account hasn't enabled is no failure, or
        that hasn't the repository, if there is another.
        """
        planes = [self.of(name)] if name and name.host else self.all()
        if len(planes) == 1:
            yield from read(planes[0])
            return
        failures: list[tuple[str, EcrdragError]] = []
        skipped: list[EcrdragError] = []
        begun = in_order("regions", planes, partial(_begun, read), jobs=_REGIONS_AT_ONCE)
        for plane, rows in zip(planes, begun, strict=True):
            try:
                yield from rows
            except EcrdragError as error:  # noqa: PERF203 - each region has its own
                if ALL in self._regions and _is_no_loss(error):
                    log.info("%s is left out: %s", plane.region, error)
                    skipped.append(error)
                else:
                    log.error("%s", error)
                    failures.append((plane.region, error))
        if failures:
            raise _summary(failures)
        if len(skipped) == len(planes):
            raise skipped[0]

    def host(self, plane: Plane, account: str = "") -> EcrHost:
        """Name a plane's registry; account is whose it is, where the user hasn't said and it is known."""
        if plane.registry:
            return EcrHost.parse(plane.registry)
        return self._settings().host(plane.account or account or plane.own_account(), plane.region)

    def secrets(self, plane: Plane) -> Operations:
        """Give AWS Secrets Manager in the region of a registry, as who speaks to the registry."""
        host = EcrHost.parse(plane.registry) if plane.registry else None
        settings = self._settings_of(plane.region, plane.account, host)
        return settings.operations(plane.region, service="secretsmanager")

    def _plane(self, region: str, account: str | None, host: EcrHost | None) -> Plane:
        jobs: int = self._arguments.jobs
        settings = self._settings_of(region, account, host)
        operations = EcrOperations(settings.operations(region, host=host, connections=jobs), account, Paces(jobs))
        tries = 1 if settings.limits_attempts else SILENT_TRIES
        return Plane(operations, region, account, str(host) if host else "", jobs, silent_tries=tries)

    def _settings_of(self, region: str, account: str | None, host: EcrHost | None) -> AwsSettings:
        """Give the settings for a registry, which the user's map may have under its name."""
        return self._settings(host or (self._settings().host(account, region) if account else None))

    def _settings(self, host: EcrHost | None = None) -> AwsSettings:
        from ecrdrag.cli.aws import AwsSettings, settings_for  # late: --help doesn't wait for boto3

        key = str(host or "")
        if key not in self._known:
            profile, endpoint = self._arguments.profile, self._arguments.endpoint_url
            made = settings_for(key, profile, endpoint, os.environ) if host else AwsSettings(profile, endpoint)
            self._known[key] = made
        return self._known[key]

    def _wanted(self) -> list[str]:
        if ALL not in self._regions:
            return list(dict.fromkeys(self._regions)) or [self._only_region()]
        named = [each for each in self._regions if each != ALL]
        near = named[0] if named else self._settings().region() or _USUAL_REGION
        return list(dict.fromkeys([*self._settings().regions(near), *named]))

    def _only_region(self) -> str:
        region = self._regions[0] if self._regions else self._settings().region()
        if region is None:
            raise UsageError(
                "no region: neither the name nor the AWS settings say where the registry is",
                hint="give --region, set AWS_REGION, or name the repository by its ARN",
            )
        return region

    def _check(self, host: EcrHost) -> None:
        for given in self._regions:
            if given not in (host.region, ALL):
                raise UsageError(f"{host} is in {host.region}, and --region says {given}", hint="leave --region out")
        if self._account and self._account != host.account:
            raise UsageError(f"{host} is of account {host.account}, and --registry-id says {self._account}")


def _begun(read: Callable[[Plane], Iterable[Row]], plane: Plane) -> Iterator[Row]:
    """Fetch the first of a region's rows now; errors come where the rows are wanted."""
    rows = iter(read(plane))
    try:
        first = list(islice(rows, 1))
    except EcrdragError as error:
        return _failing(error)
    return chain(first, rows)


def _failing(error: EcrdragError) -> Iterator[Row]:
    """Raise an error where rows are wanted."""
    raise error
    yield


def _is_no_loss(error: EcrdragError) -> bool:
    """Whether a region is none of those that were meant."""
    if isinstance(error, RepositoryNotFoundError):
        return True
    return isinstance(error, AuthError) and any(code in str(error) for code in _NOT_ENABLED)


def _summary(failures: Sequence[tuple[str, EcrdragError]]) -> EcrdragError:
    """Give what is said at the end of regions whose errors were said already: their names, and the first one's kind."""
    regions = ", ".join(region for region, _ in failures)
    _, first = failures[0]
    return type(first)(f"what is in {regions} could not be read", hint=first.hint)


def _region(text: str) -> str:
    return text if text == ALL else _one_region(text)


def _one_region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no region such as us-west-2")
    return text


def _account(text: str) -> str:
    if not ACCOUNT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no account of 12 digits")
    return text
