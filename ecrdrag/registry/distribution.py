"""Own any registry's /v2/ as a Source: manifests by tag or digest, blobs by ranged GETs, wherever these lead.

The stories and the command line, which builds the client, may enter. OCI distribution spec, "Pulling manifests" and
"Pulling blobs".
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import requests

from ecrdrag.content import Descriptor, Digest, Turns
from ecrdrag.errors import IntegrityError, NotFoundError, TransferError, UnsupportedError
from ecrdrag.manifest import MAX_MANIFEST_SIZE, Document
from ecrdrag.reference import PUBLIC_HOSTS, ImageReference
from ecrdrag.registry.cache_hint import cache_told
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution_lists import referrers
from ecrdrag.registry.ends import MOVED_HINT, Unlimited
from ecrdrag.registry.http import origin_of, small_body
from ecrdrag.registry.http_errors import translated
from ecrdrag.registry.schema1_digest import verified
from ecrdrag.registry.transport import BlobTransport, LinkRefusedError
from ecrdrag.registry.upstream import ACCEPT, digest_in, pull_scope
from ecrdrag.schema1 import SIGNED, UNSIGNED, Schema1

# A blob that comes by one request anyway: to ask first where it is would be a second one.
SMALL_BLOB: Final = 64 * 1024  # bytes
_UNKNOWN: Final = SMALL_BLOB + 1  # the size of a blob of which nobody says it
_FIRST_BYTE: Final = {"Range": "bytes=0-0"}
# Schema 1 comes where there is nothing else: RFC 9110, 12.4.2.
_ACCEPT: Final = f"{ACCEPT}, {SIGNED};q=0.2, {UNSIGNED};q=0.1"
_MOVED: Final = (301, 302, 303, 307, 308)  # RFC 9110, 15.4
# The registry sends the blob itself, perhaps without ranges; or it has no first byte, and the transport says so.
_HERE: Final = (200, 206, 416)
# What servers call JSON that they know nothing of; then the document says what it is.
_VAGUE: Final = ("application/json", "application/octet-stream", "text/plain", "binary/octet-stream")
_PAGE_HINT: Final = "what answers there may be no registry: check the host's name and port, and proxies on the way"


@dataclass(slots=True)
class _Link:
    """Hold where a blob is while that works; the lock lets one thread find out for all."""

    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


class DistributionSource:
    """Read images of one repository; safe from many threads."""

    def __init__(
        self, client: RegistryClient, transport: BlobTransport, reference: ImageReference, turns: Turns | None = None
    ) -> None:
        self._client, self._transport = client, transport
        self._turns = turns or Unlimited()
        self._repository, self._where = reference.repository, reference.name
        self._is_private = reference.ecr is not None
        self._is_ecr = self._is_private or reference.registry in PUBLIC_HOSTS
        self._scope = pull_scope(reference.repository)
        self._links: dict[Digest, _Link] = {}
        self._lock = threading.Lock()

    def manifest(self, *, tag: str | None = None, digest: Digest | None = None) -> Document | Schema1:
        """Fetch a manifest or an index and hold it against the digest that was asked for, or that it is said to have.

        With both it comes by its tag, so that one request does, unless they disagree. What ECR says of schema 1 is not
        believed.
        """
        version = tag or str(digest)
        by_digest = digest if tag is None and self._is_private else None
        with cache_told(by_digest), self._asking("GET", version) as response:
            raw = self._client.read(response, MAX_MANIFEST_SIZE)
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            told = digest_in(response)
        kind, where = "" if media_type in _VAGUE else media_type, self._named(version)
        try:
            return verified(raw, kind, where, wanted=digest, told=told, trusts_told=not self._is_ecr)
        except IntegrityError:
            if tag is not None and digest is not None:
                self._check_tag(tag, digest, told)
            raise
        except UnsupportedError as error:
            hint = _PAGE_HINT if media_type.startswith("text/") else ""
            raise UnsupportedError(f"{self._named(version)}: {error}", hint=error.hint or hint) from None

    def measure(self, digest: Digest) -> int:
        """Ask how many bytes a blob has; raises NotFoundError where it isn't there."""
        blob = Descriptor("", digest, _UNKNOWN)
        with self._link(blob) as (url, login):
            return self._transport.measure(url, authorization=login)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """List what names a document as its subject: by the registry's list, else by the index under a tag."""
        return referrers(self._client, self._repository, digest)

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) of a blob; a view is valid until the next one is asked for."""
        with self._link(blob) as (url, login):
            yield from self._transport.read_range(url, start=start, stop=stop, size=blob.size, authorization=login)

    def expect(self, blob: Descriptor) -> None:
        """Find out where the blob is."""
        self._url(blob)

    def abort(self) -> None:
        """End every read in progress; later ones fail, as all does that is asked of the client."""
        self._turns.abort()
        self._transport.abort()
        self._client.abort()

    @contextmanager
    def _link(self, blob: Descriptor) -> Iterator[tuple[str, str]]:
        """Give where a blob is, and what lets us in there; it is forgotten when it leads nowhere any more."""
        url = self._url(blob)
        is_ours = origin_of(url) == origin_of(self._client.url())
        try:
            yield url, self._client.authorization(self._scope) if is_ours else ""
        except LinkRefusedError:
            self._forget(blob, url)
            raise

    @contextmanager
    def _asking(self, method: str, version: str) -> Iterator[requests.Response]:
        path, what = f"{self._repository}/manifests/{version}", self._named(version)
        with self._client.ask(method, path, scope=self._scope, what=what, headers={"Accept": _ACCEPT}) as response:
            yield response

    def _check_tag(self, tag: str, digest: Digest, told: Digest | None) -> None:
        """Raise NotFoundError where a tag stands for another digest; ECR tells that by HEAD only."""
        if told is None:
            with self._asking("HEAD", tag) as response:
                told = digest_in(response)
        if told != digest:
            now = f"stands for {told} now" if told else "stands for another image now"
            raise NotFoundError(f"{self._named(tag)} {now}, not for {digest}", hint=MOVED_HINT)

    def _url(self, blob: Descriptor) -> str:
        with self._lock:
            link = self._links.setdefault(blob.digest, _Link(self._own(blob) if blob.size <= SMALL_BLOB else ""))
        with link.lock:
            link.url = link.url or self._resolved(blob)
            return link.url

    def _own(self, blob: Descriptor) -> str:
        return self._client.url(f"{self._repository}/blobs/{blob.digest}")

    def _resolved(self, blob: Descriptor) -> str:
        """Ask where the blob is: at the registry itself, or where a redirect leads; the transport follows others."""
        own, what = self._own(blob), f"blob {blob.digest} of {self._where}"
        asking = self._client.ask(
            "GET", own, scope=self._scope, what=what, headers=_FIRST_BYTE, good=(*_HERE, *_MOVED), follow=False
        )
        with self._turns.turn(f"blobs of {self._client.host}") as turn, asking as response:
            turn.moved(1)
            url = self._client.place(response) if response.status_code in _MOVED else own
            with translated(self._client.host):
                scheme, *_ = origin_of(url)
                if response.status_code != requests.codes.ok:  # then it is the blob that comes
                    small_body(response)
        if scheme not in ("https", urlsplit(own).scheme):
            raise TransferError(f"{self._client.host} redirects to what is not https, which is not followed")
        return url

    def _forget(self, blob: Descriptor, url: str) -> None:
        link = self._links[blob.digest]
        with link.lock:
            if link.url == url:  # else another thread has found a fresh one
                link.url = ""

    def _named(self, version: str) -> str:
        """Name a manifest by its tag or digest, as references do."""
        return f"{self._where}{'@' if ':' in version else ':'}{version}"
