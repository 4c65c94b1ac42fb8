"""Own decompression of whatever an archive comes in: gzip, bzip2, xz and zstd, in bounded memory.

The archive room may enter. Compressed data is as hostile as the archive in it: it may be cut short,
damaged, followed by something else, or unpack to far more than an honest compressor would put in.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from ecrdrag.errors import ArchiveError, UnsupportedError

SNIFFED: Final = 10  # bytes that sniff() needs
_OUTPUT: Final = 1024 * 1024  # bytes that come out at once; for zstd before Python 3.14 see _SlicedZstd
_INPUT: Final = 64 * 1024  # bytes that go in at once: what may be copied again for each of many tiny streams
_MAX_RATIO: Final = 1032  # deflate's: 258 bytes for a length and a distance of one bit each (RFC 1951)
_RATIO_FROM: Final = 1024**3  # bytes of output that are harmless, whatever they came from
_MAX_WINDOW_LOG: Final = 27  # 128 MiB, as zstd(1) without --long and --memory
_MAX_XZ_MEMORY: Final = 256 * 1024**2  # xz(1): -9 needs 65 MiB
_GZIP: Final = 31  # zlib.h, inflateInit2: gzip only, with any window
_ZSTD_SLICE: Final = 1024

_MAGICS: Final = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),  # RFC 1952, 2.3.1
    "bzip2": re.compile(rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90)"),  # then a block or, when empty, the end
    "xz": re.compile(rb"\xfd7zXZ\0"),  # The .xz File Format, 2.1.1.1
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # RFC 8878, 3.1.1 and 3.1.2
}


class _Decoder(Protocol):
    """Decode one compressed stream: what bz2, lzma and compression.zstd have in common."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream has been met."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether more comes out only after more goes in."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What went in behind the end of the stream."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take data and give some of what is unpacked."""
        ...


@dataclass(frozen=True, slots=True)
class _Format:
    """Make decoders, and know the errors that they raise for broken streams."""

    kind: str
    decoder: Callable[[], _Decoder]
    errors: tuple[type[Exception], ...]


def sniff(first_bytes: bytes) -> str:
    """Name the compression of what begins so, "" for none; SNIFFED bytes are enough."""
    return next((kind for kind, magic in _MAGICS.items() if magic.match(first_bytes)), "")


def require(kind: str, where: str) -> None:
    """Raise UnsupportedError where this Python can't unpack a kind, so that it is said before anything is read."""
    if kind:
        _format(kind, where)


def decompressed(
    kind: str, pieces: Iterable[bytes | memoryview], *, where: str = "compressed data", limit: int | None = None
) -> Iterator[bytes]:
    """Yield what pieces unpack to, stream after stream; kind is what sniff() says, "" passes them on.

    A piece is let go of before anything of it comes out. Raises ArchiveError, beginning with where, for
    what is damaged, cut short, followed by something else, or unpacks to more than limit bytes or than
    any deflate could hold; UnsupportedError for zstd where no module knows it.
    """
    unpacking = _Unpacking(where, limit)
    return unpacking.streams(_format(kind, where), pieces) if kind else unpacking.plain(pieces)


