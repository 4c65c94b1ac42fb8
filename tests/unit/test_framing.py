"""Request bodies, counted and in chunks: whole at any cut, refused where they are not exactly so."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.localecr.web.exchange import Body, BodyTooLarge, ClientGone
from ecrdrag.localecr.web.framing import BadFraming

NEXT = b"GET /next HTTP/1.1\r\n"


class Line(io.RawIOBase):
    """A connection on which a few bytes come at a time."""

    def __init__(self, data: bytes, pieces: random.Random) -> None:
        self.data = data
        self.pieces = pieces

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), len(self.data), self.pieces.randint(1, 9))
        buffer[:count], self.data = self.data[:count], self.data[count:]
        return count


def chunked(chunks: list[bytes], extension: bytes = b"", trailers: bytes = b"") -> bytes:
    coded = [b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks]
    return b"".join(coded) + b"0" + extension + b"\r\n" + trailers + b"\r\n"


def body_of(data: bytes, length: int | None = None, seed: int = 1) -> tuple[Body, io.BufferedIOBase]:
    stream = io.BufferedReader(Line(data, random.Random(seed)), 16)
    return Body(stream, length, lambda: None), stream


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.sampled_from([b"", b";a=b", b' ; x="y z"']),
    st.sampled_from([b"", b"X: y\r\n", b"X:\r\nDigest: \xe4\r\n"]),
    st.integers(1, 50),
    st.integers(),
)
def test_a_chunked_body_comes_whole_and_what_follows_it_is_left(
    chunks: list[bytes], extension: bytes, trailers: bytes, size: int, seed: int
) -> None:
    body, stream = body_of(chunked(chunks, extension, trailers) + NEXT, seed=seed)
    blocks = list(body.blocks(size))
    assert b"".join(blocks) == b"".join(chunks)
    assert all(0 < len(block) <= size for block in blocks)
    assert (body.finished, body.broken, body.length) == (True, None, None)
    assert stream.read() == NEXT
    assert list(body.blocks(size)) == []


@given(st.binary(max_size=90), st.integers(1, 50), st.integers())
def test_a_counted_body_comes_whole_and_what_follows_it_is_left(data: bytes, size: int, seed: int) -> None:
    body, stream = body_of(data + NEXT, len(data), seed)
    blocks = list(body.blocks(size))
    assert b"".join(blocks) == data
    assert all(0 < len(block) <= size for block in blocks)
    assert (body.finished, body.broken, body.length) == (True, None, len(data))
    assert stream.read() == NEXT


@pytest.mark.parametrize("length", [None, 12])
def test_a_body_is_read_in_parts_of_the_sizes_asked_for(length: int | None) -> None:
    data = b"0123456789ab"
    body, _ = body_of(data if length else chunked([data[:5], data[5:]]), length)
    assert body.read(0) == b""
    assert [body.read(size) for size in (3, 4)] == [b"012", b"3456"]
    assert not body.finished
    assert body.read(100) == b"789ab"
    assert body.finished
    assert body.read(100) == b""


@pytest.mark.parametrize("length", [None, 12])
def test_no_more_is_read_than_the_limit(length: int | None) -> None:
    data = b"0123456789ab"
    coded = data if length else chunked([data[:5], data[5:]])
    assert body_of(coded, length)[0].read_all(12) == data
    body, stream = body_of(coded + bytes(1000), length)
    with pytest.raises(BodyTooLarge):
        body.read_all(11)
    assert len(stream.read()) >= 1000
    endless, stream = body_of(b"fffffffff\r\n" + bytes(1000))
    with pytest.raises(BodyTooLarge):
        endless.read_all(11)
    assert len(stream.read()) == 1000 - 12


def test_every_cut_of_a_body_is_a_client_that_has_gone() -> None:
    data = chunked([b"01234", b"56789"], b";x", b"A: b\r\n")
    for size in range(len(data)):
        body, _ = body_of(data[:size], seed=size)
        with pytest.raises(ClientGone):
            body.read_all(100)
        assert isinstance(body.broken, ClientGone)
        assert not body.finished
    body, _ = body_of(b"01234", 6)
    with pytest.raises(ClientGone):
        list(body.blocks(3))
    assert isinstance(body.broken, ClientGone)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n0\r\n\r\n",
        b"0x1\r\na\r\n0\r\n\r\n",
        b" 1\r\na\r\n0\r\n\r\n",
        b"1 \r\na\r\n0\r\n\r\n",
        b"1_0\r\n" + bytes(16) + b"\r\n0\r\n\r\n",
        b"1\na\r\n0\r\n\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"2\r\na\r\n0\r\n\r\n",
        b"1\r\na0\r\n\r\n",
        b"1\r\n\r\n0\r\n\r\n",
        b"1;\ra\r\na\r\n0\r\n\r\n",
        b"1;\0\r\na\r\n0\r\n\r\n",
        b"0000000000000001\r\na\r\n0\r\n\r\n",
        b"1;" + b"x" * 2000 + b"\r\na\r\n0\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n folded: x\r\n\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\nX: y\rz\r\n\r\n",
        b"0\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
        b"0\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
        b"0\r\n\n",
    ],
)
def test_what_is_not_exactly_a_chunked_body_is_refused(data: bytes) -> None:
    body, _ = body_of(data + bytes(20_000))
    with pytest.raises(BadFraming):
        list(body.blocks(1000))
    assert isinstance(body.broken, BadFraming)
    assert not body.finished


def test_trailers_may_fill_their_room_to_the_last_byte() -> None:
    line = b"X: " + b"y" * (8192 - 2 - 2 - 3) + b"\r\n"
    assert body_of(chunked([b"a"], trailers=line))[0].read_all(9) == b"a"
    with pytest.raises(BadFraming):
        body_of(chunked([b"a"], trailers=b"y" + line))[0].read_all(9)


def test_the_client_is_told_to_go_on_once_and_only_when_there_is_something_to_read() -> None:
    told: list[int] = []
    for data, length in ((b"ab", 2), (chunked([b"ab"]), None), (chunked([]), None), (b"", 0)):
        body = Body(io.BytesIO(data), length, lambda: told.append(1))
        assert not told
        body.read(1)
        body.read_all(100)
        assert len(told) == (length != 0)
        told.clear()
