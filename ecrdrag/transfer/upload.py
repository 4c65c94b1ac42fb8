"""Own the way up: many blobs at once, each in parts strictly in order and hashed on the way.

The stories may enter. The engine knows a BlobSource and a BlobDestination; it has never heard of HTTP or tar.

While a worker sends one part of its blob, an aide reads, hashes and encodes the next one, and no more:
memory is bounded by two encoded parts for each worker, whatever the blobs.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

from ecrdrag.content import BlobDestination, BlobSource, BlobUpload, Descriptor, EncodedPart, Verifier
from ecrdrag.errors import PartOffsetError, TransferError, TransientError, UploadLostError
from ecrdrag.transfer.crew import Aide, Crew, one_by_one
from ecrdrag.transfer.progress import Progress, Silence
from ecrdrag.transfer.retry import RetryPolicy, Tries

# What dockerd does without being told (its option --max-concurrent-uploads).
DEFAULT_UPLOAD_JOBS: Final = 5


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


class _Parts:
    """Prepare the parts of one upload in order, one ahead, hashing each byte of the blob once.

    Only the aide touches the verifier, so that hashing stays in order whatever the worker asks for.
    """

    def __init__(self, blob: Descriptor, source: BlobSource, up: BlobUpload, aide: Aide) -> None:
        self._blob, self._source, self._up, self._aide = blob, source, up, aide
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
        for view in self._source.read(self._blob, position, stop):
            if position + len(view) > stop:
                raise TransientError(f"blob {self._blob.digest} gave more bytes than were asked for")
            self._verifier.update(view[self._verifier.size - position :])
            if position + len(view) > start:
                yield view[max(0, start - position) :]
            position += len(view)
        if position < stop:
            raise TransientError(f"blob {self._blob.digest} ended at byte {position} of {stop} in its source")


class _Ascent:
    """Follow one blob on its way up, through one upload or several."""

    def __init__(self, blob: Descriptor, aide: Aide, retry: RetryPolicy) -> None:
        self.blob, self.aide = blob, aide
        self.tries = Tries(retry, f"blob {blob.digest}")
        self.position = 0  # of the next byte that the registry takes
        self.may_be_there = False  # an upload was lost, and nobody has looked yet whether it had been completed
        self.upload: tuple[BlobUpload, _Parts] | None = None


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
        if blob.size == 0:  # ECR refuses an upload without a part: CompleteLayerUpload, EmptyUploadException
            Verifier(blob, outgoing=True).finish()
            self._progress.blob_done(blob)
            return
        # In this order: a failure ends the source first, so that no aide is waited for that hangs in it.
        with Aide("read ahead") as aide, self._crew.failing():
            self._insist(_Ascent(blob, aide, self._retry))

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
        if ascent.upload is not None:
            ascent.upload[1].forget()
        ascent.upload, ascent.may_be_there = None, True

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
            ascent.upload = up, _Parts(ascent.blob, self._source, up, ascent.aide)
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
