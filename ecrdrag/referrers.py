"""Own the search for what is about an image and isn't in it: signatures, attestations, SBOMs.

The stories may enter. OCI distribution spec, "Listing Referrers" and "Referrers Tag Schema"; cosign's tags:
sigstore/cosign, specs/SIGNATURE_SPEC.md.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import NotFoundError, UnsupportedError
from ecrdrag.manifest import Document, Index
from ecrdrag.reference import fallback_tag
from ecrdrag.registry.ends import Source
from ecrdrag.schema1 import Schema1
from ecrdrag.transfer.crew import side_by_side
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.tree import MAX_DEPTH, MAX_SIZE, Referrer, Tree, check_child, grow

log = logging.getLogger(__name__)

MAX_REFERRERS: Final = 1_000  # that are taken; an image scanned every day has hundreds after a year
_MAX_LISTED: Final = 10_000  # that are looked at
_CHOOSE: Final = "choose some of them with --referrers TYPE"
# What follows an image's digest in cosign's tags: signatures, attestations, SBOMs.
_SUFFIXES: Final = ("sig", "att", "sbom")
# What cosign calls signatures and SBOMs without a tag, with OCI 1.1; attestations alike: its pkg/oci/remote/write.go.
_COSIGN_KIND: Final = "application/vnd.dev.cosign.artifact.{suffix}.v1+json"


def referrers_of(
    documents: Sequence[Document], source: Source, where: str, types: Collection[str], retry: RetryPolicy
) -> tuple[Referrer, ...]:
    """Collect all that is about these documents, and about what was found: of these types, or of all without any.

    Each is listed once, those about a document before those about themselves, in an order that no registry decides.
    Messages call the source where. A type is an artifact's (a config's media type counts where it says none), that of
    a layer, as people know attestations by, or of a cosign tag the one that cosign has for it without tags. What is
    listed and isn't what it should be is left out with a warning. Raises UnsupportedError for more than can be.
    """
    search = _Search(source, where, frozenset(types), retry)
    known = {document.digest for document in documents}
    found: list[Referrer] = []
    subjects = list(dict.fromkeys(document.digest for document in documents))
    for _ in range(MAX_DEPTH + 1):
        new = [one for one in search.about(subjects) if one.tag or one.tree.root.digest not in known]
        if not new:
            return tuple(found)
        found += new
        if len(found) > MAX_REFERRERS:
            raise UnsupportedError(f"{where} has more than {MAX_REFERRERS} referrers", hint=_CHOOSE)
        inside = [document.digest for one in new for document in one.tree.documents]
        subjects = [digest for digest in dict.fromkeys(inside) if digest not in known]
        known.update(inside)
    raise UnsupportedError(f"{where} has referrers about referrers, more than {MAX_DEPTH} deep")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something about a subject may be: without a suffix in the registry's list, with one under a tag.

    The tag is that of clients' own list where the suffix is empty, else cosign's.
    """

    subject: Digest
    suffix: str | None = None

    @property
    def tag(self) -> str:
        """Name the tag."""
        return f"{fallback_tag(self.subject)}{f'.{self.suffix}' if self.suffix else ''}"


@dataclass(frozen=True, slots=True)
class _Lead:
    """Say what may be about a subject: by its own word, or by cosign's tag, whose document is known."""

    subject: Digest
    digest: Digest
    tag: str | None = None
    suffix: str = ""
    document: Document | None = None


