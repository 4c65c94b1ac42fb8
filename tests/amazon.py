"""Own a local ECR under Amazon's own names, over TLS: a proxy leads every name to it, and it has their certificate.

The flow tests enter. The certificate vouches for itself from 2020 to 2120; its key is known to all, and guards nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.web.tls import server_context
from tests.connect_proxy import proxying
from tests.localecr import REGION, Recorder

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIBATAKBggqhkjOPQQDAjARMQ8wDQYDVQQDDAZhbWF6b24w
IBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBExDzANBgNVBAMMBmFt
YXpvbjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABEximMVEZwL6TLrtgGeZk0hs
SPXOI5FHnrB8zPC3QCe+rN+4YWJkbfJ6XFjGCeD4okok70Ewysmx1ND/0R8qVs2j
gYcwgYQwDwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAoQwQgYDVR0RBDsw
OYIhKi5ka3IuZWNyLnVzLXdlc3QtMi5hbWF6b25hd3MuY29tgg5wdWJsaWMuZWNy
LmF3c4cEfwAAATAdBgNVHQ4EFgQUkxyNqGYhRSc81d84dPTz8z46YoYwCgYIKoZI
zj0EAwIDSAAwRQIgOW4FyJ5V40BtxrLntWns0pBxdviyjZS5sNKmfqa9Ue0CIQCz
8ZeVkrkD4V/FwB6wQYAZQCPLBigDKKJapIt+ca0dOw==
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJFRa2Xe1Y0TfjdW6
ge6cLRCY+VKsjpHks9jiyNqkXbWhRANCAARMYpjFRGcC+ky67YBnmZNIbEj1ziOR
R56wfMzwt0AnvqzfuGFiZG3yelxYxgng+KJKJO9BMMrJsdTQ/9EfKlbN
-----END PRIVATE KEY-----
"""


@dataclass(frozen=True)
class Amazon:
    """The local ECR, what it was asked, the environment in which its names are Amazon's, and a password for /v2/."""

    ecr: LocalEcr
    recorder: Recorder
    environment: Mapping[str, str]
    password: str


@contextmanager
def amazon(folder: Path, stock: Callable[[LocalEcr], str]) -> Iterator[Amazon]:
    """Run it until the block ends; stock is done before, without TLS, and gives a password."""
    with LocalEcr(folder / "data", settings=Settings(region=REGION)) as ecr:
        password = stock(ecr)
    certificate, key = folder / "amazon.pem", folder / "amazon.key"
    certificate.write_text(CERTIFICATE)
    key.write_text(KEY)
    tls, recorder = server_context(certificate, key), Recorder()
    with (
        LocalEcr(folder / "data", settings=Settings(region=REGION), wrap=recorder.wrap, tls=tls) as ecr,
        proxying(urlsplit(ecr.endpoint).port or 0) as proxy,
    ):
        proxied = {"HTTPS_PROXY": proxy.url, "AWS_CA_BUNDLE": str(certificate)}
        yield Amazon(ecr, recorder, {**ecr.environment, **proxied}, password)
