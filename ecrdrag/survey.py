"""Own what a pull and a copy do before a layer moves: references resolved, referrers found, images in their form.

The stories may enter.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from ecrdrag.content import BlobSource, Descriptor, Digest
from ecrdrag.conversion.converter import Converter
from ecrdrag.conversion.rewrite import subset
from ecrdrag.errors import EcrdragError, NotFoundError
from ecrdrag.manifest import FOREIGN_LAYER_TYPES, Document
from ecrdrag.reference import ImageReference
from ecrdrag.referrers import referrers_of
from ecrdrag.registry.ends import Source
from ecrdrag.resolve import Image, Resolver, Wish
from ecrdrag.schema1 import Schema1
from ecrdrag.transfer.crew import side_by_side
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.tree import Referrer, Tree

log = logging.getLogger(__name__)

_SHOWN: Final = 20  # problems in a message


@dataclass(frozen=True, slots=True)
class Survey:
    """Say what to look for: the images wished for, all where there is no wish, and what is about them.

    types are those of the artifacts about images; none are all, and None is for nothing about them.
    """

    wish: Wish | None
    types: Collection[str] | None
    retry: RetryPolicy


@dataclass(frozen=True, slots=True)
class Found:
    """What a reference means and where it comes from; referrers are about documents of it."""

    reference: ImageReference
    source: Source
    image: Image | Schema1
    referrers: tuple[Referrer, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a reference can't be had."""

    reference: ImageReference
    error: EcrdragError

    def __str__(self) -> str:
        text = " ".join(str(self.error).split())
        return text if text.startswith(str(self.reference)) else f"{self.reference}: {text}"


def survey(
    references: Sequence[ImageReference], open_source: Callable[[ImageReference], Source], wanted: Survey
) -> tuple[tuple[Found, ...], tuple[Problem, ...]]:
    """Look at all references side by side, each once; what can't be had is no reason to stop."""
    sources: dict[ImageReference, Source] = {}
    found: dict[ImageReference, Found] = {}
    problems: dict[ImageReference, Problem] = {}
    distinct = tuple(dict.fromkeys(references))
    opening = threading.Lock()  # who we are there is found out once

    def look(reference: ImageReference) -> None:
        try:
            with opening:
                sources[reference] = open_source(reference)
            found[reference] = look_at(reference, sources[reference], wanted)
        except EcrdragError as error:
            problems[reference] = Problem(reference, error)

    def abort() -> None:
        for source in tuple(sources.values()):
            source.abort()

    side_by_side("survey", distinct, look, abort)
    return (
        tuple(found[each] for each in distinct if each in found),
        tuple(problems[each] for each in distinct if each in problems),
    )


def look_at(reference: ImageReference, source: Source, wanted: Survey) -> Found:
    """Resolve one reference; raises EcrdragError."""
    image = Resolver(source, reference.name, wanted.retry).resolve(reference, wanted.wish)
    if wanted.types is None:
        return Found(reference, source, image)
    if isinstance(image, Schema1):
        log.warning("%s: nothing is taken along that is about it, as schema 1 is converted", reference)
        return Found(reference, source, image)
    referrers = referrers_of(image.tree.documents, source, reference.name, wanted.types, wanted.retry)
    if image.tree.root is not image.root:
        _say_what_stays(reference, image.root, source, wanted)
    return Found(reference, source, image, referrers)


def all_problems(problems: Sequence[Problem], count: int) -> EcrdragError:
    """Make one error of the problems of count references: of the first one's kind, with all of them in its hint.

    A message is one line, as others have a say in what stands there.
    """
    first = problems[0].error
    if count > 1:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        others = ["--keep-going pulls the others"] if len(problems) < count else []
        hints = dict.fromkeys(one.error.hint for one in problems[:_SHOWN])
        lines = [*map(str, problems[:_SHOWN]), *more, *hints, *others]
        first.args = (f"{len(problems)} of {count} references can't be pulled",)
        first.hint = "\n".join(filter(None, lines))
    return first


