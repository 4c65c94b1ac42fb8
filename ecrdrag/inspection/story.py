"""Own the story of an inspection: reference or archive → documents → configs that are wanted → what images are made of.

The command line may enter; this is also the library's way to inspect. No layer is read: documents and configs, of some
KiB together, say all of it.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace

from ecrdrag.aim import wished
from ecrdrag.archive.contents import ArchivedImage, listed
from ecrdrag.archive.docker import SavedImage
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.content import Digest, Platform
from ecrdrag.errors import NotFoundError, UnsupportedError, UsageError
from ecrdrag.inspection.anatomy import InspectedImage, Inspection, Kind, Part
from ecrdrag.inspection.assembly import Assembly, of_saved, of_schema1
from ecrdrag.inspection.library import Library, Offer
from ecrdrag.inspection.origins import ArchiveOrigin, Origin, RegistryOrigin
from ecrdrag.manifest import Document, Manifest
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import Source
from ecrdrag.resolve import Wish
from ecrdrag.schema1 import Schema1
from ecrdrag.transfer.retry import RetryPolicy

Root = Document | Schema1 | SavedImage


@dataclass(frozen=True, slots=True)
class InspectOptions:
    """Say what to look at: wish chooses the images whose configs are shown, image one of an archive's.

    referrers lets a registry be asked for what is about an image; of an archive they are shown in any case.
    """

    wish: Wish
    image: str | None = None
    referrers: bool = False
    retry: RetryPolicy = field(default_factory=RetryPolicy)


def inspect_reference(reference: ImageReference, source: Source, options: InspectOptions) -> Inspection:
    """Look at what a reference means. Raises EcrdragError: NotFoundError too for a platform that it hasn't."""
    origin = RegistryOrigin(source, reference, options.retry, asks_about=options.referrers)
    root = origin.root()
    names = (str(reference),)
    if isinstance(root, Schema1):
        part = of_schema1(root, origin.sizes(tuple(dict.fromkeys(root.layers))))
        found = _alone(names, part, options.wish)
    else:
        found = _Inspector(origin, options.wish).image(names, root)
    _check_platform(str(reference), (found,), options.wish)
    return Inspection(str(reference), is_archive=False, images=(found,))


def inspect_archive(archive: ArchiveReader, options: InspectOptions) -> Inspection:
    """Look at the images of an archive, or at the one that was wished for; raises EcrdragError."""
    inspector = _Inspector(ArchiveOrigin(archive), options.wish)
    found: list[InspectedImage] = []
    for image in _images(archive, options.image):
        root = _root_of(archive, image)
        if isinstance(root, SavedImage):
            alone = _alone(image.names, of_saved(image.digest, root), options.wish)
            found.append(replace(alone, image_id=image.digest))
        else:
            found.append(inspector.image(image.names, root))
    _check_platform(archive.where, found, options.wish)
    return Inspection(archive.where, is_archive=True, images=tuple(found))


def raw_of_reference(reference: ImageReference, source: Source, options: InspectOptions, *, config: bool) -> bytes:
    """Give the bytes of what a reference names, or of the config of its image for the platform that is wanted.

    Where a platform is asked for by name, the manifest is that image's too.
    """
    origin = RegistryOrigin(source, reference, options.retry, asks_about=False)
    return _raw(str(reference), origin.root(), origin, options.wish, config=config)


def raw_of_archive(archive: ArchiveReader, options: InspectOptions, *, config: bool) -> bytes:
    """Give the same of the one image of an archive; raises UsageError where it holds several and none is chosen."""
    images = _images(archive, options.image)
    if len(images) != 1:
        raise UsageError(f"{archive.where} holds {len(images)} images: choose one with --image", hint=listed(images))
    root = _root_of(archive, images[0])
    return _raw(archive.where, root, ArchiveOrigin(archive), options.wish, config=config)


def _images(archive: ArchiveReader, wish: str | None) -> Sequence[ArchivedImage]:
    return archive.images if wish is None else (wished(archive, wish),)


def _root_of(archive: ArchiveReader, image: ArchivedImage) -> Document | SavedImage:
    return archive.saved(image) or archive.root(image)


