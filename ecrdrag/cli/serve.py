"""Own ``serve``: a local ECR that runs until it is told to stop.

The command line may enter.
"""

from __future__ import annotations

import argparse
import re
import shlex
import signal
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Final

from ecrdrag.cli.memory import return_large_blocks
from ecrdrag.cli.serve_archives import add_archive_arguments, check_what, data_of, listing, shelf_of
from ecrdrag.cli.serve_upstreams import add_upstream_arguments, upstreams_of
from ecrdrag.cli.streams import print_result
from ecrdrag.errors import ArchiveError, IntegrityError, UsageError

DESCRIPTION: Final = """\
Run a local ECR, kept in a folder: the ECR API for any AWS client that takes
AWS_ENDPOINT_URL_ECR, /v2/ for docker, podman and the like, and signed blob
URLs. It prints the environment that clients need; the key pair is made at
random on the first start and kept with the data.

With archives instead of a folder it offers the images in them, read-only, as
they lie there: to docker, containerd, podman and other clients of registries
without a login, and through the API. What an archive calls HOST/my/app:1.2 is
there as my/app:1.2, also at the host name of any account and region; alpine:3
as alpine:3 and, for mirrors of docker.io, as library/alpine:3; an image
without a name by its digest, in a repository that is called as the file.
"""
EPILOG: Final = """\
example:
  ecrdrag serve --data ./ecr-data --env-file ./ecr.env &
  . ./ecr.env && aws ecr create-repository --repository-name my/app

  ecrdrag serve app.tar other.tar
  docker pull 127.0.0.1:5080/my/app:1.2
"""
DEFAULT_LISTEN: Final = "127.0.0.1:5080"
DEFAULT_ACCOUNT: Final = "123456789012"
# Seconds that requests in progress have when it is told to stop; a transfer may take some.
_GRACE: Final = 10.0
DIALECTS: Final = ("ecr", "oci", "public")
_LISTEN: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^\[\]:]*)):(?P<port>[0-9]{1,5})")
_MAX_PORT: Final = 65535
# RegistryId in ECR's model.
_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_REGION: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
# The letters and their powers of 1024 are those of curl's --limit-rate.
_RATE: Final = re.compile(r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,6})?)(?P<unit>[kmg]?)", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_LATENCY: Final = re.compile(r"(?P<number>[0-9]{1,6}(?:\.[0-9]{1,3})?)(?:ms)?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``serve``."""
    add_archive_arguments(parser)
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default=DEFAULT_LISTEN,
        help="address to listen on; port 0 takes any that is free (default: %(default)s)",
    )
    parser.add_argument(
        "--env-file", metavar="FILE", type=Path, help="write the export lines there too, readable by you alone"
    )
    parser.add_argument(
        "--account",
        metavar="ID",
        action="append",
        help="an account with a key pair of its own; the first one's is printed, "
        f"each further one's is in FILE.ID beside --env-file (may be repeated; default: {DEFAULT_ACCOUNT})",
    )
    parser.add_argument(
        "--region",
        default="us-east-1",
        help="region of the export lines; all are served (default: %(default)s)",
    )
    parser.add_argument(
        "--dialect",
        choices=DIALECTS,
        default=DIALECTS[0],
        help="how /v2/ speaks: as ECR, as the OCI specification where ECR doesn't, with repositories that come into "
        "being by a push, or as public.ecr.aws (default: %(default)s)",
    )
    parser.add_argument(
        "--url-expiry", metavar="SECONDS", type=int, default=3600, help="how long blob URLs live (default: %(default)s)"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="don't serve, but read all that is kept: every row, and every blob's hash; exit with 6 if any is broken",
    )
    add_upstream_arguments(parser)
    _add_tls_arguments(parser)
    _add_line_arguments(parser)


def _add_tls_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tls-cert",
        metavar="FILE",
        type=Path,
        help="speak HTTPS, with this certificate in PEM and those between it and its authority (with --tls-key)",
    )
    parser.add_argument(
        "--tls-key", metavar="FILE", type=Path, help="that certificate's key in PEM, without a password"
    )


def _add_line_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("to try how a pull behaves over a bad line")
    group.add_argument(
        "--limit-rate",
        metavar="RATE",
        type=_rate,
        help="bytes of blobs per second for each connection; k, M and G are powers of 1024 (default: no limit)",
    )
    group.add_argument(
        "--latency", metavar="MS", type=_latency, default=0.0, help="milliseconds before every answer (default: none)"
    )
    group.add_argument(
        "--faults", metavar="FILE", type=Path, help="what goes wrong, a line each such as: blob 3x cut 100000"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM; Ctrl-C comes out as KeyboardInterrupt once the server has stopped."""
    listen = _parse_listen(arguments.listen)
    check_what(arguments)
    _check(arguments)
    try:
        from ecrdrag.localecr import LocalEcr, Settings
        from ecrdrag.localecr.faults import FaultLayer, FaultScript
        from ecrdrag.localecr.settings import Dialect
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "werkzeug":
            raise
        raise UsageError("serve needs werkzeug, which isn't installed", hint="pip install werkzeug") from error
    if arguments.verify:
        return _verify(arguments.data)
    return_large_blocks()
    settings = Settings(
        accounts=_accounts(arguments),
        region=arguments.region,
        dialect=Dialect(arguments.dialect),
        url_expiry=arguments.url_expiry,
        limit_rate=arguments.limit_rate,
        latency=arguments.latency,
        read_only=bool(arguments.archives),
        anonymous_pull=bool(arguments.archives),
        grace=_GRACE,
    )
    tls = _tls(arguments)
    faults = FaultLayer(FaultScript.parse(_read_faults(arguments.faults), str(arguments.faults)))
    with (
        shelf_of(arguments.archives, quiet=arguments.quiet) as shelf,  # it may take long, and SIGTERM ends it at once
        _until_told() as told,
        data_of(arguments.data) as data,
        upstreams_of(arguments.upstream) as upstreams,
        LocalEcr(data, listen, settings, shelf=shelf, wrap=faults.wrap, tls=tls, upstreams=upstreams) as ecr,
    ):
        environments = {account: ecr.environment_of(account) for account in settings.accounts}
        _announce(environments, arguments.env_file, quiet=arguments.quiet)
        if not arguments.quiet:
            what = "read-only" if shelf else f"data in {data}"
            listed = listing(shelf, ecr.endpoint) if shelf else ""
            sys.stderr.write(f"{listed}local ECR on {ecr.endpoint}, {what}; Ctrl-C stops it\n")
        told()
    return 0


