"""Own the files that users keep policies in.

The commands `repo` enter.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from ecrdrag.control.policies import PolicyKind, PolicyText
from ecrdrag.errors import ArchiveError, UsageError, located

STDIN: Final = "-"
_MAX_FILE: Final = 1024 * 1024  # bytes; the longest policy has 30,720 characters, blanks aside


def policy_in(name: str, kind: PolicyKind) -> PolicyText:
    """Read a policy; - is standard input. Raises UsageError that says where it is no JSON, or ArchiveError."""
    shown = "standard input" if name == STDIN else name
    try:
        raw = sys.stdin.buffer.read(_MAX_FILE + 1) if name == STDIN else _read(Path(name))
    except OSError as error:
        raise ArchiveError(f"can't read {shown}: {error.strerror or error}") from error
    if len(raw) > _MAX_FILE:
        raise UsageError(f"{shown} has more than {_MAX_FILE:,} bytes: that is no policy")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{shown} is no text in UTF-8") from None
    with located(shown):
        return PolicyText.parse(text, kind)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_FILE + 1)
