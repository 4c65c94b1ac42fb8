"""Own the archives that were found to be trouble, by the fuzz or by reading the code beside it, and how each may end.

test_push_fuzz.py enters.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from ecrdrag.content import Digest
from ecrdrag.manifest import FOREIGN_LAYER_TYPES, OCI_INDEX, OCI_MANIFEST
from tests.flow.honest import HELLO
from tests.flow.hostile import written
from tests.images import Blob
from tests.saved import Files, Link, docker_archive

MIB: Final = 1024 * 1024
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
LAYER_TYPE: Final = HELLO.layers[0].media_type
NO_BYTES: Final = Digest.of(b"")


def manifest_with(change: Callable[[Any], object], **more: object) -> bytes:
    """Write the manifest of an honest image, changed."""
    document = json.loads(HELLO.manifest.content)
    change(document)
    return written({**document, **more}).encode()


def layout_of(*documents: bytes, blobs: Files | None = None, **entry: object) -> Files:
    """Lay out documents, of which the last is the root; entry changes what index.json says of it."""
    descriptor = {**Blob(documents[-1], OCI_MANIFEST).json, **entry}
    kept = [*documents, *(blob.content for blob in HELLO.blobs.values()), b""]
    return {
        "oci-layout": LAYOUT,
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode(),
        **{f"blobs/sha256/{Digest.of(each).hex}": each for each in kept},
        **(blobs or {}),
    }


def index_over(*children: bytes, by: str = "sha256", copies: int = 1) -> tuple[bytes, Files]:
    """Write an index, and keep its children under the digests by which it names them."""
    digests = [Digest.of(child, by) for child in children]
    entries = [
        {"mediaType": OCI_MANIFEST, "digest": str(digest), "size": len(child)}
        for child, digest in zip(children, digests, strict=True)
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries * copies}).encode()
    files = {f"blobs/{by}/{digest.hex}": child for child, digest in zip(children, digests, strict=True)}
    return index, files


def layer(digest: object, size: int) -> dict[str, object]:
    return {"mediaType": LAYER_TYPE, "digest": str(digest), "size": size}


def sized(size: int) -> bytes:
    return manifest_with(lambda document: document["layers"][0].update(size=size))


def docker_files(entries: object, **files: bytes) -> Files:
    return {**files, "manifest.json": json.dumps(entries, separators=(",", ":")).encode()}


def deep_in_sha512(depth: int, copies: int) -> Files:
    """Put indexes in indexes, each with copies of one entry: readers who remember by sha256 read them all."""
    child = HELLO.manifest.content
    blobs: dict[str, bytes | Link] = {}
    for _ in range(depth):
        child, more = index_over(child, by="sha512", copies=copies)
        blobs.update(more)
    return layout_of(child, blobs=blobs, mediaType=OCI_INDEX)


def two_sizes() -> Files:
    index, blobs = index_over(sized(5), HELLO.manifest.content)
    return layout_of(index, blobs=blobs, mediaType=OCI_INDEX)


def by_sha512() -> Files:
    index, blobs = index_over(HELLO.manifest.content, by="sha512")
    return layout_of(index, blobs=blobs, mediaType=OCI_INDEX)


def layer_by_sha512() -> Files:
    content = HELLO.layers[0].content
    digest = Digest.of(content, "sha512")
    manifest = manifest_with(lambda document: document["layers"][0].update(digest=str(digest)))
    return layout_of(manifest, blobs={f"blobs/sha512/{digest.hex}": content})


def one_file_for_two_layers() -> Files:
    files = dict(docker_archive())
    (entry,) = json.loads(str(files["manifest.json"], "utf-8"))  # type: ignore[arg-type]
    return {**files, **docker_files([{**entry, "Layers": entry["Layers"][1:] * 2}])}


def large_config() -> Files:
    config = b'{"rootfs":{"diff_ids":[]}}' + b" " * 3 * MIB
    name = f"{Digest.of(config).hex}.json"
    return docker_files([{"Config": name}], **{name: config})


def config_again_and_again(*names: str) -> Files:
    config = b'{"rootfs":{"diff_ids":[]},"x":[%s0]}' % (b"[]," * 300_000)
    return docker_files([{"Config": name} for name in names], c=config)


def names_again_and_again() -> Files:
    return docker_files([{"Config": "c", "RepoTags": [""] * 1375}] * 1000, c=b'{"rootfs":{"diff_ids":[]}}')


def layers_with(change: Callable[[list[Any]], object]) -> Files:
    return layout_of(manifest_with(lambda document: change(document["layers"])))


# What the fuzz found, and what reading the code beside it did: how it is built, and how it may end.
FOUND: dict[str, tuple[Callable[[], Files], set[int]]] = {
    "a layer without bytes": (lambda: layers_with(lambda layers: layers.append(layer(NO_BYTES, 0))), {8}),
    "a layer that is said to have no bytes": (lambda: layers_with(lambda layers: layers[0].update(size=0)), {6}),
    "an absent layer that is said to have none": (
        lambda: layers_with(lambda layers: layers.append(layer(Digest.of(b"a"), 0))),
        {6, 7},
    ),
    "a layer by sha512": (layer_by_sha512, {8}),
    "a manifest by sha512": (by_sha512, {8}),
    "indexes by sha512, with 10^7 ways through": (lambda: deep_in_sha512(7, 10), {8}),
    "one file for two layers": (one_file_for_two_layers, {6}),
    "a layer of two sizes in two manifests": (two_sizes, {6}),
    "another size in index.json": (lambda: layout_of(HELLO.manifest.content, size=7), {6}),
    "501 layers": (lambda: layers_with(lambda layers: layers.extend(layers * 500)), {8}),
    "NaN in a manifest": (lambda: layout_of(manifest_with(id, comment=float("nan"))), {8}),
    "half a character in a manifest": (lambda: layout_of(manifest_with(id, comment="\ud800")), {8}),
    "depth in a manifest": (lambda: layout_of(manifest_with(id, comment="<deep 900>")), {0, 8}),
    "a number as media type": (lambda: layout_of(manifest_with(id, mediaType=5)), {8}),
    "a foreign layer that is there": (
        lambda: layers_with(lambda layers: layers[0].update(mediaType=FOREIGN_LAYER_TYPES[0])),
        {0},
    ),
    "a config of 3 MiB": (large_config, {0}),
    "a manifest of 3 MiB": (lambda: layout_of(HELLO.manifest.content + b" " * 3 * MIB), {0}),
    "one config a thousand times": (lambda: config_again_and_again(*["c"] * 1000), {0, 7}),
    "one config by a thousand names": (
        lambda: config_again_and_again(*("./" * count + "c" for count in range(1000))),
        {0, 7},
    ),
    "a million names": (names_again_and_again, {0, 7}),
}