class _Unpacking:
    """Unpack pieces and count what went in and came out; for one thread."""

    def __init__(self, where: str, limit: int | None) -> None:
        self._where = where
        self._limit = limit
        self._taken = 0
        self._given = 0

    def plain(self, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
        """Pass on what isn't compressed."""
        for piece in pieces:
            self._taken += len(piece)
            yield self._counted(bytes(piece))

    def streams(self, form: _Format, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
        """Unpack streams until the pieces end, which must be where a stream does."""
        decoder: _Decoder | None = form.decoder()
        ended = 0
        for data in _slices(pieces):
            self._taken += len(data)
            while data:
                fault = "is damaged"
                if decoder is None:
                    # gzip(1) and xz(1) pass over zeros behind a stream: tapes and block devices leave them.
                    if not (data := data.lstrip(b"\0")):
                        break
                    decoder, fault = form.decoder(), "is followed by something else"
                yield from self._drained(form, decoder, data, fault)
                data = b""
                if decoder.eof:
                    data, decoder, ended = decoder.unused_data, None, ended + 1
        if decoder is not None:
            raise self._broken(form, "is cut short, or followed by something else" if ended else "is cut short")

    def _drained(self, form: _Format, decoder: _Decoder, data: bytes, fault: str) -> Iterator[bytes]:
        """Put data into a decoder and yield all that comes out; fault is what an error means."""
        while True:
            try:
                output = decoder.decompress(data, _OUTPUT)
            except form.errors as error:
                raise self._broken(form, f"{fault}: {error}") from error
            if output:
                yield self._counted(output)
            if decoder.eof or decoder.needs_input:
                return
            data = b""

    def _counted(self, output: bytes) -> bytes:
        self._given += len(output)
        if self._limit is not None and self._given > self._limit:
            raise ArchiveError(f"{self._where}: unpacks to more than {self._limit} bytes")
        if self._given > _RATIO_FROM and self._given > self._taken * _MAX_RATIO:
            raise ArchiveError(
                f"{self._where}: is a decompression bomb: {self._taken} bytes unpack to {self._given}, and more",
                hint="unpack it yourself if you trust it, and give what comes out",
            )
        return output

    def _broken(self, form: _Format, what: str) -> ArchiveError:
        return ArchiveError(f"{self._where}: the {form.kind} data {what}")


class _Inflater:
    """Decode one gzip stream with zlib, which gives back the input that it has not come to."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_GZIP)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        output = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail
        return output


class _Obj(Protocol):
    """Decode one zstd stream as the zstandard package does: without a bound for what comes out."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream has been met."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What went in behind the end of the stream."""
        ...

    def decompress(self, data: bytes) -> bytes:
        """Take data and give all that is unpacked."""
        ...


class _SlicedZstd:
    """Decode one zstd stream slice by slice: the 4 bytes of a block give 128 KiB at most, a slice so 32 MiB."""

    def __init__(self, inner: _Obj) -> None:
        self._inner = inner
        self._data = b""
        self._position = 0

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._position >= len(self._data)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data + self._data[self._position :]

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            self._data, self._position = data, 0  # the last data is used up
        start, self._position = self._position, self._position + _ZSTD_SLICE
        return self._inner.decompress(self._data[start : self._position])


def _slices(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Copy each piece, cut small, at once: it may be overwritten while what it unpacks to is on its way."""
    for piece in pieces:
        yield from [bytes(piece[start : start + _INPUT]) for start in range(0, len(piece), _INPUT)]


def _format(kind: str, where: str) -> _Format:
    if kind == "gzip":
        return _Format(kind, _Inflater, (zlib.error,))
    if kind == "bzip2":
        return _Format(kind, bz2.BZ2Decompressor, (OSError, ValueError))
    if kind == "xz":
        xz = partial(lzma.LZMADecompressor, format=lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)
        return _Format(kind, xz, (lzma.LZMAError,))
    if kind == "zstd":
        return _zstd(kind, where)
    raise ValueError(f"{kind!r} is no compression that sniff() knows")


def _zstd(kind: str, where: str) -> _Format:
    """Take Python's own module (3.14) or the package of the zstd extra, now that one is needed."""
    try:
        module = importlib.import_module("compression.zstd")
    except ImportError:
        pass
    else:
        options = {module.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG}
        return _Format(kind, partial(module.ZstdDecompressor, options=options), (module.ZstdError,))
    try:
        module = importlib.import_module("zstandard")
    except ImportError as error:
        raise UnsupportedError(
            f"{where}: is compressed with zstd, which this Python can't unpack",
            hint="pip install zstandard",
        ) from error
    decompressor = module.ZstdDecompressor(max_window_size=1 << _MAX_WINDOW_LOG)
    return _Format(kind, lambda: _SlicedZstd(decompressor.decompressobj()), (module.ZstdError,))
