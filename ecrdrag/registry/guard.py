"""Own where requests may go whose URLs a stranger wrote: over TLS, without a login, to the public internet alone.

registry/foreign.py enters.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection

from ecrdrag.errors import TransferError
from ecrdrag.registry.http import is_loopback

Address = IPv4Address | IPv6Address

# What Python's is_global lets pass, all or some of its versions, and no web server has: the IANA special-purpose
# address registries; RFC 7526 ends 6to4, whose addresses would be two in one.
_ODD_IPV4: Final = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
_ODD_IPV6: Final = (IPv6Network("2001::/23"), IPv6Network("2002::/16"), IPv6Network("3fff::/20"))
# IANA gives out addresses of hosts on the internet from this block alone: RFC 4291, 2.4; its IPv6 address space.
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052, 2.1: the IPv4 address is in the last 32 bits
_IPV4_BITS: Final = 0xFFFF_FFFF

# RFC 3986, 2: visible ASCII, of which a backslash is none: some readers take it for a slash.
_URL: Final = re.compile(r"[!-\[\]-~]+")
_NAME: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
# Resolvers take 127.1, 0x7f.1 and 2130706433 for addresses: inet_aton(3); URL standard, 3.5, "ends in a number".
_ENDS_IN_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_HERE: Final = IPv4Address("127.0.0.1")
_SHOWN: Final = 150  # characters of a URL


def is_public(address: Address) -> bool:
    """Tell whether an address is that of a host on the internet, not of this machine, its network or its cloud.

    An IPv4 address in an IPv6 one, mapped or behind NAT64, is what counts.
    """
    if isinstance(address, IPv4Address):
        is_odd = any(address in network for network in _ODD_IPV4)
        return address.is_global and not address.is_multicast and not is_odd
    inner = address.ipv4_mapped or (IPv4Address(int(address) & _IPV4_BITS) if address in _NAT64 else None)
    if inner:
        return is_public(inner)
    return address in _GLOBAL_UNICAST and address.is_global and not any(address in network for network in _ODD_IPV6)


def refusal(url: str, is_allowed: Callable[[Address], bool] = is_public) -> str:
    """Say what is wrong with a URL that a stranger wrote; nothing where it may be asked.

    Where the names of hosts lead is seen when a connection is made.
    """
    if not _URL.fullmatch(url):
        return "it holds what no URL can hold"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "it can't be read"
    if parts.scheme != "https":
        return "it isn't https"
    if "@" in parts.netloc:
        return "it holds a login, and none is sent"
    return "it can't be read" if port == 0 else _refused_host(host, is_allowed)


def shown(url: str) -> str:
    """Write a URL for people: without its query, which may be signed, and without a login."""
    try:
        parts = urlsplit(url)
        is_url = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        return "a URL without a host"
    text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


class PublicOnly:
    """Keep requests to what refusal() has nothing against, and to hosts that have an allowed address.

    That is seen at the other end of each new connection, whatever names led there, before a byte is sent. Through a
    proxy it is the proxy that looks names up and connects: then it alone decides about what isn't an address or
    localhost in the URL.
    """

    def __init__(self, is_allowed: Callable[[Address], bool] = is_public) -> None:
        self._is_allowed = is_allowed

    def refusal(self, url: str) -> str:
        """Say what is wrong with a URL; nothing where it may be asked."""
        return refusal(url, self._is_allowed)

    def check(self, url: str) -> None:
        """Raise TransferError for a URL that may not be asked."""
        if problem := self.refusal(url):
            raise TransferError(f"{shown(url)} is not asked: {problem}")

    def pools(self) -> Mapping[str, type[HTTPSConnectionPool]]:
        """Give urllib3's pools by scheme, whose connections end where an address isn't allowed."""
        check = self._check_peer

        class Connection(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                peer = super()._new_conn()
                try:
                    check(self.host, peer)
                except BaseException:
                    peer.close()
                    raise
                return peer

        class Pool(HTTPSConnectionPool):
            ConnectionCls = Connection

        return {"https": Pool}

    def _check_peer(self, host: str, peer: socket.socket) -> None:
        address = ip_address(peer.getpeername()[0])
        if not self._is_allowed(address):
            raise TransferError(f"{host} has the address {address}, which is none of the public internet")


def _refused_host(host: str, is_allowed: Callable[[Address], bool]) -> str:
    name = host.removesuffix(".")
    address: Address | None = _HERE if is_loopback(name) else None
    with suppress(ValueError):
        address = ip_address(name)
    if address:
        return "" if is_allowed(address) else f"{host} is no address of the public internet"
    if not _NAME.fullmatch(name) or _ENDS_IN_NUMBER.fullmatch(name):
        return "its host can't be read"
    return ""
