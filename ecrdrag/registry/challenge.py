"""Own what a registry asks for before it lets anybody in: WWW-Authenticate, read.

The registry's ends may enter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# RFC 9110, 5.6.2 and 5.6.4.
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a grammar's word
_QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'
# RFC 9110, 11.3: a scheme and its parameters, or its only word, with commas between all of them.
_PART: Final = re.compile(rf"[\s,]*(?:({_TOKEN})\s*=\s*(?:{_QUOTED}|({_TOKEN}))|({_TOKEN})(?=[\s,]|\Z))")
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in: a scheme in small letters and its parameters, whose names are in small letters too."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Read a WWW-Authenticate header, or several joined by commas, up to what isn't one."""
    found: list[tuple[str, dict[str, str]]] = []
    place = 0
    while match := _PART.match(header, place):
        place = match.end()
        name, quoted, plain, scheme = match.groups()
        if scheme:
            found.append((scheme.lower(), {}))
        elif found:
            value = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
            found[-1][1].setdefault(name.lower(), value)
    return tuple(Challenge(scheme, parameters) for scheme, parameters in found)
