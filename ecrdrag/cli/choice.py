"""Own the options by which pulls and copies choose what of an image they take, and in which form.

The commands that read from registries enter.
"""

from __future__ import annotations

import argparse
import platform
import re
from collections.abc import Collection, Sequence
from typing import Final

from ecrdrag.archive.compress import Compression, require
from ecrdrag.content import Platform
from ecrdrag.errors import UsageError
from ecrdrag.resolve import Wish

_EVERYTHING: Final = "all"
# RFC 6838, 4.2: what an artifact type is; a reference never looks like one, as it has a second slash, a colon or a dot
# in its first word.
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_FORMS: Final = {"gzip": Compression(), "plain": Compression(None)}


def add_choice_arguments(parser: argparse.ArgumentParser, *, default: str = "linux, this machine's") -> None:
    """Declare them; default says which images are taken where no platform is named."""
    add = parser.add_argument
    add(
        "--platform",
        metavar="OS/ARCH[/VARIANT]|all",
        action="append",
        help=f"which image of an index; several times for several, all for the whole index (default: {default})",
    )
    add(
        "--referrers",
        metavar="TYPE",
        nargs="?",
        const="",
        action="append",
        help="take along what is about the image: signatures, attestations, SBOMs; with TYPE only those of this "
        "artifact type; may be repeated, and without TYPE stands behind the REFs",
    )
    add("--layers", choices=tuple(_FORMS), help="convert layers that are anything but this; digests change")
    add("--foreign-layers", action="store_true", help="fetch layers that no registry has from the URLs that they name")


def wish_of(texts: Sequence[str] | None) -> Wish:
    """Read --platform as a pull takes it: where it isn't given, this machine's."""
    here = Platform.of_machine(platform.machine())
    named = tuple(dict.fromkeys(_platform(text) for text in texts or () if text != _EVERYTHING))
    return Wish(named or (here,), explicit=bool(named), everything=_EVERYTHING in (texts or ()))


def types_of(texts: Sequence[str] | None) -> Collection[str] | None:
    """Read --referrers: no types are all of them, None is no referrers."""
    if texts is None:
        return None
    for text in texts:
        if text and not _MEDIA_TYPE.fullmatch(text):
            raise UsageError(
                f"--referrers takes an artifact type, such as application/vnd.in-toto+json, not {text!r}",
                hint="to take all of them, write it behind REF",
            )
    return () if "" in texts else tuple(dict.fromkeys(texts))


def layers_of(text: str | None) -> Compression | None:
    """Read --layers; raises UnsupportedError when what it takes is not installed."""
    if text is None:
        return None
    require(_FORMS[text])
    return _FORMS[text]


def _platform(text: str) -> Platform:
    try:
        return Platform.parse(text)
    except ValueError as error:
        raise UsageError(f"--platform: {error}") from None
