"""Own the bytes of one connection, in and out, and how long the client is waited for.

The rooms of this package may enter. A client costs a thread, so none may be slow for ever.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
import sys
from collections.abc import Callable
from io import BufferedReader, RawIOBase
from time import monotonic
from typing import TYPE_CHECKING, Final

from ecrdrag.localecr.web.exchange import ClientGone, TooSlow
from ecrdrag.localecr.web.files import FileReader

if sys.platform == "linux":
    import fcntl
    import termios

if TYPE_CHECKING:  # it is in no module that runs
    from _typeshed import WriteableBuffer

Clock = Callable[[], float]

_BUFFER: Final = 64 * 1024
# What sendfile(2) takes at once is a little more.
_MAX_SENDFILE: Final = 1 << 30
# Where it can't be done from such a file, sendfile(2) says so.
_NO_SENDFILE: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_BLOCK: Final = 256 * 1024
# Under TLS a send ends when all of it has gone, and a timeout doesn't tell how much has: with the timeout that
# servers have by default, this keeps a client waiting for no more than a least rate of 546 bytes per second.
_MAX_TLS_SEND: Final = 32 * 1024
# Lets the head of an answer leave with its body's first bytes (Linux, send(2)).
_MORE: Final = getattr(socket, "MSG_MORE", 0)


class Patience:
    """Give a client up, with TooSlow, that moves fewer bytes per second than it must over a span of waiting for it."""

    def __init__(self, span: float, rate: float, moved: Callable[[], int]) -> None:
        self._span = span
        self._least = max(1.0, span * rate)
        self._moved = moved
        self._before = moved()
        self._waited = 0.0

    def waited(self, seconds: float) -> None:
        """Add a wait; what this side takes its time for isn't one."""
        self._waited += seconds
        if self._waited < self._span:
            return
        moved = self._moved()
        if moved - self._before < self._least:
            raise TooSlow(f"{moved - self._before} bytes in {self._waited:.1f} s")
        self._before, self._waited = moved, 0.0


class Incoming(RawIOBase):
    """What one client sends: heads, which must be whole in a time, and bodies of a least rate; for one thread."""

    def __init__(
        self, client: socket.socket, *, idle: float, head: float, rate: float, clock: Clock = monotonic
    ) -> None:
        self._client = client
        self._idle, self._head, self._rate = idle, head, rate
        self._clock = clock
        self._came = 0
        self._deadline: float | None = None
        self._patience: Patience | None = None

    def buffered(self) -> BufferedReader:
        """Return it with a buffer."""
        return BufferedReader(self, _BUFFER)

    def begin_silence(self) -> None:
        """Expect nothing until the client wishes something."""
        self._deadline = self._patience = None

    def begin_head(self) -> None:
        """Expect the rest of a head."""
        self._deadline = self._clock() + self._head

    def begin_body(self) -> None:
        """Expect a body."""
        self._deadline = None
        self._patience = Patience(self._idle, self._rate, lambda: self._came)

    def readable(self) -> bool:
        """Tell what it is for."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Receive what has come, at least a byte, into the buffer; return 0 at the end, raise TooSlow."""
        began = self._clock()
        count = self._receive(buffer, began)
        self._came += count
        if self._patience is not None:
            self._patience.waited(self._clock() - began)
        return count

    def _receive(self, buffer: WriteableBuffer, now: float) -> int:
        try:
            if self._deadline is None:
                return self._client.recv_into(buffer)
            if now >= self._deadline:
                raise TimeoutError
            self._client.settimeout(min(self._idle, self._deadline - now))
            try:
                return self._client.recv_into(buffer)
            finally:
                self._client.settimeout(self._idle)
        except TimeoutError:
            raise TooSlow("nothing comes") from None


class Outgoing:
    """What one client is sent, as long as it takes it at a least rate; for one thread."""

    def __init__(self, client: socket.socket, *, idle: float, rate: float, clock: Clock = monotonic) -> None:
        client.settimeout(idle)
        self._client = client
        self._most = _MAX_TLS_SEND if isinstance(client, ssl.SSLSocket) else sys.maxsize
        self._idle = idle
        self._clock = clock
        self._sent = 0
        self._patience = Patience(idle, rate, self._taken)
        self._room: selectors.BaseSelector | None = None

    def send(self, data: bytes | memoryview, *, more: bool = False) -> None:
        """Send bytes; more tells that others follow at once."""
        flags = _MORE if more and not isinstance(self._client, ssl.SSLSocket) else 0
        left = memoryview(data)
        while left:
            left = left[self._send_some(left[: self._most], flags) :]

    def send_file(self, file: FileReader, start: int, stop: int) -> None:
        """Send bytes [start, stop) of a file without holding them; raise ClientGone when it has fewer."""
        if isinstance(self._client, ssl.SSLSocket) or not hasattr(os, "sendfile"):
            self._copy(file, start, stop)
            return
        while start < stop:
            try:
                count = os.sendfile(self._client.fileno(), file.fileno(), start, min(stop - start, _MAX_SENDFILE))
            except BlockingIOError:
                self._await_room()
                continue
            except OSError as error:
                if error.errno not in _NO_SENDFILE:
                    raise
                self._copy(file, start, stop)
                return
            _check_end(count)
            self._sent += count
            start += count

    def _copy(self, file: FileReader, start: int, stop: int) -> None:
        file.seek(start)
        while start < stop:
            block = file.read(min(stop - start, _BLOCK))
            _check_end(len(block))
            self.send(block)
            start += len(block)

    def _send_some(self, data: memoryview, flags: int) -> int:
        began = self._clock()
        try:
            count = self._client.send(data, flags)
        except TimeoutError:
            count = 0
        self._sent += count
        self._patience.waited(self._clock() - began)
        return count

    def _await_room(self) -> None:
        if self._room is None:
            self._room = _selector(self._client, selectors.EVENT_WRITE)
        began = self._clock()
        self._room.select(self._idle)
        self._patience.waited(self._clock() - began)

    def _taken(self) -> int:
        """Count what the client's system has acknowledged: a slow one may leave us waiting for room for minutes."""
        if sys.platform != "linux":
            return self._sent
        # SIOCOUTQ, which has TIOCOUTQ's number: tcp(7). Under TLS it counts a little more than we do.
        queue = fcntl.ioctl(self._client.fileno(), termios.TIOCOUTQ, bytes(4))
        return self._sent - int.from_bytes(queue, sys.byteorder)


def await_bytes(client: socket.socket, seconds: float) -> None:
    """Wait so long at most until a client sends something, or leaves."""
    _selector(client, selectors.EVENT_READ).select(seconds)


def _selector(client: socket.socket, event: int) -> selectors.BaseSelector:
    # Of those that can wait, these two need no file of their own.
    selector = selectors.PollSelector() if hasattr(selectors, "PollSelector") else selectors.SelectSelector()
    selector.register(client, event)
    return selector


def _check_end(count: int) -> None:
    if not count:
        raise ClientGone("a file is shorter than it was")
