"""Own the pull through: images and layers that a rule covers come from the registry upstream when they are asked for.

BatchGetImage and GetDownloadUrlForLayer enter, before their own transactions: nothing here asks a network inside one.
Manifests come whole, an index with all its images; layers come one by one, when somebody wants them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import (
    AuthError,
    BusyError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    TransferError,
    UnsupportedError,
)
from ecrdrag.localecr.api import documents, pushing, templates
from ecrdrag.localecr.api.call import Call
from ecrdrag.localecr.api.documents import Document
from ecrdrag.localecr.api.lookup import NOT_FOUND, Failure, find
from ecrdrag.localecr.api.pulling_refusals import no_upstream_image, no_upstream_layer
from ecrdrag.localecr.api.rules import Rule, rule_for
from ecrdrag.localecr.api.upstream import Upstream
from ecrdrag.localecr.api.upstream_logins import registry_of
from ecrdrag.localecr.names import ImageName
from ecrdrag.localecr.settings import HOUR
from ecrdrag.localecr.storage.blobs import ALGORITHM
from ecrdrag.localecr.storage.records import Records
from ecrdrag.manifest import INDEX_TYPES, MANIFEST_TYPES

_log = logging.getLogger(__name__)

CHECKED: Final = "pull-through-cache-check"
"""The kind of setting whose time says when a tag was last looked up upstream; its name is the tag."""
# How long a tag is believed: 24 hours, the user guide on pull-through caches.
_BELIEVED: Final = 24 * HOUR
# What one pull holds in memory at most, beside one manifest: the largest public indexes have a hundred images.
_MAX_TREE: Final = 1000
_MAX_TREE_BYTES: Final = 64 * 1024 * 1024
# OCI distribution spec, "Pulling manifests". ECR has tags of other forms, but no other registry, and no URL.
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
# An index may point at other things too; those are nothing that a registry has to hold.
_MANIFESTS: Final = (*MANIFEST_TYPES, *INDEX_TYPES)
# Codes of ImageFailure in ECR's model, whose documentation doesn't say which is when. The first text is in
# aws/containers-roadmap#2354, the others aren't public.
_FAILURES: Final[tuple[tuple[type[EcrdragError], Failure], ...]] = (
    (
        AuthError,
        Failure(
            "UpstreamAccessDenied",
            "The authentication to the upstream registry failed. Verify that the credentials provided "
            "in the pull through cache rule are correct, and try again.",
        ),
    ),
    (NotFoundError, NOT_FOUND),
    (
        BusyError,
        Failure("UpstreamTooManyRequests", "The upstream registry wants fewer requests. Try again later."),
    ),
    (TransferError, Failure("UpstreamUnavailable", "The upstream registry is unavailable. Try again later.")),
)


@dataclass(frozen=True, slots=True)
class _Origin:
    """A repository upstream."""

    registry: Upstream
    repository: str

    def fetch(self, reference: str | Digest) -> _Fetched:
        """Fetch a manifest or an index; raise EcrdragError, UnsupportedError for what this registry can't keep."""
        raw, kind = self.registry.manifest(self.repository, reference)
        try:
            raw.decode()  # the API gives manifests as text
            document = documents.read(raw, kind if kind in _MANIFESTS else "")
        except ValueError as error:
            raise UnsupportedError(f"{self.repository} {reference} is no manifest: {error}") from None
        if isinstance(reference, Digest) and document.digest != reference:
            raise IntegrityError(f"{self.repository} {reference} arrived with digest {document.digest}")
        return _Fetched(document, raw)


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A manifest or an index as it came."""

    document: Document
    raw: bytes


def refresh(call: Call) -> Mapping[ImageName, Failure]:
    """Bring from upstream what a call wants and lacks, or has had for a day; say of what is still missing why.

    What is here stays good whatever upstream says. Raises UnableToGetUpstreamImageException for what has no code.
    """
    if call.settings.read_only:
        return {}
    with call.store.metadata.read() as records:
        rule = rule_for(records, call.key)
        due = [name for name in dict.fromkeys(call.image_names) if rule and _is_due(call, records, name)]
    if rule is None or not due:
        return {}
    found = {name: _pull(call, rule, name) for name in due}
    return {name: failure for name, failure in found.items() if failure}


def fetch_layer(call: Call, digest: str) -> bool:
    """Bring a layer that an image here refers to from upstream; False when there is nowhere to bring it from.

    Raises UnableToGetUpstreamLayerException.
    """
    if call.settings.read_only:
        return False
    with call.store.metadata.read() as records:
        rule = rule_for(records, call.key)
        layer = _descriptor(call, records, digest) if rule else None
    if rule is None or layer is None:
        return False
    try:
        origin = _origin(call, rule)
        call.upstreams.once(("layer", call.key, digest), lambda: _bring_layer(call, origin, layer))
    except EcrdragError as error:
        raise no_upstream_layer(str(error)) from error
    return True


def _origin(call: Call, rule: Rule) -> _Origin:
    return _Origin(registry_of(call, rule.url, rule.credential), rule.upstream_name(call.key.name))


def _is_due(call: Call, records: Records, name: ImageName) -> bool:
    """Tell whether upstream is to be asked: for what isn't here, and for a tag that is when a day has passed.

    A digest, with a tag or without, brings nothing: aws/containers-roadmap#2837.
    """
    if name.digest and not call.settings.digest_pulls:
        return False
    repository = records.repository(call.key)
    found = find(records, repository.id if repository else 0, ImageName(tag=name.tag) if name.tag else name)
    if isinstance(found, Failure):
        return found is NOT_FOUND and (_TAG.fullmatch(name.tag) is not None or _is_stored_by(name.digest))
    if not (name.tag and repository):
        return False
    checked = records.repository_setting(repository.id, CHECKED, name.tag)
    return call.now - (checked.changed if checked else found.pushed) >= _BELIEVED


def _is_stored_by(digest: str) -> bool:
    try:
        return Digest.parse(digest).algorithm == ALGORITHM
    except ValueError:
        return False


def _pull(call: Call, rule: Rule, name: ImageName) -> Failure | None:
    """Ask upstream for one image; return why it is still missing, if it is."""
    reference = name.tag or Digest.parse(name.digest)
    try:
        origin = _origin(call, rule)
        call.upstreams.once(("image", call.key, reference), lambda: _bring(call, origin, name, reference))
    except EcrdragError as error:
        if _has(call, name):
            _log.warning("%s:%s is served as it was: %s", call.key.name, reference, error)
            return None
        level = logging.INFO if isinstance(error, NotFoundError) else logging.WARNING
        _log.log(level, "%s:%s can't be pulled through: %s", call.key.name, reference, error)
        return _failure(error)
    return None


def _failure(error: EcrdragError) -> Failure:
    for kind, failure in _FAILURES:
        if isinstance(error, kind):
            return failure
    raise no_upstream_image(str(error)) from error


def _has(call: Call, name: ImageName) -> bool:
    with call.store.metadata.read() as records:
        repository = records.repository(call.key)
        return repository is not None and not isinstance(find(records, repository.id, name), Failure)


def _bring(call: Call, origin: _Origin, name: ImageName, reference: str | Digest) -> None:
    """Store what upstream has by a tag or a digest, unless that is here, or another thread has just done it."""
    with call.store.metadata.read() as records:
        if not _is_due(call, records, name):
            return
        repository = records.repository(call.key)
        here = records.tagged(repository.id, name.tag) if repository and name.tag else ""
    if here and str(origin.registry.digest(origin.repository, name.tag)) == here:
        tree = []
    else:
        tree = _tree(call, origin, reference)
    _keep(call, tree, name.tag)


def _tree(call: Call, origin: _Origin, reference: str | Digest) -> list[_Fetched]:
    """Fetch a manifest, or an index with all below it that isn't here; what is pointed at comes first."""
    root = origin.fetch(reference)
    tree = {root.document.digest: root}
    asked, waiting = set(tree), [root]
    while waiting:
        for child in waiting.pop().document.children:
            if child.media_type in _MANIFESTS and child.digest not in asked and not _is_image(call, child.digest):
                asked.add(child.digest)
                if fetched := _fetch_child(origin, child):
                    tree[child.digest] = fetched
                    waiting.append(fetched)
                _check_size(asked, tree)
    return list(reversed(tree.values()))