@dataclass(frozen=True, slots=True)
class Load:
    """What one reference brings, in its final form.

    here has the blobs that were made or read on the way, elsewhere those that come from their own URLs; all others are
    the source's. left_out are the layers that nobody has, or that aren't wanted from where they are.
    """

    found: Found
    image: Image
    here: Mapping[Digest, BlobSource]
    elsewhere: Mapping[Digest, BlobSource]
    left_out: tuple[Descriptor, ...]

    @property
    def trees(self) -> tuple[Tree, ...]:
        """The image and what is about it."""
        return (self.image.tree, *(one.tree for one in self.found.referrers))

    @property
    def brought(self) -> tuple[Descriptor, ...]:
        """The blobs of all of them that aren't left out."""
        out = {blob.digest for blob in self.left_out}
        return tuple(blob for tree in self.trees for blob in tree.blobs if blob.digest not in out)


def prepare(
    found: Found, converter: Converter, foreign: BlobSource | None, *, only_chosen: bool, retry: RetryPolicy
) -> Load:
    """Bring what was found into the form that is wanted; foreign is where layers come from that no registry has.

    only_chosen has an index written anew without what wasn't chosen. What people should know is said.
    """
    done = converter.convert(found.image, found.source, str(found.reference))
    image, here = done.image, done.blobs
    if only_chosen:
        image = replace(image, tree=subset(image.tree))
    kept = _with_referrers_of(found, image)
    absent = _absent(image.tree, found.source, retry)
    elsewhere = {blob.digest: foreign for blob in absent if blob.urls and foreign is not None}
    left_out = tuple(blob for blob in absent if blob.digest not in elsewhere)
    for blob in left_out:
        hint = f": --foreign-layers fetches it from {_hosts(blob.urls)}" if blob.urls else ""
        log.warning("%s: left out layer %s, which is not distributable%s", found.reference, blob.digest, hint)
    return Load(kept, image, here, elsewhere, left_out)


def _with_referrers_of(found: Found, image: Image) -> Found:
    """Keep of what was found what is still about an image in its final form."""
    before = found.image.digest if isinstance(found.image, Schema1) else found.image.tree.root.digest
    if image.tree.root.digest == before:
        return found
    log.warning("%s: %s becomes %s, as it was changed on the way", found.reference, before, image.tree.root.digest)
    kept = _still_about(image.tree, found.referrers)
    if dropped := len(found.referrers) - len(kept):
        log.warning("%s: %d referrers are about what was changed, and are left out", found.reference, dropped)
    return replace(found, referrers=kept)


def _still_about(tree: Tree, referrers: Iterable[Referrer]) -> tuple[Referrer, ...]:
    """Leave out what is about none of a tree's documents, nor about what is about these."""
    known = {document.digest for document in tree.documents}
    kept = []
    for one in referrers:  # in this order: what is about a referrer stands behind it
        if one.subject in known:
            kept.append(one)
            known.update(document.digest for document in one.tree.documents)
    return tuple(kept)


def _absent(tree: Tree, source: Source, retry: RetryPolicy) -> tuple[Descriptor, ...]:
    """List the layers that registries need not hold, and this one doesn't; one of two descriptors may say where."""
    told = {blob.digest: blob for one in tree.manifests for blob in one.blobs if blob.urls}
    foreign = [told.get(blob.digest, blob) for blob in tree.blobs if blob.media_type in FOREIGN_LAYER_TYPES]
    absent: set[Digest] = set()

    def ask(blob: Descriptor) -> None:
        try:
            retry.insist(lambda: source.measure(blob.digest), f"blob {blob.digest}")
        except NotFoundError:
            absent.add(blob.digest)

    side_by_side("foreign", foreign, ask)
    return tuple(blob for blob in foreign if blob.digest in absent)


def _say_what_stays(reference: ImageReference, root: Document, source: Source, wanted: Survey) -> None:
    """Count what is about an index of which one image is taken; where that fails, it is said so, and nothing else."""
    try:
        referrers = referrers_of((root,), source, reference.name, wanted.types or (), wanted.retry)
    except EcrdragError as error:  # a count is no reason to fail
        log.warning("%s: what is about the index as a whole is left out: %s", reference, error)
        return
    if referrers:
        log.warning(
            "%s: %d referrers are about the index as a whole, not about the image taken out of it: "
            "--platform all takes both",
            reference,
            len(referrers),
        )


def _hosts(urls: Sequence[str]) -> str:
    """Name hosts alone, not all of too many: a URL may hold a signature, or be none."""
    hosts = dict.fromkeys(map(_host, urls))
    return ", ".join([*list(hosts)[:_SHOWN], *(["..."] if len(hosts) > _SHOWN else [])])


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "nowhere"
    except ValueError:
        return "nowhere"
