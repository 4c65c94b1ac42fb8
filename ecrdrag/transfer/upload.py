"""Own the way up: many blobs at once, each in parts strictly in order and hashed on the way.

The stories may enter. The engine knows a BlobSource and a BlobDestination; it has never heard of HTTP or tar.

While a worker sends one part of its blob, an aide reads, hashes and encodes the next one, and no more:
memory is bounded by two encoded parts for each worker, whatever the blobs. A blob is read in one stream, which
stays open while its parts are sent: what its source waits for must not be what its destination waits for.
"""

from __future__ import annotations

import traceback
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Final

from ecrdrag.content import BlobDestination, BlobSource, BlobUpload, Descriptor, EncodedPart, Verifier
from ecrdrag.errors import (
    PartOffsetError,
    RangeIgnoredError,
    StalledError,
    TransferError,
    TransientError,
    UploadLostError,
)
from ecrdrag.transfer.crew import Aide, Crew, one_by_one
from ecrdrag.transfer.progress import Progress, Silence
from ecrdrag.transfer.retry import RetryPolicy, Tries

# What dockerd does without being told (its option --max-concurrent-uploads).
DEFAULT_UPLOAD_JOBS: Final = 5
_NOTHING: Final = memoryview(b"")


def upload(
    blobs: Sequence[Descriptor],
    source: BlobSource,
    destination: BlobDestination,
    *,
    jobs: int = DEFAULT_UPLOAD_JOBS,
    retry: RetryPolicy | None = None,
    progress: Progress | None = None,
) -> None:
    """Bring every blob to the destination, at most jobs of them at once, the largest first.

    No blob is completed unless the bytes that were read are those of its descriptor. The first
    failure ends all other work at the next part, and source with it, and is raised.
    """
    _Engine(blobs, source, destination, jobs, retry or RetryPolicy(), progress or Silence()).run()


