"""Own what people see while bytes move: a bar on a terminal, a plain line every ten seconds elsewhere.

The commands may enter. Everything goes to stderr.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from ecrdrag.content import Descriptor
from ecrdrag.transfer.progress import Progress, Silence

KINDS: Final = ("auto", "bar", "plain", "none")
PLAIN_INTERVAL: Final = 10.0  # seconds
_MIB: Final = 1024 * 1024
_USUAL_WIDTH: Final = 80  # characters


@contextmanager
def display(kind: str, *, quiet: bool, label: str = "") -> Iterator[Progress]:
    """Give the progress that a user asked for (one of KINDS), and clear up behind it; label says what moves."""
    if kind == "auto":
        kind = "none" if quiet else "bar" if sys.stderr.isatty() else "plain"
    with ExitStack() as stack:
        if kind == "bar":
            yield Bar(stack, label)
        elif kind == "plain":
            yield Plain(stack, PLAIN_INTERVAL, label)
        else:
            yield Silence()


@contextmanager
def stage_of(arguments: argparse.Namespace, label: str) -> Iterator[Progress]:
    """Show one stage of a command, as its --progress and --quiet say."""
    with display(arguments.progress, quiet=arguments.quiet, label=label) as progress:
        yield progress


class Bar:
    """A tqdm bar of bytes with rate and time left, and how many layers are done."""

    def __init__(self, stack: ExitStack, label: str = "") -> None:
        self._stack, self._label = stack, label
        self._lock = threading.Lock()
        self._done = 0

    def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
        """Draw the bar; what an earlier run brought counts for nothing in its rate."""
        from tqdm import tqdm  # late: --help doesn't wait for it
        from tqdm.contrib.logging import logging_redirect_tqdm

        tqdm.monitor_interval = 0  # no thread of its own
        self._blobs = blobs
        width = _USUAL_WIDTH if _is_without_width() else None  # else tqdm follows the terminal's
        self._stack.enter_context(logging_redirect_tqdm([logging.getLogger("ecrdrag")]))
        self._bar = self._stack.enter_context(
            tqdm(
                total=size,
                initial=landed,
                desc=self._label or None,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                file=sys.stderr,
                ncols=width,
                dynamic_ncols=width is None,
            )
        )
        self._show_layers()

    def advance(self, size: int) -> None:
        """Count bytes; negative when bytes were lost."""
        with self._lock:
            self._bar.update(size)

    def blob_done(self, blob: Descriptor) -> None:
        """Count a layer."""
        with self._lock:
            self._done += 1
            self._show_layers()

    def _show_layers(self) -> None:
        if self._blobs:
            self._bar.set_postfix_str(f"layers {self._done}/{self._blobs}")


def _is_without_width() -> bool:
    """Recognise a terminal of no columns, as many CI systems give: a bar as wide would show nothing."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns == 0
    except (OSError, ValueError):  # no terminal, or no file at all
        return False


class Plain:
    """A line every interval seconds, for logs; a stalled transfer shows too."""

    def __init__(self, stack: ExitStack, interval: float, label: str = "") -> None:
        self._stack = stack
        self._interval = interval
        self._prefix = f"{label}: " if label else ""
        self._lock = threading.Lock()
        self._landed = self._earlier = self._done = 0
        self._ended = threading.Event()

    def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
        """Start to print; what an earlier run brought counts for nothing in the rate."""
        self._size, self._blobs = size, blobs
        self._landed = self._earlier = landed
        self._begun = time.monotonic()
        printer = threading.Thread(target=self._print_until_ended, name="progress", daemon=True)
        printer.start()
        self._stack.callback(printer.join)
        self._stack.callback(self._ended.set)

    def advance(self, size: int) -> None:
        """Count bytes; negative when bytes were lost."""
        with self._lock:
            self._landed += size

    def blob_done(self, blob: Descriptor) -> None:
        """Count a layer."""
        with self._lock:
            self._done += 1

    def line(self) -> str:
        """Say how it stands: bytes, share of the total if known, rate over the whole time, layers if any."""
        seconds = max(time.monotonic() - self._begun, 1e-3)
        rate = f"{max(0, self._landed - self._earlier) / seconds / _MIB:,.1f} MiB/s"
        layers = f", layers {self._done}/{self._blobs}" if self._blobs else ""
        return f"{self._prefix}{self._so_far()}, {rate}{layers}"

    def _so_far(self) -> str:
        landed = f"{self._landed / _MIB:,.1f}"
        if self._size is None:
            return f"{landed} MiB"
        share = 100 * self._landed // self._size if self._size else 100
        return f"{landed} of {self._size / _MIB:,.1f} MiB ({share} %)"

    def _print_until_ended(self) -> None:
        while not self._ended.wait(self._interval):
            print(self.line(), file=sys.stderr, flush=True)  # noqa: T201
