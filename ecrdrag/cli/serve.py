"""Own ``serve``: a local ECR that runs until it is told to stop.

The command line may enter.
"""

from __future__ import annotations

import argparse
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

from ecrdrag.cli.streams import print_result
from ecrdrag.errors import ArchiveError, UsageError

DESCRIPTION: Final = """\
Run a local ECR: the ECR API for any AWS client that takes AWS_ENDPOINT_URL_ECR, and signed blob URLs, kept in a folder.
It prints the environment that clients need; the key pair is made at random on the first start and kept with the data.
"""
EPILOG: Final = """\
example:
  ecrdrag serve --data ./ecr-data --env-file ./ecr.env &
  . ./ecr.env && aws ecr create-repository --repository-name my/app
"""
DEFAULT_LISTEN: Final = "127.0.0.1:5080"
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
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="folder that keeps everything")
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
        default="123456789012",
        help="account of calls without a registryId (default: %(default)s)",
    )
    parser.add_argument(
        "--region",
        default="us-east-1",
        help="region of the export lines; all are served (default: %(default)s)",
    )
    parser.add_argument(
        "--url-expiry", metavar="SECONDS", type=int, default=3600, help="how long blob URLs live (default: %(default)s)"
    )
    _add_line_arguments(parser)


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
    _check(arguments)
    try:
        from ecrdrag.localecr import LocalEcr, Settings
        from ecrdrag.localecr.faults import FaultLayer, FaultScript
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "werkzeug":
            raise
        raise UsageError("serve needs werkzeug, which isn't installed", hint="pip install werkzeug") from error
    settings = Settings(
        accounts=(arguments.account,),
        region=arguments.region,
        url_expiry=arguments.url_expiry,
        limit_rate=arguments.limit_rate,
        latency=arguments.latency,
    )
    faults = FaultLayer(FaultScript.parse(_read_faults(arguments.faults), str(arguments.faults)))
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, _setter(stop))
    try:
        with LocalEcr(arguments.data, listen, settings, wrap=faults.wrap) as ecr:
            _announce(ecr.environment, arguments.env_file)
            if not arguments.quiet:
                sys.stderr.write(f"local ECR on {ecr.endpoint}, data in {arguments.data}; Ctrl-C stops it\n")
            stop.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _setter(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    return handle


def _parse_listen(text: str) -> tuple[str, int]:
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise UsageError(f"--listen takes HOST:PORT or [IPV6]:PORT, not {text!r}")
    return match["v6"] or match["host"] or "127.0.0.1", int(match["port"])


def _check(arguments: argparse.Namespace) -> None:
    if not _ACCOUNT.fullmatch(arguments.account):
        raise UsageError(f"--account takes 12 digits, not {arguments.account!r}")
    if not _REGION.fullmatch(arguments.region):
        raise UsageError(f"--region takes a region such as eu-west-1, not {arguments.region!r}")
    if arguments.url_expiry < 1:
        raise UsageError("--url-expiry takes a number of seconds, at least 1")


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


def _announce(environment: Mapping[str, str], env_file: Path | None) -> None:
    from ecrdrag.localecr.storage.keys import write_private

    lines = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())
    if env_file is not None:
        try:
            write_private(env_file, f"{lines}\n")
        except OSError as error:
            raise ArchiveError(f"can't write {env_file}: {error.strerror}", hint="name another --env-file") from error
    print_result(lines)
