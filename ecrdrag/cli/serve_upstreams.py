"""Own the part of ``serve`` that finds registries upstream: which are named, and the clients that ask them.

cli/serve.py enters.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from ecrdrag.cli.trust import bundle_of
from ecrdrag.credentials.docker_config import DockerKeyring
from ecrdrag.errors import UsageError
from ecrdrag.registry.auth import Keyring, Login
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.http import Trust
from ecrdrag.registry.upstream import UpstreamRegistry

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
        "its login is that of the rule's secret, else docker's, from `docker login` or `ecrdrag login` "
        "(may be repeated; default: nowhere)",
    )


@contextmanager
def upstreams_of(mapped: Sequence[Mapped] | None) -> Iterator[Mapping[str, UpstreamRegistry]]:
    """Give each registry that is named, for as long as they are served."""
    with ExitStack() as stack:
        found: dict[str, UpstreamRegistry] = {}
        for name, url in mapped or ():
            if name in found:
                raise UsageError(f"--upstream {name} is given twice")
            found[name] = UpstreamRegistry(_client(stack, url), partial(_client_as, stack, url))
        yield found


def _client(stack: ExitStack, url: str, keyring: Keyring | None = None) -> RegistryClient:
    keyring = keyring or DockerKeyring(os.environ)
    return stack.enter_context(RegistryClient(url, keyring=keyring, trust=Trust(bundle_of(os.environ))))


def _client_as(stack: ExitStack, url: str, login: Login) -> RegistryClient:
    return _client(stack, url, _OneLogin(login))


class _OneLogin:
    """A keyring with one key, which is good for the registry that it was given for."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def find(self, registry: str, *, renew: bool = False) -> Login:
        """Find it; whoever made the client made it for this registry alone."""
        return self._login


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
        raise argparse.ArgumentTypeError(f"--upstream {name} has a login in its URL; log in with `docker login`")
    return name, url
