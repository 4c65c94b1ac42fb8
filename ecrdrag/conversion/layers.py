"""Own the layers of a conversion: each brought once, read through once, and made anew where another form is wanted.

The conversion room may enter. All of it lies in temporary files, in the folder that TMPDIR names.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

from ecrdrag.archive.compress import Compression, GzipBlocks
from ecrdrag.archive.decompress import SNIFFED, decompressed, sniff
from ecrdrag.archive.press import Hashed, Press
from ecrdrag.archive.spool import Section, Spool
from ecrdrag.content import BlobSource, Descriptor, Digest
from ecrdrag.conversion.rewrite import NewLayer
from ecrdrag.errors import ArchiveError, IntegrityError, TransferError
from ecrdrag.transfer.download import Download, download
from ecrdrag.transfer.progress import Progress, Stage
from ecrdrag.transfer.retry import RetryPolicy

_FILES: Final = 64  # that layers of one image get for themselves, of the 256 that macOS allows a process
_SCHEMA1: Final = ("gzip", "")  # what may stay in an image before 2016, as docker's schema 2 has types for it
_OURS: Final = "the conversion"

Claims = Mapping[Digest, Collection[Digest]]
"""What images say of layers: the digests that their configs give the plain tar."""


@dataclass(frozen=True, slots=True)
class KnownLayer:
    """A layer that was read through: what it is now, the digest of its plain tar, and whether that is only zeros."""

    now: NewLayer
    diff_id: Digest
    empty: bool


class Kept:
    """Be the BlobSource of one blob that lies here."""

    def __init__(self, read: Callable[[int, int], Iterator[memoryview]]) -> None:
        self._read, self._stopped = read, threading.Event()

    @classmethod
    def of(cls, content: bytes) -> Kept:
        """Keep a small blob in memory."""
        return cls(lambda start, stop: iter([memoryview(content)[start:stop]]))

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop) in order; a view is valid until the next one is asked for."""
        for view in self._read(start, stop):
            if self._stopped.is_set():
                raise TransferError(f"{_OURS}: stopped")
            yield view

    def expect(self, blob: Descriptor) -> None:
        """Do nothing: it is at hand."""

    def abort(self) -> None:
        """End every read in progress; later ones fail."""
        self._stopped.set()