@contextmanager
def _until_told() -> Iterator[Callable[[], object]]:
    """Give a function that waits for SIGTERM; a second one comes out as KeyboardInterrupt."""
    # Of what one can wait for, its put() may come at any instant: a handler runs between any two steps of ours.
    told: SimpleQueue[int] = SimpleQueue()
    before = signal.signal(signal.SIGTERM, _teller(told))
    try:
        yield told.get
    finally:
        signal.signal(signal.SIGTERM, before)


def _tls(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    from ecrdrag.localecr.web.tls import server_context

    if (arguments.tls_cert is None) != (arguments.tls_key is None):
        raise UsageError("--tls-cert and --tls-key are given together, or neither")
    return None if arguments.tls_cert is None else server_context(arguments.tls_cert, arguments.tls_key)


def _verify(folder: Path) -> int:
    """Print a line for everything that is broken in a data folder, or what was found in good order."""
    from ecrdrag.localecr.storage.scrub import scrub

    tally = scrub(folder, print_result)
    if tally.broken:
        raise IntegrityError(f"{folder}: {tally}", hint="delete the repositories that are named above and push again")
    print_result(str(tally))
    return 0


def _teller(told: SimpleQueue[int]) -> Callable[[int, FrameType | None], None]:
    seen: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        told.put(number)

    return handle


def _parse_listen(text: str) -> tuple[str, int]:
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise UsageError(f"--listen takes HOST:PORT or [IPV6]:PORT, not {text!r}")
    return match["v6"] or match["host"] or "127.0.0.1", int(match["port"])


def _check(arguments: argparse.Namespace) -> None:
    for account in _accounts(arguments):
        if not _ACCOUNT.fullmatch(account):
            raise UsageError(f"--account takes 12 digits, not {account!r}")
    if not _REGION.fullmatch(arguments.region):
        raise UsageError(f"--region takes a region such as eu-west-1, not {arguments.region!r}")
    if arguments.url_expiry < 1:
        raise UsageError("--url-expiry takes a number of seconds, at least 1")


def _accounts(arguments: argparse.Namespace) -> tuple[str, ...]:
    return tuple(arguments.account or [DEFAULT_ACCOUNT])


def _rate(text: str) -> float:
    """Read bytes per second."""
    match = _RATE.fullmatch(text)
    rate = float(match["number"]) * _UNITS[match["unit"].lower()] if match else 0.0
    if rate < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes per second, such as 500k or 1.5M")
    return rate


def _latency(text: str) -> float:
    """Read milliseconds, return seconds."""
    match = _LATENCY.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of milliseconds, such as 50 or 50ms")
    return float(match["number"]) / 1000


def _read_faults(file: Path | None) -> str:
    try:
        return "" if file is None else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't read the faults in {file}: {error}") from error


def _announce(environments: Mapping[str, Mapping[str, str]], env_file: Path | None, *, quiet: bool) -> None:
    """Print the first account's environment once all files are written, and say where the others' are."""
    first, *others = environments
    files = {account: Path(f"{env_file}.{account}") for account in others if env_file}
    for account, file in ({first: env_file} if env_file else {}).items() | files.items():
        _write_environment(file, environments[account])
    print_result(_exports(environments[first]))
    for account in others if not quiet else ():
        where = files.get(account, f"its key pair is given with --env-file FILE, in FILE.{account}")
        sys.stderr.write(f"account {account}: {where}\n")


def _write_environment(file: Path, environment: Mapping[str, str]) -> None:
    from ecrdrag.localecr.storage.keys import write_private

    try:
        write_private(file, f"{_exports(environment)}\n")
    except OSError as error:
        raise ArchiveError(f"can't write {file}: {error.strerror}", hint="name another --env-file") from error


def _exports(environment: Mapping[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())
