"""Own which registries an everyday command speaks to: by name, --region, --registry-id and the user's AWS settings.

The commands about registries enter.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

from ecrdrag.cli.arguments import MAX_JOBS, add_aws_arguments
from ecrdrag.cli.arguments import jobs as jobs_of
from ecrdrag.control.plane import DEFAULT_JOBS, Plane
from ecrdrag.ecr_name import EcrName
from ecrdrag.errors import AuthError, EcrdragError, UsageError
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
# What the API says where an account hasn't enabled a region: AWS account management guide, "Enable or disable Regions".
_NOT_ENABLED: Final = ("UnrecognizedClientException", "InvalidClientTokenId", "OptInRequired")

Row = TypeVar("Row")


def add_plane_arguments(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Declare how a registry of ECR is found; several says that a list may be read from many regions."""
    group = parser.add_argument_group("which registry, and how it is reached")
    if several:
        known = "repeatable, or all of the partition"
        group.add_argument("--region", metavar="R", action="append", type=_region, default=[], help=f"{known}")
    else:
        usual = "AWS region (default: that of the name, else of the AWS settings)"
        group.add_argument("--region", metavar="R", type=_one_region, help=usual)
    owner = "account of the registry (default: that of the name, else of the credentials)"
    group.add_argument("--registry-id", metavar="ACCOUNT", type=_account, help=owner)
    most = f"calls at once, 1 to {MAX_JOBS} (default: {DEFAULT_JOBS})"
    group.add_argument("-j", "--jobs", metavar="N", type=jobs_of, default=DEFAULT_JOBS, help=most)
    add_aws_arguments(parser)


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
        wanted = self._regions or [self._only_region()]
        if ALL in wanted:
            wanted = self._settings(None).regions(self._settings(None).region() or "us-east-1")
        return [self._plane(region, self._account, None) for region in dict.fromkeys(wanted)]

    def across(self, read: Callable[[Plane], Iterable[Row]]) -> Iterator[Row]:
        """Yield what read gives of each region, in order; the first page of several regions is fetched at once.

        A region that fails doesn't keep the others from being read: its error is said, and the first one raised at
        the end. With `all` a region that the account hasn't enabled is no failure, if there is another.
        """
        planes = self.all()
        if len(planes) == 1:
            yield from read(planes[0])
            return
        failures: list[EcrdragError] = []
        skipped: list[EcrdragError] = []
        for plane, first in zip(
            planes, in_order("regions", planes, lambda one: _begun(read, one), jobs=_REGIONS_AT_ONCE), strict=True
        ):
            try:
                yield from first()
            except EcrdragError as error:  # noqa: PERF203 - each region has its own
                if ALL in self._regions and _is_not_enabled(error):
                    log.info("%s is left out: %s", plane.region, error)
                    skipped.append(error)
                else:
                    log.error("%s", error)
                    failures.append(error)
        if failures:
            raise failures[0]
        if len(skipped) == len(planes):
            raise skipped[0]

    def secrets(self, plane: Plane) -> Operations:
        """Give AWS Secrets Manager in the region of a registry."""
        return self._settings(None).operations(plane.region, service="secretsmanager")

    def _plane(self, region: str, account: str | None, host: EcrHost | None) -> Plane:
        jobs: int = self._arguments.jobs
        operations = self._settings(host).operations(region, host=host, connections=jobs)
        registry = str(host) if host else ""
        return Plane(EcrOperations(operations, account, Paces(jobs)), region, account, registry, jobs)

    def _settings(self, host: EcrHost | None) -> AwsSettings:
        from ecrdrag.cli.aws import AwsSettings, settings_for  # late: --help doesn't wait for boto3

        key = str(host or "")
        if key not in self._known:
            profile, endpoint = self._arguments.profile, self._arguments.endpoint_url
            made = settings_for(key, profile, endpoint, os.environ) if host else AwsSettings(profile, endpoint)
            self._known[key] = made
        return self._known[key]

    def _only_region(self) -> str:
        region = self._regions[0] if self._regions else self._settings(None).region()
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


def _begun(read: Callable[[Plane], Iterable[Row]], plane: Plane) -> Callable[[], Iterable[Row]]:
    """Fetch the first of a region's rows now; errors come where the rows are wanted."""
    rows = iter(read(plane))
    try:
        first = next(rows, None)
    except EcrdragError as error:
        failure = error

        def fail() -> Iterable[Row]:
            raise failure

        return fail
    return lambda: () if first is None else chain((first,), rows)


def _is_not_enabled(error: EcrdragError) -> bool:
    return isinstance(error, AuthError) and any(code in str(error) for code in _NOT_ENABLED)


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
