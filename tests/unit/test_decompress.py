"""Four kinds of compression, honest and hostile: what comes out is right, or an ArchiveError, in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.archive.decompress import SNIFFED, decompressed, sniff
from ecrdrag.errors import ArchiveError, UnsupportedError

WHERE = "app.tar.x"
MIB = 1024 * 1024
GIB = 1024 * MIB
NEVER = 20  # seconds, far more than what is linear takes


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}
KINDS = tuple(COMPRESS)
CONTENT = random.Random(1).randbytes(150_000) + bytes(3 * MIB) + b"end"


def unpack(kind: str, data: bytes, *, cut: int = MIB, limit: int | None = None) -> bytes:
    pieces = (data[start : start + cut] for start in range(0, len(data), cut))
    return b"".join(decompressed(kind, pieces, where=WHERE, limit=limit))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=["empty", "one byte", "large"])
def test_what_is_compressed_is_known_by_its_first_bytes_and_comes_out(kind: str, content: bytes) -> None:
    data = COMPRESS[kind](content)
    assert sniff(data[:SNIFFED]) == kind
    assert unpack(kind, data) == content


@pytest.mark.parametrize(
    "first_bytes",
    [
        b"",
        b"\x1f",
        b"\x1f\x8b",
        b"BZh9",
        b"BZh9 is a name",
        b"BZh01AY&SY",
        b"\xfd7zXZ",
        b"oci-layout\0",
        bytes(SNIFFED),
    ],
)
def test_other_first_bytes_are_no_compression(first_bytes: bytes) -> None:
    assert sniff(first_bytes) == ""


def test_a_skippable_frame_begins_zstd_too() -> None:
    data = b"\x5a\x2a\x4d\x18\x03\0\0\0abc" + zstd(b"content") + b"\x50\x2a\x4d\x18\0\0\0\0"
    assert sniff(data) == "zstd"
    assert unpack("zstd", data) == b"content"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_pieces_may_be_cut_anywhere(kind: str, cut: int) -> None:
    streams = [b"first" * 100, b"", b"second", random.Random(2).randbytes(3000)]
    data = b"".join(map(COMPRESS[kind], streams))
    assert unpack(kind, data, cut=cut) == b"".join(streams)


@pytest.mark.parametrize("kind", [*KINDS, ""])
def test_a_piece_may_be_overwritten_once_the_next_is_asked_for(kind: str) -> None:
    data = COMPRESS[kind](CONTENT) if kind else CONTENT
    buffer = bytearray(70_000)

    def views() -> Iterator[memoryview]:
        for start in range(0, len(data), len(buffer)):
            piece = data[start : start + len(buffer)]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]

    unpacked = bytearray()
    for output in decompressed(kind, views(), where=WHERE):
        unpacked += output
        if kind:
            buffer[:] = b"\xff" * len(buffer)  # a reader of another member in the same thread does so
    assert unpacked == CONTENT


def test_no_compression_passes_pieces_on() -> None:
    assert list(decompressed("", [b"a", memoryview(b"bc")])) == [b"a", b"bc"]


def test_an_unknown_kind_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="'rar' is no compression"):
        decompressed("rar", [b""])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zeros", [1, 4, 100, 200_000])
def test_zeros_behind_a_stream_are_padding(kind: str, zeros: int) -> None:
    data = COMPRESS[kind](b"content") + bytes(zeros)
    assert unpack(kind, data) == b"content"
    assert unpack(kind, data + COMPRESS[kind](b"more")) == b"contentmore"


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_before_a_stream_are_none(kind: str) -> None:
    with pytest.raises(ArchiveError, match=f"^{WHERE}: the {kind} data is (damaged|cut short)"):
        unpack(kind, bytes(8) + COMPRESS[kind](b"content"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streams", [1, 2])
def test_a_stream_cut_anywhere_is_refused(kind: str, streams: int) -> None:
    whole = COMPRESS[kind](b"first") * (streams - 1)
    data = COMPRESS[kind](b"some content" * 10)
    for size in range(0 if streams == 1 else 1, len(data)):
        with pytest.raises(ArchiveError, match=f"^{WHERE}: the {kind} data is cut short"):
            unpack(kind, whole + data[:size])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("garbage", [b"x", b"\1\0\0", b"garbage, more of it, and more", b"\0\0\0\0garbage, and more"])
def test_something_else_behind_a_stream_is_refused(kind: str, garbage: bytes) -> None:
    with pytest.raises(ArchiveError, match=f"^{WHERE}: the {kind} data .*followed by something else") as caught:
        unpack(kind, COMPRESS[kind](b"content") + garbage)
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_behind_a_stream_is_something_else(kind: str) -> None:
    for other in set(KINDS) - {kind}:
        with pytest.raises(ArchiveError, match="followed by something else"):
            unpack(kind, COMPRESS[kind](b"content") + COMPRESS[other](b"content"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_byte_is_noticed(kind: str) -> None:
    content = random.Random(3).randbytes(2000)
    data = bytearray(COMPRESS[kind](content))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(ArchiveError, match=f"^{WHERE}: the {kind} data is damaged: ."):
        unpack(kind, bytes(data))


@given(st.sampled_from(KINDS), st.data())
def test_mutated_streams_end_in_content_or_an_archive_error(kind: str, data: st.DataObject) -> None:
    mutated = bytearray(COMPRESS[kind](b"some content" * 50) + COMPRESS[kind](b""))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(mutated)))
        mutated[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        unpacked = unpack(kind, bytes(mutated), cut=data.draw(st.integers(1, 300)))
    except ArchiveError:
        return
    assert len(unpacked) <= 100 * 600  # what a few changed bytes could still give


@pytest.mark.parametrize("kind", [*KINDS, ""])
def test_the_callers_limit_is_held(kind: str) -> None:
    data = COMPRESS[kind](CONTENT) if kind else CONTENT
    assert len(unpack(kind, data, limit=len(CONTENT))) == len(CONTENT)
    with pytest.raises(ArchiveError, match=f"^{WHERE}: unpacks to more than {len(CONTENT) - 1} bytes$"):
        unpack(kind, data, limit=len(CONTENT) - 1)


# Bombs


def zstd_bomb(size: int) -> bytes:
    """A frame of blocks that repeat a zero 128 KiB times: 4 bytes each (RFC 8878, 3.1.1.2)."""
    block = (128 * 1024 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (1 << 1 | 1).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\0\x38" + block * (size // (128 * 1024)) + last


def test_a_bomb_is_refused_once_1_gib_has_come_out() -> None:
    sizes = []

    def unpack_all(data: bytes) -> None:
        for output in decompressed("zstd", [data], where=WHERE):
            sizes.append(len(output))  # noqa: PERF401 - it ends in an error

    with pytest.raises(ArchiveError, match=f"^{WHERE}: is a decompression bomb: .* bytes unpack to") as caught:
        unpack_all(zstd_bomb(3 * GIB))
    assert GIB - max(sizes) <= sum(sizes) <= GIB
    assert "if you trust it" in caught.value.hint


def test_content_that_deflate_compresses_best_is_no_bomb() -> None:
    data = gzip.compress(bytes(64 * MIB)) * 17
    assert sum(map(len, decompressed("gzip", [data], where=WHERE))) == 17 * 64 * MIB


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_out_of_little_comes_in_pieces_of_bounded_size(kind: str) -> None:
    content = 50 * 900_000  # of bzip2, 50 blocks
    data = zstd_bomb(64 * MIB) if kind == "zstd" else COMPRESS[kind](bytes(content))
    assert len(data) < 64 * 1024
    tracemalloc.start()
    sizes = [len(output) for output in decompressed(kind, [data], where=WHERE)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) == (64 * MIB if kind == "zstd" else content)
    assert max(sizes) <= (32 * MIB if kind == "zstd" else MIB)
    assert peak < (80 * MIB if kind == "zstd" else 16 * MIB)


@pytest.mark.parametrize("kind", KINDS)
def test_many_tiny_streams_take_little_time(kind: str) -> None:
    data = COMPRESS[kind](b"") * (4 * MIB // len(COMPRESS[kind](b"")))
    started = time.monotonic()
    assert unpack(kind, data, cut=len(data)) == b""
    assert time.monotonic() - started < NEVER


def test_a_zstd_window_over_128_mib_is_refused_and_one_of_128_mib_is_not() -> None:
    def frame(window_log: int) -> bytes:
        # RFC 8878, 3.1.1.1.2: the window descriptor's upper five bits are the exponent over 10
        return (
            b"\x28\xb5\x2f\xfd\0" + bytes([(window_log - 10) << 3]) + (8 << 3 | 1).to_bytes(3, "little") + b"contents"
        )

    assert unpack("zstd", frame(27)) == b"contents"
    with pytest.raises(ArchiveError, match=f"^{WHERE}: the zstd data is damaged: .*(memory|window|parameter)"):
        unpack("zstd", frame(28))


def test_an_xz_dictionary_that_takes_too_much_memory_is_refused() -> None:
    def stream(size: int) -> bytes:
        return lzma.compress(b"content", filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": size}])

    small = stream(64 * MIB)
    assert unpack("xz", small) == b"content"
    # The .xz File Format, 5.3.1: byte 40 means 4 GiB - 1. It is in the block header, behind which is its CRC32.
    place = small.index(b"\x21\x01") + 2
    start, end = 12, 12 + (small[12] + 1) * 4 - 4
    header = small[start:place] + b"\x28" + small[place + 1 : end]
    large = small[:start] + header + zlib.crc32(header).to_bytes(4, "little") + small[end + 4 :]
    with pytest.raises(ArchiveError, match=f"^{WHERE}: the xz data is damaged: Memory usage limit exceeded"):
        unpack("xz", large)


# Where zstd comes from


def test_zstd_without_a_module_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)  # as where it isn't installed
    with pytest.raises(UnsupportedError, match=f"^{WHERE}: is compressed with zstd") as caught:
        decompressed("zstd", [zstd(b"content")], where=WHERE)
    assert "pip install zstandard" in caught.value.hint
    assert caught.value.exit_code == 8


def test_the_other_kinds_need_no_module_for_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    for kind in set(KINDS) - {"zstd"}:
        assert unpack(kind, COMPRESS[kind](b"content")) == b"content"
