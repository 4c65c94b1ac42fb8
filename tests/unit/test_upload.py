"""The upload engine against a strict registry in memory whose faults are scripts, one for each kind of call."""

from __future__ import annotations

import base64
import random
import signal
import threading
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecrdrag.content import Descriptor, Digest, EncodedPart
from ecrdrag.errors import (
    ArchiveError,
    IntegrityError,
    NotFoundError,
    PartOffsetError,
    RangeIgnoredError,
    StalledError,
    TransferError,
    TransientError,
    UploadLostError,
)
from ecrdrag.transfer.retry import RetryPolicy
from ecrdrag.transfer.upload import upload

FAST = RetryPolicy(tries=3, base=0.0)
PATIENCE = 20  # seconds that a test waits for what must happen
PART = 1000
NOISE = random.Random(11).randbytes(20_000)


def blob_of(content: bytes) -> Descriptor:
    return Descriptor("application/octet-stream", Digest.of(content), len(content))


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before  # those of an earlier test may end meanwhile


Reply = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterable[bytes]:
    return [data]


def cut(data: bytes) -> Iterable[bytes]:
    yield data[: len(data) // 2]
    raise TransientError("the line was cut")


def short(data: bytes) -> Iterable[bytes]:
    return [data[:-1]]


def long(data: bytes) -> Iterable[bytes]:
    return [data, b"!"]


def unreadable(data: bytes) -> Iterable[bytes]:
    yield data[:1500]
    raise ArchiveError("app.tar can't be read")


def drip(data: bytes) -> Iterable[bytes]:
    yield data[:100]
    raise TransientError("the line was cut")


def drip_and_stall(data: bytes) -> Iterable[bytes]:
    yield data[:100]
    raise StalledError("nothing comes")


@dataclass
class MemorySource:
    """Serve blobs; each read takes the next reply of the script, then whole ones."""

    contents: Sequence[bytes]
    script: Sequence[Reply] = ()
    then: Reply = whole
    piece: int = 300
    damaged: int | None = None  # the place of a byte of the first blob that isn't what it was
    ranges: bool = True  # else it gives whole blobs only
    open: int = 0  # streams that haven't ended
    reads: list[tuple[Digest, int, int]] = field(default_factory=list)
    aborted: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._by_digest = {Digest.of(content): content for content in self.contents}
        if self.damaged is not None:
            damaged = bytearray(self.contents[0])
            damaged[self.damaged] ^= 1
            self._by_digest[Digest.of(self.contents[0])] = bytes(damaged)
        self._script = deque(self.script)
        self._lock = threading.Lock()

    def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
        with self._lock:
            self.reads.append((blob.digest, start, stop))
            if not self.ranges and (start, stop) != (0, blob.size):
                raise RangeIgnoredError("the whole blob came")
            reply = self._script.popleft() if self._script else self.then
            self.open += 1
        try:
            for data in reply(self._by_digest[blob.digest][start:stop]):
                for place in range(0, len(data), self.piece):
                    buffer = bytearray(data[place : place + self.piece])
                    yield memoryview(buffer)
                    buffer[:] = bytes(len(buffer))  # a view is valid until the next one is asked for
        finally:
            with self._lock:
                self.open -= 1

    def expect(self, blob: Descriptor) -> None:
        pass

    def abort(self) -> None:
        self.aborted.set()


class Gauge:
    """Count the encoded parts that are in memory."""

    def __init__(self) -> None:
        self.now = self.highest = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.now += count
            self.highest = max(self.highest, self.now)


class CountedPart(EncodedPart):
    """A part that its gauge sees come and go."""

    gauge: Gauge

    def __del__(self) -> None:
        self.gauge.add(-1)


Fault = Callable[["MemoryUpload", EncodedPart], int]


def take(up: MemoryUpload, part: EncodedPart) -> int:
    return up.take(part)


def transient(up: MemoryUpload, part: EncodedPart) -> int:
    raise TransientError("slow down")


def transient_in_a_circle(up: MemoryUpload, part: EncodedPart) -> int:
    """Hold on to the error that is raised, as botocore's Endpoint does: error, traceback and frame are a circle."""
    error = TransientError("slow down")
    raise error


def lose_answer(up: MemoryUpload, part: EncodedPart) -> int:
    up.take(part)
    raise TransientError("the answer was lost")


def lose_upload(up: MemoryUpload, part: EncodedPart) -> int:
    up.registry.uploads.discard(up)
    raise UploadLostError("no such upload")


def lose_upload_but_have_the_blob(up: MemoryUpload, part: EncodedPart) -> int:
    up.registry.uploads.discard(up)
    up.registry.blobs[up.blob.digest] = up.registry.as_somebody_else_pushed_it(up.blob)
    raise UploadLostError("no such upload")


def forget_bytes(count: int) -> Fault:
    def fault(up: MemoryUpload, part: EncodedPart) -> int:
        up.take(part)
        del up.taken[max(0, len(up.taken) - count) :]
        return len(up.taken)

    return fault


def refuse_after_forgetting(count: int) -> Fault:
    def fault(up: MemoryUpload, part: EncodedPart) -> int:
        offset = forget_bytes(count)(up, part)
        raise PartOffsetError(f"First byte of the layer part is {part.start} instead of {offset}", offset=offset)

    return fault


def have_more(count: int) -> Fault:
    """Take a part, and have the bytes behind it too, as if somebody else had sent them."""

    def fault(up: MemoryUpload, part: EncodedPart) -> int:
        stop = up.take(part)
        up.taken += up.registry.as_somebody_else_pushed_it(up.blob)[stop : stop + count]
        return len(up.taken)

    return fault


def answer(offset: int) -> Fault:
    return lambda up, part: offset


def refuse(error: Exception) -> Fault:
    def fault(up: MemoryUpload, part: EncodedPart) -> int:
        raise error

    return fault


Ending = Callable[["MemoryUpload"], None]


def complete(up: MemoryUpload) -> None:
    up.finish()


def complete_later(up: MemoryUpload) -> None:
    raise TransientError("slow down")


def lose_completion(up: MemoryUpload) -> None:
    up.finish()
    raise TransientError("the answer was lost")


def lose_upload_at_completion(up: MemoryUpload) -> None:
    up.registry.uploads.discard(up)
    raise UploadLostError("no such upload")


def raise_next(script: deque[Exception | None]) -> None:
    if script and script[0] is not None:
        raise script.popleft() or AssertionError  # without a name, which would keep alive what the frames hold
    if script:
        script.popleft()


class MemoryUpload:
    """Take parts as ECR does: in order, without a gap, none too small but the last."""

    def __init__(self, registry: MemoryRegistry, blob: Descriptor, part_size: int) -> None:
        self.registry, self.blob, self.part_size = registry, blob, part_size
        self.taken = bytearray()
        self.sizes: list[int] = []

    def encode(self, start: int, stop: int, views: Iterable[memoryview]) -> EncodedPart:
        data = bytearray()
        for view in views:  # not join(), which asks for all of them before it copies one
            data += view
        assert len(data) == stop - start, "the views aren't the part"
        part = CountedPart(start, stop, base64.b64encode(data))
        object.__setattr__(part, "gauge", self.registry.gauge)
        self.registry.gauge.add(1)
        self.registry.encoded(self.blob, start)
        return part

    def send(self, part: EncodedPart) -> int:
        self.registry.enter(self.blob, self)
        try:
            self.registry.sent.append((self.blob.digest, part.start, part.stop))
            with self.registry.lock:
                fault = self.registry.sends.popleft() if self.registry.sends else self.registry.then
            return fault(self, part)
        finally:
            self.registry.leave(self.blob)

    def take(self, part: EncodedPart) -> int:
        self.check_known()
        if part.start != len(self.taken):
            self.registry.refused += 1
            raise PartOffsetError("out of order", offset=len(self.taken))
        data = base64.b64decode(part.body)
        assert len(data) == part.stop - part.start
        assert part.stop <= self.blob.size
        assert 1 <= len(data) <= self.part_size
        if part.stop < self.blob.size:
            assert len(data) == self.part_size, "a part too small"
        self.taken += data
        return len(self.taken)

    def complete(self) -> None:
        self.registry.enter(self.blob, self)
        try:
            self.check_known()
            with self.registry.lock:
                self.registry.completions[self.blob.digest] += 1
                ending = self.registry.endings.popleft() if self.registry.endings else complete
            ending(self)
        finally:
            self.registry.leave(self.blob)

    def finish(self) -> None:
        if Digest.of(bytes(self.taken)) != self.blob.digest:
            raise IntegrityError("the registry computed another digest")
        self.registry.uploads.discard(self)
        self.registry.blobs[self.blob.digest] = bytes(self.taken)

    def check_known(self) -> None:
        if self not in self.registry.uploads:
            raise UploadLostError("no such upload")


class MemoryRegistry:
    """Hold blobs; every kind of call takes the next fault of its script, then works."""

    def __init__(
        self,
        *,
        sends: Sequence[Fault] = (),
        then: Fault = take,
        endings: Sequence[Ending] = (),
        begins: Sequence[Exception | None] = (),
        looks: Sequence[Exception | None] = (),
        part_sizes: Sequence[int] = (PART,),
        contents: Sequence[bytes] = (),
    ) -> None:
        self.sends, self.then, self.endings = deque(sends), then, deque(endings)
        self.gauge, self.lock = Gauge(), threading.Lock()
        self.blobs: dict[Digest, bytes] = {}
        self.uploads: set[MemoryUpload] = set()
        self.begun: list[Digest] = []
        self.sent: list[tuple[Digest, int, int]] = []
        self.completions: Tally[Digest] = Tally()
        self.refused = self.most_at_once = 0
        self._begins, self._looks, self._part_sizes = deque(begins), deque(looks), deque(part_sizes)
        self._elsewhere = {Digest.of(content): content for content in contents}
        self._inside: dict[Digest, MemoryUpload] = {}

    def as_somebody_else_pushed_it(self, blob: Descriptor) -> bytes:
        return self._elsewhere[blob.digest]

    def encoded(self, blob: Descriptor, start: int) -> None:
        """For tests that watch the aide at work."""

    def enter(self, blob: Descriptor, up: MemoryUpload) -> None:
        with self.lock:
            assert blob.digest not in self._inside, "two calls for one blob"
            self._inside[blob.digest] = up
            self.most_at_once = max(self.most_at_once, len(self._inside))

    def leave(self, blob: Descriptor) -> None:
        with self.lock:
            del self._inside[blob.digest]

    def missing(self, blobs: Iterable[Descriptor]) -> set[Digest]:
        with self.lock:
            raise_next(self._looks)
        return {blob.digest for blob in blobs} - set(self.blobs)

    def begin(self, blob: Descriptor) -> MemoryUpload:
        with self.lock:
            self.begun.append(blob.digest)
            raise_next(self._begins)
            self._part_sizes.rotate(-1)
            part_size = self._part_sizes[-1]
        up = MemoryUpload(self, blob, part_size)
        self.uploads.add(up)
        return up


class Counter:
    """Progress that adds up."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.landed = self.blobs = 0
        self.steps: list[int] = []
        self.done: list[Digest] = []
        self._lock = threading.Lock()

    def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
        self.total, self.blobs = size, blobs

    def advance(self, size: int) -> None:
        with self._lock:
            self.landed += size
            self.steps.append(size)

    def blob_done(self, blob: Descriptor) -> None:
        self.done.append(blob.digest)


def run(source: MemorySource, registry: MemoryRegistry, *, jobs: int = 3) -> Counter:
    counter = Counter()
    blobs = [blob_of(content) for content in source.contents]
    upload(blobs, source, registry, jobs=jobs, retry=FAST, progress=counter)
    return counter


def push(content: bytes, registry: MemoryRegistry, source: MemorySource | None = None) -> Counter:
    """Upload one blob, and check that it is there and was counted once."""
    source = source or MemorySource([content])
    counter = run(source, registry, jobs=1)
    assert source.open == 0
    assert registry.blobs == {Digest.of(content): content}
    assert counter.landed == counter.total == len(content)
    assert counter.done == [Digest.of(content)]
    return counter


def spans(registry: MemoryRegistry) -> list[tuple[int, int]]:
    return [(start, stop) for _, start, stop in registry.sent]


FOUR_PARTS = NOISE[:3500]
IN_FOUR = [(0, 1000), (1000, 2000), (2000, 3000), (3000, 3500)]


@pytest.mark.parametrize("jobs", [1, 2, 16])
def test_blobs_of_all_sizes_arrive_whole_at_any_parallelism(jobs: int) -> None:
    contents = [NOISE, b"x", NOISE[:1000], NOISE[:1001], NOISE[:999], NOISE[::-1]]
    registry = MemoryRegistry()
    counter = run(MemorySource(contents), registry, jobs=jobs)
    assert registry.blobs == {Digest.of(content): content for content in contents}
    assert counter.landed == counter.total == sum(map(len, contents))
    assert Tally(counter.done) == registry.completions == Tally(map(Digest.of, contents))
    assert registry.refused == 0
    assert registry.most_at_once <= jobs


def test_nothing_to_upload_is_done_at_once() -> None:
    assert run(MemorySource([]), MemoryRegistry()).blobs == 0


def test_parts_are_sent_in_order_and_cover_the_blob_once() -> None:
    registry, source = MemoryRegistry(), MemorySource([FOUR_PARTS])
    counter = push(FOUR_PARTS, registry, source)
    assert spans(registry) == IN_FOUR
    assert [(start, stop) for _, start, stop in source.reads] == [(0, 3500)]  # one stream for all of them
    assert counter.steps == [1000, 1000, 1000, 500]


def test_the_largest_blob_goes_first_and_a_blob_named_twice_goes_once() -> None:
    contents = [NOISE[:10], NOISE[:5000], NOISE[:10], NOISE[:70]]
    registry = MemoryRegistry()
    counter = run(MemorySource(contents), registry, jobs=1)
    assert registry.begun == [Digest.of(NOISE[:size]) for size in (5000, 70, 10)]
    assert (counter.total, counter.blobs) == (5080, 3)


def test_blobs_go_up_beside_each_other() -> None:
    both = threading.Barrier(2)

    def meet(up: MemoryUpload, part: EncodedPart) -> int:
        both.wait(PATIENCE)
        return up.take(part)

    registry = MemoryRegistry(sends=[meet, meet])
    run(MemorySource([NOISE[:1000], NOISE[:900]]), registry, jobs=2)
    assert registry.most_at_once == 2


def test_an_empty_blob_that_is_not_missed_is_never_begun_and_is_done() -> None:
    registry = MemoryRegistry(looks=[TransientError("slow down")])
    registry.blobs[Digest.of(b"")] = b""
    counter = run(MemorySource([b""]), registry)
    assert (registry.begun, counter.done) == ([], [Digest.of(b"")])


def test_an_empty_blob_goes_up_without_a_part_where_it_is_missed() -> None:
    registry = MemoryRegistry()
    push(b"", registry)
    assert (len(registry.begun), registry.sent) == (1, [])


@pytest.mark.parametrize("there", [True, False])
def test_a_descriptor_that_lies_about_being_empty_is_an_integrity_error(there: bool) -> None:
    lie, registry = Descriptor("application/octet-stream", Digest.of(b"x"), 0), MemoryRegistry()
    registry.blobs = {lie.digest: b"x"} if there else {}
    with pytest.raises(IntegrityError, match="is damaged in its source"):
        upload([lie], MemorySource([]), registry, retry=FAST)
    assert registry.begun == []


def test_of_two_sizes_of_one_digest_the_lie_is_found() -> None:
    true = blob_of(NOISE[:50])
    lie = Descriptor(true.media_type, true.digest, 49)
    registry = MemoryRegistry()
    with pytest.raises(IntegrityError):
        upload([true, lie], MemorySource([NOISE[:50]]), registry, jobs=1, retry=FAST)


def test_the_next_part_is_encoded_while_one_is_in_flight_and_no_other() -> None:
    encoded = {start: threading.Event() for start, _ in IN_FOUR}

    class Watched(MemoryRegistry):
        def encoded(self, blob: Descriptor, start: int) -> None:
            encoded[start].set()

    def wait_for_the_next(up: MemoryUpload, part: EncodedPart) -> int:
        if part.stop in encoded:
            assert encoded[part.stop].wait(PATIENCE)
        assert part.stop + PART not in encoded or not encoded[part.stop + PART].is_set()
        return up.take(part)

    registry = Watched(then=wait_for_the_next)
    push(FOUR_PARTS, registry)
    assert registry.gauge.highest == 2
    assert registry.gauge.now == 0


def test_a_part_whose_answer_was_lost_is_sent_again_and_found_to_be_there() -> None:
    registry = MemoryRegistry(sends=[take, lose_answer])
    source = MemorySource([FOUR_PARTS])
    counter = push(FOUR_PARTS, registry, source)
    assert spans(registry) == [IN_FOUR[0], IN_FOUR[1], *IN_FOUR[1:]]
    assert registry.refused == 1
    assert len(source.reads) == 1
    assert counter.steps == [1000, 1000, 1000, 500]


def test_a_transient_error_sends_the_same_part_again_without_reading_it_again() -> None:
    registry, source = MemoryRegistry(sends=[take, transient, transient]), MemorySource([FOUR_PARTS])
    push(FOUR_PARTS, registry, source)
    assert spans(registry) == [IN_FOUR[0], IN_FOUR[1], IN_FOUR[1], *IN_FOUR[1:]]
    assert len(source.reads) == 1


def test_a_transient_error_is_waited_out_as_the_policy_says() -> None:
    class Noted(RetryPolicy):
        def delay(self, failures: int) -> float:
            delays.append(failures)
            return 0.0

    delays: list[int] = []
    registry = MemoryRegistry(sends=[transient, transient, take, transient])
    upload([blob_of(FOUR_PARTS)], MemorySource([FOUR_PARTS]), registry, retry=Noted(tries=3))
    assert delays == [1, 2, 1]


@pytest.mark.parametrize("disagree", [forget_bytes, refuse_after_forgetting])
def test_a_registry_that_has_less_is_sent_the_rest_again(disagree: Callable[[int], Fault]) -> None:
    registry = MemoryRegistry(sends=[take, take, disagree(1500)])
    counter = push(FOUR_PARTS, registry)
    assert spans(registry) == [*IN_FOUR[:3], (1500, 2500), (2500, 3500)]
    assert counter.steps == [1000, 1000, -500, 1000, 1000]


@pytest.mark.parametrize("more", [1, 700, 1000, 1300, 3000])
def test_a_registry_that_has_more_is_sent_only_the_rest_and_all_is_hashed(more: int) -> None:
    registry = MemoryRegistry(sends=[have_more(more)], contents=[FOUR_PARTS])
    push(FOUR_PARTS, registry)
    assert [start for start, _ in spans(registry)] == [0, *range(1000 + more, 3500, 1000)]


@pytest.mark.parametrize("offset", [-1, 3501])
def test_an_offset_outside_the_blob_ends_the_upload(offset: int) -> None:
    with pytest.raises(TransferError, match=f"3500 bytes, but the registry takes byte {offset} next"):
        push(FOUR_PARTS, MemoryRegistry(sends=[answer(offset)]))


def test_the_same_disagreement_again_and_again_ends_with_what_the_registry_said() -> None:
    registry = MemoryRegistry(then=refuse(PartOffsetError("First byte is 0 instead of 7", offset=7)))
    with pytest.raises(TransferError, match="after 3 tries without progress: First byte is 0 instead"):
        push(FOUR_PARTS, registry)
    assert spans(registry) == [(0, 1000), (7, 1007), (7, 1007)]


def test_an_upload_that_got_lost_begins_again_and_progress_goes_back() -> None:
    registry = MemoryRegistry(sends=[take, take, lose_upload], part_sizes=[1000, 2000])
    counter = push(FOUR_PARTS, registry)
    assert spans(registry) == [*IN_FOUR[:3], (0, 2000), (2000, 3500)]
    assert counter.steps == [1000, 1000, -2000, 2000, 1500]


def test_an_upload_that_got_lost_since_the_blob_is_there_is_done() -> None:
    registry = MemoryRegistry(sends=[take, lose_upload_but_have_the_blob], contents=[FOUR_PARTS])
    push(FOUR_PARTS, registry)
    assert len(registry.begun) == 1


def test_a_completion_whose_answer_was_lost_is_found_to_be_there() -> None:
    registry = MemoryRegistry(endings=[lose_completion])
    counter = push(FOUR_PARTS, registry)
    assert len(registry.begun) == 1
    assert spans(registry) == IN_FOUR
    assert counter.steps[-2:] == [-3500, 3500]


def test_a_completion_that_is_put_off_is_asked_for_again_without_sending_again() -> None:
    registry = MemoryRegistry(endings=[complete_later, complete_later])
    push(FOUR_PARTS, registry)
    assert spans(registry) == IN_FOUR


def test_an_upload_that_got_lost_at_its_completion_begins_again() -> None:
    registry = MemoryRegistry(endings=[lose_upload_at_completion])
    push(FOUR_PARTS, registry)
    assert spans(registry) == IN_FOUR * 2


def test_whether_a_blob_is_there_is_asked_until_there_is_an_answer() -> None:
    slow = TransientError("slow down")
    registry = MemoryRegistry(endings=[lose_completion], looks=[slow], begins=[None, NotFoundError("begun again")])
    push(FOUR_PARTS, registry)


def test_an_upload_that_cannot_begin_yet_is_begun_again() -> None:
    slow = TransientError("slow down")
    registry = MemoryRegistry(begins=[slow, slow])
    push(FOUR_PARTS, registry)
    assert len(registry.begun) == 3


def test_tries_without_progress_end_with_the_blob_the_tries_the_last_cause_and_a_hint() -> None:
    registry = MemoryRegistry(sends=[take], then=transient)
    with pytest.raises(
        TransferError, match=f"gave up on blob {Digest.of(FOUR_PARTS)} after 3 tries without progress: slow down"
    ) as caught:
        push(FOUR_PARTS, registry)
    assert caught.value.hint == "run the same command again when the line is better"
    assert spans(registry) == [IN_FOUR[0], *[IN_FOUR[1]] * 3]


def test_errors_that_hold_on_to_themselves_keep_no_part_in_memory() -> None:
    registry = MemoryRegistry(sends=[transient_in_a_circle, take] * 20)
    push(NOISE, registry)
    assert (registry.gauge.highest <= 2, registry.gauge.now) == (True, 0)


def test_tries_with_progress_do_not_count_against_the_limit() -> None:
    push(NOISE, MemoryRegistry(sends=[transient, transient, take] * 20))


def test_an_upload_that_always_gets_lost_at_the_same_part_ends() -> None:
    registry = MemoryRegistry(sends=[take, take, lose_upload] * 50)
    with pytest.raises(TransferError, match="after 3 tries without progress: no such upload"):
        push(FOUR_PARTS, registry)
    assert len(registry.begun) == 3


@pytest.mark.parametrize(
    ("reply", "starts"), [(cut, [0, 1750, 2625]), (short, [0, 3499, 3499]), (long, [0, 3000, 3000])]
)
def test_a_source_that_fails_for_once_is_read_on_where_it_failed(reply: Reply, starts: list[int]) -> None:
    source, registry = MemorySource([FOUR_PARTS], [reply, reply]), MemoryRegistry()
    push(FOUR_PARTS, registry, source)
    assert [start for _, start, _ in source.reads] == starts
    assert spans(registry) == IN_FOUR


@pytest.mark.parametrize(
    ("reply", "cause"),
    [(short, "ended at byte 3499 of 3500 in its source"), (long, "more bytes than were asked for"), (cut, "was cut")],
)
def test_a_source_that_fails_again_and_again_ends_the_upload(reply: Reply, cause: str) -> None:
    source, registry = MemorySource([FOUR_PARTS], then=reply), MemoryRegistry()
    with pytest.raises(TransferError, match=f"after 3 tries without progress: .*{cause}"):
        push(FOUR_PARTS, registry, source)
    assert (registry.completions, source.aborted.is_set(), source.open) == (Tally(), True, 0)


def test_a_source_that_gives_more_in_one_piece_than_the_blob_has_sends_nothing_of_it() -> None:
    source, registry = MemorySource([FOUR_PARTS], then=lambda data: [data + b"!"], piece=5000), MemoryRegistry()
    with pytest.raises(TransferError, match="more bytes than were asked for"):
        push(FOUR_PARTS, registry, source)
    assert registry.sent == []


def test_a_source_whose_line_is_cut_many_times_in_each_part_gets_through_by_what_it_brings() -> None:
    source, registry = MemorySource([FOUR_PARTS], then=drip, piece=60), MemoryRegistry()
    push(FOUR_PARTS, registry, source)
    assert [start for _, start, _ in source.reads] == list(range(0, 3500, 100))
    assert spans(registry) == IN_FOUR


def test_bytes_that_come_before_a_stall_do_not_count_as_progress() -> None:
    source = MemorySource([FOUR_PARTS], then=drip_and_stall)
    with pytest.raises(TransferError, match="after 3 tries without progress: nothing comes"):
        push(FOUR_PARTS, MemoryRegistry(), source)
    assert [start for _, start, _ in source.reads] == [0, 100, 200]


def test_waits_for_a_source_are_as_the_policy_says() -> None:
    class Noted(RetryPolicy):
        def delay(self, failures: int) -> float:
            delays.append(failures)
            return 0.0

    def refuse_all(data: bytes) -> Iterable[bytes]:
        raise TransientError("slow down")

    delays: list[int] = []
    source = MemorySource([FOUR_PARTS], [refuse_all, refuse_all, cut, refuse_all])
    upload([blob_of(FOUR_PARTS)], source, MemoryRegistry(), retry=Noted(tries=3))
    assert delays == [1, 2, 1, 2]


def test_a_source_that_gives_whole_blobs_only_is_read_once_however_many_parts_there_are() -> None:
    source, registry = MemorySource([FOUR_PARTS], ranges=False), MemoryRegistry()
    push(FOUR_PARTS, registry, source)
    assert [(start, stop) for _, start, stop in source.reads] == [(0, 3500)]


def test_a_source_that_gives_whole_blobs_only_is_read_from_the_start_again_when_it_fails() -> None:
    source, registry = MemorySource([FOUR_PARTS], [cut, cut], ranges=False), MemoryRegistry()
    push(FOUR_PARTS, registry, source)
    assert [start for _, start, _ in source.reads] == [0, 1750, 0, 0]  # that it can't be read from 1750 is learnt once
    assert spans(registry) == IN_FOUR


def test_a_registry_that_has_less_is_sent_the_rest_again_from_a_source_that_gives_whole_blobs_only() -> None:
    source, registry = MemorySource([FOUR_PARTS], ranges=False), MemoryRegistry(sends=[take, take, forget_bytes(1500)])
    push(FOUR_PARTS, registry, source)
    assert spans(registry) == [*IN_FOUR[:3], (1500, 2500), (2500, 3500)]
    assert [start for _, start, _ in source.reads] == [0, 1500, 0]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_upload_that_begins_again_reads_its_blob_from_the_start(ranges: bool) -> None:
    source, registry = MemorySource([FOUR_PARTS], ranges=ranges), MemoryRegistry(sends=[take, lose_upload])
    push(FOUR_PARTS, registry, source)
    assert [start for _, start, _ in source.reads] == [0, 0]


def test_a_wait_for_a_source_is_a_wait() -> None:
    class Patient(RetryPolicy):
        def delay(self, failures: int) -> float:
            return 0.01

    class Watched(MemorySource):
        def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
            times.append(time.monotonic())
            return super().read(blob, start, stop)

    times: list[float] = []
    upload([blob_of(FOUR_PARTS)], Watched([FOUR_PARTS], [cut]), MemoryRegistry(), retry=Patient())
    assert times[1] - times[0] >= 0.01


def test_a_stream_is_closed_even_if_somebody_holds_it() -> None:
    class Held(MemorySource):
        def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
            streams.append(super().read(blob, start, stop))
            return streams[-1]

    streams: list[Iterator[memoryview]] = []
    registry = MemoryRegistry(sends=[take, lose_upload], endings=[lose_completion])
    push(FOUR_PARTS, registry, Held([FOUR_PARTS]))
    source = Held([FOUR_PARTS])
    with pytest.raises(NotFoundError):
        push(FOUR_PARTS, MemoryRegistry(sends=[take, refuse(NotFoundError("gone"))]), source)
    assert (source.open, len(streams)) == (0, 3)


def test_what_a_view_holds_of_the_next_part_outlives_its_buffer() -> None:
    class Lending(MemorySource):
        def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
            for place in range(start, stop, 1500):
                buffer[: stop - place] = FOUR_PARTS[place : min(place + 1500, stop)]
                yield memoryview(buffer)[: stop - place]

    class Scribbling(MemoryRegistry):
        def encoded(self, blob: Descriptor, start: int) -> None:
            buffer[:] = bytes(1500)  # as a thread's other reads do, where the worker is its own aide

    buffer = bytearray(1500)
    push(FOUR_PARTS, Scribbling(), Lending([FOUR_PARTS]))


def test_a_stream_is_left_when_the_blob_turns_out_to_be_there() -> None:
    source = MemorySource([NOISE])
    registry = MemoryRegistry(sends=[take, lose_upload_but_have_the_blob], contents=[NOISE])
    push(NOISE, registry, source)  # which looks for a stream that is open


def test_a_source_that_is_no_use_ends_all_at_once() -> None:
    source = MemorySource([FOUR_PARTS], [unreadable])
    with pytest.raises(ArchiveError, match=r"app\.tar"):
        push(FOUR_PARTS, MemoryRegistry(), source)
    assert len(source.reads) == 1


@pytest.mark.parametrize("place", [0, 999, 1000, 2500, 3499])
def test_a_damaged_blob_is_never_completed_and_its_source_is_named(place: int) -> None:
    registry = MemoryRegistry()
    with pytest.raises(IntegrityError, match=f"blob {Digest.of(FOUR_PARTS)} is damaged in its source") as caught:
        push(FOUR_PARTS, registry, MemorySource([FOUR_PARTS], damaged=place))
    assert caught.value.hint == "make or fetch the archive again; this blob was not completed in the registry"
    assert (registry.completions, registry.blobs) == (Tally(), {})


def test_bytes_that_were_right_when_hashed_and_wrong_when_read_again_are_for_the_registry_to_refuse() -> None:
    def wrong(data: bytes) -> Iterable[bytes]:
        return [bytes([data[0] ^ 1]) + data[1:]]

    source = MemorySource([FOUR_PARTS], [whole, wrong])
    registry = MemoryRegistry(sends=[take, take, take, forget_bytes(600)])
    with pytest.raises(IntegrityError, match="the registry computed another digest"):
        push(FOUR_PARTS, registry, source)


def test_the_first_failure_ends_all_at_the_next_part_and_is_the_one_raised() -> None:
    first = NotFoundError("no such repository")
    sending, source = threading.Event(), MemorySource([NOISE, NOISE[:10_000], NOISE[:900]])

    def fault(up: MemoryUpload, part: EncodedPart) -> int:
        if up.blob.size == len(NOISE):
            sending.set()
            assert source.aborted.wait(PATIENCE)
            return up.take(part)
        assert sending.wait(PATIENCE)
        raise first

    registry = MemoryRegistry(then=fault)
    with pytest.raises(NotFoundError) as caught:
        run(source, registry, jobs=2)
    assert caught.value is first
    assert len(registry.sent) == 2
    assert registry.completions == Tally()
    assert Digest.of(NOISE[:900]) not in registry.begun


def test_a_wait_for_another_try_ends_with_the_first_failure() -> None:
    class Noted(RetryPolicy):
        def delay(self, failures: int) -> float:
            waiting.set()
            return 1000.0

    def fault(up: MemoryUpload, part: EncodedPart) -> int:
        if up.blob.size == 20:
            raise TransientError("slow down")
        assert waiting.wait(PATIENCE)
        raise NotFoundError("gone")

    waiting = threading.Event()
    contents = [NOISE[:20], NOISE[:10]]
    with pytest.raises(NotFoundError):
        upload(
            [blob_of(content) for content in contents],
            MemorySource(contents),
            MemoryRegistry(then=fault),
            retry=Noted(),
        )


def test_a_source_that_hangs_holds_no_failure_up() -> None:
    class Stuck(MemorySource):
        def read(self, blob: Descriptor, start: int, stop: int) -> Iterator[memoryview]:
            yield memoryview(FOUR_PARTS[:PART])
            stuck.set()
            assert self.aborted.wait(PATIENCE)
            raise TransientError("aborted")

    def fail_while_the_source_hangs(up: MemoryUpload, part: EncodedPart) -> int:
        assert stuck.wait(PATIENCE)
        raise NotFoundError("gone")

    stuck = threading.Event()
    with pytest.raises(NotFoundError):
        push(FOUR_PARTS, MemoryRegistry(sends=[fail_while_the_source_hangs]), Stuck([FOUR_PARTS]))


def test_ctrl_c_in_the_waiting_thread_ends_all_at_the_next_part() -> None:
    waiting, source = threading.main_thread(), MemorySource([NOISE])

    def interrupt(up: MemoryUpload, part: EncodedPart) -> int:
        signal.pthread_kill(waiting.ident or 0, signal.SIGINT)
        assert source.aborted.wait(PATIENCE)
        return up.take(part)

    registry = MemoryRegistry(sends=[take, interrupt])
    with pytest.raises(KeyboardInterrupt):
        run(source, registry)
    assert len(registry.sent) == 2
    assert registry.completions == Tally()


counts = st.integers(0, 2500)
FAULTS = st.one_of(
    st.sampled_from(
        [take, take, transient, transient_in_a_circle, lose_answer, lose_upload, lose_upload_but_have_the_blob]
    ),
    counts.map(forget_bytes),
    counts.map(refuse_after_forgetting),
    counts.map(have_more),
)
ENDINGS = st.sampled_from([complete, complete_later, lose_completion, lose_upload_at_completion])
# Made anew each time: an error keeps alive what the functions hold that it went through.
TROUBLES = st.one_of(
    st.none(), st.builds(TransientError, st.just("slow down")), st.builds(UploadLostError, st.just(""))
)
REPLIES = st.sampled_from([whole, whole, cut, short, long])


@st.composite
def registries(draw: st.DrawFn) -> MemoryRegistry:
    return MemoryRegistry(
        sends=draw(st.lists(FAULTS, max_size=15)),
        endings=draw(st.lists(ENDINGS, max_size=4)),
        begins=draw(st.lists(TROUBLES, max_size=4)),
        looks=draw(st.lists(TROUBLES, max_size=4)),
        part_sizes=draw(st.lists(st.integers(100, 1500), min_size=1, max_size=3)),
        contents=[NOISE[:size] for size in SIZES],
    )


SIZES = (1, 99, 100, 1000, 1001, 2999, 4000)


@settings(max_examples=300, deadline=None)
@given(
    registry=registries(),
    sizes=st.lists(st.sampled_from((0, *SIZES)), min_size=1, max_size=4),
    jobs=st.integers(1, 4),
    replies=st.lists(REPLIES, max_size=6),
    piece=st.integers(30, 2000),
    ranges=st.booleans(),
)
def test_any_script_of_faults_ends_with_all_blobs_whole_or_in_a_transfer_error(
    registry: MemoryRegistry, sizes: list[int], jobs: int, replies: list[Reply], piece: int, ranges: bool
) -> None:
    contents = [NOISE[:size] for size in sizes]
    source = MemorySource(contents, replies, piece=piece, ranges=ranges)
    try:  # a byte that was hashed twice or never would be an IntegrityError
        counter = run(source, registry, jobs=jobs)
    except TransferError:
        assert source.aborted.is_set()
    else:
        distinct = {content for content in contents if content}
        assert {digest: registry.blobs[digest] for digest in map(Digest.of, distinct)} == {
            Digest.of(content): content for content in distinct
        }
        assert Tally(counter.done) == Tally(map(Digest.of, set(contents)))
        assert counter.landed == counter.total == sum(map(len, distinct))
    assert registry.gauge.highest <= 2 * jobs
    assert registry.most_at_once <= jobs
    assert source.open == 0


@settings(max_examples=150, deadline=None)
@given(
    registry=registries(),
    size=st.sampled_from(SIZES),
    replies=st.lists(REPLIES, max_size=6),
    place=st.integers(0, 4000),
)
def test_no_script_of_faults_gets_a_damaged_blob_completed(
    registry: MemoryRegistry, size: int, replies: list[Reply], place: int
) -> None:
    source = MemorySource([NOISE[:size]], replies, damaged=place % size)
    try:
        run(source, registry)
    except (IntegrityError, TransferError):
        pass
    else:  # only when somebody else had pushed it whole meanwhile
        assert registry.blobs == {Digest.of(NOISE[:size]): NOISE[:size]}
    assert registry.completions == Tally()
