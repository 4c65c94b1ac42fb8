"""What a later run believes: all after a kill, what was on stable storage after a crash, and nothing that is broken."""

from __future__ import annotations

import errno
import logging
import os
import random
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecrdrag.archive.history import HEAD_SIZE, LINE_SIZE, UNKNOWN_BOOT, head, seal
from ecrdrag.archive.journal import MAX_SIZE, SYNC_BYTES, Journal, System
from ecrdrag.content import Digest
from tests.unit.test_check import open_descriptors, ordinary_user

resource = pytest.importorskip("resource", reason="these tests need a POSIX system")

SIZE = 100_000
PLAN = Digest.of(b"a plan")
BOOT = "7d1a7e4c-0d4a-4c31-9a3f-3f3f4c1f0001"
NEXT_BOOT = "7d1a7e4c-0d4a-4c31-9a3f-3f3f4c1f0002"
NEVER = 3600.0  # seconds

Pairs = list[tuple[int, int]]


def no_sync(_: int) -> None:
    """Stand for a disk that takes no time."""


@dataclass
class Place:
    """A folder with a partial file, and the journals that were opened beside it."""

    folder: Path
    size: int = SIZE
    journals: list[Journal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.partial = os.open(self.folder / "partial", os.O_RDWR | os.O_CREAT)
        os.ftruncate(self.partial, self.size)

    @property
    def path(self) -> Path:
        return self.folder / "partial.journal"

    def open(
        self, boot: str = BOOT, *, sync: Callable[[int], None] = no_sync, plan: Digest = PLAN, interval: float = NEVER
    ) -> Journal:
        """Open the journal as the next run does: the last one was killed, and writes no more."""
        system = System(boot, sync, interval)
        self.journals.append(Journal.open(self.path, plan, self.size, self.partial, system))
        return self.journals[-1]

    def believed(self, boot: str = BOOT, content: bytes | None = None) -> Pairs:
        """Say what the next run would believe, of this content if given."""
        copy = self.folder / "copy.journal"
        copy.write_bytes(self.path.read_bytes() if content is None else content)
        journal = Journal.open(copy, PLAN, self.size, self.partial, System(boot, no_sync, NEVER))
        found = journal.landed(0, self.size)
        journal.remove()
        return found

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        for journal in self.journals:
            journal.keep()
        os.close(self.partial)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    before = open_descriptors()
    with Place(tmp_path) as made:
        yield made
    assert open_descriptors() <= before, "a descriptor stayed open"
    assert not [each for each in threading.enumerate() if each.name == "journal sync"], "a thread stayed"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def lines(*texts: str) -> bytes:
    """Write a journal with these lines, soundly sealed."""
    journal = head(PLAN, SIZE)
    crc = 0
    _, crc = seal(journal[: -len("01234567\n")].decode().rstrip(), 0, HEAD_SIZE)
    for text in texts:
        line, crc = seal(text, crc)
        journal += line
    return journal


# --- what is believed --------------------------------------------------------------------------


def test_a_new_journal_knows_nothing_and_belongs_to_its_plan(place: Place) -> None:
    journal = place.open()
    assert (journal.landed(0, SIZE), journal.total) == ([], 0)
    assert place.path.read_bytes() == lines(f"session {BOOT} {HEAD_SIZE}")
    assert stat.S_IMODE(place.path.stat().st_mode) & 0o111 == 0


def test_after_a_kill_every_byte_that_was_noted_is_believed(place: Place) -> None:
    journal = place.open()
    journal.note(10, 20)
    journal.note(50, 60)
    journal.note(20, 30)
    again = place.open()
    assert (again.landed(0, SIZE), again.total) == ([(10, 30), (50, 60)], 30)
    assert again.landed(15, 55) == [(15, 30), (50, 55)]


def test_after_a_crash_what_was_marked_is_believed_and_no_more(place: Place) -> None:
    journal = place.open()
    journal.note(10, 20)
    journal.mark()
    journal.note(50, 60)
    assert place.believed(BOOT) == [(10, 20), (50, 60)]
    assert place.believed(NEXT_BOOT) == [(10, 20)]


def test_without_a_mark_a_crash_leaves_nothing_to_believe(place: Place) -> None:
    place.open().note(10, 20)
    assert place.believed(NEXT_BOOT) == []


def test_where_the_kernel_has_no_boot_id_only_marks_are_believed(place: Place) -> None:
    journal = place.open(UNKNOWN_BOOT)
    journal.note(10, 20)
    journal.mark()
    journal.note(50, 60)
    assert place.believed(UNKNOWN_BOOT) == [(10, 20)]


def test_what_lands_while_the_disk_syncs_is_not_covered_by_the_mark_now_or_later(place: Place) -> None:
    """Its line stands above the mark in the file; a kill after the crash must not make it true."""

    def note_meanwhile(descriptor: int) -> None:
        if descriptor == place.partial:
            journal.note(50, 60)

    journal = place.open(sync=note_meanwhile)
    journal.note(10, 20)
    journal.mark()
    assert place.open(NEXT_BOOT).landed(0, SIZE) == [(10, 20)]
    assert place.open(NEXT_BOOT).landed(0, SIZE) == [(10, 20)]
    assert place.open("after-another-crash").landed(0, SIZE) == [(10, 20)]


def test_forgotten_bytes_are_not_believed_until_they_land_again(place: Place) -> None:
    journal = place.open()
    journal.note(10, 60)
    journal.forget(20, 40)
    assert journal.landed(0, SIZE) == [(10, 20), (40, 60)]
    journal.note(25, 30)
    assert place.believed() == [(10, 20), (25, 30), (40, 60)]
    journal.mark()
    assert place.believed(NEXT_BOOT) == [(10, 20), (25, 30), (40, 60)]


def test_nothing_is_written_for_no_bytes(place: Place) -> None:
    journal = place.open()
    before = place.path.read_bytes()
    journal.note(5, 5)
    journal.forget(5, 50)
    journal.mark()
    assert place.path.read_bytes() == before


STEPS = st.one_of(
    st.tuples(st.sampled_from(["note", "note", "forget"]), st.integers(0, 9), st.integers(1, 4)),
    st.tuples(st.sampled_from(["mark", "kill", "crash", "torn crash"]), st.just(0), st.integers(1, 200)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_after_any_kills_and_crashes_just_what_is_there_is_believed(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    with Place(tmp_path_factory.mktemp("place"), 20) as place:
        journal, written, stable, marked_size, boots = place.open("boot-0"), set[int](), set[int](), 0, 0
        for step, start, number in steps:
            if step == "note":
                journal.note(start, start + number)
                written |= set(range(start, start + number))
            elif step == "forget":
                journal.forget(start, start + number)
                written -= set(range(start, start + number))
            elif step == "mark":
                journal.mark()
                stable, marked_size = set(written), place.path.stat().st_size
            else:
                if "crash" in step:
                    boots, written = boots + 1, set(stable)
                if step == "torn crash":
                    os.truncate(place.path, max(marked_size, place.path.stat().st_size - number))
                journal = place.open(f"boot-{boots}")
                if not written:  # begun anew
                    stable, marked_size = set(), 0
            assert {at for low, high in journal.landed(0, 20) for at in range(low, high)} == written, step


# --- when it is written ------------------------------------------------------------------------


def test_a_mark_is_written_once_the_data_is_on_stable_storage_and_then_synced_itself_with_its_name(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, bool]] = []

    def sync(descriptor: int) -> None:
        which = "data" if descriptor == place.partial else "journal"
        events.append((which, b"stable" in place.path.read_bytes()))

    def sync_of_folder(descriptor: int) -> None:
        assert os.path.samestat(os.fstat(descriptor), place.folder.stat())
        events.append(("folder", True))

    monkeypatch.setattr(os, "fsync", sync_of_folder)
    journal = place.open(sync=sync)
    journal.note(10, 20)
    assert events == []
    journal.mark()
    assert events == [("data", False), ("journal", True), ("folder", True)]
    journal.note(20, 30)
    journal.mark()
    assert events[3:] == [("data", True), ("journal", True)], "the name is synced once"


def test_a_mark_with_nothing_new_costs_no_sync(place: Place) -> None:
    calls: list[int] = []
    journal = place.open(sync=calls.append)
    journal.mark()
    assert calls == []
    journal.note(10, 20)
    journal.mark()
    size = place.path.stat().st_size
    journal.mark()
    assert (len(calls), place.path.stat().st_size) == (2, size)


def test_what_a_killed_run_did_not_mark_is_marked_by_the_next_one(place: Place) -> None:
    place.open().note(10, 20)
    place.open().mark()
    assert place.believed(NEXT_BOOT) == [(10, 20)]


def test_what_the_crash_left_needs_no_mark(place: Place) -> None:
    calls: list[int] = []
    journal = place.open()
    journal.note(10, 20)
    journal.mark()
    place.open(NEXT_BOOT, sync=calls.append).mark()
    assert calls == []


@pytest.mark.parametrize(("size", "interval"), [(10, 0.001), (SYNC_BYTES, NEVER)], ids=["by time", "by bytes"])
def test_marks_come_by_themselves(tmp_path: Path, size: int, interval: float) -> None:
    with Place(tmp_path, 2 * SYNC_BYTES) as place:
        synced = threading.Event()

        def sync(descriptor: int) -> None:
            if descriptor != place.partial:  # the journal, so that the mark is there
                synced.set()

        place.open(sync=sync, interval=interval).note(0, size)
        assert synced.wait(10)
        assert place.believed(NEXT_BOOT) == [(0, size)]


def test_without_a_thread_there_is_a_mark_at_the_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        journal = place.open()
    journal.note(10, 20)
    journal.keep()
    assert place.believed(NEXT_BOOT) == [(10, 20)]


def test_keeping_the_journal_marks_all_that_landed(place: Place) -> None:
    journal = place.open()
    journal.note(10, 20)
    journal.keep()
    journal.note(50, 60)  # by a worker that hung until now
    journal.forget(0, SIZE)
    assert place.believed(NEXT_BOOT) == [(10, 20)]


def test_removing_the_journal_leaves_nothing(place: Place) -> None:
    journal = place.open()
    journal.note(10, 20)
    journal.remove()
    journal.note(50, 60)
    assert not place.path.exists()


def test_removing_spares_the_journal_that_another_pull_began_meanwhile(place: Place) -> None:
    journal = place.open()
    place.path.unlink()
    place.open().note(10, 20)
    journal.remove()
    assert place.believed() == [(10, 20)]


def test_a_failed_sync_is_told_to_all_who_note_or_finish_and_nothing_is_marked(place: Place) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    journal = place.open(sync=fail)
    journal.note(10, 20)
    journal.mark()
    calls: list[Callable[[], None]] = [lambda: journal.note(20, 30), journal.settle, journal.settle]
    for call in calls:
        with pytest.raises(OSError, match="Input/output error") as caught:
            call()
        assert caught.value.errno == errno.EIO
    journal.keep()
    assert place.believed(NEXT_BOOT) == []
    assert place.believed() == [(10, 20)]


def test_a_journal_that_finds_no_room_says_so_once_and_what_it_holds_stays_true(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    journal = place.open()
    journal.note(10, 20)
    size = place.path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))  # the eleventh byte is refused
    try:
        journal.note(20, 30)
        journal.note(30, 40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(warnings(caplog)) == 1
    assert f"can't write {place.path}: File too large" in warnings(caplog)[0]
    journal.note(40, 50)
    assert (place.path.stat().st_size, journal.total) == (size, 10)
    assert place.believed() == [(10, 20)]


def test_lines_that_no_page_or_sector_divides(place: Place) -> None:
    journal = place.open()
    for _ in range(3):
        journal.note(SIZE - 1, SIZE)
        journal.mark()
    content = place.path.read_bytes()
    assert 512 % LINE_SIZE == 0
    assert HEAD_SIZE % LINE_SIZE == 0
    ends = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]
    assert ends == list(range(HEAD_SIZE, len(content) + 1, LINE_SIZE))
    longest = [f"landed {10**19 - 1} {10**19 - 1}", f"forgotten {10**19 - 1} {10**19 - 1}"]
    longest += [f"session {BOOT} {MAX_SIZE}", f"stable {MAX_SIZE}"]
    assert {len(seal(text, 0)[0]) for text in longest} == {LINE_SIZE}
    assert len(head(PLAN, 10**19 - 1)) == HEAD_SIZE


def test_many_threads_note_at_once(place: Place) -> None:
    journal = place.open(interval=0.0005)

    def note_every_eighth(first: int) -> None:
        for at in range(first, 4000, 8):
            journal.note(at, at + 1)

    threads = [threading.Thread(target=note_every_eighth, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.believed() == [(0, 4000)]
    journal.keep()
    assert place.believed(NEXT_BOOT) == [(0, 4000)]


def test_a_note_is_cheap(place: Place) -> None:
    journal, costs = place.open(), []
    for batch in range(50):
        begun = time.perf_counter()
        for at in range(100):
            journal.note(batch * 1000 + at * 2, batch * 1000 + at * 2 + 1)
        costs.append((time.perf_counter() - begun) / 100)
    assert min(costs) < 20e-6


# --- what is broken ----------------------------------------------------------------------------


@pytest.fixture
def written(place: Place) -> bytes:
    """A journal with every kind of line, of two sessions; bytes 10 to 60 and 90 to 95 have ever landed."""
    journal = place.open()
    journal.note(10, 30)
    journal.mark()
    journal.note(30, 60)
    journal = place.open()
    journal.forget(20, 40)
    journal.mark()
    journal.note(90, 95)
    assert place.believed() == [(10, 20), (40, 60), (90, 95)]
    assert place.believed(NEXT_BOOT) == [(10, 20), (40, 60)]
    return place.path.read_bytes()


def inside(found: Pairs, limits: Pairs) -> bool:
    return all(any(low <= start and stop <= high for low, high in limits) for start, stop in found)


def test_with_any_byte_changed_nothing_is_believed_or_after_a_crash_what_was_marked_above(
    place: Place, written: bytes
) -> None:
    chance = random.Random(9)
    for at in range(len(written)):
        damaged = bytearray(written)
        damaged[at] ^= chance.randrange(1, 256)
        assert place.believed(BOOT, bytes(damaged)) == [], at
        assert place.believed(NEXT_BOOT, bytes(damaged)) in ([], [(10, 30)], [(10, 20), (40, 60)]), at


def test_cut_at_any_byte_nothing_is_believed_that_never_landed(place: Place, written: bytes) -> None:
    for size in range(len(written)):
        found = place.believed(BOOT, written[:size])
        if (size - HEAD_SIZE) % LINE_SIZE:
            assert found == [], size
        assert inside(found, [(10, 60), (90, 95)])
        assert place.believed(NEXT_BOOT, written[:size]) in ([], [(10, 30)], [(10, 20), (40, 60)]), size


@given(st.binary(max_size=300), st.integers(0, 700), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_bytes_in_it_never_raise_and_are_never_believed(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, crashed: bool
) -> None:
    with Place(tmp_path_factory.mktemp("place")) as place:
        journal = place.open()
        for start in range(0, 80, 10):
            journal.note(start, start + 5)
        content = place.path.read_bytes()
        damaged = content[:at] + noise + content[at + len(noise) :]
        found = place.believed(NEXT_BOOT if crashed else BOOT, damaged)
        assert found == [] or (not crashed and inside(found, [(start, start + 5) for start in range(0, 80, 10)]))


@pytest.mark.parametrize("change", ["moved", "removed", "repeated"])
def test_lines_that_were_moved_removed_or_repeated_are_noticed(place: Place, written: bytes, change: str) -> None:
    rows = [written[at : at + LINE_SIZE] for at in range(HEAD_SIZE, len(written), LINE_SIZE)]
    for at in range(len(rows) - 1):
        first, second = rows[at], rows[at + 1]
        middle = {"moved": [second, first], "removed": [second], "repeated": [first, first, second]}[change]
        content = written[:HEAD_SIZE] + b"".join([*rows[:at], *middle, *rows[at + 2 :]])
        assert place.believed(BOOT, content) == [], at


START = f"session {BOOT} {HEAD_SIZE}"


@pytest.mark.parametrize("boot", [BOOT, NEXT_BOOT])
@pytest.mark.parametrize(
    "texts",
    [
        (START, "landed 5 5"),
        (START, "landed 9 5"),
        (START, f"landed 0 {SIZE + 1}"),
        (START, f"landed {SIZE} {10**19 - 1}"),
        (START, "landed 0 9", f"forgotten 0 {SIZE + 1}"),
        (START, f"landed 0 {10**40}"),
        (START, "landed -5 5"),
        (START, "landed 0 +5"),
        (START, "landed 0 5_0"),
        (START, "landed 0 ٥"),
        (START, "landed 0  5"),
        (START, "landed 0 5 5"),
        (START, "landed 0 9", f"stable {HEAD_SIZE + 2 * LINE_SIZE + 1}"),
        (START, "landed 0 9", "stable -1"),
        (START, "landed 0 9", f"stable {HEAD_SIZE + 2 * LINE_SIZE}", f"session {BOOT} 0"),
        (START, f"session {BOOT} {10**8 - 1}"),
        (START, "session ÿ 128"),
        (START, "believe all"),
        (START, "", "landed 0 9"),
        ("landed 0 9", START),
    ],
    ids=str,
)
def test_lines_that_nobody_could_have_written_are_not_believed_even_with_the_right_sum(
    place: Place, texts: tuple[str, ...], boot: str, caplog: pytest.LogCaptureFixture
) -> None:
    place.path.write_bytes(lines(*texts))
    assert place.open(boot).landed(0, SIZE) == []
    assert len(warnings(caplog)) == 1
    assert warnings(caplog)[0].startswith(f"{place.path} has a")
    assert warnings(caplog)[0].endswith(": starting over")


def change(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "of another plan": (lambda path: path.write_bytes(head(Digest.of(b"x"), SIZE)), "is of another image"),
    "of another size": (lambda path: path.write_bytes(head(PLAN, SIZE - 1)), "is of another image"),
    "cut in its first line": (lambda path: os.truncate(path, HEAD_SIZE - 1), "is cut short"),
    "damaged in its second line": (lambda path: change(path, HEAD_SIZE + 3), f"is damaged at byte {HEAD_SIZE}"),
    "cut in its last line": (lambda path: os.truncate(path, path.stat().st_size - 1), "is damaged at byte"),
    "zeros": (lambda path: path.write_bytes(bytes(500)), "is damaged in its first line"),
    "too big": (lambda path: os.truncate(path, MAX_SIZE + 1), "is too big for a journal"),
    "a pipe": (
        lambda path: os.mkfifo(path.rename(path.with_name("precious")).with_name(path.name)),
        "is no file of its own",
    ),
    "a second name": (lambda path: os.link(path, path.with_name("precious")), "is no file of its own"),
    "a link": (lambda path: path.symlink_to(path.rename(path.with_name("precious"))), "is a symbolic link"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_journal_is_said_in_one_line_and_replaced(
    place: Place, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, why = BROKEN[kind]
    place.open().note(10, 20)
    make(place.path)
    precious = place.path.with_name("precious")
    before = precious.read_bytes() if precious.exists() else None
    journal = place.open()
    assert journal.landed(0, SIZE) == []
    assert len(warnings(caplog)) == 1
    assert warnings(caplog)[0].startswith(f"{place.path} {why}")
    assert warnings(caplog)[0].endswith(": starting over")
    journal.note(50, 60)
    assert place.believed() == [(50, 60)]
    assert (precious.read_bytes() if precious.exists() else None) == before


def test_a_journal_beside_a_partial_file_of_another_size_is_not_believed(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.open().note(10, 20)
    os.ftruncate(place.partial, SIZE - 1)
    assert place.open().landed(0, SIZE) == []
    assert "is of a file of 100,000 bytes, but there are 99,999: starting over" in warnings(caplog)[0]


def test_a_journal_that_lost_its_partial_file_or_was_just_begun_is_no_cause_for_alarm(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.open().note(10, 20)
    os.ftruncate(place.partial, 0)
    assert place.open().landed(0, SIZE) == []
    os.ftruncate(place.partial, SIZE)
    place.path.write_bytes(b"")
    assert place.open().landed(0, SIZE) == []
    place.path.write_bytes(head(PLAN, SIZE))
    assert place.open().landed(0, SIZE) == []
    assert warnings(caplog) == []


def test_a_torn_tail_after_a_crash_is_no_cause_for_alarm(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    journal = place.open()
    journal.note(10, 20)
    journal.mark()
    with place.path.open("ab") as file:
        file.write(bytes(100))
    assert place.open(NEXT_BOOT).landed(0, SIZE) == [(10, 20)]
    assert place.path.stat().st_size % LINE_SIZE == 0
    assert place.open(NEXT_BOOT).landed(0, SIZE) == [(10, 20)]
    assert warnings(caplog) == []


def test_a_journal_that_may_not_be_read_is_said_and_replaced(caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryDirectory() as folder, Place(Path(folder)) as place:  # unlike tmp_path, any user may enter
        place.open().note(10, 20)
        place.path.chmod(0)
        place.folder.chmod(0o777)
        with ordinary_user():
            assert place.open().landed(0, SIZE) == []
    assert warnings(caplog) == [f"{place.path} can't be opened: Permission denied: starting over"]


def test_where_none_can_be_begun_that_is_an_os_error(place: Place) -> None:
    place.path.mkdir()
    with pytest.raises(FileExistsError):
        place.open()


def test_a_journal_without_room_for_its_first_line_is_not_left_behind(place: Place) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HEAD_SIZE - 1, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            place.open()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not place.path.exists()


def test_the_kernel_names_its_run() -> None:
    source = Path("/proc/sys/kernel/random/boot_id")
    assert System().boot_id == (source.read_text().strip() if source.exists() else UNKNOWN_BOOT)
