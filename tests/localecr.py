"""Start and stop a local ECR for tests, and talk to it with real boto3; knows nothing of pytest.

with running(tmp_path) as ecr, client(ecr) as api:
    image = push_image(api, "my/app", tag="1", layers=[b"..."])
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from mypy_boto3_ecr import ECRClient

from ecrdrag import manifest
from ecrdrag.content import Digest
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from tests.putting import put_blob

if TYPE_CHECKING:
    from mypy_boto3_ecr_public import ECRPublicClient

ROOT = Path(__file__).resolve().parent.parent
REGION = "us-west-2"
ACCOUNT = "123456789012"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_STOP_SECONDS = 20


class Recorder:
    """Wrap a local ECR's handler, note each request, and let a test answer some of them itself.

    intercept gets the request and the real handler, and returns the answer.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.intercept: Callable[[Request, Handler], Answer] = lambda request, handler: handler(request)

    def wrap(self, handler: Handler) -> Handler:
        """Return the handler with this recorder around it."""

        def answer(request: Request) -> Answer:
            operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
            self.requests.append(operation or f"{request.method} {request.path}")
            return self.intercept(request, handler)

        return answer

    def count(self, start: str) -> int:
        """Count the requests whose operation, or method and path, begin so."""
        return sum(one.startswith(start) for one in self.requests)


def running(
    data: Path,
    settings: Settings | None = None,
    *,
    recorder: Recorder | None = None,
    clock: Callable[[], float] = time.time,
) -> LocalEcr:
    """Return a local ECR on a free port, to be entered."""
    wrap = (recorder or Recorder()).wrap
    return LocalEcr(data, ("127.0.0.1", 0), settings or Settings(region=REGION), wrap=wrap, clock=clock)


@contextmanager
def client(ecr: LocalEcr, *, region: str = REGION, keys: tuple[str, str] | None = None) -> Iterator[ECRClient]:
    """Give a boto3 client that leaves no socket behind."""
    with client_for(ecr.endpoint, keys or ecr.credentials, region=region) as api:
        yield api


@contextmanager
def client_for(endpoint: str, keys: tuple[str, str], *, region: str = REGION) -> Iterator[ECRClient]:
    """Give a boto3 client for an endpoint; no retries, so that a test sees the first answer."""
    api = boto3.client(
        "ecr",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=32),
    )
    try:
        yield api
    finally:
        api.close()


@contextmanager
def public_client(
    ecr: LocalEcr, *, region: str = "us-east-1", keys: tuple[str, str] | None = None
) -> Iterator[ECRPublicClient]:
    """Give a boto3 client of ECR Public; no retries either."""
    key_id, secret = keys or ecr.credentials
    api = boto3.client(
        "ecr-public",
        endpoint_url=ecr.endpoint,
        region_name=region,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        yield api
    finally:
        api.close()


def digest_of(data: bytes) -> str:
    """Return data's digest as text."""
    return str(Digest.of(data))


def push_blob(api: ECRClient | ECRPublicClient, repository: str, data: bytes) -> str:
    """Upload a blob unless it is there; return its digest."""
    put_blob(api, repository, data)
    return digest_of(data)


@dataclass(frozen=True)
class Pushed:
    """An image as it was pushed."""

    raw: str
    digest: str
    media_type: str
    layers: tuple[str, ...] = ()
    config: str = ""


def manifest_of(config: bytes, layers: Sequence[bytes], *, docker: bool = False, **more: object) -> str:
    """Write a manifest of one config and its layers; more goes into the document."""
    kind = manifest.DOCKER_MANIFEST if docker else manifest.OCI_MANIFEST
    config_kind = manifest.DOCKER_CONFIG if docker else manifest.OCI_CONFIG
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor_of(config_kind, config),
        "layers": [descriptor_of(DOCKER_LAYER if docker else OCI_LAYER, layer) for layer in layers],
        **more,
    }
    return json.dumps(document, indent=2)


def descriptor_of(media_type: str, data: bytes) -> dict[str, object]:
    """Write a descriptor."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def push_image(
    api: ECRClient | ECRPublicClient,
    repository: str,
    *,
    tag: str = "",
    layers: Sequence[bytes] = (b"a layer",),
    config: bytes = b'{"architecture":"amd64","os":"linux"}',
    docker: bool = False,
) -> Pushed:
    """Upload config and layers, then put the image, under a tag or under none."""
    digests = tuple(push_blob(api, repository, layer) for layer in layers)
    push_blob(api, repository, config)
    raw = manifest_of(config, layers, docker=docker)
    pushed = put_manifest(api, repository, raw, tag=tag)
    return Pushed(raw, pushed.digest, pushed.media_type, digests, digest_of(config))


def push_index(
    api: ECRClient | ECRPublicClient, repository: str, images: Mapping[str, Pushed], *, tag: str = ""
) -> Pushed:
    """Put an OCI index over images that are there, each under its platform such as linux/arm64."""
    entries = []
    for platform, image in images.items():
        os_name, architecture = platform.split("/")
        place = {"os": os_name, "architecture": architecture}
        entries.append({**descriptor_of(image.media_type, image.raw.encode()), "platform": place})
    document = {"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": entries}
    return put_manifest(api, repository, json.dumps(document), tag=tag)


def put_manifest(api: ECRClient | ECRPublicClient, repository: str, raw: str, *, tag: str = "") -> Pushed:
    """Put a manifest or an index that names its own media type."""
    kind = json.loads(raw)["mediaType"]
    if tag:
        api.put_image(repositoryName=repository, imageManifest=raw, imageManifestMediaType=kind, imageTag=tag)
    else:
        api.put_image(repositoryName=repository, imageManifest=raw, imageManifestMediaType=kind)
    return Pushed(raw, "sha256:" + hashlib.sha256(raw.encode()).hexdigest(), kind)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without a trace of AWS or proxies."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
    }
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return {**kept, **nowhere, "AWS_EC2_METADATA_DISABLED": "true"}


class Served:
    """A local ECR in a process of its own, as ``serve`` starts it."""

    def __init__(self, process: subprocess.Popen[str], environment: dict[str, str]) -> None:
        self.process = process
        self.environment = environment

    @property
    def endpoint(self) -> str:
        """The URL that it printed."""
        return self.environment["AWS_ENDPOINT_URL_ECR"]

    @property
    def credentials(self) -> tuple[str, str]:
        """The key pair that it printed."""
        return self.environment["AWS_ACCESS_KEY_ID"], self.environment["AWS_SECRET_ACCESS_KEY"]

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(_STOP_SECONDS)


@contextmanager
def served(data: Path, *options: str) -> Iterator[Served]:
    """Run ``python3 -m ecrdrag serve`` with a data folder until the block ends."""
    with serving("--data", str(data), *options) as server:
        yield server


@contextmanager
def serving(*arguments: str, **changes: str) -> Iterator[Served]:
    """Run ``python3 -m ecrdrag serve`` on a free port until the block ends; changes are of its environment."""
    command = [sys.executable, "-m", "ecrdrag", "serve", "--listen", "127.0.0.1:0", *arguments]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**clean_environment(), "PYTHONPATH": str(ROOT), **changes},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Served(process, _read_exports(process))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(_STOP_SECONDS)


def _read_exports(process: subprocess.Popen[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in process.stdout or ():
        (assignment,) = shlex.split(line.removeprefix("export "))
        name, _, value = assignment.partition("=")
        found[name] = value
        if name == "AWS_DEFAULT_REGION":
            return found
    raise AssertionError(f"serve ended without its exports: {process.stderr.read() if process.stderr else ''}")
