"""Own how a body leaves: in small blocks, so that only silence ends a slow request, or as it is handed over.

The registry's ends may enter.
"""

from __future__ import annotations

import os
import threading


class Blocks:
    """Be a file of a body, which http.client sends in small blocks, each in the socket's timeout.

    Bytes it hands to one sendall(), with or without TLS, whose timeout, while sending that for connecting,
    bounds the time of all of them: on a slow line no part would ever arrive.
    """

    def __init__(self, body: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(body)
        self._place = 0

    def read(self, size: int = -1) -> memoryview:
        """Give the next size bytes, or all that are left."""
        start, self._place = self._place, len(self._view) if size < 0 else min(self._place + size, len(self._view))
        return self._view[start : self._place]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go on at an offset: botocore measures the body, hashes it and sends it again."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: len(self._view)}[whence]
        return self._place

    def tell(self) -> int:
        """Say what is read next."""
        return self._place


class Flow:
    """Be a file of a body that another thread hands over part by part while this one sends it."""

    def __init__(self, size: int) -> None:
        self.len = size  # requests takes Content-Length from here
        self._changed = threading.Condition()
        self._left = size
        self._rest = memoryview(b"")  # of the part that was handed over last
        self._closed = False

    def read(self, size: int = -1) -> memoryview:
        """Wait for the next bytes, size at most; nothing at the end. Raises OSError after a close() before it."""
        with self._changed:
            self._changed.wait_for(lambda: self._rest or self._closed or not self._left)
            if self._left and self._closed:
                raise OSError("nobody hands the rest of the body over")
            size = len(self._rest) if size < 0 else size
            view, rest = self._rest[:size], self._rest[size:]
            self._rest = rest or memoryview(b"")  # an empty view keeps the whole part in memory too
            self._left -= len(view)
            self._changed.notify_all()
            return view if self._rest else memoryview(bytes(view))  # which doesn't keep the whole part in memory

    def give(self, body: bytes | bytearray) -> None:
        """Hand the next part over; come back when it is taken, or when nothing will be any more."""
        with self._changed:
            self._rest = memoryview(body)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._rest or self._closed)

    def close(self) -> None:
        """Say, on either side, that it ends here."""
        with self._changed:
            self._closed, self._rest = True, memoryview(b"")
            self._changed.notify_all()
