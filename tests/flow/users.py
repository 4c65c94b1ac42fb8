"""Own a user of registries with a home folder, and what they are known by: at Amazon's names, and elsewhere.

The flow tests enter.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ecrdrag.credentials.docker_config import encode_auth
from ecrdrag.localecr import LocalEcr
from ecrdrag.registry.auth import Login
from tests.amazon import Amazon
from tests.dockerhome import configure
from tests.flow.conftest import HELLO
from tests.flow.scripts import HOME, Run, environment_of
from tests.localecr import client, public_client
from tests.putting import put_image
from tests.registry import password_of


@dataclass(frozen=True)
class Plain:
    """An ECR that goes by its own name, and a password there."""

    ecr: LocalEcr
    password: str

    @property
    def host(self) -> str:
        return urlsplit(self.ecr.endpoint).netloc


class User:
    """Somebody with a home folder, AWS keys of that ECR, and perhaps a docker configuration."""

    def __init__(self, home: Path, there: Amazon) -> None:
        self.home, self.there = home, there
        changes = {"HOME": str(home), "PATH": str(home / "bin"), "PYTHONPATH": str(HOME)}
        self.environment = {**environment_of(None, **changes), **there.environment}
        there.recorder.requests.clear()
        there.recorder.intercept = lambda request, handler: handler(request)

    def run(self, *arguments: str, stdin: str | bytes = "", code: str = "pass", **changes: str) -> Run:
        """Run ecrdrag, after some code if need be; no secret may be seen, whatever happens."""
        start = ["-c", f"{code}; import sys; from ecrdrag.cli.main import main; sys.exit(main(sys.argv[1:]))"]
        done = subprocess.run(
            [sys.executable, *start, *arguments, "-v", "-v"],
            cwd=self.home,
            env={**self.environment, **changes},
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )
        run = Run(done.returncode, done.stdout.decode(), done.stderr.decode())
        secret = self.there.ecr.credentials[1]
        hidden = [
            secret,
            "s3cret",
            self.there.password,
            encode_auth(Login("AWS", self.there.password)),
            "X-Amz-Signature",
        ]
        assert not [each for each in [*hidden, "Authorization: "] if each in run.out + run.err]
        return run

    def pull(self, reference: str, *options: str, stdin: str | bytes = "", code: str = "pass", **changes: str) -> Run:
        """Pull into a file that isn't there yet."""
        (self.home / "image.tar").unlink(missing_ok=True)
        return self.run("pull", reference, "-o", "image.tar", *options, stdin=stdin, code=code, **changes)

    def docker(self, registry: str, password: str) -> None:
        """Log docker in."""
        configure(self.home, {"auths": {registry: {"auth": encode_auth(Login("AWS", password))}}})

    def profiles(self, **ecrs: LocalEcr) -> None:
        """Write profiles, each with the keys and the endpoint of an ECR."""
        lines = []
        for name, ecr in ecrs.items():
            key_id, secret = ecr.credentials
            lines += [f"[profile {name}]", f"aws_access_key_id = {key_id}", f"aws_secret_access_key = {secret}"]
            lines += [f"services = {name}", f"[services {name}]", "ecr =", f"  endpoint_url = {ecr.endpoint}"]
        configure(self.home, "\n".join(lines), ".aws/config")

    def map(self, text: str) -> None:
        """Write the user's map of registries."""
        configure(self.home, text, ".config/ecrdrag/config.toml")

    def asked(self, start: str) -> int:
        return self.there.recorder.count(start)


def stock(ecr: LocalEcr) -> str:
    """Put an image into a private repository, and into a public one; give a password."""
    with client(ecr) as api, public_client(ecr) as public:
        api.create_repository(repositoryName="my/app")
        put_image(api, "my/app", HELLO, "1")
        public.create_repository(repositoryName="my/app")
        put_image(public, "my/app", HELLO, "1")
    return password_of(ecr)
