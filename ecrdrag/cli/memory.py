"""Own what a process that runs for long asks of the C library's allocator.

The commands may enter.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from typing import Final

_MMAP_THRESHOLD: Final = -3  # malloc.h: M_MMAP_THRESHOLD
_LARGE: Final = 2 * 1024 * 1024


def return_large_blocks() -> None:
    """Let every freed block of two mebibytes and more go back to the system, where the C library is glibc.

    By itself its threshold grows up to the largest block that was freed, 32 MiB at most, and from then on the heap of
    each thread keeps room for the largest body that it has seen: mallopt(3). For many threads that is a lot.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)
