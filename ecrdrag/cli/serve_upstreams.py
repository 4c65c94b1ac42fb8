"""Own the part of ``serve`` that finds registries upstream: which are named, and the clients that ask them.

cli/serve.py enters.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final
from urllib.parse import urlsplit

from ecrdrag.errors import UsageError
from ecrdrag.registry.distribution import Distribution

Mapped = tuple[str, str]
"""An upstreamRegistryUrl of rules, and the URL where that registry really is."""

# A host name with a port or without, as upstreamRegistryUrl has it.
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?")


def add_upstream_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--upstream",
        metavar="NAME=URL",
        action="append",
        type=_mapped,
        help="where pull-through cache rules find the registry that they call NAME, such as "
        "registry-1.docker.io=https://registry-1.docker.io or quay.io=http://127.0.0.1:5000; "
        "its login is read from ~/.netrc (may be repeated; default: nowhere)",
    )


@contextmanager
def upstreams_of(mapped: Sequence[Mapped] | None) -> Iterator[Mapping[str, Distribution]]:
    """Give a client for each registry that is named, for as long as they are served."""
    with ExitStack() as stack:
        found: dict[str, Distribution] = {}
        for name, url in mapped or ():
            if name in found:
                raise UsageError(f"--upstream {name} is given twice")
            found[name] = stack.enter_context(Distribution(url, ca_bundle=_ca_bundle()))
        yield found


def _ca_bundle() -> str | bool:
    from ecrdrag.cli.aws import AwsSettings

    return AwsSettings(None, None).ca_bundle()


def _mapped(text: str) -> Mapped:
    """Read NAME=URL; the URL has a scheme and a host, and no login, which other users of the machine would see."""
    name, _, url = text.partition("=")
    if not _NAME.fullmatch(name):
        raise argparse.ArgumentTypeError("NAME=URL begins with a host name such as quay.io")
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        is_good = False
    if not is_good or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"--upstream {name} needs a URL such as http://127.0.0.1:5000")
    if parts.username is not None or parts.password is not None:
        raise argparse.ArgumentTypeError(f"--upstream {name} has a login in its URL; put it into ~/.netrc")
    return name, url
