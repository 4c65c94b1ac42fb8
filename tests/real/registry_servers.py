"""Own Debian's docker-registry, which is distribution, run for a test: open or with a password, plain or under TLS.

The tests of this folder enter.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ecrdrag.registry.auth import Credential, Login
from tests.certificate import write_certificate
from tests.real.tools import need

LOGIN = Login("me", "s3cret:word")
# The registry reads bcrypt alone; this is that password's, of the least cost.
_HTPASSWD = "me:$2y$04$abcdefghijklmnopqrstuuHR3t7FUNT1H99nlAQFD.ZD8cnc5Jsi2\n"
_CONFIG = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/storage}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:0", relativeurls: {relative}{tls}}}
compatibility: {{schema1: {{enabled: {schema1}}}}}
{auth}
"""
_TLS = ", tls: {{certificate: {certificate}, key: {key}}}"
_AUTH = "auth: {{htpasswd: {{realm: test, path: {file}}}}}"
_LISTENING = re.compile(r"listening on 127\.0\.0\.1:([0-9]+)")
_PATIENCE = 30.0  # seconds


@dataclass(frozen=True)
class RegistryServer:
    """A running registry: HOST:PORT, its URL, and who vouches for it under TLS. Where it wants a login, that is LOGIN.

    It is on the keyring under its host, as the only one there: hand it over as a Keyring.
    """

    host: str
    url: str
    ca_file: Path | None
    login: Login | None

    def find(self, registry: str, *, renew: bool = False) -> Credential | None:
        """Find the login of this registry."""
        return self.login if registry == self.host else None

    def skopeo_options(self, end: str) -> list[str]:
        """Give what skopeo needs to know of this registry; end is src or dest."""
        found = [] if self.ca_file else [f"--{end}-tls-verify=false"]
        found += [f"--{end}-cert-dir={self.ca_file.parent}"] if self.ca_file else []
        return found + ([f"--{end}-creds={self.login.username}:{self.login.password}"] if self.login else [])


@contextmanager
def docker_registry(
    folder: Path, *, htpasswd: bool = False, tls: bool = False, relative: bool = False, schema1: bool = False
) -> Iterator[RegistryServer]:
    """Run one on a free port until the block ends, with all that it writes in a folder; skip where there is none.

    Under TLS its certificate is tests/certificate.py's, for localhost. relative makes its Locations so.
    With schema1 it takes such images, and makes them of others for clients that accept nothing else.
    """
    tool = need("docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    places = _written(folder)
    config = folder / "config.yml"
    config.write_text(
        _CONFIG.format(
            folder=folder,
            relative=str(relative).lower(),
            schema1=str(schema1).lower(),
            tls=_TLS.format_map(places) if tls else "",
            auth=_AUTH.format_map(places) if htpasswd else "",
        )
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([tool, "serve", str(config)], stdout=log, stderr=log)
        try:
            port = _port(process, folder / "log")
            host = f"localhost:{port}" if tls else f"127.0.0.1:{port}"
            authority = folder / "trust" / "ca.crt" if tls else None
            yield RegistryServer(host, f"{'https' if tls else 'http'}://{host}", authority, LOGIN if htpasswd else None)
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def _written(folder: Path) -> Mapping[str, Path]:
    """Write what the configuration names."""
    certificate, key = write_certificate(folder)
    trust = folder / "trust"  # skopeo reads a folder of *.crt, and would take the key beside it for its own
    trust.mkdir(exist_ok=True)
    (trust / "ca.crt").write_text(certificate.read_text())
    (folder / "htpasswd").write_text(_HTPASSWD)
    return {"certificate": certificate, "key": key, "file": folder / "htpasswd"}


def _port(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the line that says where it listens; after that it answers."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        said = log.read_text(errors="replace")
        if found := _LISTENING.search(said):
            return found[1]
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.01)
