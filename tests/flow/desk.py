"""Own what the tests of docker-credential-ecrdrag need: a user's home and environment, a local ECR, and an STS.

The flow tests enter.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from ecrdrag.localecr import LocalEcr
from tests.flow.scripts import HOME, Run, environment_of
from tests.localecr import ACCOUNT, REGION, Recorder, running

HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
HELPER = [sys.executable, "-m", "ecrdrag.cli.credential_helper"]
SECRET = "x7secretkey"
SESSION_TOKEN = "x7sessiontoken"


@dataclass(frozen=True)
class Desk:
    """A user's home, the environment of the helper, and what the local ECR was asked."""

    home: Path
    environment: dict[str, str]
    ecr: LocalEcr
    recorder: Recorder

    def run(self, *arguments: str, stdin: str = "", **changes: str) -> Run:
        """Run the helper as docker does; no secret of ours may be on stderr, whatever happens."""
        ended = subprocess.run(
            [*HELPER, *arguments],
            input=stdin,
            cwd=self.home,
            env={**self.environment, **changes},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        secrets = [self.ecr.credentials[1], SECRET, SESSION_TOKEN, *self.passwords()]
        assert not [each for each in secrets if each in ended.stderr]
        assert not [path for path in self.home.rglob("*") for each in secrets if each in path.name]
        assert "Traceback" not in ended.stderr
        return Run(ended.returncode, ended.stdout, ended.stderr)

    def get(self, **changes: str) -> str:
        """Ask for the private registry's password, which has to come."""
        run = self.run("get", stdin=f"https://{HOST}", **changes)
        assert run.code == 0, run.err
        given = json.loads(run.out)
        assert (given["ServerURL"], given["Username"]) == (f"https://{HOST}", "AWS")
        return str(given["Secret"])

    def kept(self) -> list[Path]:
        return sorted((self.home / ".cache" / "ecrdrag" / "tokens").glob("*.json"))

    def passwords(self) -> list[str]:
        return [json.loads(file.read_text())["password"] for file in self.kept()]

    def age(self) -> None:
        """Move what is kept past its half life."""
        for file in self.kept():
            kept = json.loads(file.read_text())
            file.write_text(json.dumps({**kept, "fetched": kept["fetched"] - 12 * 3600 - 60}))

    def map(self, text: str) -> None:
        """Write the user's map."""
        file = self.home / ".config" / "ecrdrag" / "config.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@contextmanager
def open_desk(folder: Path) -> Iterator[Desk]:
    """Run a local ECR for a user with a home of their own."""
    recorder = Recorder()
    home = folder / "home"
    home.mkdir()
    with running(folder / "data", recorder=recorder) as ecr:
        changes = {"HOME": str(home), "PYTHONPATH": str(HOME), "AWS_MAX_ATTEMPTS": "1"}
        yield Desk(home, environment_of(ecr, **changes), ecr, recorder)


@dataclass
class Sts:
    """An STS that gives the local ECR's key to whoever assumes a role, or a refusal."""

    keys: tuple[str, str]
    url: str = ""
    refusal: tuple[int, str, str] | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)

    def answer(self, authorization: str, body: str) -> tuple[int, str]:
        self.asked.append({name: values[0] for name, values in parse_qs(body).items()})
        self.callers.append(authorization.partition("Credential=")[2].partition("/")[0])
        if self.refusal:
            status, code, message = self.refusal
            return (
                status,
                f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>",
            )
        expires = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
        key_id, secret = self.keys
        credentials = (
            f"<AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>"
            f"<SessionToken>{SESSION_TOKEN}</SessionToken><Expiration>{expires}</Expiration>"
        )
        result = f"<AssumeRoleResult><Credentials>{credentials}</Credentials></AssumeRoleResult>"
        return (
            200,
            f'<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{result}</AssumeRoleResponse>',
        )


@contextmanager
def open_sts(keys: tuple[str, str]) -> Iterator[Sts]:
    """Run an STS that gives these keys."""
    sts = Sts(keys)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, text = sts.answer(self.headers.get("Authorization", ""), body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sts.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield sts
        server.shutdown()
        thread.join()
