"""Own what every test begins with."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def heard_log() -> None:
    """Let our log go up to where pytest listens, as it does until a command in this process ends that."""
    log = logging.getLogger("ecrdrag")
    log.handlers.clear()
    log.propagate = True
    log.setLevel(logging.NOTSET)
