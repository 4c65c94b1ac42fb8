"""Look at images of a source in memory and of archives, in this process; images worth looking at.

The tests of inspections enter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ecrdrag.cli.choice import wish_of
from ecrdrag.cli.inspect_json import inspection_document
from ecrdrag.content import Digest
from ecrdrag.inspection.anatomy import InspectedImage, Inspection
from ecrdrag.inspection.story import InspectOptions, inspect_archive, inspect_reference
from ecrdrag.manifest import DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, OCI_MANIFEST
from tests.archives import reading
from tests.fake_ends import FAST, HERE, MemorySource
from tests.images import Blob
from tests.kinds import Parcel, document_of
from tests.saved import Files

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
# Every field of a config that is shown, some of them as nobody's friend would write them.
RICH: Mapping[str, Any] = {
    "created": "2024-05-06T07:08:09Z",
    "architecture": "amd64",
    "os": "windows",
    "os.version": "10.0.20348.2762",
    "config": {
        "User": "ContainerUser",
        "WorkingDir": "C:\\app",
        "Entrypoint": ["cmd", "/S", "/C"],
        "Cmd": ["app.exe"],
        "Env": ["PATH=C:\\Windows;C:\\app", "EVIL=a\x1b[31mred\nline"],
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
        "Volumes": {"c:/data": {}},
        "Labels": {"org.opencontainers.image.source": "https://example.com/app", "bell\x07": "c\rd"},
        "StopSignal": "SIGTERM",
        "Healthcheck": {"Test": ["CMD-SHELL", "app.exe /health"], "Interval": 30_000_000_000, "Retries": 3},
    },
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64, "sha256:" + "2" * 64]},
    "history": [
        {"created_by": "Apply image 10.0.20348.2762", "created": "2024-05-01T00:00:00Z"},
        {"created_by": '/bin/sh -c #(nop)  CMD ["app.exe"]', "empty_layer": True, "author": "somebody"},
        {"created_by": "RUN cmd /S /C echo   hello\n && app.exe /install # buildkit", "comment": "buildkit"},
    ],
}


def image_with(config: object, layers: Sequence[Blob] = (), *, oci: bool = True, **members: object) -> Parcel:
    """Build an image of any config, JSON or not; each layer is there."""
    content = config if isinstance(config, bytes) else json.dumps(config).encode()
    blob = Blob(content, OCI_CONFIG if oci else DOCKER_CONFIG)
    named = [layer.json for layer in layers]
    root = document_of(OCI_MANIFEST if oci else DOCKER_MANIFEST, config=blob.json, layers=named, **members)
    return Parcel((root,), {one.digest: one for one in (blob, *layers)})


def windows_image() -> Parcel:
    """Build an image upon a layer that lies elsewhere, by a link that nobody should see."""
    base, app = Blob(b"base of windows", FOREIGN), Blob(b"app", GZIP)
    config = Blob(json.dumps(RICH).encode(), DOCKER_CONFIG)
    urls = ["https://user:s3cret@mcr.microsoft.com/base?X-Amz-Signature=s3cret"]
    root = document_of(DOCKER_MANIFEST, config=config.json, layers=[{**base.json, "urls": urls}, app.json])
    platform = {"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.2762"}
    blobs = {blob.digest: blob for blob in (config, app)}
    return Parcel((root,), blobs, {"platform": platform}, elsewhere={base.digest: base})


def source_of(*parcels: Parcel, tag: str = "1", without: Sequence[Digest] = ()) -> MemorySource:
    """Offer parcels, the first by a tag; what is left out isn't there."""
    source = MemorySource()
    for place, parcel in enumerate(parcels):
        for document in parcel.documents:
            if document.digest not in without:
                is_root = document is parcel.root
                source.put_document(document, (parcel.tag or ("" if place else tag)) if is_root else "")
        source.blobs.update({blob.digest: blob.content for blob in parcel.blobs.values()})
    return source


def looked(source: MemorySource, platform: str | None = None, *, referrers: bool = False) -> Inspection:
    """Look at what the tag 1 means."""
    options = InspectOptions(wish_of([platform] if platform else None), referrers=referrers, retry=FAST)
    return inspect_reference(HERE, source, options)


def looked_into(files: Files, platform: str | None = None, *, image: str | None = None) -> Inspection:
    """Look into an archive of these files."""
    with reading(files) as archive:
        options = InspectOptions(wish_of([platform] if platform else None), image=image)
        return inspect_archive(archive, options)


def only(inspection: Inspection) -> InspectedImage:
    """Give the one image."""
    (image,) = inspection.images
    return image


def document(inspection: Inspection) -> dict[str, Any]:
    """Give the JSON document of the one image, as a program reads it."""
    (image,) = json.loads(json.dumps(inspection_document(inspection)))["images"]
    assert isinstance(image, dict)
    return image
