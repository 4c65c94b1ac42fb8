"""Own the host names of registries: where one stands in a text, which are good, and what is said of the others.

reference.py enters.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from ecrdrag.cursor import Cursor, Piece

# distribution/reference, regexp.go: domainNameComponent and ipv6address; a port is one that TCP has (RFC 9293 §3.1).
_LABEL = r"[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_IN_BRACKETS: Final = re.compile(r"\[(?P<address>[0-9A-Fa-f:]+)\]")
_PORT: Final = re.compile(r":(?P<number>[1-9][0-9]{0,4})")
_MAX_PORT: Final = 65535
# RFC 1035 §2.3.4, without the root's dot and length.
_MAX_LENGTH: Final = 253
_MAX_LABEL_LENGTH: Final = 63
_LONG_LABEL: Final = re.compile(rf"[^.]{{{_MAX_LABEL_LENGTH}}}(?=[^.])")
_HTTPS_PORT: Final = ":443"

SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|https?:/", re.IGNORECASE)
# After the scheme: USER@ or USER:PASSWORD@ with a host behind, not a digest. A password holds any character.
_LOGIN: Final = re.compile(
    r"(?:.*@(?=[^@/]*/)|[^/@:]*:(?![0-9]+/).*@(?=[^@/.:]*[.:][^@/]*\Z)|(?<=/)[^/@]*@)(?!sha[0-9]+:)",
    re.IGNORECASE | re.DOTALL,
)
_ANY_LOGIN: Final = re.compile(r".*@", re.DOTALL)


def check_no_login(cursor: Cursor, *, has_digest: bool) -> None:
    """Refuse a user's name and password before the host, ahead of all that may show the text in an error.

    has_digest says whether an @ may mean something else.
    """
    scheme = SCHEME.match(cursor.text)
    match = (_LOGIN if has_digest else _ANY_LOGIN).match(cursor.text, scheme.end() if scheme else 0)
    if match:
        secret = Piece(match[0], match.start())
        raise cursor.error(secret, f"a {cursor.kind} holds no user name or password", hint=cursor.instead(secret, ""))


def starts_with_host(text: str) -> bool:
    """Tell a host from a folder of Docker Hub, as distribution/reference does in normalize.go.

    But for a word in capitals, which is a host there: a folder with a slip is likelier.
    """
    first, slash, _ = text.partition("/")
    return bool(slash) and (first.lower() == "localhost" or "." in first or ":" in first)


def read_host(cursor: Cursor) -> str:
    """Step over HOST or HOST:PORT and the slash after it; give it in small letters, such that it is one to docker."""
    whole = cursor.field("/")
    _check_port(cursor, _address(cursor, whole) if whole.text.startswith("[") else _name(cursor, whole))
    host = whole.text.lower()
    return host if starts_with_host(f"{host}/") else host + _HTTPS_PORT


def _address(cursor: Cursor, whole: Piece) -> Piece:
    """Check an IPv6 address in brackets; give what is behind it."""
    match = _IN_BRACKETS.match(whole.text)
    try:
        ipaddress.IPv6Address(match["address"] if match else "")
    except ValueError:
        raise cursor.error(whole, f"expected an IPv6 address in brackets, found {whole}") from None
    return whole.after(match.end() if match else 0)


def _name(cursor: Cursor, whole: Piece) -> Piece:
    """Check a name or an IPv4 address; give what is behind it."""
    name = Piece(whole.text.partition(":")[0], whole.start)
    if not name.text:
        raise cursor.error(name, f"expected the host name of a registry, found {whole}")
    match = _NAME.match(name.text)
    bad = name.after(match.end() if match else 0)
    if bad.text:
        raise cursor.error(bad, f"a host name can't have {bad.text[0]!r} here")
    if len(name.text) > _MAX_LENGTH:
        raise cursor.error(name.after(_MAX_LENGTH), f"a host name has at most {_MAX_LENGTH} characters")
    if long := _LONG_LABEL.search(name.text):
        problem = f"a part of a host name has at most {_MAX_LABEL_LENGTH} characters"
        raise cursor.error(name.after(long.end()), problem)
    return whole.after(len(name.text))


def _check_port(cursor: Cursor, port: Piece) -> None:
    match = _PORT.fullmatch(port.text)
    if port.text and (match is None or int(match["number"]) > _MAX_PORT):
        raise cursor.error(port, f"expected a port (:1 to :{_MAX_PORT}) after the host name, found {port}")
