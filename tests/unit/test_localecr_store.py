"""The local ECR's store: what a kill leaves, what transactions promise, who may open a folder."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import ArchiveError
from ecrdrag.localecr.api import documents
from ecrdrag.localecr.names import RepositoryKey
from ecrdrag.localecr.storage.blobs import Blobs
from ecrdrag.localecr.storage.folders import Folder
from ecrdrag.localecr.storage.keys import Keys, write_private
from ecrdrag.localecr.storage.records import Records, Upload
from ecrdrag.localecr.storage.store import Store

KEY = RepositoryKey("1" * 12, "us-west-2", "app")


def add_twice(records: Records) -> None:
    for _ in range(2):
        records.add_repository(KEY, 1.0, {})


def test_a_folder_has_one_store_at_a_time(tmp_path: Path) -> None:
    with Store(tmp_path), pytest.raises(ArchiveError, match="another local ECR"):
        Store(tmp_path)
    with Store(tmp_path):
        pass


def test_a_folder_that_cannot_be_locked_is_not_said_to_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(sqlite3.Connection):
        def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
            raise sqlite3.OperationalError("database or disk is full")

    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: real(path, factory=FullDisk, **options))
    with pytest.raises(ArchiveError, match="can't be used: database or disk is full"):
        Store(tmp_path)


def test_a_store_of_another_format_is_refused_and_given_free(tmp_path: Path) -> None:
    with Store(tmp_path):
        pass
    connection = sqlite3.connect(tmp_path / "ecr.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for _ in range(2):
        with pytest.raises(ArchiveError, match="has format 99"):
            Store(tmp_path)


def test_a_metadata_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ecr.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(ArchiveError, match="can't be used"):
        Store(tmp_path)


def test_a_transaction_that_raises_changes_nothing(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        with pytest.raises(sqlite3.IntegrityError), store.metadata.write() as records:
            add_twice(records)
        with store.metadata.read() as records:
            assert records.repository(KEY) is None


def test_a_reader_sees_one_state_while_others_write(tmp_path: Path) -> None:
    with Store(tmp_path) as store, store.metadata.read() as before:
        assert before.repository(KEY) is None
        with store.metadata.write() as records:
            records.add_repository(KEY, 1.0, {})
        assert before.repository(KEY) is None
        with store.metadata.read() as after:
            assert after.repository(KEY) is not None


def in_one_batch(store: Store, *blocks: Callable[[Records], None]) -> list[BaseException | None]:
    """Run blocks by as many writers that all wait while another one writes; return what each one raised."""
    queued, first = store.metadata, threading.Event()

    def write(block: Callable[[Records], None]) -> BaseException | None:
        try:
            with store.metadata.write() as records:
                block(records)
        except (sqlite3.Error, RuntimeError) as error:
            return error
        return None

    def hold(records: Records) -> None:
        first.set()
        deadline = monotonic() + 20
        while queued._queued < len(blocks) and monotonic() < deadline:
            sleep(0.001)

    with ThreadPoolExecutor(len(blocks) + 1) as pool:
        holder = pool.submit(write, hold)
        assert first.wait(20)
        ended = [pool.submit(write, block) for block in blocks]
        outcomes = [one.result(20) for one in (holder, *ended)]
    return outcomes[1:]


def adder(name: str) -> Callable[[Records], None]:
    def add(records: Records) -> None:
        records.add_repository(replace(KEY, name=name), 1.0, {})

    return add


def raiser(name: str) -> Callable[[Records], None]:
    def add_and_raise(records: Records) -> None:
        adder(name)(records)
        raise RuntimeError(name)

    return add_and_raise


def break_the_commit(records: Records) -> None:
    records._run("PRAGMA defer_foreign_keys = ON")
    records._run("INSERT INTO upload (id, repository, touched) VALUES ('u', 99, 0)")


def names_in(store: Store) -> list[str]:
    with store.metadata.read() as records:
        return [one.key.name for one in records.repositories(KEY.registry, after="", limit=100)]


def test_writers_that_wait_share_a_transaction(tmp_path: Path) -> None:
    statements: list[str] = []
    with Store(tmp_path) as store:
        store.metadata._writer.set_trace_callback(statements.append)
        assert in_one_batch(store, *(adder(f"n{number}") for number in range(8))) == [None] * 8
        assert statements.count("COMMIT") == 1
        assert len(names_in(store)) == 8
        with store.metadata.write() as records:
            adder("alone")(records)
        assert statements.count("COMMIT") == 2


def test_who_raises_undoes_nothing_of_those_that_share_the_transaction(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        outcomes = in_one_batch(store, adder("a"), raiser("b"), adder("c"), raiser("d"))
        assert [type(one) for one in outcomes] == [type(None), RuntimeError, type(None), RuntimeError]
        assert names_in(store) == ["a", "c"]


def test_who_raises_leaves_when_what_it_saw_is_on_disk(tmp_path: Path) -> None:
    """A refusal such as "it exists already" is an answer too, and must be true after a kill."""
    seen: list[list[str]] = []

    with Store(tmp_path) as store:

        def refuse(records: Records) -> None:
            raise RuntimeError

        def write_and_look() -> None:
            with pytest.raises(RuntimeError), store.metadata.write() as records:
                refuse(records)
            seen.append(names_in(store))

        with ThreadPoolExecutor() as pool, store.metadata.write() as records:
            adder("a")(records)
            waiting = [pool.submit(write_and_look) for _ in range(3)]
            deadline = monotonic() + 20
            while store.metadata._queued < 3 and monotonic() < deadline:
                sleep(0.001)
        for one in waiting:
            one.result(20)
    assert seen == [["a"]] * 3


def test_a_commit_that_fails_is_heard_of_by_all_who_share_it(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        outcomes = in_one_batch(store, adder("a"), break_the_commit, raiser("b"))
        assert [type(one) for one in outcomes] == [sqlite3.OperationalError] * 3
        assert names_in(store) == []
        with store.metadata.write() as records:
            adder("later")(records)
        assert names_in(store) == ["later"]


def test_metadata_is_synced_at_every_commit(tmp_path: Path) -> None:
    with Store(tmp_path) as store, store.metadata.write() as records:
        full = 2  # sqlite.org, PRAGMA synchronous
        assert records._run("PRAGMA synchronous").fetchone() == (full,)
        assert records._run("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_kill_between_link_and_commit_leaves_a_blob_that_the_upload_cannot_change(tmp_path: Path) -> None:
    digest = Digest.of(b"bytes")
    blobs = Blobs(tmp_path)
    with blobs.growing("u") as growing:
        growing.append([b"bytes"], 0)
        with blobs.placing(digest):
            blobs.place(growing, digest)
    again = Blobs(tmp_path)
    with again.growing("u") as growing:
        growing.append([b" and more"], 5)
        assert again.path(digest.hex).read_bytes() == b"bytes"
        assert growing.digest(14) == Digest.of(b"bytes and more")
        growing.append([b"!"], 5)
        assert growing.digest(5) == digest
        with again.placing(digest):
            again.place(growing, digest)
    assert again.path(digest.hex).read_bytes() == b"bytes"


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the name of everything that is synced from now on."""
    names: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return names


