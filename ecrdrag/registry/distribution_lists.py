"""Own the lists of a registry at /v2/: its repositories, their tags, and what refers to an image, page by page.

The stories and the command line may enter. OCI distribution spec, "Content Discovery"; the catalog is distribution's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit

import requests

from ecrdrag import manifest
from ecrdrag.content import Descriptor, Digest
from ecrdrag.errors import NotFoundError, RepositoryNotFoundError, TransferError, UnsupportedError
from ecrdrag.naming import MAX_TAG_LENGTH, REPOSITORY, TAG
from ecrdrag.reference import fallback_tag
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.http_errors import translated
from ecrdrag.registry.upstream import UpstreamRegistry, pull_scope

log = logging.getLogger(__name__)

# docs/content/spec/auth/scope.md.
_CATALOG_SCOPE: Final = "registry:catalog:*"
# How many names to ask for at once, until that isn't refused; at last as many as the registry likes. ECR refuses more
# than 1000 (google/go-containerregistry#681), as distribution 3.1 does (distribution/distribution#4844); Quay has
# refused more than 100 (fluxcd/image-reflector-controller#585).
_COUNTS: Final = (1000, 100)
_TOO_MANY: Final = (400, 405, 422)
# Some registries give all names at once: so many bytes are over 100,000 tags of the greatest length.
_MAX_LIST: Final = 16 * 1024 * 1024
_MAX_REFERRERS: Final = 64 * 1024 * 1024  # bytes of all pages together
_MAX_PAGES: Final = 10_000
_MAX_REPOSITORY_LENGTH: Final = 255  # OCI distribution spec, "Pulling manifests": many clients take no more
_SHOWN: Final = 60  # characters
# RFC 8288, 3: a target and its parameters; what is joined by commas follows.
_LINK: Final = re.compile(r"<(?P<target>[^<>]*)>(?P<parameters>(?:[^,\"<]|\"(?:[^\"\\]|\\.)*\")*)")
_RELATION: Final = re.compile(r";\s*rel\s*=\s*(?:\"(?P<several>[^\"]*)\"|(?P<one>[^\s;,\"]+))", re.IGNORECASE)
# A registry without the referrers API: 404 in the specification; what others say to a path that they don't know.
_NO_REFERRERS: Final = (400, 404, 405, 406)


def tags(client: RegistryClient, repository: str) -> Iterator[str]:
    """Yield a repository's tags in the registry's order, asking for a page when it is needed.

    Raises RepositoryNotFoundError and what RegistryClient.ask() raises, TransferError for what is no list.
    """
    scope, what = pull_scope(repository), f"the tags of {repository}"
    wanted = _List(client, f"{repository}/tags/list", scope, what)
    for page in wanted.pages(_COUNTS):
        yield from _names(page, "tags", _is_tag, wanted)


def catalog(client: RegistryClient) -> Iterator[str]:
    """Yield the names of a registry's repositories, as tags() does; many registries let nobody see them."""
    wanted = _List(client, "_catalog", _CATALOG_SCOPE, "the list of repositories")
    for page in wanted.pages(_COUNTS):
        yield from _names(page, "repositories", _is_repository, wanted)


def referrers(
    client: RegistryClient, repository: str, digest: Digest, artifact_type: str | None = None
) -> tuple[Descriptor, ...]:
    """Find what names an image as its subject, each once, of one artifact type or of all.

    A registry without the API has them in an index that clients keep under a tag. Raises as tags() does, and
    UnsupportedError for an index that breaks its format.
    """
    query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
    wanted = _List(
        client, f"{repository}/referrers/{digest}{query}", pull_scope(repository), f"referrers of {repository}@{digest}"
    )
    size, found = 0, dict[Digest, Descriptor]()
    for page in wanted.pages(also=_NO_REFERRERS):
        index = _index(page, wanted, is_first=not size)
        if index is None:
            return _of_type(_tagged(client, repository, digest), artifact_type)
        size += len(page.raw)
        if size > _MAX_REFERRERS:
            raise UnsupportedError(f"{client.host} has more than {_MAX_REFERRERS} bytes of {wanted.what}")
        found.update((one.digest, one) for one in _of_type(index, None if page.is_filtered else artifact_type))
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class _Page:
    """The reply to a URL, and the next one's URL, empty behind the last; count entries were asked for, 0 is any."""

    url: str
    status: int
    raw: bytes
    kind: str
    filters: str
    next: str
    count: int

    @property
    def is_filtered(self) -> bool:
        """Whether only what was asked for is on it."""
        return "artifacttype" in (each.strip().lower() for each in self.filters.split(","))


