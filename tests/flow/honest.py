"""Own the honest archives that the fuzz of pushes begins with: one of every kind.

tests/flow/mutants.py and test_push_fuzz.py enter.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import zstandard

from ecrdrag import manifest as kinds
from tests.images import Blob, Image, hello_image, image_of, index_of, tar_of
from tests.saved import (
    LAYER_TARS,
    Files,
    crane_archive,
    docker_archive,
    docker_save_new,
    docker_save_old,
    oci_layout,
)

HELLO: Final = hello_image()
DOCKER: Final = image_of(LAYER_TARS, oci=False)
EMPTY: Final = tar_of({})


def _own() -> Files:
    """What docker_pull.py writes: a layout, and docker's manifest.json beside it."""
    layers = [f"blobs/sha256/{layer.digest.hex}" for layer in DOCKER.layers]
    entry = {"Config": f"blobs/sha256/{DOCKER.config.digest.hex}", "RepoTags": ["a/b:1"], "Layers": layers}
    return {**oci_layout({"1": DOCKER}), "manifest.json": json.dumps([entry]).encode()}


def _foreign() -> Files:
    """A layout with a layer that no registry need hold."""
    away = Blob(b"elsewhere", kinds.FOREIGN_LAYER_TYPES[0])
    document = json.loads(DOCKER.manifest.content)
    document["layers"].append({**away.json, "urls": ["https://example.com/layer"]})
    manifest = Blob(json.dumps(document).encode(), DOCKER.manifest.media_type)
    return oci_layout([Image(manifest, DOCKER.config, DOCKER.layers, DOCKER.platform)])


def _zstd(tar: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(tar)


PACKERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": partial(gzip.compress, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": _zstd,
}
BASES: Final[Mapping[str, Files]] = {
    "docker save before 25": docker_save_old(),
    "docker save before 25, a layer twice": docker_save_old(tars=(LAYER_TARS[0], EMPTY, LAYER_TARS[0])),
    "docker save": docker_save_new(),
    "docker save, a layer twice": docker_save_new(tars=(EMPTY, LAYER_TARS[0], EMPTY)),
    "skopeo": docker_archive(),
    "skopeo, bzip2": docker_archive(pack=bz2.compress),
    "skopeo, xz": docker_archive(pack=lzma.compress),
    "skopeo, zstd": docker_archive(pack=_zstd),
    "crane": crane_archive(),
    "docker_pull.py": _own(),
    "a layout": oci_layout({"1": HELLO}),
    "a layout of docker's": oci_layout([DOCKER]),
    "an index": oci_layout({"1": index_of([hello_image("arm64"), HELLO])}),
    "a list": oci_layout([index_of([hello_image("arm64", oci=False), hello_image(oci=False)], oci=False)]),
    "a foreign layer": _foreign(),
}
TWO: Final = oci_layout({"1": HELLO, "2": DOCKER})
WISHES: Final = ("1", "2", str(HELLO.manifest.digest), DOCKER.manifest.digest.hex[:12])
