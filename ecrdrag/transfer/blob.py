"""Own one blob on its way down: which chunks have landed, and how far it is hashed.

The download engine may enter.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from ecrdrag.content import BlobSink, Descriptor, Verifier
from ecrdrag.errors import ArchiveError, IntegrityError, TransientError

_HASH_BUFFER: Final = 1024 * 1024
_buffers = threading.local()


@dataclass(slots=True, eq=False)
class Chunk:
    """Bytes [start, stop) of a blob; position is behind the last one that landed.

    One thread at a time fetches a chunk. A void chunk counts for nothing any more.
    """

    start: int
    stop: int
    position: int
    void: bool = False

    @property
    def open(self) -> bool:
        """Say whether bytes of it are still to come."""
        return not self.void and self.position < self.stop


class BlobInFlight:
    """Take one blob's chunks from many threads and hash them in order."""

    def __init__(self, descriptor: Descriptor, sink: BlobSink, chunk_size: int) -> None:
        self.descriptor = descriptor
        self.chunks = [
            Chunk(start, min(start + chunk_size, descriptor.size), start)
            for start in range(0, descriptor.size, chunk_size)
        ]
        self._sink = sink
        self._verifier = Verifier(descriptor)
        self._first_open = 0  # every chunk before this one has landed whole
        self._hashing = False
        self._verified = False
        self._writing = 0
        self._changed = threading.Condition()

    def place(self, chunk: Chunk, view: memoryview) -> bool:
        """Write the next bytes of a chunk; False when the chunk is void and nothing was written."""
        if chunk.position + len(view) > chunk.stop:
            raise TransientError(f"blob {self.descriptor.digest} sent more bytes than were asked for")
        with self._changed:
            if chunk.void:
                return False
            self._writing += 1
        try:
            self._sink.write_at(view, chunk.position)
        except BaseException:
            self._written(chunk, 0)
            raise
        self._written(chunk, len(view))
        return True

    def _written(self, chunk: Chunk, size: int) -> None:
        with self._changed:
            self._writing -= 1
            chunk.position += size
            self._changed.notify_all()

    def restart_whole(self, chunk: Chunk) -> tuple[int, Chunk | None]:
        """Forget what has landed and start over with one chunk, since the server can't do ranges.

        Returns the number of bytes forgotten, and the chunk to fetch: None when another thread
        has started over in the meantime.
        """
        with self._changed:
            if chunk.void:
                return 0, None
            self._void_all()
            lost = sum(each.position - each.start for each in self.chunks)
            self.chunks = [Chunk(0, self.descriptor.size, 0)]
            self._first_open = 0
            self._verifier = Verifier(self.descriptor)
            return lost, self.chunks[0]

    def close(self) -> None:
        """End writing: when this returns, nothing is written to the sink any more."""
        with self._changed:
            self._void_all()

    def _void_all(self) -> None:
        """Make every chunk count for nothing, and wait for the writes that had begun."""
        for each in self.chunks:
            each.void = True
        self._changed.wait_for(lambda: self._writing == 0)

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
        """Hash all that has landed in order; True when that completed and verified the blob.

        For the thread that claimed it. Raises IntegrityError when size or digest differs.
        """
        buffer = _thread_buffer()
        while True:
            with self._changed:
                verifier = self._verifier
                start, stop = verifier.size, self._landed()
                if start == stop:
                    self._hashing = False
                    break
            count = self._sink.read_at(buffer[: stop - start], start)
            if count == 0:
                raise ArchiveError(f"blob {self.descriptor.digest} was cut short on the disk at byte {start}")
            verifier.update(buffer[:count])
        if stop < self.descriptor.size:
            return False
        verifier.finish()
        self._verified = True
        return True

    def _landed(self) -> int:
        """How many bytes have landed without a gap from the start."""
        while self._first_open < len(self.chunks) - 1:
            chunk = self.chunks[self._first_open]
            if chunk.position < chunk.stop:
                break
            self._first_open += 1
        return self.chunks[self._first_open].position if self.chunks else 0


def _thread_buffer() -> memoryview:
    """Give each hashing thread one buffer for all the blobs that it hashes."""
    if not hasattr(_buffers, "view"):
        _buffers.view = memoryview(bytearray(_HASH_BUFFER))
    view: memoryview = _buffers.view
    return view