@dataclass(frozen=True, slots=True)
class _List:
    """What is asked for: a path under /v2/ with its scope; what it is, for people."""

    client: RegistryClient
    path: str
    scope: str
    what: str

    def pages(self, counts: Sequence[int] = (), also: Sequence[int] = ()) -> Iterator[_Page]:
        """Yield pages to the last; the first one may have one of the statuses in also."""
        page, seen = self._first(counts, also), set[Digest]()
        while page.next:
            seen.add(_mark(page.url))
            if _mark(page.next) in seen:
                raise TransferError(f"{self.client.host} leads in a circle through the pages of {self.what}")
            if len(seen) >= _MAX_PAGES:
                raise TransferError(f"{self.client.host} has more than {_MAX_PAGES} pages of {self.what}")
            yield page
            page = self._fetch(page.next)
        yield page

    def _first(self, counts: Sequence[int], also: Sequence[int]) -> _Page:
        for count in counts:
            page = self._fetch(self.client.url(f"{self.path}?n={count}"), _TOO_MANY, count)
            if page.status == requests.codes.ok:
                return page
        return self._fetch(self.client.url(self.path), also)

    def _fetch(self, url: str, also: Sequence[int] = (), count: int = 0) -> _Page:
        good = (requests.codes.ok, *also)
        with self.client.ask("GET", url, scope=self.scope, what=self.what, good=good) as response:
            is_page = response.status_code == requests.codes.ok
            return _Page(
                url=url,
                status=response.status_code,
                raw=self.client.read(response, _MAX_LIST) if is_page else b"",
                kind=response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
                filters=response.headers.get("OCI-Filters-Applied", ""),
                next=self._next(response) if is_page else "",
                count=count,
            )

    def _next(self, response: requests.Response) -> str:
        """Read where the next page is: whatever the link says, on this registry, as containers/image does it.

        A registry behind a proxy may not know its own name, and another host has no business here.
        """
        target = _next_in(response.headers.get("Link", ""))
        if not target:
            return ""
        with translated(self.client.host):
            parts = urlsplit(urljoin(response.url, target))
        return f"{self.client.url()}{parts.path}{f'?{parts.query}' if parts.query else ''}"


def _next_in(header: str) -> str:
    """Find the target that is the next page; one that doesn't say what it is counts, as it does for others."""
    for link in _LINK.finditer(header):
        relation = _RELATION.search(link["parameters"])
        if relation is None or "next" in (relation["several"] or relation["one"] or "").lower().split():
            return link["target"].strip()
    return ""


def _mark(url: str) -> Digest:
    """Remember a URL by little."""
    return Digest.of(url.encode())


def _names(page: _Page, member: str, is_name: Callable[[str], bool], wanted: _List) -> Iterator[str]:
    """Give the names on a page; what can't be one is left out, and said."""
    host = wanted.client.host
    document: Mapping[str, object] = {}
    with suppress(UnsupportedError):
        document = manifest.parse_object(page.raw, "list")
    entries = document.get(member, ())
    if entries is None:  # Go's way to write an empty list
        entries = []
    if not isinstance(entries, list):
        raise TransferError(f"{host} sent no list when asked for {wanted.what}")
    names = [entry for entry in entries if isinstance(entry, str) and is_name(entry)]
    if len(names) < len(entries):
        bad = next(entry for entry in entries if not (isinstance(entry, str) and is_name(entry)))
        count = len(entries) - len(names)
        log.warning("%s: %d of %s left out that can't be, such as %s", host, count, wanted.what, ascii(bad)[:_SHOWN])
    if len(entries) == page.count and not page.next:
        log.info("%s: the page of %s is full, but it names no other one", host, wanted.what)
    return iter(names)


def _is_tag(name: str) -> bool:
    return len(name) <= MAX_TAG_LENGTH and TAG.fullmatch(name) is not None


def _is_repository(name: str) -> bool:
    return len(name) <= _MAX_REPOSITORY_LENGTH and REPOSITORY.fullmatch(name) is not None


def _index(page: _Page, wanted: _List, *, is_first: bool) -> tuple[Descriptor, ...] | None:
    """Read a page of referrers; None where the first one shows that the registry has no such list."""
    if page.status != requests.codes.ok:
        return None
    try:
        if manifest.parse_object(page.raw, "list").get("manifests", ()) is None:  # Go's way to write an empty list
            return ()
        return _entries(manifest.parse(page.raw, manifest.OCI_INDEX))
    except UnsupportedError as error:
        if is_first and page.kind != manifest.OCI_INDEX:  # some answer any path, with a page for people
            return None
        raise UnsupportedError(f"{wanted.client.host} sent no index of {wanted.what}: {error}") from None


def _tagged(client: RegistryClient, repository: str, digest: Digest) -> tuple[Descriptor, ...]:
    """Read the index that clients keep; whatever else has its tag says nothing, as the specification has it."""
    tag = fallback_tag(digest)
    try:
        raw, kind = UpstreamRegistry(client).manifest(repository, tag)
        return _entries(manifest.parse(raw, kind if kind in manifest.INDEX_TYPES else ""))
    except RepositoryNotFoundError:
        raise
    except NotFoundError:
        return ()
    except UnsupportedError as error:
        log.warning("%s: tag %s of %s should be an index of referrers: %s", client.host, tag, repository, error)
        return ()


def _entries(document: manifest.Manifest | manifest.Index) -> tuple[Descriptor, ...]:
    if isinstance(document, manifest.Index):
        return document.manifests
    raise UnsupportedError("the document is an image, not an index")


def _of_type(found: Iterable[Descriptor], artifact_type: str | None) -> tuple[Descriptor, ...]:
    """Leave out what has another type; none is any."""
    return tuple(one for one in found if not artifact_type or one.artifact_type == artifact_type)
