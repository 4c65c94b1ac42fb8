"""Own the choice of one image out of what a reference names.

The stories may enter.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ecrdrag.content import Descriptor, Digest, Platform
from ecrdrag.errors import NotFoundError, UnsupportedError
from ecrdrag.manifest import FOREIGN_LAYER_TYPES, IMAGE_CONFIG_TYPES, INDEX_TYPES, Index, Manifest, parse_object
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Source
from ecrdrag.transfer.download import fetch
from ecrdrag.transfer.retry import RetryPolicy

log = logging.getLogger(__name__)

MAX_CONFIG_SIZE: Final = 4 * 1024 * 1024  # bytes; skopeo and podman read no larger config
MAX_INDEX_DEPTH: Final = 8  # indexes inside indexes; real ones have one or two
MAX_DOCUMENTS: Final = 200  # fetched to choose one image; real indexes need fewer than ten


@dataclass(frozen=True, slots=True)
class Wish:
    """Say which platform an image is wanted for.

    An explicit wish must be met; otherwise it is this machine's, and a single image for another
    platform is taken with a warning.
    """

    platform: Platform
    explicit: bool = True


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its manifest, its config read and verified, and the platform in it."""

    manifest: Manifest
    config: bytes
    platform: Platform


class Resolver:
    """Find the one image that a reference and a wish mean."""

    def __init__(self, source: Source, retry: RetryPolicy) -> None:
        self._source = source
        self._retry = retry

    def resolve(self, reference: ImageReference, wish: Wish) -> Image:
        """Fetch manifests and a config until one image is left.

        Raises NotFoundError, which lists what there is, when no image fits the wish, and
        UnsupportedError for artifacts and for images with layers that the registry doesn't hold.
        """
        root = self._document(tag=reference.tag, digest=reference.digest)
        if isinstance(root, Index):
            return self._image(self._choose(reference, root, wish.platform))
        image = self._image(root)
        _check_platform(reference, image.platform, wish)
        return image

    def _choose(self, reference: ImageReference, index: Index, wanted: Platform) -> Manifest:
        offers = list(self._offers(index, set()))
        ranks = [(wanted.preference(platform), place) for place, (platform, _) in enumerate(offers)]
        fitting = [(rank, place) for rank, place in ranks if rank is not None]
        if not fitting:
            there = ", ".join(sorted({str(platform) for platform, _ in offers}))
            raise NotFoundError(
                f"{reference} has no image for {wanted}; it has {there or 'no image at all'}",
                hint="choose one of these with --platform" if there else "",
            )
        _, best = min(fitting)
        return self._manifest(offers[best][1])

    def _offers(self, index: Index, seen: set[Digest], depth: int = 1) -> Iterator[tuple[Platform, Descriptor]]:
        """List the images of an index and of the indexes in it, in order, with their platforms.

        Each document is fetched once, and not more of them than MAX_DOCUMENTS.
        """
        if depth > MAX_INDEX_DEPTH:
            raise UnsupportedError(f"indexes lie in each other more than {MAX_INDEX_DEPTH} deep")
        for entry in index.manifests:
            is_index = entry.media_type in INDEX_TYPES
            if entry.platform is not None and not is_index:
                if entry.platform.architecture != "unknown":  # buildx: an attestation, not an image
                    yield entry.platform, entry
            elif entry.digest not in seen:
                _note(seen, entry.digest)
                yield from self._offers(self._index(entry), seen, depth + 1) if is_index else self._offer(entry)

    def _offer(self, entry: Descriptor) -> Iterator[tuple[Platform, Descriptor]]:
        """Ask the config: an index need not give platforms (OCI image spec, image-index.md)."""
        manifest = self._manifest(entry)
        if manifest.config.media_type in IMAGE_CONFIG_TYPES:
            yield self._image(manifest).platform, entry

    def _index(self, entry: Descriptor) -> Index:
        found = self._document(digest=entry.digest)
        if not isinstance(found, Index):
            raise UnsupportedError(f"{entry.digest} is an image where an index promised an index")
        return found

    def _manifest(self, entry: Descriptor) -> Manifest:
        found = self._document(digest=entry.digest)
        if not isinstance(found, Manifest):
            raise UnsupportedError(f"{entry.digest} is an index where an index promised an image")
        return found

    def _document(self, *, tag: str | None = None, digest: Digest | None = None) -> Manifest | Index:
        return self._retry.insist(
            lambda: self._source.manifest(tag=tag, digest=digest), f"the manifest {digest or tag or ''}".rstrip()
        )

    def _image(self, manifest: Manifest) -> Image:
        _check_kind(manifest)
        config = fetch(manifest.config, self._source, retry=self._retry)
        return Image(manifest, config, _platform_of(config))


def _platform_of(config: bytes) -> Platform:
    """Read what the image runs on; what the config doesn't say is empty."""
    document = parse_object(config, "image config")
    words = [document.get(member) for member in ("os", "architecture", "variant")]
    return Platform(*(word if isinstance(word, str) else "" for word in words))


def _note(seen: set[Digest], digest: Digest) -> None:
    seen.add(digest)
    if len(seen) > MAX_DOCUMENTS:
        raise UnsupportedError(f"an index leads to more than {MAX_DOCUMENTS} documents")


def _check_kind(manifest: Manifest) -> None:
    config = manifest.config
    if config.media_type not in IMAGE_CONFIG_TYPES:
        raise UnsupportedError(
            f"{manifest.digest} is an artifact of type {config.media_type}, not a container image",
            hint="this version handles container images only",
        )
    for layer in manifest.layers:
        if layer.media_type in FOREIGN_LAYER_TYPES:
            raise UnsupportedError(
                f"layer {layer.digest} is not distributable: the registry holds no copy of it",
                hint="this version handles only images whose layers are all in the registry",
            )
    if config.size > MAX_CONFIG_SIZE:
        raise UnsupportedError(f"a config of {config.size} bytes is over the limit of {MAX_CONFIG_SIZE}")


def _check_platform(reference: ImageReference, found: Platform, wish: Wish) -> None:
    if wish.platform.preference(found) is not None:
        return
    if wish.explicit:
        raise NotFoundError(
            f"{reference} is an image for {found}, not for {wish.platform}",
            hint=f"leave --platform out, or give --platform {found}",
        )
    log.warning("%s is an image for %s, this machine is %s", reference, found, wish.platform)