def _raw(where: str, root: Root, origin: Origin, wish: Wish, *, config: bool) -> bytes:
    if isinstance(root, SavedImage):
        if config:
            return root.config
        raise UnsupportedError(
            f"{where} is in docker's format, which has no manifest: a push makes one",
            hint="--raw --config prints the config",
        )
    if not config and not wish.explicit:
        return root.raw
    if isinstance(root, Schema1):
        raise UnsupportedError(
            f"{where} is an image before 2016: its one document has all", hint="--raw alone prints it"
        )
    library = Library(origin)
    manifest = _wanted(where, root, library, wish)
    return library.content(manifest) if config else manifest.raw


def _wanted(where: str, root: Document, library: Library, wish: Wish) -> Manifest:
    """Choose the manifest that a user means; an artifact alone is meant, whatever it runs on."""
    if isinstance(root, Manifest) and not wish.explicit:
        return root
    library.tree(root)
    offers = library.offers(root)
    offer = _chosen(offers, wish)
    if offer is None:
        raise _not_found(where, {one.platform for one in offers}, wish)
    return offer.manifest


def _chosen(offers: Sequence[Offer], wish: Wish) -> Offer | None:
    """Choose the best for the platform; where none is named, the first is better than nothing."""
    ranks = [(wish.platforms[0].preference(one.platform), one) for one in offers if one.platform]
    fitting = [(rank, place, one) for place, (rank, one) in enumerate(ranks) if rank is not None]
    if fitting:
        return min(fitting, key=lambda each: each[:2])[2]
    return None if wish.explicit or not offers else offers[0]


class _Inspector:
    """Look at one image after another; what they share is read once."""

    def __init__(self, origin: Origin, wish: Wish) -> None:
        self._origin, self._wish = origin, wish
        self._library = Library(origin)
        self._assembly = Assembly(self._library)

    def image(self, names: tuple[str, ...], root: Document) -> InspectedImage:
        """Look at one."""
        tree = self._library.tree(root)
        offers = self._library.offers(root)
        offer = _chosen(offers, self._wish)
        wanted = offers if self._wish.everything else (offer,) if offer else ()
        detailed = {one.manifest.digest for one in wanted}
        assembled = self._assembly.image(root, detailed, self._origin.lacking(tree.blobs))
        total = sum(blob.size for blob in tree.blobs)
        part = replace(assembled, total=total)
        images = _distinct(part)
        chosen = images[offer.manifest.digest, offer.platform] if offer else None
        alone = part if isinstance(root, Manifest) and not offers else None
        each = {one.digest: one for one in reversed(images.values()) if one.digest in detailed}
        return InspectedImage(
            names,
            part,
            chosen or alone,
            tuple(reversed(each.values())) if self._wish.everything else (chosen,) if chosen else (),
            blobs=len(tree.blobs),
            total=total,
            referrers=self._library.referrers(tree),
        )


def _distinct(root: Part) -> dict[tuple[Digest | None, Platform | None], Part]:
    """Give the images in an image; several platforms may share one."""
    found: dict[tuple[Digest | None, Platform | None], Part] = {}
    for part in root.walk():
        if part.kind is Kind.IMAGE and part.config:
            found.setdefault((part.digest, part.platform), part)
    return found


def _alone(names: tuple[str, ...], part: Part, wish: Wish) -> InspectedImage:
    """Look at an image that has no documents of today."""
    fits = not wish.explicit or (part.platform and wish.platforms[0].preference(part.platform) is not None)
    facts = part.config.facts if part.config else None
    blobs = {*(layer.digest for layer in part.layers), *((facts and facts.diff_ids) or ())} - {None}
    count = len(blobs) + bool(part.config and part.config.digest)
    shown = (part,) if fits else ()
    return InspectedImage(names, part, part if fits else None, shown, blobs=count, total=part.total)


def _check_platform(where: str, images: Sequence[InspectedImage], wish: Wish) -> None:
    """Raise NotFoundError where a platform is named, and no image is for it."""
    if not wish.explicit or any(image.detailed for image in images):
        return
    parts = (part for image in images for part in image.root.walk())
    raise _not_found(where, {part.platform for part in parts if part.kind is Kind.IMAGE and not part.missing}, wish)


def _not_found(where: str, there: Set[Platform | None], wish: Wish) -> NotFoundError:
    known = ", ".join(sorted(str(platform) for platform in there if platform))
    return NotFoundError(
        f"{where} has no image for {wish.platforms[0]}; it has {known or 'no image at all'}",
        hint="choose one of these with --platform" if known else "leave --platform out",
    )
