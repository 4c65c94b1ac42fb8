"""Work on layers, many at once: what stops it, how soon, what is told, and where what it makes lies."""

from __future__ import annotations

import gzip
import os
import signal
import threading
from collections.abc import Iterator
from itertools import count, repeat

import pytest

from ecrdrag.archive.compress import Compression, GzipBlocks
from ecrdrag.archive.press import Hashed, Press
from ecrdrag.content import Digest
from ecrdrag.errors import TransferError

GZIP, PLAIN = Compression.parse("gzip"), Compression.parse("none")
TICK = 0.005  # seconds
LATER = 20  # ticks, after which the main thread waits for the others
NEVER = 4000  # ticks, after which what should have been stopped ends anyway


def endless() -> Iterator[memoryview]:
    """Give bytes slowly."""
    tick = threading.Event()
    for piece in repeat(memoryview(b"piece"), NEVER):
        tick.wait(TICK)
        yield piece


def contents(press: Press, pieces: list[bytes]) -> dict[bytes, tuple[Digest, bytes]]:
    """Make layers of pieces side by side; give digest and content of each."""
    made: dict[bytes, tuple[Digest, bytes]] = {}

    def do(piece: bytes, gzip: GzipBlocks) -> None:
        blob = press.make([piece[:100], piece[100:]], gzip)
        made[piece] = blob.digest, b"".join(map(bytes, blob.read(0, blob.size)))
        assert blob.extent.size == blob.size

    press.run(pieces, do)
    return made


def test_what_it_makes_is_what_the_wish_says() -> None:
    pieces = [bytes([place]) * place * 1000 for place in range(20)]
    for wish, kind in ((GZIP, "gzip"), (PLAIN, "")):
        press = Press(wish, "here")
        assert press.makes == kind
        for piece, (digest, content) in contents(press, pieces).items():
            assert digest == Digest.of(content)
            assert (gzip.decompress(content) if kind else content) == piece
        press.close()


def test_layers_may_be_made_in_several_runs() -> None:
    press = Press(PLAIN, "here")
    first = contents(press, [b"a" * 200])
    assert contents(press, [b"b" * 300, b"a" * 200]).items() >= first.items()
    press.close()


def test_what_is_hashed_is_passed_on() -> None:
    hashed = Hashed([b"ab", memoryview(b"c")], "sha512")
    assert b"".join(map(bytes, hashed)) == b"abc"
    assert hashed.digest == Digest.of(b"abc", "sha512")


@pytest.mark.skipif(os.cpu_count() == 1, reason="one core does one layer at a time")
def test_the_first_failure_ends_the_others_and_is_raised_itself() -> None:
    press, ended = Press(PLAIN, "here"), []
    both = threading.Barrier(2)

    def do(task: str, gzip: GzipBlocks) -> None:
        both.wait(10)
        if task == "fails":
            raise KeyError(task)
        try:
            press.make(press.watched(endless(), lambda count: None), gzip)
        except TransferError as error:
            ended.append(str(error))
            raise

    with pytest.raises(KeyError):
        press.run(["goes on", "fails"], do)
    assert ended == ["here: stopped"]
    press.close()


def test_ctrl_c_ends_all_even_where_it_does_not_wake_the_main_thread() -> None:
    press, ended = Press(GZIP, "here"), []
    pieces = count(1)

    def interrupt(size: int) -> None:
        if next(pieces) == LATER:
            signal.raise_signal(signal.SIGINT)  # it reaches this thread, and Python keeps it for the main one

    def do(task: str, gzip: GzipBlocks) -> None:
        try:
            press.make(press.watched(endless(), interrupt), gzip)
        except TransferError as error:
            ended.append(str(error))
            raise

    with pytest.raises(KeyboardInterrupt):
        press.run(["one"], do)
    assert ended == ["here: stopped"]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("layers", "gzip"))]
    press.close()


def test_what_was_stopped_stays_so() -> None:
    press = Press(PLAIN, "here")
    with pytest.raises(ZeroDivisionError):
        press.run([0], lambda task, gzip: print(1 // task))
    with pytest.raises(TransferError, match=r"^here: stopped$"):
        list(press.watched([memoryview(b"x")], lambda count: None))


def test_what_is_watched_is_counted() -> None:
    counts: list[int] = []
    assert [*Press(PLAIN, "here").watched([memoryview(b"abc"), memoryview(b"d")], counts.append)] == [b"abc", b"d"]
    assert counts == [3, 1]
