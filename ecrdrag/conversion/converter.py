"""Own the conversion of images on their way: what has to be read first, what comes of it, and where that lies.

The stories may enter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from ecrdrag.archive import compress, decompress
from ecrdrag.archive.compress import Compression
from ecrdrag.content import BlobSource, Descriptor, Digest
from ecrdrag.conversion.layers import Kept, Layers
from ecrdrag.conversion.rewrite import compression_of, rewritten, with_layers
from ecrdrag.conversion.schema1 import LayerFacts, modernised, needed
from ecrdrag.errors import IntegrityError, UnsupportedError, located
from ecrdrag.manifest import LAYER_TYPES, Manifest, parse_object
from ecrdrag.registry.ends import Source
from ecrdrag.resolve import Image, Resolver, platform_of
from ecrdrag.schema1 import Schema1
from ecrdrag.transfer.crew import side_by_side
from ecrdrag.transfer.progress import Stage
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.tree import Tree


@dataclass(frozen=True, slots=True)
class Converted:
    """An image in its new form, and those of its blobs that lie here: made here, or read for it."""

    image: Image
    blobs: Mapping[Digest, BlobSource]


class Converter:
    """Convert images, each layer once; a context manager, which keeps what it made until the end of its block.

    For one thread. After a failure it converts nothing more.
    """

    def __init__(self, layers: Compression | None, *, jobs: int, retry: RetryPolicy, stage: Stage) -> None:
        """Say how layers are to be compressed; None keeps them as they are."""
        self._wish, self._retry = layers, retry
        self._layers = Layers(layers, jobs=jobs, retry=retry, stage=stage)

    def __enter__(self) -> Converter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._layers.close()

    def convert(self, found: Image | Schema1, source: Source, where: str) -> Converted:
        """Bring what has to be converted from source, which messages call where, and convert it; else give it as it is.

        Raises IntegrityError for layers that aren't what their image says, UnsupportedError for what can't be read
        here, ArchiveError where there is no room, and as the source does, which is good for nothing then.
        """
        with located(where):
            image = self._modern(found, source) if isinstance(found, Schema1) else self._fitted(found, source, where)
        here: dict[Digest, BlobSource] = {digest: Kept.of(config) for digest, config in image.configs.items()}
        here.update(self._layers.ways)
        return Converted(image, {blob.digest: here[blob.digest] for blob in image.tree.blobs if blob.digest in here})

    def _unfit(self, image: Image) -> dict[Digest, Descriptor]:
        """Collect the layers that aren't in the wanted form, as far as their types say."""
        if self._wish is None:
            return {}
        fit = (None, "" if self._wish.plain else "gzip")
        layers = (layer for one in image.tree.manifests if one.is_image for layer in one.layers)
        return {layer.digest: layer for layer in layers if compression_of(layer) not in fit}

    def _fitted(self, image: Image, source: Source, where: str) -> Image:
        """Put layers of the wanted form into every image of the tree that has others."""
        unfit = self._unfit(image)
        if not unfit:
            return image
        self._check_tools(unfit.values())
        manifests = [one for one in image.tree.manifests if one.is_image and _names_any(one, unfit)]
        configs = self._with_configs(manifests, image.configs, Resolver(source, where, self._retry), source.abort)
        layers = self._layers.bring(unfit.values(), source, claims=_claims(manifests, configs), changes=True)
        now = {digest: layer.now for digest, layer in layers.items()}
        replaced = {one.digest: with_layers(one, now) for one in manifests}
        tree = rewritten(image.tree, replaced)
        root = tree.root if image.root.digest == image.tree.root.digest else image.root  # else it isn't wanted itself
        loadable = image.manifest and replaced.get(image.manifest.digest, image.manifest)
        return Image(root, tree, loadable, image.platform, configs)

    def _check_tools(self, layers: Iterable[Descriptor]) -> None:
        """Say before anything is brought what this Python lacks."""
        if self._wish is not None:
            compress.require(self._wish)
        for layer in layers:
            decompress.require(compression_of(layer) or "", f"layer {layer.digest}")

    def _with_configs(
        self,
        manifests: Iterable[Manifest],
        known: Mapping[Digest, bytes],
        resolver: Resolver,
        abort: Callable[[], None],
    ) -> Mapping[Digest, bytes]:
        """Fetch what isn't known yet."""
        configs = dict(known)

        def keep(manifest: Manifest) -> None:
            configs[manifest.config.digest] = resolver.config(manifest)

        missing = {one.config.digest: one for one in manifests if one.config.digest not in known}
        side_by_side("config", list(missing.values()), keep, abort)
        return configs

    def _modern(self, schema1: Schema1, source: Source) -> Image:
        """Make an image of today, whose layers are in the wanted form already."""
        if self._wish is not None:
            compress.require(self._wish)
        layers = self._layers.bring(self._measured(needed(schema1), source), source, claims={}, changes=False)
        facts = {
            digest: LayerFacts(known.diff_id, known.now.size, known.now.compression, known.empty)
            for digest, known in layers.items()
        }
        manifest, config = modernised(schema1, facts)
        manifest = with_layers(manifest, {digest: known.now for digest, known in layers.items()})
        configs = {manifest.config.digest: config}
        return Image(manifest, Tree((manifest,)), manifest, platform_of(config), configs)

    def _measured(self, digests: Sequence[Digest], source: Source) -> list[Descriptor]:
        """Ask for the sizes, which schema 1 doesn't say."""
        sizes: dict[Digest, int] = {}

        def measure(digest: Digest) -> None:
            sizes[digest] = self._retry.insist(lambda: source.measure(digest), f"the size of layer {digest}")

        side_by_side("measure", digests, measure, source.abort)
        return [Descriptor(LAYER_TYPES["docker", "gzip"], digest, sizes[digest]) for digest in digests]


def _names_any(manifest: Manifest, layers: Collection[Digest]) -> bool:
    return any(layer.digest in layers for layer in manifest.layers)


def _claims(manifests: Iterable[Manifest], configs: Mapping[Digest, bytes]) -> dict[Digest, set[Digest]]:
    """Collect what the images say that their layers unpack to."""
    claims: dict[Digest, set[Digest]] = {}
    for manifest in manifests:
        diff_ids = _diff_ids(configs[manifest.config.digest], manifest)
        for layer, diff_id in zip(manifest.layers, diff_ids, strict=False):
            claims.setdefault(layer.digest, set()).add(diff_id)
    return claims


def _diff_ids(config: bytes, manifest: Manifest) -> Sequence[Digest]:
    """Read what the layers are to unpack to, nothing where the config doesn't say (OCI image spec, config.md)."""
    rootfs = parse_object(config, f"config {manifest.config.digest}").get("rootfs")
    texts = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if texts is None:
        return ()
    try:
        found = [Digest.parse(text) for text in texts]
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"config {manifest.config.digest}: rootfs.diff_ids: {error}") from error
    if other := next((each for each in found if each.algorithm != "sha256"), None):
        raise UnsupportedError(f"config {manifest.config.digest}: {other}: only sha256 is supported")
    if len(found) != len(manifest.layers):
        raise IntegrityError(
            f"manifest {manifest.digest} has {len(manifest.layers)} layers, its config knows {len(found)}"
        )
    return found
