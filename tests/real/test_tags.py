"""The command `tags` against Debian's docker-registry: open, and with a password over TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecrdrag.manifest import OCI_MANIFEST
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.http import Trust
from tests.flow.scripts import HOME, environment_of, run
from tests.localecr import digest_of, manifest_of
from tests.real.registry_servers import LOGIN, RegistryServer, docker_registry

pytestmark = pytest.mark.real

CONFIG, LAYER = b'{"architecture":"amd64","os":"linux"}', b"a layer"
WANTED = ["v2", "1.10", "1.9", "1.9-rc1", *(f"0.{number}" for number in range(119, -1, -1)), "latest", "main"]


def stock(server: RegistryServer) -> None:
    """Put one image under all tags."""
    with RegistryClient(server.host, keyring=server, trust=Trust(more=server.ca_file)) as client:

        def write(method: str, target: str, body: bytes, kind: str = "application/octet-stream") -> str:
            headers = {"Content-Type": kind}
            good = (201, 202)
            with client.ask(method, target, scope="", what=target, headers=headers, body=body, good=good) as reply:
                return client.place(reply)

        for blob in (CONFIG, LAYER):
            write("PUT", f"{write('POST', 'team/app/blobs/uploads/', b'')}&digest={digest_of(blob)}", blob)
        for tag in WANTED:
            write("PUT", f"team/app/manifests/{tag}", manifest_of(CONFIG, [LAYER]).encode(), OCI_MANIFEST)


@pytest.mark.parametrize("guarded", [False, True], ids=["open", "htpasswd over TLS"])
def test_tags_come_as_versions_from_a_registry_that_knows_no_times(tmp_path: Path, guarded: bool) -> None:
    environment = environment_of(None, PYTHONPATH=str(HOME), HOME=str(tmp_path))
    with docker_registry(tmp_path / "registry", htpasswd=guarded, tls=guarded) as server:
        stock(server)
        options = ["--ca-file", str(server.ca_file), "-u", LOGIN.username, "--password-stdin"] if guarded else []
        stdin = LOGIN.password if guarded else ""
        done = run("ecrdrag", "tags", f"{server.host}/team/app", *options, cwd=tmp_path, env=environment, stdin=stdin)
        assert (done.code, done.out.splitlines(), done.err) == (0, WANTED, "")
        missing = run("ecrdrag", "tags", f"{server.host}/no/app", *options, cwd=tmp_path, env=environment, stdin=stdin)
        assert (missing.code, "no/app" in missing.err, LOGIN.password in missing.err) == (4, True, False)
        if guarded:
            nobody = run("ecrdrag", "tags", f"{server.host}/team/app", *options[:2], cwd=tmp_path, env=environment)
            assert (nobody.code, f"ecrdrag login {server.host}" in nobody.err) == (3, True)
