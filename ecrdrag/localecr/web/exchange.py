"""Own one HTTP exchange: what was asked, what is answered, and the handler between them.

Every room of the local ECR may enter. A layer that changes answers (faults, say) is a function
from Handler to Handler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from io import BufferedIOBase
from pathlib import Path

from werkzeug.datastructures import Headers


class BodyTooLarge(Exception):  # noqa: N818 - a reason, not a fault of ours
    """The client announces more bytes than the limit."""


class ClientGone(ConnectionError):  # noqa: N818 - it happens, nothing is wrong
    """The client closed the connection before its request was whole."""


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Bytes [start, stop) of a file, to be sent without passing through memory."""

    path: Path
    start: int
    stop: int
    modified: float = 0.0
    """Seconds since 1970."""

    @property
    def size(self) -> int:
        """Bytes in the slice."""
        return self.stop - self.start


class Body:
    """Read the body of one request from its connection, never past its end; for one thread."""

    def __init__(self, stream: BufferedIOBase, length: int, before_first_read: Callable[[], None]) -> None:
        self._stream = stream
        self._before_first_read: Callable[[], None] | None = before_first_read
        self.length = length
        self.remaining = length

    @property
    def awaited(self) -> bool:
        """Tell whether nobody has asked for a byte yet, so that the client may still hold it back."""
        return self._before_first_read is not None

    def read(self, size: int) -> bytes:
        """Return size bytes, or those that are left; raise ClientGone when they never come."""
        wanted = min(size, self.remaining)
        data = self._begin().read(wanted) if wanted else b""
        if len(data) < wanted:
            raise ClientGone("the client closed the connection inside a request body")
        self.remaining -= wanted
        return data

    def read_all(self, limit: int) -> bytes:
        """Return the whole body; raise BodyTooLarge, with nothing read, when it is over limit bytes."""
        if self.length > limit:
            raise BodyTooLarge(f"a body of {self.length} bytes is over the limit of {limit}")
        return self.read(self.remaining)

    def _begin(self) -> BufferedIOBase:
        if self._before_first_read is not None:
            self._before_first_read()
            self._before_first_read = None
        return self._stream


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked: method, request target as sent, headers in order, body unread."""

    method: str
    target: str
    headers: Headers
    body: Body

    @property
    def path(self) -> str:
        """The target without its query, still percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query as sent, without the question mark."""
        return self.target.partition("?")[2]

    @property
    def host(self) -> str:
        """The name and port that the client knows this server by."""
        return self.headers.get("Host", "")


class End(Enum):
    """What becomes of a connection whose answer didn't go out whole."""

    CLOSE = "close"
    RESET = "reset"
    SILENCE = "silence"
    """It stays, without a byte more, until the client leaves, the server stops or the idle timeout is over."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an answer goes out: late, slowly, in part. The head announces the whole body all the same."""

    delay: float = 0.0
    """Seconds before the first byte."""
    rate: float | None = None
    """Bytes of the body per second; None is as fast as the client takes them."""
    head: bool = True
    """Whether the client gets anything at all."""
    cut: int | None = None
    """Bytes of the body after which it ends; a reset may destroy some of them on their way. None is all."""
    end: End = End.CLOSE

    def sent(self, size: int) -> int:
        """Return how many bytes go out of a body of size bytes."""
        if not self.head:
            return 0
        return size if self.cut is None else min(self.cut, size)

    def breaks(self, size: int) -> bool:
        """Tell whether something is withheld of an answer with a body of size bytes, so that its end follows."""
        return not self.head or self.sent(size) < size


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back. Content-Length follows the body unless the headers say otherwise."""

    status: int
    headers: Mapping[str, str]
    body: bytes | FileSlice = b""
    summary: str = ""
    """What the access log says about it; never a secret."""
    delivery: Delivery = Delivery()

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return self.body.size if isinstance(self.body, FileSlice) else len(self.body)


Handler = Callable[[Request], Answer]
