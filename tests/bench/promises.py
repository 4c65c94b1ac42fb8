"""Own what a pull promises beside its peers, and whether the figures of a run hold it.

pull.py enters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.bench.cases import LATENCY, RATE, SMALL_LAYERS, Result
from tests.bench.measuring import MIB
from tests.bench.peers import CURL, SKOPEO_OCI, ours


@dataclass(frozen=True)
class Promise:
    """A figure and its bounds; one bound is infinite as a rule."""

    case: str
    what: str
    value: float
    least: float = -math.inf
    most: float = math.inf

    @property
    def holds(self) -> bool:
        return self.least <= self.value <= self.most

    @property
    def wanted(self) -> str:
        return f"≥ {self.least:g}" if self.most == math.inf else f"≤ {self.most:g}"

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "does not hold"
        return f"({self.case}) {self.what}: {self.value:.2f}, wanted {self.wanted}: {verdict}"


def promises(results: Sequence[Result]) -> list[Promise]:
    """Work out every promise whose rows were measured."""
    judges = {"a": _fast, "b": _filling, "c": _overlapping, "d": _small}
    return [
        promise
        for letter, judge in judges.items()
        for promise in judge([result for result in results if result.case == letter])
    ]


def _fast(results: Sequence[Result]) -> Iterator[Promise]:
    tools = {result.tool: result for result in results}
    mine = tools.get(ours(16).name)
    if mine is None:
        return
    for peer, least in ((SKOPEO_OCI.name, 4), (CURL.name, 1)):
        if peer in tools:
            ratio = tools[peer].cost.seconds / mine.cost.seconds
            yield Promise("a", f"seconds of {peer} / {mine.tool}", ratio, least=least)
    yield Promise("a", f"bytes written / archive, {mine.tool}", mine.cost.written / mine.output, most=1.005)


def _filling(results: Sequence[Result]) -> Iterator[Promise]:
    tools = {result.tool: result for result in results}
    for jobs in (8, 16):
        mine = tools.get(ours(jobs).name)
        if mine is None:
            continue
        line = jobs * RATE * MIB
        if mine.transfer is not None:
            yield Promise(
                "b", f"share of {jobs} × {RATE} MiB/s, transfer", mine.size / mine.transfer / line, least=0.95
            )
        share = mine.size / mine.cost.seconds / line
        yield Promise("b", f"share of {jobs} × {RATE} MiB/s, whole process", share, least=0.95)
        if SKOPEO_OCI.name in tools:
            ratio = tools[SKOPEO_OCI.name].cost.seconds / mine.cost.seconds
            yield Promise("b", f"seconds of {SKOPEO_OCI.name} / {mine.tool}", ratio, least=6)


def _overlapping(results: Sequence[Result]) -> Iterator[Promise]:
    for mine in results:
        bound = math.ceil(SMALL_LAYERS / 16) * 2 * LATENCY / 1000
        if mine.transfer is not None:
            yield Promise("c", f"transfer / {bound:g} s", mine.transfer / bound, most=1.3)
        yield Promise("c", f"whole process / {bound:g} s", mine.cost.seconds / bound, most=1.3)


def _small(results: Sequence[Result]) -> Iterator[Promise]:
    for jobs in (16, 32):
        sizes = sorted((result for result in results if result.tool == ours(jobs).name), key=lambda each: each.size)
        if len(sizes) > 1:
            small, large = sizes[0], sizes[-1]
            more = large.cost.memory - small.cost.memory
            yield Promise("d", f"MiB more for {large.image} than for {small.image}, -j {jobs}", more, most=8)
        if jobs == 32 and sizes:
            yield Promise("d", f"peak MiB, -j {jobs}", max(each.cost.memory for each in sizes), most=110)
