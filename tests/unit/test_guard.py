"""Where requests may go whose URLs a stranger wrote: which addresses are the internet's, which URLs are asked."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ecrdrag.registry.guard import is_public, refusal, shown

# The IANA special-purpose address registries, multicast, and what is given to nobody.
SPECIAL_4 = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
"""
SPECIAL_6 = """
    ::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16
    4000::/3 8000::/1 fc00::/7 fe80::/10 fec0::/10 ff00::/8
"""
NEIGHBOURS = """
    9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 172.15.255.255
    172.32.0.0 192.0.1.0 192.167.255.255 198.20.0.0 223.255.255.255 2001:200:: 2001:db7:: 2003:: 3ffe:ffff::
"""
NEAR_HOSTS = """
    127.0.0.1 127.0.0.1. 10.0.0.1 100.64.0.1 169.254.169.254 192.168.1.1 0.0.0.0 224.0.0.1 255.255.255.255 [::1] [::]
    [::ffff:127.0.0.1] [::ffff:a9fe:a9fe] [64:ff9b::a00:1] [2002:7f00:1::] [fd00:ec2::254] [fe80::1] [fe80::1%25eth0]
    localhost LOCALHOST localhost. a.localhost a.LocalHost.
"""
ODD_HOSTS = """
    127.1 2130706433 0x7f000001 0x7f.1 0177.0.0.1 127.0.0.01 1.2.3.4.5 a.0x a.0x1F a.1 a.1. 127.0.0.%31 a..b .a a,b
    *.example
"""
NO_HOSTS_4 = [IPv4Network(text) for text in SPECIAL_4.split()]
NO_HOSTS_6 = [IPv6Network(text) for text in SPECIAL_6.split()]
SPECIAL = [str(network) for network in (*NO_HOSTS_4, *NO_HOSTS_6)]
OUTSIDE = st.one_of([st.ip_addresses(network=network) for network in SPECIAL])
ANY_4 = st.ip_addresses(v=4).filter(lambda address: isinstance(address, IPv4Address))
PREFIXES = (IPv6Address("::ffff:0:0"), IPv6Address("64:ff9b::"))


@given(OUTSIDE)
def test_no_address_of_a_special_range_is_public(address: IPv4Address | IPv6Address) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("network", [*NO_HOSTS_4, *NO_HOSTS_6], ids=str)
def test_the_ends_of_special_ranges_are_not_public(network: IPv4Network | IPv6Network) -> None:
    assert not is_public(network[0])
    assert not is_public(network[-1])


@pytest.mark.parametrize("text", NEIGHBOURS.split())
def test_the_neighbours_of_special_ranges_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@given(ANY_4)
def test_all_other_ipv4_addresses_are_public(address: IPv4Address) -> None:
    assume(not any(address in network for network in NO_HOSTS_4))
    assert is_public(address)


@given(st.ip_addresses(network="2000::/3"))
def test_all_other_addresses_of_the_global_block_are_public(address: IPv6Address) -> None:
    assume(not any(address in network for network in NO_HOSTS_6))
    assert is_public(address)


@given(st.one_of(OUTSIDE, ANY_4).filter(lambda address: address.version == 4), st.sampled_from(PREFIXES))
def test_an_address_in_an_address_is_what_counts(address: IPv4Address, prefix: IPv6Address) -> None:
    assert is_public(IPv6Address(int(prefix) | int(address))) == is_public(address)


@pytest.mark.parametrize("prefix", PREFIXES, ids=str)
def test_a_public_address_in_an_address_is_public(prefix: IPv6Address) -> None:
    assert is_public(IPv6Address(int(prefix) | int(IPv4Address("8.8.8.8"))))


