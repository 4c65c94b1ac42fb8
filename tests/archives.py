"""Own archives of any bytes, put together without the writer, and what tarfile reads of them.

The tests of the archive room enter.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecrdrag.archive.plan import ArchivePlan, ImageName, plan_image
from ecrdrag.content import Digest
from ecrdrag.manifest import OCI_CONFIG, OCI_MANIFEST, Manifest, parse

HOST_NAME = "123456789012.dkr.ecr.us-west-2.amazonaws.com/my/app"
NAME = ImageName(HOST_NAME, "1.2")
HEX = "c0ffee00" * 8
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
EIGHT_GIB = 8 * 1024**3  # the first size that 11 octal digits can't hold


@dataclass(frozen=True)
class Sample:
    """An image of any bytes, its plan, and what every blob in it holds."""

    manifest: Manifest
    plan: ArchivePlan
    contents: Mapping[Digest, bytes]

    def __repr__(self) -> str:
        return f"sizes {self.manifest.config.size}, {[layer.size for layer in self.manifest.layers]}"

    @property
    def archive(self) -> bytes:
        """The whole file, put together without the writer."""
        return assemble(self.plan, self.contents)


def sample_of(layers: Sequence[bytes], config: bytes = b"{}", *, algorithm: str = "sha256") -> Sample:
    def entry(media_type: str, content: bytes) -> dict[str, object]:
        return {"mediaType": media_type, "digest": str(Digest.of(content, algorithm)), "size": len(content)}

    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": entry(OCI_CONFIG, config),
        "layers": [entry(LAYER_TYPE, layer) for layer in layers],
    }
    manifest = manifest_of(json.dumps(document, indent=1).encode())
    contents = {Digest.of(content, algorithm): content for content in (config, *layers)}
    return Sample(manifest, plan_image(manifest, config, NAME), contents)


def manifest_of(raw: bytes) -> Manifest:
    manifest = parse(raw)
    assert isinstance(manifest, Manifest)
    return manifest


def assemble(plan: ArchivePlan, contents: Mapping[Digest, bytes]) -> bytes:
    archive = bytearray(plan.total_size)
    for offset, piece in plan.known_pieces():
        archive[offset : offset + len(piece)] = piece
    for blob, offset in plan.blobs:
        archive[offset : offset + blob.size] = contents[blob.digest]
    assert len(archive) == plan.total_size, "a piece reaches beyond the end"
    return bytes(archive)


def sparse_archive(path: Path, sizes: Sequence[int]) -> Sample:
    """Write an archive whose layers are holes of these sizes; their digests are invented."""
    layers = [
        {"mediaType": LAYER_TYPE, "digest": f"sha256:{place:064x}", "size": size} for place, size in enumerate(sizes)
    ]
    config = {"mediaType": OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}
    manifest = manifest_of(json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode())
    plan = plan_image(manifest, b"{}", NAME)
    with path.open("wb") as file:
        file.truncate(plan.total_size)
        for offset, piece in plan.known_pieces():
            file.seek(offset)
            file.write(piece)
    return Sample(manifest, plan, {})


def read_back(archive: bytes) -> dict[str, bytes]:
    """Give the content of every regular file, in the order of the archive."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        members = tar.getmembers()
        contents = {member.name: content_of(tar, member) for member in members if member.isfile()}
    assert len({member.name for member in members}) == len(members), "a name comes twice"
    return contents


def content_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()
