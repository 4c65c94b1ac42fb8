"""Own the images that the benchmarks move: noise in layers of given sizes, put over the ECR API.

The benchmarks enter.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from ecrdrag.manifest import OCI_CONFIG, OCI_MANIFEST
from tests.bench.measuring import MIB
from tests.images import Blob
from tests.putting import put_blob, put_part

if TYPE_CHECKING:  # stubs are not installed for the benchmarks
    from mypy_boto3_ecr import ECRClient

_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_PART = 8 * MIB  # a little more once it is packed; ECR takes 5 to 10
_UNEVEN = (0.37, 0.21, 0.14, 0.11, 0.08, 0.05, 0.03, 0.01)  # shares of an image's size
_GZIP = 31  # zlib's wbits for a gzip header


@dataclass(frozen=True)
class PutImage:
    """An image with tag 1 in a repository: its manifest and its digest, and the sizes of its blobs by digest."""

    repository: str
    manifest: bytes
    digest: str
    blobs: dict[str, int]

    @property
    def size(self) -> int:
        return sum(self.blobs.values())


def uneven(mib: int) -> list[int]:
    """Give the sizes of eight layers that are so many MiB together."""
    return [int(mib * MIB * share) for share in _UNEVEN]


def put_image(ecr: ECRClient, repository: str, sizes: Sequence[int]) -> PutImage:
    """Put an image with layers of these sizes, and the few bytes that gzip adds.

    They are gzip, as layers nearly always are: skopeo would compress others on its way. They are noise and
    only stored in it, so that a tool which unpacks them has as little work as there can be.
    """
    ecr.create_repository(repositoryName=repository)
    layers, contents = [], []
    for place, size in enumerate(sizes):
        layer, content = put_layer(ecr, repository, size, seed=f"{repository} {place}")
        layers.append(layer)
        contents.append(content)
    about = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": contents}}
    config = Blob(json.dumps(about).encode(), OCI_CONFIG)
    put_blob(ecr, repository, config.content)
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.json, "layers": layers}
    put = Blob(json.dumps(manifest).encode(), OCI_MANIFEST)
    ecr.put_image(repositoryName=repository, imageManifest=put.content.decode(), imageTag="1")
    blobs = {str(config.digest): len(config.content), **{str(layer["digest"]): int(layer["size"]) for layer in layers}}
    return PutImage(repository, put.content, str(put.digest), blobs)


def put_layer(ecr: ECRClient, repository: str, size: int, *, seed: str) -> tuple[dict[str, str | int], str]:
    """Put a layer; give what a manifest says of it and the digest of what it unpacks to."""
    upload = ecr.initiate_layer_upload(repositoryName=repository)["uploadId"]
    packer = zlib.compressobj(0, zlib.DEFLATED, _GZIP)
    packed, plain, sent = sha256(), sha256(), 0
    for start, noise in _noise(size, seed=seed):
        plain.update(noise)
        part = packer.compress(noise) + (packer.flush() if start + len(noise) == size else b"")
        put_part(ecr, repository, upload, sent, part)
        packed.update(part)
        sent += len(part)
    digest = f"sha256:{packed.hexdigest()}"
    ecr.complete_layer_upload(repositoryName=repository, uploadId=upload, layerDigests=[digest])
    return {"mediaType": _LAYER, "digest": digest, "size": sent}, f"sha256:{plain.hexdigest()}"


def _noise(size: int, *, seed: str) -> Iterator[tuple[int, bytes]]:
    """Yield parts of size bytes with their offsets, no two parts alike."""
    block = bytearray(random.Random(seed).randbytes(min(size, _PART)))
    for number, start in enumerate(range(0, size, _PART)):
        block[:8] = number.to_bytes(8, "big")
        yield start, bytes(block[: size - start])
