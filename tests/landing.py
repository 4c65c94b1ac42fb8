"""Own a sink in memory that minds its rights: what it is told about bytes must be so.

The tests of the download engine and of its rooms enter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ecrdrag.content import Descriptor, Digest


def blob_of(content: bytes) -> Descriptor:
    """Describe content."""
    return Descriptor("application/octet-stream", Digest.of(content), len(content))


class Sink:
    """Take one blob; refuse to write a byte twice unless all was forgotten, and notes of bytes that aren't there.

    earlier ranges have landed in an earlier run, as content says. on_write is called before each write, with its
    offset and size. What was refused is in wrong too, since the one who tried may be past caring.
    """

    def __init__(
        self,
        size: int,
        earlier: Sequence[tuple[int, int]] = (),
        content: bytes = b"",
        *,
        on_write: Callable[[int, int], None] = lambda offset, size: None,
    ) -> None:
        self.content = bytearray(size)
        self.earlier, self.on_write = earlier, on_write
        self.begun, self.written, self.noted = bytearray(size), bytearray(size), bytearray(size)
        self.writes = self.forgotten = 0
        self.notes: list[tuple[int, int]] = []
        self.wrong: list[str] = []
        self._lock = threading.Lock()
        for start, stop in earlier:
            self.content[start:stop] = content[start:stop]
            _set(start, stop, self.begun, self.written, self.noted)

    def write_at(self, view: memoryview, offset: int) -> None:
        start, stop = offset, offset + len(view)
        with self._lock:
            forgotten = self.forgotten
            self._mind(start < stop <= len(self.content), f"a write of {start}-{stop} outside the blob")
            self._mind(not any(self.begun[start:stop]), f"a second write of {start}-{stop}")
            _set(start, stop, self.begun)
        self.on_write(offset, len(view))
        with self._lock:
            self.content[start:stop] = view
            self.writes += len(view)
            if forgotten == self.forgotten:
                _set(start, stop, self.written)

    def read_at(self, buffer: memoryview, offset: int) -> int:
        data = self.content[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        return len(data)

    def landed(self) -> Sequence[tuple[int, int]]:
        return self.earlier

    def note(self, start: int, stop: int) -> None:
        with self._lock:
            self._mind(start < stop and all(self.written[start:stop]), f"a note of {start}-{stop}, not all written")
            self._mind(not any(self.noted[start:stop]), f"a second note of {start}-{stop}")
            _set(start, stop, self.noted)
            self.notes.append((start, stop))

    def forget(self) -> None:
        with self._lock:
            self.forgotten += 1
            for mask in (self.begun, self.written, self.noted):
                mask[:] = bytes(len(mask))

    def _mind(self, right: bool, wrong: str) -> None:
        if not right:
            self.wrong.append(wrong)
            raise AssertionError(wrong)


def _set(start: int, stop: int, *masks: bytearray) -> None:
    for mask in masks:
        mask[start:stop] = b"\1" * (stop - start)
