"""Own how commands say what is in a registry now, or would be: lines for people, one JSON object for programs.

The commands that move images enter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ecrdrag.content import Descriptor, Digest
from ecrdrag.delivery import Fate
from ecrdrag.reference import ImageReference
from ecrdrag.tree import Referrer, Tree

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024

Fates = Mapping[Digest, Fate]


def size_text(size: int) -> str:
    """Say a number of bytes."""
    amount = float(size)
    place = 0
    while amount >= _STEP and place < len(_UNITS) - 1:
        amount, place = amount / _STEP, place + 1
    return f"{amount:.1f} {_UNITS[place]}" if place else f"{size} B"


def name_text(reference: ImageReference, tree: Tree) -> str:
    """Name an image with its digest."""
    return str(replace(reference, digest=tree.root.digest))


def referrer_text(reference: ImageReference, referrer: Referrer) -> str:
    """Name what is about an image, beside which it is, with its digest; it may have a tag of its own."""
    return name_text(replace(reference, tag=referrer.tag), referrer.tree)


def blob_lines(tree: Tree, fates: Fates) -> Iterator[str]:
    """Give a line for each blob: digest, size, what becomes of it."""
    for blob in tree.blobs:
        yield f"  {blob.digest}  {size_text(blob.size):>11}  {fates[blob.digest].value}"


def image_document(
    references: Sequence[ImageReference], tree: Tree, fates: Fates, referrers: Sequence[Referrer] = ()
) -> dict[str, object]:
    """Give what a program may want to know of an image, and of what is about it: its blobs are in the same lists."""
    manifests = [manifest for each in (tree, *(one.tree for one in referrers)) for manifest in each.manifests]
    configs = {manifest.config.digest: manifest.config for manifest in manifests}
    layers = {layer.digest: layer for manifest in manifests for layer in manifest.layers}
    return {
        "references": [name_text(reference, tree) for reference in references],
        "digest": str(tree.root.digest),
        "mediaType": tree.root.media_type,
        "manifests": [str(document.digest) for document in tree.documents],
        "configs": [{**blob_document(blob), "status": fates[blob.digest].value} for blob in configs.values()],
        "layers": [{**blob_document(blob), "status": fates[blob.digest].value} for blob in layers.values()],
        "referrers": [referrer_document(referrer) for referrer in referrers],
    }


def referrer_document(referrer: Referrer) -> dict[str, object]:
    """Give what a program may want to know of what is about an image."""
    root = referrer.tree.root
    return {
        "digest": str(root.digest),
        "mediaType": root.media_type,
        "artifactType": root.descriptor.artifact_type,
        "subject": str(referrer.subject),
        "tag": referrer.tag,
    }


def blob_document(blob: Descriptor) -> dict[str, object]:
    """Give what a program may want to know of a blob."""
    return {"digest": str(blob.digest), "size": blob.size, "mediaType": blob.media_type}
