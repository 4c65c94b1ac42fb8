"""What a manifest may be to the local ECR, whoever made it and whatever for."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from ecrdrag import manifest
from ecrdrag.localecr.api import documents

DIGEST = "sha256:" + "a" * 64
LARGEST = 2**63 - 1


def document(**more: object) -> dict[str, object]:
    blob = {"mediaType": manifest.OCI_CONFIG, "digest": DIGEST, "size": 1}
    return {"schemaVersion": 2, "mediaType": manifest.OCI_MANIFEST, "config": blob, "layers": [], **more}


def test_a_deep_manifest_takes_no_more_memory_than_a_flat_one() -> None:
    deep: object = [1] * 20_000
    for _ in range(300):
        deep = [deep]
    raw = json.dumps(document(deep=deep)).encode()
    tracemalloc.start()
    try:
        read = documents.read(raw, "")
        documents.translate(raw, read.media_type, [manifest.DOCKER_MANIFEST])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30 * len(raw)


def test_blobs_of_more_bytes_than_can_be_counted_are_refused() -> None:
    layer = {"mediaType": "application/vnd.example", "digest": "sha256:" + "b" * 64, "size": LARGEST - 1}
    assert documents.read(json.dumps(document(layers=[layer])).encode(), "").blob_size == LARGEST
    with pytest.raises(ValueError, match="9223372036854775808 bytes"):
        documents.read(json.dumps(document(layers=[layer | {"size": LARGEST}])).encode(), "")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_json_in_another_encoding_is_no_manifest(encoding: str) -> None:
    raw = json.dumps(document()).encode(encoding)
    raw.decode()  # so the API can carry it
    with pytest.raises(ValueError, match="UTF-8"):
        documents.read(raw, "")


def test_an_index_that_names_an_image_a_thousand_times_needs_it_once() -> None:
    child = {"mediaType": manifest.OCI_MANIFEST, "digest": DIGEST, "size": 5}
    index = {"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": [child] * 1000}
    assert len(documents.read(json.dumps(index).encode(), "").children) == 1
