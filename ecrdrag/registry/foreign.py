"""Own layers that no registry has: fetched from where a manifest says, on a stranger's word and without a login.

The stories and the command line may enter. OCI image spec, descriptor.md, urls; layer.md, non-distributable layers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Final

from ecrdrag.content import Descriptor, Digest, Turns
from ecrdrag.errors import (
    EcrdragError,
    IntegrityError,
    NotFoundError,
    RangeIgnoredError,
    TransferError,
    TransientError,
)
from ecrdrag.registry.guard import Address, PublicOnly, is_public, shown
from ecrdrag.registry.http import Trust
from ecrdrag.registry.http_errors import UnreachableError
from ecrdrag.registry.transport import BlobTransport, LinkRefusedError

log = logging.getLogger(__name__)

_MAX_PLACES: Final = 8  # that are asked for one layer: no manifest is to send us to thousands of hosts
_HINT: Final = "leave out --foreign-layers to pull without this layer"


class _Places:
    """Know the URLs that a blob may be had from, the best first, and why it can't be had from the others."""

    def __init__(self, blob: Descriptor, guard: PublicOnly) -> None:
        urls = list(dict.fromkeys(blob.urls))[:_MAX_PLACES]
        refused = {url: problem for url in urls if (problem := guard.refusal(url))}
        self._blob = blob.digest
        self._left = [url for url in urls if url not in refused]
        self._failed: dict[str, EcrdragError] = {url: TransferError(problem) for url, problem in refused.items()}
        self._met: set[str] = set()
        self._lock = threading.Lock()

    def best(self) -> str:
        """Name the URL to ask; raise NotFoundError, TransferError or IntegrityError when none is left."""
        with self._lock:
            if self._left:
                return self._left[0]
            if self._failed:
                raise _no_use(self._blob, self._failed)
        raise NotFoundError(f"the manifest doesn't say where layer {self._blob} is", hint=_HINT)

    def brought(self, url: str) -> None:
        """Remember that bytes came from there."""
        self._met.add(url)

    def failed(self, url: str, error: EcrdragError, *, came: bool) -> bool:
        """Tell whether a failure, after which bytes came or not, is one for now; then another URL comes first."""
        with self._lock:
            if self._is_for_now(url, error):
                if not came and self._left[:1] == [url]:  # else another thread was here before
                    self._left.append(self._left.pop(0))
                return True
            self._failed[url] = error.with_traceback(None)  # which holds what was read
            self._left = [other for other in self._left if other != url]
        log.info("layer %s can't be had from %s: %s", self._blob, shown(url), error)
        return False

    def _is_for_now(self, url: str, error: EcrdragError) -> bool:
        if isinstance(error, UnreachableError):  # as for registries, no second try where there was never anybody
            return url in self._met
        return isinstance(error, TransientError) and not isinstance(error, LinkRefusedError)


class ForeignLayers:
    """Fetch blobs from the urls in their descriptors, one after the other until one works; safe from many threads.

    Over https alone, from public addresses alone, redirects too (see PublicOnly, also for what a proxy decides);
    nothing is sent that says who asks. Whose bytes are of the right size but wrong is known to who verifies them,
    not here. Proxies come from the environment.
    """

    def __init__(
        self,
        *,
        trust: Trust,
        connections: int,
        turns: Turns | None = None,
        is_allowed: Callable[[Address], bool] = is_public,
    ) -> None:
        self._guard = PublicOnly(is_allowed)
        self._transport = BlobTransport(connections=connections, trust=trust, turns=turns, guard=self._guard)
        self._places: dict[tuple[Digest, tuple[str, ...]], _Places] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) of a blob; a view is valid until the next one is asked for.

        Raises NotFoundError for a blob without urls, TransferError or IntegrityError when none of them is of use.
        """
        places = self._of(blob)
        while start < stop:
            url, begun = places.best(), start
            try:
                for view in self._transport.read_range(url, start=start, stop=stop, size=blob.size):
                    if start == begun:
                        places.brought(url)
                    start += len(view)
                    yield view
            except (TransferError, IntegrityError) as error:
                if self._stopped or isinstance(error, RangeIgnoredError):
                    raise
                if places.failed(url, error, came=start > begun):
                    error.hint = _hint(error)
                    raise

    def expect(self, blob: Descriptor) -> None:
        """See whether any URL of the blob may be asked."""
        self._of(blob).best()

    def abort(self) -> None:
        """End every read in progress, from any thread; later ones fail."""
        self._stopped = True
        self._transport.abort()

    def __enter__(self) -> ForeignLayers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._transport.__exit__(kind, error, trace)

    def _of(self, blob: Descriptor) -> _Places:
        key = (blob.digest, blob.urls)
        with self._lock:
            if key not in self._places:
                self._places[key] = _Places(blob, self._guard)
            return self._places[key]


def _no_use(blob: Digest, failed: Mapping[str, EcrdragError]) -> EcrdragError:
    last = list(failed.values())[-1]
    kind = IntegrityError if isinstance(last, IntegrityError) else TransferError
    reasons = "; ".join(f"{shown(url)}: {error}" for url, error in failed.items())
    return kind(f"layer {blob} can't be fetched from where its manifest says: {reasons}", hint=_hint(last))


def _hint(error: EcrdragError) -> str:
    return f"{error.hint}; or {_HINT}" if error.hint else _HINT
