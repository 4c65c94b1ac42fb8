"""Fill the data folder of a local ECR with many repositories and images at once; knows nothing of pytest.

    names = crowd(tmp_path / "data", repositories=2000, images=50)
    with running(tmp_path / "data") as ecr, client(ecr) as api: ...

Nobody may serve the folder meanwhile. What is in it depends on the arguments alone, but for the blobs' order on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

from ecrdrag.content import Digest
from ecrdrag.localecr.names import RegistryKey
from ecrdrag.localecr.storage.records import Image, Records
from ecrdrag.localecr.storage.store import Store
from ecrdrag.manifest import OCI_CONFIG, OCI_MANIFEST
from tests.localecr import ACCOUNT, OCI_LAYER, REGION

LAYER: Final = bytes(range(256)) * 256
CONFIG: Final = b'{"architecture":"amd64","os":"linux"}'
BEGAN: Final = 1_700_000_000.0
_SETTINGS: Final = {
    "imageTagMutability": "MUTABLE",
    "imageScanningConfiguration": {"scanOnPush": False},
    "encryptionConfiguration": {"encryptionType": "AES256"},
}


def crowd(
    data: Path,
    *,
    repositories: int,
    images: int,
    tagged: int | None = None,
    account: str = ACCOUNT,
    region: str = REGION,
) -> list[str]:
    """Make repositories with so many images each, and return their names; tagged of the images have a tag, or all.

    All have the same layer and config. One image comes each second, in one repository after the other; the tag of an
    image is its number.
    """
    names = [f"crowd/app-{number:05}" for number in range(repositories)]
    with Store(data, (account,)) as store:
        for blob in (LAYER, CONFIG):
            _place(store, blob)
        with store.metadata.write() as records:
            for number, name in enumerate(names):
                start = number * images
                _fill(records, RegistryKey(account, region), name, range(start, start + images), tagged)
    return names


def _place(store: Store, blob: bytes) -> None:
    with store.blobs.growing(str(uuid4())) as growing:
        growing.append([blob], 0)
        growing.acknowledged()
        with store.blobs.placing(Digest.of(blob)):
            store.blobs.place(growing, Digest.of(blob))


def _fill(records: Records, registry: RegistryKey, name: str, numbers: range, tagged: int | None) -> None:
    repository = records.add_repository(registry.repository(name), BEGAN, dict(_SETTINGS)).id
    needed = [(str(Digest.of(CONFIG)), OCI_CONFIG), (str(Digest.of(LAYER)), OCI_LAYER)]
    for (digest, _), blob in zip(needed, (CONFIG, LAYER), strict=True):
        records.add_layer(repository, digest, len(blob), BEGAN)
    for count, image in enumerate(_images(name, numbers)):
        records.add_image(repository, image, needed)
        if tagged is None or count < tagged:
            records.set_tag(repository, str(count), image.digest, image.pushed)


def _images(name: str, numbers: range) -> Iterator[Image]:
    for number in numbers:
        raw = _manifest(f"{name} {number}")
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        yield Image(digest, OCI_MANIFEST, OCI_CONFIG, "", len(LAYER) + len(CONFIG), BEGAN + number, raw)


def _manifest(title: str) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(OCI_CONFIG, CONFIG),
        "layers": [_descriptor(OCI_LAYER, LAYER)],
        "annotations": {"org.opencontainers.image.title": title},
    }
    return json.dumps(document).encode()


def _descriptor(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": str(Digest.of(blob)), "size": len(blob)}