def test_the_upload_that_loses_its_file_to_a_blob_gets_a_copy_that_is_on_disk(
    tmp_path: Path, synced: list[str]
) -> None:
    blobs = Blobs(tmp_path)
    with blobs.growing("u") as growing, blobs.placing(Digest.of(b"bytes")):
        growing.append([b"bytes"], 0)
        blobs.place(growing, Digest.of(b"bytes"))
        synced.clear()
        growing.digest(5)
        assert synced == ["u.copy", "uploads"]


def test_a_name_that_a_failed_part_made_is_synced_with_the_next_part(tmp_path: Path, synced: list[str]) -> None:
    blobs = Blobs(tmp_path)

    def broken() -> Iterator[bytes]:
        yield b"by"
        raise ConnectionError

    with blobs.growing("u") as growing:
        with pytest.raises(ConnectionError):
            growing.append(broken(), 0)
        synced.clear()
        growing.append([b"bytes"], 0)
        growing.append([b"bytes"], 5)
    assert synced == ["u", "uploads", "u"]


def test_those_who_wait_for_a_sync_of_a_folder_share_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, count = threading.Event(), threading.Event(), Counter[str]()

    def fsync(descriptor: int) -> None:
        count["syncs"] += 1
        began.set()
        assert go_on.wait(20)
        if count["syncs"] == 2:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    folder = Folder(tmp_path)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(folder.sync)
        assert began.wait(20)
        others = [pool.submit(folder.sync) for _ in range(8)]
        while len(folder._changed._waiters) < 8:  # type: ignore[attr-defined]
            sleep(0.001)
        go_on.set()
        first.result(20)
        failed = [other.exception(20) for other in others]
    assert count["syncs"] == 3, "what ran already when they came doesn't count, and one that failed isn't theirs"
    assert sum(isinstance(error, OSError) for error in failed) == 1


