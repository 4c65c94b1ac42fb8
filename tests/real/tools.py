"""Own the question whether a real tool is here: skip without it, fail where CI demands it.

The tests of this folder enter.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

REQUIRED = os.environ.get("ECRDRAG_REAL") == "required"


def need(tool: str) -> str:
    """Give the tool's path; skip the test where it is missing, fail it where ECRDRAG_REAL=required."""
    return shutil.which(tool) or missing(f"{tool} is not installed")


def want(tool: str) -> str:
    """Give the tool's path or skip the test, in CI too: no package of Debian's has it."""
    return shutil.which(tool) or pytest.skip(f"{tool} is not installed, and need not be")


def missing(reason: str) -> NoReturn:
    """Skip, or fail where ECRDRAG_REAL=required, since then everything has to be there."""
    if REQUIRED:
        pytest.fail(f"ECRDRAG_REAL=required, but {reason}")
    pytest.skip(reason)