def _fetch_child(origin: _Origin, child: Descriptor) -> _Fetched | None:
    """Fetch one image of an index; some registries hold only a part of them, and the others can do without."""
    try:
        fetched = origin.fetch(child.digest)
    except NotFoundError as error:
        _log.warning("an index refers to what isn't upstream: %s", error)
        return None
    if len(fetched.raw) != child.size:
        raise IntegrityError(f"{child.digest} has {len(fetched.raw)} bytes, the index says {child.size}")
    return fetched


def _check_size(asked: Collection[Digest], tree: Mapping[Digest, _Fetched]) -> None:
    if len(asked) > _MAX_TREE or sum(len(one.raw) for one in tree.values()) > _MAX_TREE_BYTES:
        raise UnsupportedError(f"the index holds more than {_MAX_TREE} manifests or {_MAX_TREE_BYTES} bytes of them")


def _is_image(call: Call, digest: Digest) -> bool:
    with call.store.metadata.read() as records:
        repository = records.repository(call.key)
        return repository is not None and records.image(repository.id, str(digest)) is not None


def _keep(call: Call, tree: list[_Fetched], tag: str) -> None:
    """Store a tree at once, its root last, let the tag stand for the root, and note that the tag was looked up."""
    with call.store.metadata.write() as records:
        repository = records.repository(call.key) or templates.create_to_cache(call, records)
        for one in tree:
            pushing.keep(call, records, repository, one.document, one.raw)
        if not tag:
            return
        records.put_repository_setting(repository.id, CHECKED, {}, call.now, tag)
        holder = records.tagged(repository.id, tag)
        root = str(tree[-1].document.digest) if tree else holder
        # The user guide recommends mutable tags "to ensure Amazon ECR can update cached images".
        if holder != root and not (holder and pushing.is_immutable(repository, tag)):
            records.set_tag(repository.id, tag, root, call.now)


