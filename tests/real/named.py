"""Own a local ECR by the names that ECR has, over TLS: for clients that know nothing but those names.

The tests of credential helpers enter. The names are this machine's for what runs in a cell alone.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real import conftest
from tests.real.cell import Cell
from tests.real.local import REGISTRY, Local, open_local
from tests.real.shelf import REGION
from tests.real.tools import missing, need

API = f"api.ecr.{REGION}.amazonaws.com"
HTTPS = 443
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True)
class Named:
    """Where it listens, and the certificate that vouches for its names."""

    local: Local
    address: str
    certificate: Path

    @contextmanager
    def cell(self, folder: Path, **environment: str) -> Iterator[Cell]:
        """Open a place where ECR's names lead here and its certificate is trusted; no endpoint is told of."""
        given = {key: self.local.environment[key] for key in KEYS}
        given["SSL_CERT_FILE"] = str(self.certificate)
        hosts = {REGISTRY: self.address, API: self.address}
        with Cell(folder, hosts=hosts, environment={**given, **environment}) as cell:
            conftest.trust(cell)
            yield cell


@contextmanager
def open_named(folder: Path) -> Iterator[Named]:
    """Run a local ECR where Amazon's would be."""
    address = _free_address()
    public, key = _certificate(folder, address)
    arguments = ("--listen", f"{address}:{HTTPS}", "--tls-cert", str(public), "--tls-key", str(key))
    with open_local(folder, "--data", str(folder / "data"), *arguments, host=REGISTRY, authority=public) as local:
        yield Named(local, address, public)


def _free_address() -> str:
    """Find a loopback address whose port for HTTPS nobody has."""
    free = (address for address in (f"127.0.0.{last}" for last in range(77, 255)) if _is_free(address))
    return next(free, "") or missing(f"no loopback address lets us have its port {HTTPS}")


def _is_free(address: str) -> bool:
    try:
        socket.create_server((address, HTTPS)).close()
    except OSError:
        return False
    return True


def _certificate(folder: Path, address: str) -> tuple[Path, Path]:
    """Make a certificate for ECR's names, which vouches for itself, and its key."""
    names = f"subjectAltName=DNS:{REGISTRY},DNS:{API},IP:{address}"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=ecr")
    public, key = folder / "cert.pem", folder / "key.pem"
    command = [need("openssl"), "req", "-x509", *kind, "-addext", names, "-out", str(public), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return public, key