@dataclass(slots=True)
class _Search:
    """Ask a source about documents, side by side."""

    source: Source
    where: str
    types: Collection[str]
    retry: RetryPolicy
    bytes_read: int = 0
    listed: set[Digest] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def about(self, subjects: Sequence[Digest]) -> list[Referrer]:
        """Find what is wanted about each of these, in their order."""
        places = [_Place(subject, suffix) for subject in subjects for suffix in (None, "", *_SUFFIXES)]
        leads = self._follow(places)
        found = self._collect(leads)
        return [one for subject in subjects for one in _in_order(found.get(subject, ()))]

    def _follow(self, places: Sequence[_Place]) -> list[_Lead]:
        """Ask for lists and tags; what is in several lists is one lead."""
        leads: dict[tuple[Digest, str | None, Digest], _Lead] = {}

        def follow(place: _Place) -> None:
            for lead in self._leads(place):
                with self.lock:
                    leads[lead.subject, lead.tag, lead.digest] = lead

        side_by_side("referrers", places, follow)
        self.listed.update(lead.digest for lead in leads.values())
        if len(self.listed) > _MAX_LISTED:
            raise UnsupportedError(f"{self.where} has more than {_MAX_LISTED} referrers")
        return list(leads.values())

    def _leads(self, place: _Place) -> Iterator[_Lead]:
        subject = place.subject
        if place.suffix is None:
            what = f"referrers of {subject}"
            listed = self.retry.insist(lambda: self.source.referrers(subject), what)
            yield from (_Lead(subject, entry.digest) for entry in listed)
            return
        document = self._tagged(place.tag)
        if document is None:
            return
        if place.suffix:
            yield _Lead(subject, document.digest, place.tag, place.suffix, document)
        elif isinstance(document, Index):  # clients keep it for registries that have no lists, or had none once
            yield from (_Lead(subject, entry.digest) for entry in document.manifests)

    def _tagged(self, tag: str) -> Document | None:
        try:
            return self._read(f"tag {tag}", tag=tag)
        except NotFoundError:
            return None
        except UnsupportedError as error:
            log.warning("%s: left out what is tagged %s: %s", self.where, tag, error)
            return None

    def _collect(self, leads: Sequence[_Lead]) -> dict[Digest, list[Referrer]]:
        """Fetch what leads mean, with all that is in it."""
        found: dict[Digest, list[Referrer]] = {}

        def collect(lead: _Lead) -> None:
            tree = self._tree(lead)
            if self.bytes_read > MAX_SIZE:
                raise UnsupportedError(f"the referrers of {self.where} have manifests of more than {MAX_SIZE} bytes")
            if tree is not None and self._is_wanted(tree, lead):
                with self.lock:
                    found.setdefault(lead.subject, []).append(Referrer(tree, lead.subject, lead.tag))

        side_by_side("referrers", leads, collect)
        return found

    def _tree(self, lead: _Lead) -> Tree | None:
        """Fetch what is listed about a subject, whatever size it is said to have: ECR's model doesn't say of what."""
        try:
            root = lead.document or self._read(f"manifest {lead.digest}", digest=lead.digest)
            about = root.subject.digest if root.subject else None
            if lead.tag is None and about != lead.subject:
                raise UnsupportedError(f"it is about {about or 'nothing'}, not about {lead.subject}")
            return grow(root, self._child)
        except (NotFoundError, UnsupportedError) as error:
            log.warning("%s: left out the referrer %s of %s: %s", self.where, lead.digest, lead.subject, error)
            return None

    def _child(self, entry: Descriptor) -> Document:
        document = self._read(f"manifest {entry.digest}", digest=entry.digest)
        check_child(self.where, document, entry)
        return document

    def _read(self, what: str, *, tag: str | None = None, digest: Digest | None = None) -> Document:
        document = self.retry.insist(lambda: self.source.manifest(tag=tag, digest=digest), f"the {what}")
        if isinstance(document, Schema1):
            raise UnsupportedError("it is a schema 1 manifest")
        with self.lock:
            self.bytes_read += len(document.raw)
        return document

    def _is_wanted(self, tree: Tree, lead: _Lead) -> bool:
        if not self.types:
            return True
        kinds = {layer.media_type for manifest in tree.manifests for layer in manifest.layers}
        kinds.add(tree.root.descriptor.artifact_type)
        if lead.suffix:
            kinds.add(_COSIGN_KIND.format(suffix=lead.suffix))
        return any(kind in self.types for kind in kinds)


def _in_order(found: Collection[Referrer]) -> list[Referrer]:
    """Sort what is about one document: what names it, by digest, then what is tagged; nothing is both."""
    tagged = {one.tree.root.digest for one in found if one.tag}
    distinct = (one for one in found if one.tag or one.tree.root.digest not in tagged)
    return sorted(distinct, key=lambda one: (_rank(one.tag), one.tree.root.digest.hex))


def _rank(tag: str | None) -> int:
    return 1 + _SUFFIXES.index(tag.rpartition(".")[2]) if tag else 0
