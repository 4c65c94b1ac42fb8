"""One source out of many: each blob from its own, an end for all."""

from __future__ import annotations

from collections.abc import Iterator

from ecrdrag.content import Descriptor, Digest
from ecrdrag.transfer.routes import Routes


class Named:
    """A source that gives its name for every blob, and keeps what it is asked."""

    def __init__(self, name: str) -> None:
        self.name, self.asked = name, list[str]()

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        yield memoryview(self.name.encode())[start:stop]

    def expect(self, blob: Descriptor) -> None:
        self.asked.append(f"expect {blob.digest.hex[:4]}")

    def abort(self) -> None:
        self.asked.append("abort")


def blob(content: bytes) -> Descriptor:
    return Descriptor("", Digest.of(content), len(content))


ONE, TWO, THREE = blob(b"1"), blob(b"2"), blob(b"3")


def test_each_blob_has_its_own_way_and_the_rest_come_from_the_first() -> None:
    first, other = Named("first"), Named("other")
    routes = Routes(first, {TWO.digest: other})
    assert [b"".join(map(bytes, routes.read(each, 0, 3))) for each in (ONE, TWO, THREE)] == [b"fir", b"oth", b"fir"]
    routes.expect(TWO)
    assert (first.asked, other.asked) == ([], [f"expect {TWO.digest.hex[:4]}"])


def test_an_abort_ends_each_source_once() -> None:
    first, other = Named("first"), Named("other")
    Routes(first, {ONE.digest: other, TWO.digest: other, THREE.digest: first}).abort()
    assert (first.asked, other.asked) == (["abort"], ["abort"])