def test_bytes_past_the_acknowledged_ones_are_no_part_of_the_blob(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    with blobs.growing("u") as growing:
        growing.append([b"good"], 0)
        growing.acknowledged()
        growing.append([b"never promised"], 4)
        assert growing.digest(4) == Digest.of(b"good")
        with blobs.placing(Digest.of(b"good")):
            blobs.place(growing, Digest.of(b"good"))
    assert blobs.path(Digest.of(b"good").hex).read_bytes() == b"good"


def test_acknowledged_bytes_are_synced_before_anyone_hears_of_them(tmp_path: Path, synced: list[str]) -> None:
    blobs = Blobs(tmp_path)
    synced.clear()
    with blobs.growing("u") as growing:
        growing.append([b"bytes"], 0)
        assert synced == ["u", "uploads"]
        with blobs.placing(Digest.of(b"bytes")):
            blobs.place(growing, Digest.of(b"bytes"))
            blobs.place(growing, Digest.of(b"bytes"))
    assert synced == ["u", "uploads", "sha256", "sha256"], "who finds the blob there can't know that it is synced"


@pytest.mark.parametrize(
    ("sizes", "too_small"), [([5], False), ([1], False), ([5, 1], False), ([5, 1, 1], True), ([1, 5, 5], True)]
)
def test_only_the_last_part_may_be_short(sizes: list[int], too_small: bool) -> None:
    upload = Upload("u")
    for size in sizes:
        upload = upload.with_part(size, smallest=5)
    assert (upload.received, upload.parts, upload.too_small) == (sum(sizes), len(sizes), too_small)


def test_a_private_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    write_private(file, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_keys_do_not_show_their_secrets(tmp_path: Path) -> None:
    keys = Keys.of(tmp_path / "keys.json", ["1" * 12])
    assert keys.accounts["1" * 12].key_id in repr(keys)
    for secret in (keys.accounts["1" * 12].secret, keys.link.secret, keys.token_secret):
        assert len(secret) == 40
        assert secret not in repr(keys)
    assert Keys.of(tmp_path / "keys.json", ["1" * 12]) == keys


def test_a_new_account_gets_keys_and_the_others_keep_theirs(tmp_path: Path) -> None:
    before = Keys.of(tmp_path / "keys.json", ["1" * 12])
    after = Keys.of(tmp_path / "keys.json", ["2" * 12])
    assert list(after.accounts) == ["1" * 12, "2" * 12]
    assert (after.accounts["1" * 12], after.link) == (before.accounts["1" * 12], before.link)
    assert Keys.of(tmp_path / "keys.json", ["1" * 12, "2" * 12]) == after


def test_a_manifest_that_needs_no_translation_keeps_its_bytes() -> None:
    raw = b'{"schemaVersion":2}'
    assert documents.translate(raw, "application/vnd.example", ["application/json"]) == (raw, "application/vnd.example")