class _Reading:
    """Read one blob in order, from byte to byte of one stream or of several; for one thread.

    A stream that fails is opened again where it ended. Where that can't be, as the source does no ranges, it begins at
    the start again, and what was had before passes by.
    """

    def __init__(self, blob: Descriptor, source: BlobSource, retry: RetryPolicy, crew: Crew) -> None:
        self._blob, self._source, self._crew = blob, source, crew
        self._tries = Tries(retry, f"blob {blob.digest}")
        self._stream: Iterator[memoryview] | None = None
        self._position = 0  # of the first byte of the rest
        self._rest = _NOTHING  # what the stream gave and nobody has taken yet
        self._whole = False  # the source gives whole blobs only

    def read(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop), wherever the last call has ended; a view is valid until the next is asked for."""
        while start < stop:
            view = self._insist(start, stop)
            start += len(view)
            yield view
        self._rest = memoryview(bytes(self._rest))  # a buffer that this thread may soon read other things into
        if start == self._blob.size:
            self._end()

    def close(self) -> None:
        """Leave the stream, and what it holds."""
        stream, self._stream, self._rest = self._stream, None, _NOTHING
        if isinstance(stream, Generator):
            stream.close()

    def _insist(self, start: int, stop: int) -> memoryview:
        """Try until bytes come; count the tries in a row that brought none."""
        while True:
            try:
                return self._take(start, stop)
            except TransientError as error:
                self.close()
                if isinstance(error, RangeIgnoredError) and not self._whole:
                    self._whole = True
                    continue
                if not isinstance(error, StalledError):
                    self._tries.reached(self._position)
                delay = self._tries.failed(error)
            self._crew.pause(delay)

    def _take(self, start: int, stop: int) -> memoryview:
        """Take some of bytes [start, stop), from the first one on."""
        if self._stream is None or self._position > start:
            self._open(0 if self._whole else start)
        while self._position + len(self._rest) <= start:
            self._position += len(self._rest)
            self._rest = self._next()
        rest = self._rest[start - self._position :]
        view, self._rest = rest[: stop - start], rest[stop - start :]
        self._position = start + len(view)
        return view

    def _open(self, start: int) -> None:
        self.close()
        self._stream, self._position = self._source.read(self._blob, start, self._blob.size), start

    def _next(self) -> memoryview:
        view = next(self._stream, None) if self._stream else None
        if view is None:
            raise TransientError(
                f"blob {self._blob.digest} ended at byte {self._position} of {self._blob.size} in its source"
            )
        if self._position + len(view) > self._blob.size:
            raise self._too_much()
        return view

    def _end(self) -> None:
        """Let the stream come to its end, as its connection may be used again then; nothing is to come."""
        too_much = False
        with suppress(TransientError):
            too_much = any(self._stream or ())
        self.close()
        if too_much:
            raise self._too_much()

    def _too_much(self) -> TransientError:
        return TransientError(f"blob {self._blob.digest} gave more bytes than were asked for")


class _Parts:
    """Prepare the parts of one upload in order, one ahead, hashing each byte of the blob once.

    Only the aide touches the reading and the verifier, so that hashing stays in order whatever the worker asks for.
    """

    def __init__(self, blob: Descriptor, reading: _Reading, up: BlobUpload, aide: Aide) -> None:
        self._blob, self._reading, self._up, self._aide = blob, reading, up, aide
        self._verifier = Verifier(blob, outgoing=True)
        self._current: EncodedPart | None = None
        self._ahead: tuple[int, Future[EncodedPart]] | None = None

    def part_at(self, start: int) -> EncodedPart:
        """Give the part that starts there, and have the one behind it prepared; the part before is forgotten."""
        if self._current is None or self._current.start != start:
            self._current = None
            self._current = self._prepared(start).result()
        if self._ahead is None and self._current.stop < self._blob.size:
            self._ahead = self._current.stop, self._prepared(self._current.stop)
        return self._current

    def forget(self) -> None:
        """Let go of what is prepared, as errors' tracebacks may keep this object alive for a while."""
        self._current = self._ahead = None

    def verify(self) -> None:
        """Raise IntegrityError unless what was read is what the descriptor says; all parts are sent."""
        self.forget()
        self._aide.call(self._finish).result()

    def _prepared(self, start: int) -> Future[EncodedPart]:
        """Take what was prepared ahead if it is what is asked for, else have it prepared."""
        ahead, self._ahead = self._ahead, None
        return ahead[1] if ahead and ahead[0] == start else self._aide.call(partial(self._prepare, start))

    def _prepare(self, start: int) -> EncodedPart:
        stop = min(start + self._up.part_size, self._blob.size)
        return self._up.encode(start, stop, self._read(start, stop))

    def _finish(self) -> None:
        if self._verifier.size < self._blob.size:  # the registry had the last bytes before they were read here
            for _ in self._read(self._blob.size, self._blob.size):
                pass
        self._verifier.finish()

    def _read(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes [start, stop), and hash what hasn't been hashed yet, before them too."""
        position = min(start, self._verifier.size)
        for view in self._reading.read(position, stop):
            self._verifier.update(view[self._verifier.size - position :])
            if position + len(view) > start:
                yield view[max(0, start - position) :]
            position += len(view)


class _Ascent:
    """Follow one blob on its way up, through one upload or several."""

    def __init__(self, blob: Descriptor, reading: _Reading, aide: Aide, retry: RetryPolicy) -> None:
        self.blob, self.reading, self.aide = blob, reading, aide
        self.tries = Tries(retry, f"blob {blob.digest}")
        self.position = 0  # of the next byte that the registry takes
        # An upload was lost, and nobody has looked yet whether it had been completed. And no bytes at all are taken
        # by some only: at ECR CompleteLayerUpload raises EmptyUploadException, and such a blob is never missing.
        self.may_be_there = blob.size == 0
        self.upload: tuple[BlobUpload, _Parts] | None = None

    def leave(self) -> None:
        """Let go of the upload: one that is given up may hold a request open until nobody knows it any more."""
        if self.upload is not None:
            self.upload[1].forget()
        self.upload = None


class _Engine:
    def __init__(
        self,
        blobs: Sequence[Descriptor],
        source: BlobSource,
        destination: BlobDestination,
        jobs: int,
        retry: RetryPolicy,
        progress: Progress,
    ) -> None:
        self._source, self._destination, self._retry, self._progress = source, destination, retry, progress
        # By size too: of two descriptors that disagree about it one lies, and is to be found out.
        distinct = {(blob.digest, blob.size): blob for blob in blobs}.values()
        self._blobs = sorted(distinct, key=lambda blob: blob.size, reverse=True)
        self._jobs = min(jobs, len(self._blobs))
        self._crew = Crew("upload", source.abort)

    def run(self) -> None:
        self._progress.begin(sum(blob.size for blob in self._blobs), len(self._blobs))
        self._crew.run(self._jobs, one_by_one(self._blobs), self._bring)
        self._crew.check()

    def _bring(self, blob: Descriptor) -> None:
        if blob.size == 0:  # not every upload of it comes to the point where it is hashed
            Verifier(blob, outgoing=True).finish()
        # In this order: a failure ends the source first, so that no aide is waited for that hangs in it.
        with Aide("read ahead") as aide, self._crew.failing():
            reading = _Reading(blob, self._source, self._retry, self._crew)
            ascent = _Ascent(blob, reading, aide, self._retry)
            try:
                self._insist(ascent)
            except BaseException as error:
                _empty_frames(error)
                raise
            finally:
                ascent.leave()
                aide.call(reading.close)

    def _insist(self, ascent: _Ascent) -> None:
        """Try until the blob is there; count the tries in a row that got no further."""
        while not self._crew.stopping:
            try:
                if self._try(ascent):
                    self._progress.blob_done(ascent.blob)
                return
            except TransientError as error:
                delay = ascent.tries.failed(error)
                _empty_frames(error)
            self._crew.pause(delay)

    def _try(self, ascent: _Ascent) -> bool:
        """Send what is still to be sent, and complete the blob; False when other work failed meanwhile."""
        try:
            return self._arrived(ascent) or self._ascend(ascent)
        except UploadLostError:
            self._lose(ascent)
            if not self._arrived(ascent):
                raise
            return True

    def _lose(self, ascent: _Ascent) -> None:
        self._move(ascent, 0)
        ascent.leave()
        ascent.may_be_there = True

    def _arrived(self, ascent: _Ascent) -> bool:
        """Find out whether an upload was lost because it had been completed."""
        if not ascent.may_be_there:
            return False
        if ascent.blob.digest in self._destination.missing([ascent.blob]):
            ascent.may_be_there = False
            return False
        self._move(ascent, ascent.blob.size)
        return True

    def _ascend(self, ascent: _Ascent) -> bool:
        if ascent.upload is None:
            up = self._destination.begin(ascent.blob)
            ascent.upload = up, _Parts(ascent.blob, ascent.reading, up, ascent.aide)
        up, parts = ascent.upload
        while not self._crew.stopping:
            if ascent.position == ascent.blob.size:
                parts.verify()
                up.complete()
                return True
            self._send_next(ascent, up, parts)
        return False

    def _send_next(self, ascent: _Ascent, up: BlobUpload, parts: _Parts) -> None:
        """Send a part and go to where the registry says; raise PartOffsetError when that isn't behind the part."""
        part = parts.part_at(ascent.position)
        try:
            offset, refusal = up.send(part), ""
        except PartOffsetError as error:
            offset, refusal = error.offset, str(error)
        if not 0 <= offset <= ascent.blob.size:
            raise TransferError(
                f"blob {ascent.blob.digest} has {ascent.blob.size} bytes, but the registry takes byte {offset} next"
            )
        self._move(ascent, offset)
        ascent.tries.reached(offset)
        if offset != part.stop:  # else an earlier try had brought the part, whose answer was lost
            raise PartOffsetError(refusal or f"the registry takes byte {offset} next, not {part.stop}", offset=offset)

    def _move(self, ascent: _Ascent, position: int) -> None:
        self._progress.advance(position - ascent.position)
        ascent.position = position


def _empty_frames(error: BaseException | None) -> None:
    """Let go of what functions held that an error went through: a part, for as long as errors live.

    That is until the garbage is collected when they are part of a circle, as botocore's are.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
