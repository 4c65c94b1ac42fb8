"""Own which repositories a prefix means, of pull-through cache rules and of repository creation templates.

Rules and templates enter. The model on both: "There is always an assumed / applied to the end of the prefix", and
ROOT is for all repositories that have no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ecrdrag.localecr.storage.records import Setting

ROOT: Final = "ROOT"


def key_of(prefix: str) -> str:
    """Return a prefix as it is stored: with and without the slash it is the same."""
    return prefix.rstrip("/")


def covers(prefix: str, name: str) -> bool:
    """Tell whether a repository lies below a stored prefix."""
    return prefix == ROOT or name.startswith(f"{prefix}/")


def closest(documents: Iterable[Setting], name: str) -> Setting | None:
    """Return the document whose prefix says most about a repository."""
    found = [one for one in documents if covers(one.name, name)]
    return max(found, key=lambda one: 0 if one.name == ROOT else len(one.name), default=None)
