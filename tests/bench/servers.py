"""Own the servers that a benchmark pulls from: the local ECR, nginx for its blobs, docker-registry for /v2/.

The benchmarks enter. Everything that a server writes is in the folder that it is given, and it ends with its context.
"""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from tests.bench.images import PutImage
from tests.bench.measuring import HOME

if TYPE_CHECKING:  # stubs are not installed for the benchmarks
    from mypy_boto3_ecr import ECRClient

REGION = "us-west-2"
_HOST = "127.0.0.1"
_EXPORTS = 6  # lines that serve prints
_URL_EXPIRY = 86400  # seconds: a case may take long
_PATIENCE = 20.0  # seconds
_PAUSE = 0.01
_SBIN = os.pathsep.join(("/usr/sbin", "/sbin"))  # where nginx is, and PATH may not lead
_NGINX = """\
{user}
worker_processes auto;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; client_max_body_size 100m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {address};
    {blobs}
    location / {{ proxy_pass http://{behind}; proxy_set_header Host $http_host; proxy_max_temp_file_size 0; }}
  }}
}}
"""
_REGISTRY = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: {address}}}
"""


def clean_environment() -> dict[str, str]:
    """Give our environment without what leads AWS's, docker's and HTTP's clients elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DOCKER_"))}
    return {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}


@contextmanager
def local_ecr(folder: Path, *options: str) -> Iterator[Mapping[str, str]]:
    """Run a local ECR in a process of its own and give the environment that leads to it."""
    command = [sys.executable, "-m", "ecrdrag", "serve", "--data", str(folder / "data"), "--listen", f"{_HOST}:0"]
    command += ["--url-expiry", str(_URL_EXPIRY), *options]
    with subprocess.Popen(
        command,
        cwd=HOME,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as server:
        try:
            if server.stdout is None:
                raise RuntimeError("no output to read")
            lines = [server.stdout.readline().removeprefix("export ").strip() for _ in range(_EXPORTS)]
            if not all(lines):
                raise RuntimeError("the local ECR doesn't start")
            yield {**clean_environment(), **dict(line.split("=", 1) for line in lines), "AWS_DEFAULT_REGION": REGION}
        finally:
            server.terminate()


def client_of(environment: Mapping[str, str]) -> ECRClient:
    """Build boto3's client for that local ECR."""
    return boto3.client(
        "ecr",
        region_name=REGION,
        endpoint_url=environment["AWS_ENDPOINT_URL_ECR"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def reference_to(repository: str) -> str:
    """Name the image with tag 1 in a repository of that local ECR."""
    return f"ecr.aws/arn:aws:ecr:{REGION}:123456789012:repository/{repository}:1"


def signed_urls(environment: Mapping[str, str], image: PutImage) -> dict[str, str]:
    """Ask that local ECR for the URL of each of an image's blobs, by digest."""
    ecr = client_of(environment)
    return {
        digest: ecr.get_download_url_for_layer(repositoryName=image.repository, layerDigest=digest)["downloadUrl"]
        for digest in image.blobs
    }


@contextmanager
def blob_server(folder: Path, data: Path, environment: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Put nginx before a local ECR: it sends blobs out of the data folder, and hands all else on."""
    behind = environment["AWS_ENDPOINT_URL_ECR"].removeprefix("http://")
    blobs = "location ~ ^/prod-[a-z0-9-]+-starport-layer-bucket/[0-9]+/([0-9a-f]+)$ "
    with _nginx(folder, f"{blobs} {{ alias {data}/blobs/sha256/$1; }}", behind) as address:
        yield {**environment, "AWS_ENDPOINT_URL_ECR": f"http://{address}"}


@contextmanager
def registry(folder: Path, image: PutImage, urls: Mapping[str, str]) -> Iterator[str]:
    """Serve an image over /v2/ and give its reference.

    docker-registry has the manifest; for a blob, nginx sends the client to the blob's own URL, as ECR's /v2/ does. So
    every client takes its bytes from the same server.
    """
    folder.mkdir()
    _store_manifest(folder / "store", image)
    address = _free_address()
    config = folder / "registry.yml"
    config.write_text(_REGISTRY.format(folder=folder / "store", address=address))
    blobs = "\n".join(
        f"location = /v2/{image.repository}/blobs/{digest} {{ return 307 '{url}'; }}" for digest, url in urls.items()
    )
    with (
        _running(["docker-registry", "serve", str(config)], address, folder / "registry.log"),
        _nginx(folder / "nginx", blobs, address) as front,
    ):
        yield f"{front}/{image.repository}:1"


def search_path() -> str:
    """Give PATH, and where Debian has daemons."""
    return f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{_SBIN}"


@contextmanager
def _nginx(folder: Path, blobs: str, behind: str) -> Iterator[str]:
    folder.mkdir()
    address = _free_address()
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""  # our folder is closed to nobody
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(user=user, folder=folder, address=address, blobs=blobs, behind=behind))
    command = ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
    with _running(command, address, folder / "log"):
        yield address


@contextmanager
def _running(command: Sequence[str], address: str, log: Path) -> Iterator[None]:
    """Run a server from when it takes connections; in a session of its own, as Ctrl-C is ours to pass on."""
    environment = {**clean_environment(), "PATH": search_path()}
    with (
        log.open("wb") as stream,
        subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, start_new_session=True) as server,
    ):
        try:
            _await(server, address, log)
            yield
        finally:
            server.terminate()


def _await(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _takes_connections(address):
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{log} says: {log.read_text(errors='replace')}")
        time.sleep(_PAUSE)


def _takes_connections(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except OSError:
        return False
    return True


def _free_address() -> str:
    """Find a port that is free now; these servers can't say which one they took."""
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        return f"{_HOST}:{listener.getsockname()[1]}"


def _store_manifest(store: Path, image: PutImage) -> None:
    """Write what docker-registry keeps of a tagged manifest (its registry/storage/paths.go)."""
    root = store / "docker" / "registry" / "v2"
    manifests = root / "repositories" / image.repository / "_manifests"
    hexadecimal = image.digest.removeprefix("sha256:")
    _write(root / "blobs" / "sha256" / hexadecimal[:2] / hexadecimal / "data", image.manifest)
    for link in (
        manifests / "revisions" / "sha256" / hexadecimal / "link",
        manifests / "tags" / "1" / "current" / "link",
        manifests / "tags" / "1" / "index" / "sha256" / hexadecimal / "link",
    ):
        _write(link, image.digest.encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
