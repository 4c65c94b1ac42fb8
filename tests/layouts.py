"""Own OCI layouts put together of parcels, listed as any tool may list them, and what the reader says of them.

The tests of the archive room enter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ecrdrag.archive.contents import ArchivedReferrer
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.content import Digest
from tests.kinds import Parcel, cosign_signature, greeter, index, sbom, signature
from tests.saved import Link

REF_NAME, FULL_NAME = "org.opencontainers.image.ref.name", "io.containerd.image.name"
APP, OTHER = greeter("amd64", "hello\n"), greeter("arm64", "hello\n")
SIGNATURE, MATERIALS = signature(APP), sbom(APP)
ABOVE = signature(MATERIALS)
SIGNED = cosign_signature(APP)
NAMES = ("registry.example.com/app:1", "registry.example.com/other:1")

Files = dict[str, bytes | Link]


def entry(parcel: Parcel, name: str = "", **annotations: str) -> dict[str, object]:
    said = {**({REF_NAME: name} if name else {}), **annotations}
    return {**parcel.root.json, **({"annotations": said} if said else {})}


def listing(*entries: Mapping[str, object]) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": entries}).encode()


def layout(entries: Sequence[Mapping[str, object]], parcels: Sequence[Parcel], referrers: bytes | None = None) -> Files:
    """Write a layout that lists entries and holds parcels."""
    files: Files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": listing(*entries)}
    if referrers is not None:
        files["referrers.json"] = referrers
    for parcel in parcels:
        files.update(parcel.contents)
    return files


def names_of(reader: ArchiveReader) -> dict[Digest, tuple[str, ...]]:
    return {image.digest: image.names for image in reader.images}


def about(parcel: Parcel, subject: Parcel, tag: str | None = None) -> ArchivedReferrer:
    return ArchivedReferrer(parcel.digest, subject.digest, tag or parcel.tag or None)


def referrers_of(subject: Parcel, members: Sequence[Parcel]) -> Parcel:
    """Write the index by which registries without the referrers API list what is about an image."""
    made = index(members)
    return replace(made, documents=made.documents[-1:], blobs={}, tag=f"sha256-{subject.digest.hex}")
