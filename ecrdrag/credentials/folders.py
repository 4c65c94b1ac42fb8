"""Own where a user's files are: home, and the folders of the XDG base directory specification.

The rooms of credentials may enter.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_NAME: Final = "ecrdrag"
_NOWHERE: Final = Path("/nonexistent")  # Debian policy manual, 9.2.3


def home(environ: Mapping[str, str]) -> Path:
    """Find the user's home; where the system knows none, a folder that isn't there, not the current one."""
    found = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - Path.home() can raise
    return _NOWHERE if found == "~" else Path(found)


def configuration(environ: Mapping[str, str]) -> Path:
    """Find our folder for what users write."""
    return _base(environ, "XDG_CONFIG_HOME", ".config") / _NAME


def cache(environ: Mapping[str, str]) -> Path:
    """Find our folder for what can be had again."""
    return _base(environ, "XDG_CACHE_HOME", ".cache") / _NAME


def _base(environ: Mapping[str, str], variable: str, default: str) -> Path:
    """XDG base directory specification, "Environment variables": relative paths are to be ignored."""
    wished = Path(environ.get(variable, ""))
    return wished if wished.is_absolute() else home(environ) / default
