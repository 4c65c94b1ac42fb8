"""Own one HTTP exchange: what was asked, what is answered, and the handler between them.

Every room of the local ECR may enter. A layer that changes answers (faults, say) is a function
from Handler to Handler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from io import BufferedIOBase

from werkzeug.datastructures import Headers

from ecrdrag.localecr.web.files import FileSlice
from ecrdrag.localecr.web.framing import Chunked, Counted, Framing


class BodyTooLarge(Exception):  # noqa: N818 - a reason, not a fault of ours
    """The client sends, or announces, more bytes than the limit."""


class ClientGone(ConnectionError):  # noqa: N818 - it happens, nothing is wrong
    """An exchange can't be ended: the client left, the server stops, or a file has fewer bytes than it had."""


class TooSlow(Exception):  # noqa: N818 - the client's fault, and a reason
    """The client sends, or takes, fewer bytes in a time than it must."""


class Body:
    """Read the body of one request from its connection, never past its end; for one thread.

    What reads raises ClientGone, TooSlow or BadFraming when the rest of it never comes.
    """

    def __init__(self, stream: BufferedIOBase, length: int | None, before_first_read: Callable[[], None]) -> None:
        self.length = length
        """Bytes that were announced; None where the body comes in chunks."""
        self.broken: Exception | None = None
        """Why the rest of it never comes."""
        self._framing: Framing = Chunked(stream) if length is None else Counted(stream, length)
        self._before_first_read: Callable[[], None] | None = before_first_read

    @property
    def finished(self) -> bool:
        """Tell whether all of it was read; of chunks, also the end that follows the last byte."""
        return self._framing.finished

    def read(self, size: int) -> bytes:
        """Return size bytes, or those that are left."""
        with self._reading():
            return self._framing.read(size)

    def read_all(self, limit: int) -> bytes:
        """Return the whole body; raise BodyTooLarge when it is over limit bytes, unread where that was announced."""
        if (self.length or 0) > limit:
            raise BodyTooLarge(f"a body of {self.length} bytes is over the limit of {limit}")
        data = self.read(limit + 1)
        if len(data) > limit:
            raise BodyTooLarge(f"the body is over the limit of {limit} bytes")
        return data

    def blocks(self, size: int) -> Iterator[bytes]:
        """Give the rest of the body in blocks of at most size bytes, each as soon as it is there."""
        while block := self._read1(size):
            yield block

    def _read1(self, size: int) -> bytes:
        with self._reading():
            return self._framing.read1(size)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            self._begin()
            yield
        except EOFError:
            self.broken = ClientGone("the client closed the connection inside a request body")
            raise self.broken from None
        except Exception as error:
            self.broken = error
            raise

    def _begin(self) -> None:
        if self._before_first_read is not None and not self.finished:
            self._before_first_read()
            self._before_first_read = None


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
