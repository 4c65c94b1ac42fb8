"""Own what people see while bytes move or things are counted: a bar on a terminal, else a line every ten seconds.

The commands may enter. Everything goes to stderr.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Final, Protocol

from ecrdrag.content import Descriptor
from ecrdrag.transfer.progress import Progress, Silence

KINDS: Final = ("auto", "bar", "plain", "none")
PLAIN_INTERVAL: Final = 10.0  # seconds
_MIB: Final = 1024 * 1024
_USUAL_WIDTH: Final = 80  # characters
_PATIENCE: Final = 0.5  # seconds in which a bar of things isn't worth its flicker


@contextmanager
def display(kind: str, *, quiet: bool, label: str = "") -> Iterator[Progress]:
    """Give the progress that a user asked for (one of KINDS), and clear up behind it; label says what moves."""
    kind = _chosen(kind, quiet)
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


def _chosen(kind: str, quiet: bool) -> str:
    if kind == "auto":
        return "none" if quiet else "bar" if sys.stderr.isatty() else "plain"
    return kind


def _begin_bars(stack: ExitStack) -> int | None:
    """Prepare for a bar, which the log leaves whole; give its width, None where tqdm follows the terminal's."""
    from tqdm import tqdm  # late: --help doesn't wait for it
    from tqdm.contrib.logging import logging_redirect_tqdm

    tqdm.monitor_interval = 0  # no thread of its own
    stack.enter_context(logging_redirect_tqdm([logging.getLogger("ecrdrag")]))
    return _USUAL_WIDTH if _is_without_width() else None


class Bar:
    """A tqdm bar of bytes with rate and time left, and how many layers are done."""

    def __init__(self, stack: ExitStack, label: str = "") -> None:
        self._stack, self._label = stack, label
        self._lock = threading.Lock()
        self._done = 0

    def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
        """Draw the bar; what an earlier run brought counts for nothing in its rate."""
        from tqdm import tqdm

        self._blobs = blobs
        width = _begin_bars(self._stack)
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

    def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
        """Start to print; what an earlier run brought counts for nothing in the rate."""
        self._size, self._blobs = size, blobs
        self._landed = self._earlier = landed
        self._begun = time.monotonic()
        _print_every(self._interval, self.line, self._stack)

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


class Counting(Protocol):
    """Hear how a count goes; called from many threads."""

    def expect(self, things: int) -> None:
        """Add to the total, which nobody has to know before."""
        ...

    def advance(self, things: int = 1) -> None:
        """Note that so many more are done."""
        ...


def add_counting_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is shown while things are counted."""
    usual = "auto: a bar on a terminal, else a line every ten seconds"
    parser.add_argument("--progress", choices=KINDS, default="auto", help=usual)


@contextmanager
def counting(arguments: argparse.Namespace, label: str, total: int | None, unit: str) -> Iterator[Counting]:
    """Show how many are done, as --progress and --quiet say: label is the work, unit the things in the plural."""
    kind = _chosen(arguments.progress, arguments.quiet)
    with ExitStack() as stack:
        if kind == "bar":
            yield CountingBar(stack, label, total, unit)
        elif kind == "plain":
            yield CountingLine(stack, PLAIN_INTERVAL, label, total, unit)
        else:
            yield CountingSilence()


def beside_bars() -> AbstractContextManager[object]:
    """Take bars from the terminal while something else is printed there, and draw them again below it."""
    if "tqdm" not in sys.modules:
        return nullcontext()
    from tqdm import tqdm

    return tqdm.external_write_mode()


class CountingSilence:
    """Counting for nobody."""

    def expect(self, things: int) -> None:
        """Do nothing."""

    def advance(self, things: int = 1) -> None:
        """Do nothing."""


class CountingBar:
    """A tqdm bar of things, which leaves nothing behind."""

    def __init__(self, stack: ExitStack, label: str, total: int | None, unit: str) -> None:
        from tqdm import tqdm

        self._lock = threading.Lock()
        width = _begin_bars(stack)
        self._bar = stack.enter_context(
            tqdm(
                total=total,
                desc=label,
                unit=f" {unit}",
                file=sys.stderr,
                leave=False,
                delay=_PATIENCE,
                ncols=width,
                dynamic_ncols=width is None,
            )
        )
        stack.callback(self._bar.clear)  # tqdm leaves one that others drew before its time

    def expect(self, things: int) -> None:
        """Lengthen the bar."""
        with self._lock:
            self._bar.total = (self._bar.total or 0) + things

    def advance(self, things: int = 1) -> None:
        """Draw it."""
        with self._lock:
            self._bar.update(things)


class CountingLine:
    """A line every interval seconds, for logs."""

    def __init__(self, stack: ExitStack, interval: float, label: str, total: int | None, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._lock = threading.Lock()
        self._done = 0
        self._begun = time.monotonic()
        _print_every(interval, self.line, stack)

    def expect(self, things: int) -> None:
        """Raise the total."""
        with self._lock:
            self._total = (self._total or 0) + things

    def advance(self, things: int = 1) -> None:
        """Count."""
        with self._lock:
            self._done += things

    def line(self) -> str:
        """Say how it stands: how many, share of the total if known, rate over the whole time."""
        rate = self._done / max(time.monotonic() - self._begun, 1e-3)
        share = f" of {self._total:,} {self._unit} ({100 * self._done // self._total} %)" if self._total else ""
        return f"{self._label}: {self._done:,}{share or f' {self._unit}'}, {rate:,.1f} a second"


def _print_every(interval: float, line: Callable[[], str], stack: ExitStack) -> None:
    """Print a line to stderr each interval, in a thread that ends with the stack."""
    ended = threading.Event()

    def print_until_ended() -> None:
        while not ended.wait(interval):
            print(line(), file=sys.stderr, flush=True)  # noqa: T201

    printer = threading.Thread(target=print_until_ended, name="progress", daemon=True)
    printer.start()
    stack.callback(printer.join)
    stack.callback(ended.set)
