"""Own one blob on its way down: which bytes have landed, which requests bring the rest, and how far it is hashed.

The download engine may enter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ecrdrag.content import BlobSink, Descriptor, Verifier
from ecrdrag.errors import ArchiveError, IntegrityError, TransientError

_HASH_BUFFER: Final = 1024 * 1024
NOTE_SIZE: Final = 1024 * 1024  # bytes of a chunk after which the sink hears what has landed
_buffers = threading.local()


@dataclass(slots=True, eq=False)
class Chunk:
    """Bytes [start, stop) of a blob; position is behind the last one that landed.

    claimed is ahead of position while a thread writes what lies between. A void chunk counts for
    nothing any more; a whole one is all of a blob whose server can't do ranges.
    """

    start: int
    stop: int
    position: int
    whole: bool = False
    void: bool = False
    claimed: int = 0
    noted: int = 0

    def __post_init__(self) -> None:
        self.claimed = self.noted = self.position

    @property
    def open(self) -> bool:
        """Say whether bytes of it are still to come."""
        return not self.void and self.position < self.stop


class Run:
    """One request for what a chunk lacks; position is behind the last byte that it brought, wanted or not."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.start = self.position = chunk.position
        self.stop = chunk.stop


class BlobInFlight:
    """Take one blob's chunks from many threads and hash them in order."""

    def __init__(self, descriptor: Descriptor, sink: BlobSink, chunk_size: Callable[[int], int]) -> None:
        """Lay out the chunks; chunk_size says how many bytes the next one has when so many of the blob are missing."""
        self.descriptor = descriptor
        self._sink = sink
        self._chunk_size = chunk_size
        self._hashing = self._closed = False
        self._writing = 0
        self._changed = threading.Condition()
        self._begin(list(_laid_out(descriptor.size, sink.landed(), chunk_size)))

    def _begin(self, chunks: list[Chunk]) -> None:
        self.chunks = chunks
        self._verifier = Verifier(self.descriptor)
        self._first_open = 0  # every chunk before this one has landed whole
        self._verified = False

    @property
    def received(self) -> int:
        """Bytes that have landed, here or in an earlier run."""
        return sum(chunk.position - chunk.start for chunk in self.chunks)

    def place(self, run: Run, view: memoryview) -> int | None:
        """Write the next bytes of a run as far as nobody else has brought them, and return how many those were.

        None says that the chunk has no use for the run any more.
        """
        chunk = run.chunk
        if run.position + len(view) > run.stop:
            raise TransientError(f"blob {self.descriptor.digest} sent more bytes than were asked for")
        piece = self._claim(run, view)
        if piece is None:
            return None
        if piece:
            self._write(chunk, piece)
        run.position += len(view)
        return len(piece)

    def _claim(self, run: Run, view: memoryview) -> memoryview | None:
        """Take what is new of the view, to be written by this thread alone; None when the chunk is void or whole.

        Another run may have been here, and the chunk may have been split. What is hashed already
        must not be written once more: these bytes might be wrong.
        """
        chunk = run.chunk
        with self._changed:
            self._changed.wait_for(lambda: chunk.claimed == chunk.position)
            if not chunk.open:
                return None
            piece = view[max(0, chunk.position - run.position) : max(0, chunk.stop - run.position)]
            if piece:  # else another thread may claim before this one is back
                chunk.claimed = chunk.position + len(piece)
                self._writing += 1
            return piece

    def _write(self, chunk: Chunk, piece: memoryview) -> None:
        written = 0
        try:
            self._sink.write_at(piece, chunk.position)
            written = len(piece)
        finally:
            self._written(chunk, written)

    def _written(self, chunk: Chunk, size: int) -> None:
        with self._changed:
            self._writing -= 1
            chunk.position += size
            chunk.claimed = chunk.position
            self._changed.notify_all()  # first: the sink may refuse a note
            if not chunk.void and (chunk.position == chunk.stop or chunk.position - chunk.noted >= NOTE_SIZE):
                self._note(chunk)

    def leave(self, run: Run) -> None:
        """Note what a run has brought, when it ends before its chunk does."""
        with self._changed:
            if not run.chunk.void:
                self._note(run.chunk)

    def split(self, chunk: Chunk, least: int) -> Chunk | None:
        """Cut what a chunk lacks in two and return the second half, unless a half were under least bytes."""
        with self._changed:
            missing = chunk.stop - chunk.claimed
            if chunk.void or chunk.whole or missing < 2 * least:
                return None
            middle = chunk.stop - missing // 2
            half = Chunk(middle, chunk.stop, middle)
            chunk.stop = middle
            self.chunks.insert(self.chunks.index(chunk) + 1, half)
            return half

    def restart(self, chunk: Chunk | None = None, *, whole: bool = False) -> int | None:
        """Forget what has landed and begin again; whole says to do so with one chunk, as the server can't do ranges.

        Returns the number of bytes forgotten; None when chunk isn't open any more, as another thread
        has started over or brought it in the meantime, and when the blob is closed.
        """
        with self._changed:
            if self._closed or (chunk is not None and not chunk.open):
                return None
            self._void_all()
            self._sink.forget()  # before the wait, in which close() may come
            self._changed.wait_for(lambda: self._writing == 0)
            if self._closed:
                return None
            lost = self.received
            size = self.descriptor.size
            self._begin([Chunk(0, size, 0, whole=True)] if whole else list(_laid_out(size, (), self._chunk_size)))
            return lost

    def close(self) -> None:
        """End writing and hashing, and note all that has landed: when this returns, the sink hears of no bytes more."""
        with self._changed:
            self._closed = True
            live = self._void_all()
            self._changed.wait_for(lambda: self._writing == 0)
            for chunk in live:
                self._note(chunk)

    def _void_all(self) -> list[Chunk]:
        """Make every chunk count for nothing, and return those that did count; writes that have begun go on."""
        live = [each for each in self.chunks if not each.void]
        for each in live:
            each.void = True
        return live

    def _note(self, chunk: Chunk) -> None:
        if chunk.position > chunk.noted:
            self._sink.note(chunk.noted, chunk.position)
            chunk.noted = chunk.position

    def check_verified(self) -> None:
        """Raise IntegrityError unless every byte has been hashed and was right."""
        if not self._verified:
            raise IntegrityError(f"blob {self.descriptor.digest} was not verified")

    def claim_hashing(self) -> bool:
        """Say whether hash_landed should be called: there is something to hash and nobody does."""
        with self._changed:
            if self._hashing or self._verified or (self.descriptor.size and self._landed() == self._verifier.size):
                return False
            self._hashing = True
            return True

    def hash_landed(self) -> bool:
        """Hash all that has landed in order, until close(); True when that completed and verified the blob.

        For the thread that claimed it. Raises IntegrityError when size or digest differs.
        """
        buffer = _thread_buffer()
        try:
            return self._hash_with(buffer)
        except BaseException:
            with self._changed:
                self._hashing = False
            raise

    def _hash_with(self, buffer: memoryview) -> bool:
        while True:
            with self._changed:
                verifier = self._verifier
                start, stop = verifier.size, self._landed()
                if self._closed or start == stop < self.descriptor.size:
                    self._hashing = False
                    return False
            if start == stop:
                break
            count = self._sink.read_at(buffer[: stop - start], start)
            if count == 0:
                raise ArchiveError(f"blob {self.descriptor.digest} was cut short on the disk at byte {start}")
            verifier.update(buffer[:count])
        verifier.finish()
        with self._changed:
            self._hashing = False
            self._verified = verifier is self._verifier
            return self._verified

    def _landed(self) -> int:
        """How many bytes have landed without a gap from the start."""
        while self._first_open < len(self.chunks) - 1:
            chunk = self.chunks[self._first_open]
            if chunk.position < chunk.stop:
                break
            self._first_open += 1
        return self.chunks[self._first_open].position if self.chunks else 0


def _laid_out(size: int, landed: Sequence[tuple[int, int]], chunk_size: Callable[[int], int]) -> Iterator[Chunk]:
    """Yield the chunks of a blob in order: those that have landed as they did, and the gaps in pieces."""
    missing = size - sum(stop - start for start, stop in landed)
    position = 0
    for start, stop in (*landed, (size, size)):
        while position < start:
            end = min(position + chunk_size(missing), start)
            yield Chunk(position, end, position)
            missing, position = missing - (end - position), end
        if start < stop:
            yield Chunk(start, stop, stop)
        position = stop


def _thread_buffer() -> memoryview:
    """Give each hashing thread one buffer for all the blobs that it hashes."""
    if not hasattr(_buffers, "view"):
        _buffers.view = memoryview(bytearray(_HASH_BUFFER))
    view: memoryview = _buffers.view
    return view
