"""The form of a layer part: a whole request written from views, and botocore's hooks that send it."""

from __future__ import annotations

import base64
import json
import random
import sys
import tracemalloc
from collections.abc import Iterable, Iterator

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecrdrag.errors import IntegrityError, TransientError
from ecrdrag.registry import ecr_parts
from ecrdrag.registry.ecr_parts import WrittenPart, write_part

MIB = 1024 * 1024
NAMES = {"registryId": "123456789012", "repositoryName": "my/app", "uploadId": "6cb64b8a-9378-0e33-2ab1-b780fab8a9e9"}


def views_of(data: bytes, sizes: Iterable[int] = ()) -> Iterator[memoryview]:
    """Cut data into views of these sizes, and the rest in one."""
    start = 0
    for size in sizes:
        yield memoryview(data)[start : start + size]
        start = min(start + size, len(data))
    yield memoryview(data)[start:]


def expected(data: bytes, start: int) -> bytes:
    """Write the same with Python's own encoders, as botocore does."""
    blob = base64.b64encode(data).decode()
    range_ = {"partFirstByte": start, "partLastByte": start + len(data) - 1}
    return json.dumps({**NAMES, **range_, "layerPartBlob": blob}).encode()


@pytest.fixture(autouse=True, scope="module", params=["pybase64", "binascii"])
def encoder(request: pytest.FixtureRequest) -> Iterator[None]:
    """Write with the package of the extra and without it: the letters are the same."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "binascii":
            patch.setitem(sys.modules, "pybase64", None)
        patch.setattr(ecr_parts, "letters_of", ecr_parts._encoder())
        yield


def test_the_extra_is_taken_where_it_is_there(request: pytest.FixtureRequest) -> None:
    assert (ecr_parts.letters_of is pybase64.b64encode) is ("pybase64" in request.node.name)


@given(st.binary(min_size=1, max_size=200), st.lists(st.integers(0, 20)), st.integers(0, 2**40))
def test_a_part_is_what_json_and_base64_make_of_it_however_it_is_cut(data: bytes, sizes: list[int], start: int) -> None:
    assert write_part(NAMES, start, start + len(data), views_of(data, sizes)) == expected(data, start)


@pytest.mark.parametrize("size", [49151, 49152, 49153, 98304, 300_001])
@pytest.mark.parametrize("first", [0, 1, 2, 49152, 49153])
def test_parts_longer_than_a_slice_are_written_whole(size: int, first: int) -> None:
    data = random.Random(size).randbytes(size)
    assert write_part(NAMES, 7, 7 + size, views_of(data, [first])) == expected(data, 7)


def test_a_view_is_read_before_the_next_one_is_asked_for() -> None:
    data = random.Random(1).randbytes(10_000)

    def reused() -> Iterator[memoryview]:
        buffer = bytearray(100)
        for start in range(0, len(data), 100):
            buffer[:] = data[start : start + 100]
            yield memoryview(buffer)
            buffer[:] = bytes(100)

    assert write_part(NAMES, 0, len(data), reused()) == expected(data, 0)


@pytest.mark.parametrize(
    ("given_bytes", "said"), [(0, "gave 0 bytes"), (9, "gave 9 bytes"), (11, "gave more"), (99, "gave more")]
)
@pytest.mark.parametrize("cut", [1, 3, 5, 99])
def test_more_or_fewer_bytes_than_the_part_has_are_an_integrity_error(given_bytes: int, said: str, cut: int) -> None:
    with pytest.raises(IntegrityError, match=f"should have 10 bytes, and its source {said}"):
        write_part(NAMES, 0, 10, views_of(bytes(given_bytes), [cut]))


def test_a_failure_of_the_source_passes_through() -> None:
    def failing() -> Iterator[memoryview]:
        yield memoryview(b"some")
        raise TransientError("the disk is asleep")

    with pytest.raises(TransientError, match="the disk is asleep"):
        write_part(NAMES, 0, 10, failing())


def test_a_part_is_written_in_no_more_memory_than_its_request_takes() -> None:
    data = bytes(3 * MIB)
    tracemalloc.start()
    try:
        body = write_part(NAMES, 0, len(data), views_of(data, [MIB, 5]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - len(body) < MIB // 4


def test_a_written_part_is_an_empty_blob_to_all_others() -> None:
    part = WrittenPart(b"a request")
    assert (part, part.body) == (b"", b"a request")
