"""Own the collection of garbage: expired uploads, layers that no image wants, files that metadata doesn't know.

The service may enter. Nothing here waits for a client, and no client waits for more than a small transaction.

A layer is idle from the first collection that finds it without an image. It is forgotten once that is long ago;
an image that refers to it wakes it, and so does the word to a client that it is there (api/layers.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Final

from ecrdrag.localecr.settings import Settings
from ecrdrag.localecr.storage.blobs import ALGORITHM
from ecrdrag.localecr.storage.layers import LayerUse
from ecrdrag.localecr.storage.store import Store

_log = logging.getLogger(__name__)

# How much is looked at in one step, and how long others have the machine for themselves before the next.
_STEP: Final = 200
_PAUSE: Final = 0.02


class Sweeper:
    """Collect garbage while the store is in use; for one thread. clock gives the seconds since 1970."""

    def __init__(self, store: Store, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._metadata = store.metadata
        self._blobs = store.blobs
        self._settings = settings
        self._clock = clock

    def steps(self) -> Generator[None, None, None]:
        """Collect once, by small steps that end in a yield."""
        yield from self._uploads()
        yield from self._layers()
        yield from self._files()

    def sweep(self) -> None:
        """Collect once."""
        for _ in self.steps():
            pass

    def _uploads(self) -> Iterator[None]:
        before = self._clock() - self._settings.upload_expiry
        last = ""
        while True:
            with self._metadata.read() as records:
                resting = records.resting_uploads(before, after=last, limit=_STEP)
            if not resting:
                return
            self._expire_uploads(resting, before)
            last = resting[-1]
            yield

    def _expire_uploads(self, resting: list[str], before: float) -> None:
        # A part on its way, however slow, has its upload: that isn't touched, not even waited for.
        with self._blobs.at_rest(resting) as free:
            with self._metadata.write() as records:
                expired = [upload for upload in free if records.expire_upload(upload, before)]
            for upload in expired:
                self._blobs.discard(upload)
            _note(len(expired), "uploads expired")

    def _layers(self) -> Iterator[None]:
        last = (0, "")
        while True:
            with self._metadata.read() as records:
                page = records.layer_uses(after=last, limit=_STEP)
            if not page:
                return
            self._expire_layers([layer for layer in page if not layer.referenced])
            last = (page[-1].repository, page[-1].digest)
            yield

    def _expire_layers(self, unwanted: list[LayerUse]) -> None:
        now = self._clock()
        before = now - self._settings.layer_expiry
        fresh = [layer for layer in unwanted if not layer.idle]
        old = [layer for layer in unwanted if layer.idle and layer.idle <= before]
        if fresh or old:
            with self._metadata.write() as records:
                records.rest_layers(fresh, now)
                records.expire_layers(old, before)
            _note(len(old), "layers expired")

    def _files(self) -> Iterator[None]:
        with self._metadata.read() as records:
            self._blobs.sweep(records.is_upload)
        yield
        with closing(self._blobs.names()) as names:
            for page in _pages(names):
                with self._metadata.read() as records:
                    unnamed = [name for name in page if not records.is_named(f"{ALGORITHM}:{name}")]
                for name in unnamed:
                    self._blobs.remove(name, partial(self._is_named, f"{ALGORITHM}:{name}"))
                _note(len(unnamed), "blobs that no repository names")
                yield

    def _is_named(self, digest: str) -> bool:
        with self._metadata.read() as records:
            return records.is_named(digest)


class Collector:
    """Collect garbage from entering the context to leaving it, at once and then every so often, in a thread."""

    def __init__(self, sweeper: Sweeper, interval: float) -> None:
        self._sweeper = sweeper
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="local ECR collector", daemon=True)

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._collect()
            except Exception:  # noqa: BLE001 - the next time may be better, and clients are served meanwhile
                _log.exception("the collection of garbage failed")
            self._stop.wait(self._interval)

    def _collect(self) -> None:
        with closing(self._sweeper.steps()) as steps:
            for _ in steps:
                if self._stop.wait(_PAUSE):
                    return


def _pages(names: Iterator[str]) -> Iterable[list[str]]:
    while page := list(islice(names, _STEP)):
        yield page


def _note(count: int, what: str) -> None:
    if count:
        _log.info("garbage: %d %s", count, what)
