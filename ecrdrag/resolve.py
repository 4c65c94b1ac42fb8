"""Own the choice of what a reference means: which documents of it are wanted, and which image docker load gets.

The stories may enter.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from ecrdrag.content import Descriptor, Digest, Platform
from ecrdrag.errors import NotFoundError, UnsupportedError
from ecrdrag.manifest import (
    ATTESTED,
    INDEX_TYPES,
    MANIFEST_TYPES,
    Document,
    Index,
    Manifest,
    is_attestation,
    parse_object,
)
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Source, Spared
from ecrdrag.schema1 import SCHEMA1_TYPES, Schema1
from ecrdrag.transfer.crew import side_by_side
from ecrdrag.transfer.download import fetch
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.tree import MAX_DEPTH, MAX_DOCUMENTS, MAX_SIZE, Tree, check_algorithm, check_child, grow

log = logging.getLogger(__name__)

MAX_CONFIG_SIZE: Final = 4 * 1024 * 1024  # bytes; skopeo and podman read no larger config
# What else an index names is no error, and no image: OCI image spec, image-index.md.
_MAY_BE_IMAGES: Final = ("", *MANIFEST_TYPES, *SCHEMA1_TYPES)
_ALONE: Final = "such images are converted only where a reference names them: give the digest of this one"


@dataclass(frozen=True, slots=True)
class Wish:
    """Say which images of an index are wanted: those for some platforms, or everything that it leads to.

    Of several, docker load gets the one for the first platform. An explicit wish must be met; otherwise it is this
    machine's, and where that can't be, another image is taken with a warning, unless one is to be chosen of several.
    """

    platforms: tuple[Platform, ...]
    explicit: bool = True
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """What a reference means: root is the document that it names, tree all that is wanted of it.

    manifest is the image that docker load gets, with its platform; None where there is none. configs are those
    that were read, verified. Of an index one image alone may be wanted, which is then the tree's root.
    """

    root: Document
    tree: Tree
    manifest: Manifest | None
    platform: Platform | None
    configs: Mapping[Digest, bytes]


class Resolver:
    """Find what a reference and a wish mean; the source is good for other images after a failure."""

    def __init__(self, source: Source, where: str, retry: RetryPolicy) -> None:
        self._source, self._where, self._retry = source, where, retry
        self._documents: dict[Digest, Document] = {}
        self._configs: dict[Digest, bytes] = {}

    def _root(self, reference: ImageReference) -> Document | Schema1:
        """Fetch what the reference names."""
        what = f"the manifest {reference.digest or reference.tag or ''}".rstrip()
        return self._retry.insist(lambda: self._source.manifest(tag=reference.tag, digest=reference.digest), what)

    def _whole(self, root: Document) -> Tree:
        """Fetch all that a root leads to, side by side."""
        self._gathered(root)
        return grow(root, self._child)

    def resolve(self, reference: ImageReference, wish: Wish | None) -> Image | Schema1:
        """Fetch what is wanted, and the config of what docker load gets; schema 1 has to be converted first.

        Without a wish it is all that there is, as it is, and nothing is chosen for docker.

        Raises NotFoundError, which lists what there is, when nothing fits the wish, UnsupportedError for a tree
        that is too large, IntegrityError for one that contradicts itself.
        """
        root = self._root(reference)
        if isinstance(root, Schema1):
            return _old(reference, root, wish)
        if wish is None:
            return Image(root, self._whole(root), None, None, {})
        if isinstance(root, Manifest):
            return self._single(reference, root, wish)
        tree = self._whole(root) if wish.everything else None
        offers = tuple(self._offers(root, set()))
        if tree is not None:
            return self._image(root, tree, self._loadable(reference, offers, wish))
        chosen = [_best(reference, offers, platform) for platform in wish.platforms]
        first = self._manifest(chosen[0])
        if len(wish.platforms) == 1:
            return self._image(root, grow(first, _nothing), first)
        return self._image(root, self._part(root, {str(entry.digest) for entry in chosen}), first)

    def _single(self, reference: ImageReference, root: Manifest, wish: Wish) -> Image:
        image = self._image(root, grow(root, _nothing), root)
        for platform in wish.platforms:
            _check_platform(reference, image.platform, platform, wish)
        return image

    def _loadable(self, reference: ImageReference, offers: Sequence[_Offer], wish: Wish) -> Manifest | None:
        """Choose what docker load gets of all that there is."""
        wanted = wish.platforms[0]
        if wish.explicit or any(wanted.preference(offer.platform) is not None for offer in offers):
            return self._manifest(_best(reference, offers, wanted))
        if not offers:
            return None
        log.warning("%s has no image for %s: docker load would get that for %s", reference, wanted, offers[0].platform)
        return self._manifest(offers[0].entry)

    def _part(self, root: Index, chosen: Set[str]) -> Tree:
        """Leave out of an index what wasn't chosen, but for the attestations of what was."""
        leading: dict[Digest, bool] = {}

        def leads(entry: Descriptor) -> bool:
            if str(entry.digest) in chosen or entry.annotations.get(ATTESTED) in chosen:
                return True
            if entry.digest not in leading and entry.media_type in INDEX_TYPES:
                leading[entry.digest] = False
                leading[entry.digest] = any([leads(one) for one in self._index(entry).manifests])  # noqa: C419 - all of them
            return leading.get(entry.digest, False)

        return grow(root, lambda entry: self._child(entry) if leads(entry) else None)

    def _offers(self, index: Index, seen: set[Digest], depth: int = 1) -> Iterator[_Offer]:
        """List the images of an index and of the indexes in it, in order, with their platforms.

        Each document is fetched once, and not more of them than MAX_DOCUMENTS.
        """
        if depth > MAX_DEPTH:
            raise UnsupportedError(f"indexes lie in each other more than {MAX_DEPTH} deep")
        for entry in index.manifests:
            is_index = entry.media_type in INDEX_TYPES
            if entry.platform is not None and not is_index:
                if not is_attestation(entry):
                    yield _Offer(entry.platform, entry)
            elif entry.digest not in seen and (is_index or entry.media_type in _MAY_BE_IMAGES):
                _note(seen, entry.digest)
                yield from self._offers(self._index(entry), seen, depth + 1) if is_index else self._offer(entry)

    def _offer(self, entry: Descriptor) -> Iterator[_Offer]:
        """Ask the config: an index need not give platforms (OCI image spec, image-index.md)."""
        manifest = self._manifest(entry)
        if manifest.is_image:
            yield _Offer(platform_of(self.config(manifest)), entry)

    def _index(self, entry: Descriptor) -> Index:
        found = self._child(entry)
        if not isinstance(found, Index):
            raise UnsupportedError(f"{entry.digest} is an image where an index promised an index")
        return found

    def _manifest(self, entry: Descriptor) -> Manifest:
        found = self._child(entry)
        if not isinstance(found, Manifest):
            raise UnsupportedError(f"{entry.digest} is an index where an index promised an image")
        return found

    def _child(self, entry: Descriptor) -> Document:
        """Fetch what an index names, each once."""
        check_algorithm(entry)
        if entry.digest not in self._documents:
            if sum(len(each.raw) for each in tuple(self._documents.values())) > MAX_SIZE:
                raise UnsupportedError(f"the manifests of the image have more than {MAX_SIZE} bytes")
            self._documents[entry.digest] = self._fetched(entry)
        document = self._documents[entry.digest]
        check_child(self._where, document, entry)
        return document

    def _fetched(self, entry: Descriptor) -> Document:
        try:
            document = self._retry.insist(
                lambda: self._source.manifest(digest=entry.digest), f"the manifest {entry.digest}"
            )
        except NotFoundError as error:
            place = f" for {entry.platform}" if entry.platform else ""
            raise NotFoundError(
                f"{error}: the image{place} that its index names",
                hint="the index isn't whole there: choose a platform that it has with --platform",
            ) from error
        if isinstance(document, Schema1):
            raise UnsupportedError(f"{entry.digest} is a schema 1 manifest inside an index", hint=_ALONE)
        return document

    def _gathered(self, root: Document) -> None:
        """Fetch what a root leads to, level by level, each side by side; too much is left for grow() to refuse."""

        def bring(entry: Descriptor) -> None:
            self._child(entry)

        level: Sequence[Document] = [root]
        for _ in range(MAX_DEPTH):
            entries = self._unseen(level)[: MAX_DOCUMENTS - len(self._documents)]
            size = sum(len(each.raw) for each in self._documents.values()) + sum(entry.size for entry in entries)
            if not entries or size > MAX_SIZE:
                break
            side_by_side("manifest", entries, bring)
            level = [self._documents[entry.digest] for entry in entries]

    def _unseen(self, level: Iterable[Document]) -> list[Descriptor]:
        entries = (entry for document in level if isinstance(document, Index) for entry in document.manifests)
        distinct = {entry.digest: entry for entry in entries if entry.digest.algorithm == "sha256"}
        return [entry for digest, entry in distinct.items() if digest not in self._documents]

    def _image(self, root: Document, tree: Tree, manifest: Manifest | None) -> Image:
        if manifest is None or not manifest.is_image:
            return Image(root, tree, None, None, self._configs)
        return Image(root, tree, manifest, platform_of(self.config(manifest)), self._configs)

    def config(self, manifest: Manifest) -> bytes:
        """Fetch an image's config, verified, once; raises UnsupportedError for one that is too large."""
        config = manifest.config
        if config.size > MAX_CONFIG_SIZE:
            raise UnsupportedError(f"a config of {config.size} bytes is over the limit of {MAX_CONFIG_SIZE}")
        if config.digest not in self._configs:
            if sum(map(len, tuple(self._configs.values()))) + config.size > MAX_SIZE:
                raise UnsupportedError(f"the configs of the image have more than {MAX_SIZE} bytes")
            self._configs[config.digest] = fetch(config, Spared(self._source), retry=self._retry)
        return self._configs[config.digest]


