"""Own the head of a request: its line and its headers, read from a connection; one reading, or none.

The rooms of this package may enter. RFC 9112, sections 2 to 6: what two servers could read in two ways is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from io import BufferedIOBase
from typing import Final
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

from ecrdrag.localecr.web.exchange import ClientGone

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE: Final = re.compile(rb"(%s) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
# Folded lines, blanks before the colon, and control characters that aren't tabs are no header.
_HEADER: Final = re.compile(rb"(%s):[\t ]*([\t\x20-\x7e\x80-\xff]*)" % _TOKEN)
_MAX_LINE: Final = 64 * 1024
_MAX_HEADERS: Final = 64 * 1024  # bytes of all of them
_MAX_HEADER_COUNT: Final = 100
# A client may end a body with one that doesn't count, section 2.2.
_MAX_EMPTY_LINES: Final = 2
# Enough for any file; Python refuses to read numbers of thousands of digits.
_MAX_LENGTH_DIGITS: Final = 18


class BadHead(Exception):  # noqa: N818 - the client's fault
    """The client asks in a way that is answered with this status, and then by closing."""

    def __init__(self, status: HTTPStatus, text: str = "") -> None:
        super().__init__(text or status.phrase)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body."""

    method: str
    target: str
    minor: int
    """Of HTTP/1's versions."""
    headers: Headers

    @property
    def lasts(self) -> bool:
        """Tell whether the client wants to use its connection again: section 9.3."""
        options = {option.strip(" \t").lower() for option in ",".join(self.headers.getlist("Connection")).split(",")}
        return self.minor > 0 and "close" not in options

    @property
    def expects(self) -> bool:
        """Tell whether the client holds its body back until "100 Continue": RFC 9110, section 10.1.1."""
        return self.minor > 0 and self.headers.get("Expect", "").lower() == "100-continue"

    def body_length(self) -> int | None:
        """Return how many bytes the body has, None where it comes in chunks; raise BadHead: section 6.3."""
        lengths = set(self.headers.getlist("Content-Length"))
        codings = self.headers.getlist("Transfer-Encoding")
        if codings:
            _check_codings(codings, bool(lengths), self.minor)
            return None
        text = lengths.pop() if len(lengths) == 1 else "" if lengths else "0"
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_LENGTH_DIGITS):
            raise BadHead(HTTPStatus.BAD_REQUEST, "Bad Content-Length")
        return int(text)


def read_head(stream: BufferedIOBase) -> Head:
    """Read the next head; raise BadHead, and ClientGone where it ends early."""
    line = b""
    for _ in range(1 + _MAX_EMPTY_LINES):
        line = line or _read_line(stream, _MAX_LINE, HTTPStatus.REQUEST_URI_TOO_LONG)
    match = _LINE.fullmatch(line)
    if match is None:
        raise BadHead(HTTPStatus.BAD_REQUEST, "Bad request line")
    if match[3] != b"1":
        raise BadHead(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    headers = _read_headers(stream)
    hosts = headers.getlist("Host") or [""]
    if len(hosts) > 1 or not _is_host(hosts[0]):
        raise BadHead(HTTPStatus.BAD_REQUEST, "Bad Host")
    if b"#" in match[2]:  # no part of a request target (section 3.2), and no signature covers what follows
        raise BadHead(HTTPStatus.BAD_REQUEST, "Bad request target")
    # A target of two slashes would be read as a host by whoever takes it for a URL.
    target = re.sub("^//+", "/", match[2].decode("latin-1"))
    return Head(match[1].decode(), target, int(match[4]), headers)


def _read_headers(stream: BufferedIOBase) -> Headers:
    headers: list[tuple[str, str]] = []
    room = _MAX_HEADERS
    while line := _read_line(stream, room, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE):
        match = _HEADER.fullmatch(line)
        if match is None:
            raise BadHead(HTTPStatus.BAD_REQUEST, "Bad headers")
        headers.append((match[1].decode(), match[2].rstrip(b"\t ").decode("latin-1")))
        room -= len(line)
        if len(headers) > _MAX_HEADER_COUNT:
            raise BadHead(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Too many headers")
    return Headers(headers)


def _read_line(stream: BufferedIOBase, limit: int, too_long: HTTPStatus) -> bytes:
    """Read a line of fewer bytes than a limit and return it without its end, which may be a bare line feed."""
    line = stream.readline(limit)
    if line.endswith(b"\n"):
        return line[: -2 if line.endswith(b"\r\n") else -1]
    if len(line) < limit:
        raise ClientGone("the client closed the connection inside a head")
    raise BadHead(too_long)


def _check_codings(values: list[str], counted: bool, minor: int) -> None:
    """Check that a body comes in chunks and no other way; raise BadHead."""
    codings = [coding for value in values for one in value.split(",") if (coding := one.strip(" \t").lower())]
    if set(codings) - {"chunked"}:
        raise BadHead(HTTPStatus.NOT_IMPLEMENTED, "Unknown Transfer-Encoding")
    if counted or codings != ["chunked"] or minor < 1:
        raise BadHead(HTTPStatus.BAD_REQUEST, "Bad Transfer-Encoding")


def _is_host(text: str) -> bool:
    """Tell whether a Host header is one: what the signatures' URLs are made of must be read back as it is."""
    try:
        parts = urlsplit(f"//{text}")
        return parts.netloc == text and parts.username is None and (parts.port or 0) >= 0
    except ValueError:
        return False