def _descriptor(call: Call, records: Records, digest: str) -> Descriptor | None:
    """Find what an image here says of a layer."""
    repository = call.repository(records).id
    for parent in records.parents(repository, digest):
        image = records.image(repository, parent)
        blobs = documents.read(image.raw, image.media_type).needed_blobs if image else ()
        for blob in blobs:
            if str(blob.digest) == digest and blob.digest.algorithm == ALGORITHM:
                return blob
    return None


def _bring_layer(call: Call, origin: _Origin, layer: Descriptor) -> None:
    """Stream a layer into the store, and let the repository know it once it is there, whole and right."""
    digest = str(layer.digest)
    with call.store.metadata.read() as records:
        if records.layer(call.repository(records).id, digest):
            return
    name = str(uuid4())  # two repositories may fetch the same bytes; a file of this name outlives no start
    blobs = call.store.blobs
    with blobs.growing(name) as growing:
        try:
            with origin.registry.blob(origin.repository, layer.digest) as views:
                size = growing.append(_limited(views, layer), 0)
            growing.acknowledged()
            found = growing.digest(size)
            if (size, found) != (layer.size, layer.digest):
                raise IntegrityError(f"{digest} arrived with {size} bytes and digest {found}")
            with blobs.placing(layer.digest):
                blobs.place(growing, layer.digest)
                _add_layer(call, layer)
        finally:
            blobs.discard(name)


def _add_layer(call: Call, layer: Descriptor) -> None:
    with call.store.metadata.write() as records:
        repository = call.repository(records).id
        if records.layer(repository, str(layer.digest)) is None:
            records.add_layer(repository, str(layer.digest), layer.size, call.now)


def _limited(views: Iterator[memoryview], layer: Descriptor) -> Iterator[bytes]:
    """Pass bytes on, and no more than a layer has."""
    left = layer.size
    for view in views:
        left -= len(view)
        if left < 0:
            raise IntegrityError(f"{layer.digest} has more than the {layer.size} bytes that its image says")
        yield bytes(view)