@dataclass(frozen=True, slots=True)
class _Offer:
    """One image of an index, and what it runs on."""

    platform: Platform
    entry: Descriptor


def _best(reference: ImageReference, offers: Sequence[_Offer], wanted: Platform) -> Descriptor:
    ranks = [(wanted.preference(offer.platform), place) for place, offer in enumerate(offers)]
    fitting = [(rank, place) for rank, place in ranks if rank is not None]
    if not fitting:
        there = ", ".join(sorted({str(offer.platform) for offer in offers}))
        raise NotFoundError(
            f"{reference} has no image for {wanted}; it has {there or 'no image at all'}",
            hint="choose one of these with --platform" if there else "--platform all takes whatever it has",
        )
    return offers[min(fitting)[1]].entry


def _nothing(entry: Descriptor) -> None:
    """Name nothing: an image leads to no other document."""


def platform_of(config: bytes) -> Platform:
    """Read what the image runs on; what the config doesn't say is empty."""
    document = parse_object(config, "image config")
    words = [document.get(member) for member in ("os", "architecture", "variant")]
    return Platform(*(word if isinstance(word, str) else "" for word in words))


def _old(reference: ImageReference, schema1: Schema1, wish: Wish | None) -> Schema1:
    """Hold an image before 2016 to the wish."""
    if wish is not None:
        for platform in wish.platforms:
            _check_platform(reference, schema1.platform, platform, wish)
    return schema1


def _note(seen: set[Digest], digest: Digest) -> None:
    seen.add(digest)
    if len(seen) > MAX_DOCUMENTS:
        raise UnsupportedError(f"an index leads to more than {MAX_DOCUMENTS} documents")


def _check_platform(reference: ImageReference, found: Platform | None, wanted: Platform, wish: Wish) -> None:
    if found is not None and wanted.preference(found) is not None:
        return
    if wish.explicit:
        what, other = (f"an image for {found}, not", f", or give --platform {found}") if found else ("no image", "")
        raise NotFoundError(f"{reference} is {what} for {wanted}", hint=f"leave --platform out{other}")
    if found is not None:
        log.warning("%s is an image for %s, this machine is %s", reference, found, wanted)
