"""Images made from nothing: a program of a hundred bytes, a layer, a config, a manifest.

The demo and every test that needs a real image enter.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ecrdrag.content import Digest, Platform
from ecrdrag.manifest import DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST

GREETING = "hello from an image that no daemon carried\n"
_LOAD_ADDRESS = 0x400000
_HEADERS = 64 + 56  # ELF64 header and one program header


@dataclass(frozen=True)
class Blob:
    """Bytes and what they are called."""

    content: bytes
    media_type: str

    @property
    def digest(self) -> Digest:
        return Digest.of(self.content)

    @property
    def json(self) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": len(self.content)}


@dataclass(frozen=True)
class Image:
    """A manifest and all that it names, ready to be put into a registry."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]
    platform: Platform

    @property
    def blobs(self) -> dict[Digest, Blob]:
        return {blob.digest: blob for blob in (self.config, *self.layers)}


@dataclass(frozen=True)
class ImageIndex:
    """An index and the images in it."""

    manifest: Blob
    images: tuple[Image, ...]


def hello_program(architecture: str, greeting: str = GREETING) -> bytes:
    """Assemble a static Linux program that prints a greeting and ends."""
    message = greeting.encode()
    if architecture == "amd64":
        machine = 62
        code = (
            b"\xbf\x01\x00\x00\x00"  # mov edi, 1
            b"\x48\x8d\x35\x15\x00\x00\x00"  # lea rsi, [rip+21]: behind the code
             b"\xba" + struct.pack("<I", len(message))  # mov edx, length
            + b"\xb8\x01\x00\x00\x00\x0f\x05"  # mov eax, 1 (write); syscall
            b"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05"  # mov eax, 60 (exit); xor edi, edi; syscall
        )  # fmt: skip
    elif architecture == "arm64":
        machine = 183
        words = (
            0xD2800020,  # mov x0, #1
            0x100000E1,  # adr x1, #28: behind the code
            0xD2800002 | len(message) << 5,  # mov x2, #length
            0xD2800808,  # mov x8, #64 (write)
            0xD4000001,  # svc #0
            0xD2800000,  # mov x0, #0
            0xD2800BA8,  # mov x8, #93 (exit)
            0xD4000001,  # svc #0
        )
        code = struct.pack("<8I", *words)
    else:
        raise ValueError(f"no program for {architecture}")
    size = _HEADERS + len(code) + len(message)
    entry = _LOAD_ADDRESS + _HEADERS
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = identity + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 0x1000)
    return header + segment + code + message


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """Pack executable files, without any time in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def image_of(
    layer_tars: Sequence[bytes],
    *,
    command: Sequence[str] = ("/hello",),
    architecture: str = "amd64",
    oci: bool = True,
    compressed: bool = True,
) -> Image:
    """Build an image whose layers are these tars, bottom first."""
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar)) for tar in layer_tars]},
        "history": [{"created_by": "ecrdrag", "created": "1970-01-01T00:00:00Z"} for _ in layer_tars],
        "created": "1970-01-01T00:00:00Z",
    }
    layer_type = "application/vnd.oci.image.layer.v1.tar" if oci else "application/vnd.docker.image.rootfs.diff.tar"
    if compressed:
        layer_type += "+gzip" if oci else ".gzip"
    contents = [gzip.compress(tar, 6, mtime=0) if compressed else tar for tar in layer_tars]
    layers = tuple(Blob(content, layer_type) for content in contents)
    config_blob = Blob(json.dumps(config).encode(), OCI_CONFIG if oci else DOCKER_CONFIG)
    kind = OCI_MANIFEST if oci else DOCKER_MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": config_blob.json,
        "layers": [layer.json for layer in layers],
    }
    raw = json.dumps(manifest, indent=3).encode()  # not as our own writer would: raw bytes must survive
    return Image(Blob(raw, kind), config_blob, layers, Platform("linux", architecture))


def index_of(images: Sequence[Image], *, oci: bool = True) -> ImageIndex:
    """Put images under one index, each with its platform."""
    kind = OCI_INDEX if oci else DOCKER_LIST
    entries = [
        {**image.manifest.json, "platform": {"os": image.platform.os, "architecture": image.platform.architecture}}
        for image in images
    ]
    raw = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}, indent=1).encode()
    return ImageIndex(Blob(raw, kind), tuple(images))


def hello_image(architecture: str = "amd64", *, oci: bool = True) -> Image:
    """Build the smallest image that runs and says hello."""
    return image_of([tar_of({"hello": hello_program(architecture)})], architecture=architecture, oci=oci)


def noise_image(sizes: Sequence[int], *, seed: int = 0, oci: bool = True) -> Image:
    """Build an image of layers that can't be compressed, of about these sizes in bytes."""
    chance = random.Random(seed)
    layers = [tar_of({f"noise-{place}": chance.randbytes(size)}) for place, size in enumerate(sizes)]
    return image_of(layers, oci=oci, compressed=False)
