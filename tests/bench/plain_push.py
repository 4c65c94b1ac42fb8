"""Own what the push is measured against: the plain loop of boto3's upload_layer_part that anybody would write.

    python3 -m tests.bench.plain_push ARCHIVE REPOSITORY [--threads]

The benchmark runs it as a process. It reads blobs out of docker_pull.py's archive, doesn't hash them, and
asks for nothing but what an upload needs; with --threads each layer has a thread.
"""

from __future__ import annotations

import json
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from tests.putting import put_part

if TYPE_CHECKING:  # stubs are not installed for the benchmarks
    from mypy_boto3_ecr import ECRClient


def main(arguments: Sequence[str]) -> int:
    """Push the archive's one image with tag 1."""
    path, repository, *options = arguments
    with tarfile.open(path, "r:") as archive:
        raw = read(archive, json.loads(read(archive, "index.json"))["manifests"][0]["digest"])
        manifest = json.loads(raw)
        blobs = [manifest["config"], *manifest["layers"]]
        threads = len(blobs) if "--threads" in options else 1
        ecr = boto3.client("ecr", config=Config(max_pool_connections=threads))
        lock = threading.Lock()

        def put(blob: dict[str, str]) -> None:
            upload_blob(ecr, repository, blob["digest"], archive, lock)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(put, blobs))
    ecr.put_image(
        repositoryName=repository,
        imageManifest=raw.decode(),
        imageManifestMediaType=manifest["mediaType"],
        imageTag="1",
    )
    return 0


def upload_blob(ecr: ECRClient, repository: str, digest: str, archive: tarfile.TarFile, lock: threading.Lock) -> None:
    """Upload one blob, part by part."""
    upload = ecr.initiate_layer_upload(repositoryName=repository)
    start = 0
    for part in parts(archive, digest, upload["partSize"], lock):
        start = put_part(ecr, repository, upload["uploadId"], start, part) + 1
    ecr.complete_layer_upload(repositoryName=repository, uploadId=upload["uploadId"], layerDigests=[digest])


def parts(archive: tarfile.TarFile, digest: str, size: int, lock: threading.Lock) -> Iterator[bytes]:
    """Read a blob in parts; tarfile has one position for all readers."""
    with lock:
        file = archive.extractfile(member_name(digest))
    assert file is not None
    while True:
        with lock:
            part = file.read(size)
        if not part:
            return
        yield part


def read(archive: tarfile.TarFile, name: str) -> bytes:
    """Read a small member: a blob by its digest, or by its name."""
    file = archive.extractfile(member_name(name) if ":" in name else name)
    assert file is not None
    return file.read()


def member_name(digest: str) -> str:
    """Say where docker_pull.py's archive has a blob."""
    return f"blobs/{digest.replace(':', '/')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