def test_an_address_of_one_link_is_not_public() -> None:
    assert not is_public(IPv6Address("fe80::1%eth0"))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/layer.tar.gz?sv=1&sig=a%2Bb",
        "HTTPS://EXAMPLE.com./a",
        "https://example.com:8443/a#b",
        "https://mcr.microsoft.com/v2/windows/blobs/sha256:abc",
        "https://xn--bcher-kva.example/@scope/x",
        "https://1.1.1.1/a",
        "https://[2606:4700::1111]:443/a",
        "https://0x.example/a",
        "https://localhost.example.com/",
    ],
)
def test_an_https_url_of_a_public_host_is_asked(url: str) -> None:
    assert refusal(url) == ""


@pytest.mark.parametrize("scheme", ["http", "ftp", "file", "data", "gopher", "ws", "httpss", ""])
def test_no_other_scheme_is_asked(scheme: str) -> None:
    assert refusal(f"{scheme}://example.com/a") == "it isn't https"


@pytest.mark.parametrize("login", ["me@", "me:secret@", ":@", "@", "a:b@c@"])
def test_no_login_is_taken_from_a_url(login: str) -> None:
    assert refusal(f"https://{login}example.com/a") == "it holds a login, and none is sent"


@pytest.mark.parametrize("host", NEAR_HOSTS.split())
def test_no_address_is_asked_but_the_internets(host: str) -> None:
    assert refusal(f"https://{host}:8443/a").endswith("is no address of the public internet")


@pytest.mark.parametrize("host", ODD_HOSTS.split())
def test_a_host_that_readers_may_take_for_another_is_not_asked(host: str) -> None:
    assert refusal(f"https://{host}/a") == "its host can't be read"


@pytest.mark.parametrize(
    "url", ["https://", "https:///a", "https:example.com", "https:/example.com/a", "https://:443/"]
)
def test_a_url_without_a_host_is_not_asked(url: str) -> None:
    assert refusal(url) == "its host can't be read"


@pytest.mark.parametrize("url", ["https://[::1/a", "https://a:65536/", "https://a:b/", "https://a:-1/", "https://a:0/"])
def test_a_url_that_is_none_is_not_asked(url: str) -> None:
    assert refusal(url) == "it can't be read"


@pytest.mark.parametrize("letter", ["\\", " ", "\t", "\n", "\r", "\0", "\x7f", "ｅ", "。", "é", "\udcff"])
def test_a_letter_that_readers_disagree_about_is_in_no_url_that_is_asked(letter: str) -> None:
    for url in (f"https://a{letter}b.example/", f"https://a.example/{letter}", f"{letter}https://a.example/"):
        assert refusal(url) == "it holds what no URL can hold"
    assert refusal(f"https://a.example/{letter}"[:-1]) == ""


def test_an_empty_url_is_not_asked() -> None:
    assert refusal("")


def test_who_asks_may_allow_other_addresses() -> None:
    def is_allowed(address: IPv4Address | IPv6Address) -> bool:
        return address.is_loopback

    assert refusal("https://localhost/", is_allowed) == refusal("https://[::1]/", is_allowed) == ""
    assert refusal("https://8.8.8.8/", is_allowed) == "8.8.8.8 is no address of the public internet"


@given(st.text())
def test_every_text_is_asked_or_not_and_can_be_shown(text: str) -> None:
    refusal(text)
    refusal(f"https://{text}")
    assert shown(f"https://{text}").isprintable()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com:8443/a/b?sig=SECRET#SECRET", "https://example.com:8443/a/b"),
        ("https://me:SECRET@example.com/a", "https://example.com/a"),
        ("https://me:SECRET@me:SECRET@example.com/a", "https://example.com/a"),
        ("https://me:SEC/RET@example.com/a", "a URL without a host"),
        ("https:me:SECRET@example.com/a", "a URL without a host"),
        ("https://[SECRET", "a URL without a host"),
        ("https://example.com/a\x1b[31m\u202e", "https://example.com/a?[31m?"),
        (f"https://example.com/{'a' * 200}", f"https://example.com/{'a' * 127}..."),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, expected: str) -> None:
    assert shown(url) == expected