class Layers:
    """Bring layers and make them anew as a wish says, None: as they are; what lies here does so until close().

    For one thread.
    """

    def __init__(self, wish: Compression | None, *, jobs: int, retry: RetryPolicy, stage: Stage) -> None:
        self._wish, self._jobs, self._retry, self._stage = wish, jobs, retry, stage
        self._press = Press(wish or Compression(), _OURS)
        self._stay = _SCHEMA1 if wish is None else (self._press.makes,)
        self._spools: list[Spool] = []
        self._known: dict[Digest, KnownLayer] = {}
        self.ways: dict[Digest, BlobSource] = {}

    def bring(
        self, layers: Iterable[Descriptor], source: BlobSource, *, claims: Claims, changes: bool
    ) -> Mapping[Digest, KnownLayer]:
        """Bring those that aren't known yet, verified, and read them through; changes says that most will be made anew.

        Raises IntegrityError for a tar that isn't what is claimed, or can't be unpacked.
        """
        wanted = {layer.digest: layer for layer in layers}
        for digest in wanted.keys() & self._known.keys():
            _check(digest, self._known[digest].diff_id, claims)
        waiting = sorted((wanted[digest] for digest in wanted.keys() - self._known.keys()), key=_largest_first)
        if waiting:
            received = self._received(waiting, apart=changes)
            self._fetch(received, source)
            self._read_through(received, claims)
        return {digest: self._known[digest] for digest in wanted}

    def close(self) -> None:
        """Give all space back; no read may be in progress."""
        self._press.close()
        for spool in self._spools:
            spool.close()

    def _received(self, layers: Sequence[Descriptor], *, apart: bool) -> list[_Received]:
        """Make room; the largest get files of their own, so that the space of each can be given back."""
        alone = _FILES if apart else 0
        own = [self._received_alone(layer) for layer in layers[:alone]]
        return own + [_Received(layer, self._shared.reserve(layer.size), None) for layer in layers[alone:]]

    @cached_property
    def _shared(self) -> Spool:
        return self._new_spool()

    def _received_alone(self, layer: Descriptor) -> _Received:
        spool = self._new_spool()
        return _Received(layer, spool.reserve(layer.size), spool)

    def _new_spool(self) -> Spool:
        spool = Spool(_OURS)
        self._spools.append(spool)
        return spool

    def _fetch(self, received: Sequence[_Received], source: BlobSource) -> None:
        downloads = [Download(one.layer, one.section) for one in received]
        with self._stage("fetch to convert") as progress:
            download(downloads, source, jobs=self._jobs, retry=self._retry, progress=progress)

    def _read_through(self, received: Sequence[_Received], claims: Claims) -> None:
        with self._stage("convert") as progress:
            progress.begin(sum(one.layer.size for one in received), len(received))
            self._press.run(received, partial(self._read, progress, claims))

    def _read(self, progress: Progress, claims: Claims, received: _Received, gzip: GzipBlocks) -> None:
        layer, section = received.layer, received.section
        kind = sniff(b"".join(map(bytes, section.read(0, min(layer.size, SNIFFED)))))
        pieces = self._press.watched(section.read(0, layer.size), progress.advance)
        unpacked = (memoryview(each) for each in _unpacked(kind, pieces, layer.digest)) if kind else pieces
        tar = _Tar(self._press.watched(unpacked, lambda _: None))  # a little may unpack to a lot
        if kind in self._stay:
            for _ in tar:  # to hash it
                pass
            now = NewLayer(layer.digest, layer.size, kind)
            way = Kept(section.read)
        else:
            made = self._press.make(tar, gzip)
            now = NewLayer(made.digest, made.size, self._press.makes)
            way = Kept(made.read)
            if received.alone is not None:
                received.alone.close()
        _check(layer.digest, tar.diff_id, claims)
        self._known[layer.digest] = KnownLayer(now, tar.diff_id, tar.empty)
        self.ways[now.digest] = way
        progress.blob_done(layer)


@dataclass(frozen=True, slots=True)
class _Received:
    """A layer, where it lands, and the file if there is nothing else in it."""

    layer: Descriptor
    section: Section
    alone: Spool | None


class _Tar:
    """Pass a plain tar on, hash it, and see whether it is only zeros: tar's end of nothing, or nothing at all."""

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        self._hashed = Hashed(pieces)
        self.empty = True

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for piece in self._hashed:
            if self.empty:
                self.empty = bytes(piece).count(0) == len(piece)
            yield piece

    @property
    def diff_id(self) -> Digest:
        """Name what has been passed on."""
        return self._hashed.digest


def _unpacked(kind: str, pieces: Iterable[memoryview], layer: Digest) -> Iterator[bytes]:
    """Unpack a layer; what is wrong in it is its registry's, not an archive's."""
    what = f"layer {layer}"
    try:
        yield from decompressed(kind, pieces, where=what)
    except ArchiveError as error:
        if not str(error).startswith(what):  # it is the temporary file's
            raise
        raise IntegrityError(str(error), hint="it is so in its registry; without --layers it comes as it is") from error


def _check(layer: Digest, diff_id: Digest, claims: Claims) -> None:
    for claimed in claims.get(layer, ()):
        if claimed != diff_id:
            raise IntegrityError(
                f"layer {layer} isn't its image's: its tar has digest {diff_id}, the config says {claimed}",
                hint="the image is damaged in its registry, and docker would refuse it; have it built again",
            )


def _largest_first(layer: Descriptor) -> tuple[int, str]:
    return -layer.size, str(layer.digest)
