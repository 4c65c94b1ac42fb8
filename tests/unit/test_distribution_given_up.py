"""Uploads through any registry's /v2/ that are given up: their requests end though the client stays open."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from ecrdrag.content import Descriptor
from ecrdrag.errors import TransferError
from ecrdrag.registry.blocks import Flow
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.transfer.upload import upload
from tests.destinations import DATA, PART, PATIENCE, Desk, blob_of, wait_for
from tests.scripted_registry import scripted

OTHER = bytes(reversed(DATA))


class EndingSource:
    """Give the first part of each blob, and no more once all have given it; one then fails, the others are aborted."""

    def __init__(self, *failing: Descriptor, count: int) -> None:
        self._failing = failing
        self._met = threading.Barrier(count)
        self._aborted = threading.Event()

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        content = DATA if blob == blob_of(DATA) else OTHER
        yield memoryview(content)[start : start + PART]
        self._met.wait(PATIENCE)
        if blob not in self._failing:
            assert self._aborted.wait(PATIENCE)
        raise TransferError("the source is no use any more")

    def expect(self, blob: Descriptor) -> None:
        pass

    def abort(self) -> None:
        self._aborted.set()


@pytest.mark.parametrize("contents", [[DATA], [DATA, OTHER]], ids=["the one that fails", "and one beside it"])
def test_an_upload_that_is_given_up_ends_its_request_though_nobody_collects_garbage(contents: list[bytes]) -> None:
    blobs = [blob_of(content) for content in contents]
    source = EndingSource(blobs[0], count=len(blobs))
    with scripted() as registry, Desk(registry).opened() as destination:
        before = {thread for thread in threading.enumerate() if thread.name == "upload"}
        gc.disable()
        try:
            with pytest.raises(TransferError, match="no use any more"):
                upload(blobs, source, destination, jobs=2, retry=RetryPolicy(tries=2, base=0.0))
            wait_for(lambda: {one for one in threading.enumerate() if one.name == "upload"} <= before)
        finally:
            gc.enable()


def test_a_flow_lets_go_of_a_part_that_was_read() -> None:
    flow, part = Flow(2 * PART), bytearray(PART)
    giver = threading.Thread(target=flow.give, args=(part,))
    giver.start()
    for size in (PART - 1, 1):
        flow.read(size).release()
    giver.join()
    part.clear()  # BufferError as long as there is a view of it
