"""Own archives of any bytes, put together without the writer, and what tarfile reads of them.

The tests of the archive room enter.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ecrdrag.archive.convert import Conversion
from ecrdrag.archive.plan import ArchivePlan, ImageName, PlannedImage, PlannedReferrer
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.archive.tar import TarMembers
from ecrdrag.content import Digest
from ecrdrag.manifest import OCI_CONFIG, OCI_MANIFEST, Document, Manifest, parse
from tests.kinds import Parcel
from tests.planned import plan_image
from tests.saved import Files, tar_with

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


def documents_of(parcel: Parcel) -> tuple[Document, ...]:
    return tuple(parse(blob.content, blob.media_type) for blob in parcel.documents)


def planned(parcel: Parcel, *names: ImageName, loadable: Parcel | None = None) -> PlannedImage:
    """Plan an image under names; what docker loads of an index has to be said."""
    documents = documents_of(parcel)
    found = documents_of(loadable)[-1] if loadable else documents[-1]
    manifest = found if isinstance(found, Manifest) and found.is_image else None
    return PlannedImage(names or (NAME,), documents, manifest)


def planned_referrer(parcel: Parcel) -> PlannedReferrer:
    return PlannedReferrer(documents_of(parcel), parcel.tag or None)


def contents_of(*parcels: Parcel) -> dict[Digest, bytes]:
    """What the blobs of all of them hold."""
    return {digest: blob.content for parcel in parcels for digest, blob in {**parcel.blobs, **parcel.elsewhere}.items()}


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


@contextmanager
def reading(files: Files, conversion: Conversion | None = None) -> Iterator[ArchiveReader]:
    """Open an archive of these files, which messages call app.tar."""
    with tempfile.TemporaryFile() as file:
        file.write(tar_with(files))
        file.flush()
        with ArchiveReader(TarMembers(os.dup(file.fileno()), "app.tar"), conversion) as reader:
            yield reader


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
