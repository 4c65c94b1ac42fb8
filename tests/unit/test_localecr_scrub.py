"""The check of a whole store: what is sound passes, and everything that is broken is named, each by a line."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ecrdrag.content import Digest
from ecrdrag.errors import ArchiveError
from ecrdrag.localecr.names import RegistryKey, RepositoryKey
from ecrdrag.localecr.storage.records import Image
from ecrdrag.localecr.storage.scrub import scrub
from ecrdrag.localecr.storage.store import Store
from tests.localecr import ACCOUNT, OCI_LAYER, REGION, ROOT, clean_environment, digest_of, manifest_of

LAYER, CONFIG = b"layer " * 1000, b"config"
RAW = manifest_of(CONFIG, [LAYER]).encode()
KEY = RepositoryKey(ACCOUNT, REGION, "my/app")
BLOB = Digest.of(LAYER).hex


def put_blob(store: Store, repository: int, data: bytes) -> None:
    digest = Digest.of(data)
    with store.blobs.growing("u") as growing, store.blobs.placing(digest):
        growing.append([data], 0)
        store.blobs.place(growing, digest)
        with store.metadata.write() as records:
            records.add_layer(repository, str(digest), len(data), 1.0)
        store.blobs.discard("u")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Fill a store: an image of a config and a layer by a tag, an upload, and a blob that nobody names."""
    data = tmp_path / "data"
    with Store(data, [ACCOUNT]) as store:
        with store.metadata.write() as records:
            repository = records.add_repository(KEY, 1.0, {}).id
        for blob in (LAYER, CONFIG):
            put_blob(store, repository, blob)
        image = Image(digest_of(RAW), "application/json", "", "", 1, 1.0, RAW)
        with store.metadata.write() as records:
            records.add_image(repository, image, [(digest_of(LAYER), OCI_LAYER), (digest_of(CONFIG), "config")])
            records.set_tag(repository, "1", image.digest, 1.0)
            records.add_upload(repository, "upload", 1.0)
            upload = records.upload(repository, "upload")
            assert upload
            records.advance_upload(upload.with_part(5, smallest=5), 1.0)
        (data / "uploads" / "upload").write_bytes(b"bytes and what nobody was promised")
        (data / "blobs" / "sha256" / Digest.of(b"garbage").hex).write_bytes(b"garbage")
    return data


def changed(sql: str) -> Callable[[Path], None]:
    """Return what runs a statement on a store's metadata as nobody should."""

    def change(folder: Path) -> None:
        connection = sqlite3.connect(folder / "ecr.sqlite")
        connection.execute(sql)
        connection.commit()
        connection.close()

    return change


def flipped(folder: Path) -> None:
    path = folder / "blobs" / "sha256" / BLOB
    path.write_bytes(b"x" + path.read_bytes()[1:])


def shortened(folder: Path) -> None:
    os.truncate(folder / "blobs" / "sha256" / BLOB, 10)


def lost(folder: Path) -> None:
    (folder / "blobs" / "sha256" / BLOB).unlink()


def upload_shortened(folder: Path) -> None:
    os.truncate(folder / "uploads" / "upload", 4)


def keys_spoiled(folder: Path) -> None:
    (folder / "keys.json").write_text("{")


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a bit of a blob": (flipped, f"{KEY.arn}: the blob of layer {digest_of(LAYER)} holds the bytes of sha256:"),
    "the end of a blob": (shortened, f"{KEY.arn}: layer {digest_of(LAYER)} has 6000 bytes, its blob 10"),
    "a blob": (lost, f"{KEY.arn}: layer {digest_of(LAYER)} has no blob"),
    "the end of an upload": (upload_shortened, f"{KEY.arn}: upload upload has 4 bytes of the 5 that were acknowledged"),
    "the keys": (keys_spoiled, "keys.json doesn't hold the keys"),
    "the size in a row": (changed("UPDATE layer SET size = size + 1"), "has 6001 bytes, its blob 6000"),
    "a layer's row": (
        changed(f"DELETE FROM layer WHERE digest = '{digest_of(CONFIG)}'"),
        f"{KEY.arn}: image {digest_of(RAW)} needs {digest_of(CONFIG)}, which isn't there",
    ),
    "a manifest": (changed("UPDATE image SET raw = x'7b7d'"), f"image {digest_of(RAW)} holds another manifest"),
    "a tag's image": (changed("UPDATE tag SET digest = 'sha256:0'"), "row None of tag points to no image"),
    "a repository": (changed("DELETE FROM repository"), "points to no repository"),
    "a document": (changed("UPDATE repository SET settings = '{'"), "repository my/app: the document isn't JSON"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_everything_that_is_broken_is_named(folder: Path, what: str) -> None:
    damage, line = DAMAGE[what]
    damage(folder)
    lines: list[str] = []
    tally = scrub(folder, lines.append)
    assert tally.broken == len(lines) > 0
    assert any(line in one for one in lines), lines
    assert all(len(one.splitlines()) == 1 for one in lines)


def test_a_sound_store_passes_with_its_garbage(folder: Path) -> None:
    lines: list[str] = []
    tally = scrub(folder, lines.append)
    assert lines == []
    assert (tally.images, tally.layers, tally.uploads, tally.blobs) == (1, 2, 1, 3)
    assert (tally.size, tally.garbage, tally.broken) == (len(LAYER) + len(CONFIG) + 7, 1, 0)
    assert str(tally).endswith("nothing broken")


def test_a_damaged_blob_that_nobody_names_is_broken_too(folder: Path) -> None:
    """A layer may be pushed that has its name."""
    (folder / "blobs" / "sha256" / Digest.of(b"garbage").hex).write_bytes(b"other")
    lines: list[str] = []
    scrub(folder, lines.append)
    assert lines == [f"blob {digest_of(b'garbage')} holds the bytes of {digest_of(b'other')}"]


def test_pushing_a_damaged_blob_again_mends_it(folder: Path) -> None:
    flipped(folder)
    with Store(folder) as store:
        with store.metadata.write() as records:
            found = records.repository(KEY)
            assert found
            records.delete_repository(found.id)
            repository = records.add_repository(KEY, 1.0, {}).id
        put_blob(store, repository, LAYER)
    assert scrub(folder, print).broken == 0


def test_layers_of_an_image_from_upstream_may_be_still_to_come(folder: Path) -> None:
    changed(f"DELETE FROM layer WHERE digest = '{digest_of(CONFIG)}'")(folder)
    for prefix, broken in (("m", 1), ("my/ap", 1), ("my", 0)):
        with Store(folder) as store, store.metadata.write() as records:
            records.put_registry_setting(RegistryKey(ACCOUNT, REGION), "pull-through-cache-rule", {}, 1.0, prefix)
        assert scrub(folder, print).broken == broken


def test_a_metadata_file_that_is_torn_is_broken(folder: Path) -> None:
    path = folder / "ecr.sqlite"
    raw = path.read_bytes()
    path.write_bytes(raw[:4096] + b"\xff" * 8192 + raw[12288:])
    lines: list[str] = []
    assert scrub(folder, lines.append).broken == len(lines) > 0
    assert lines[0].startswith("ecr.sqlite: ")


def test_a_folder_without_data_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="holds no data of a local ECR"):
        scrub(tmp_path / "nowhere", print)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_served_is_refused(folder: Path) -> None:
    with Store(folder), pytest.raises(ArchiveError, match="another local ECR serves"):
        scrub(folder, print)


def verify(folder: Path) -> tuple[int, str, str]:
    """Run the command; return its exit code and what it printed."""
    ended = subprocess.run(
        [sys.executable, "-m", "ecrdrag", "serve", "--verify", "--data", str(folder)],
        cwd=ROOT,
        env={**clean_environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_the_command_says_what_it_found_and_ends(folder: Path) -> None:
    code, out, _ = verify(folder)
    assert (code, out.count("\n")) == (0, 1)
    assert out.startswith("1 images, 2 layers, 1 uploads, 3 blobs of 6013 bytes, 1 of them garbage: nothing broken")
    with Store(folder):
        assert verify(folder)[0] == 7
    lost(folder)
    code, out, err = verify(folder)
    assert (code, out) == (6, f"{KEY.arn}: layer {digest_of(LAYER)} has no blob\n")
    assert "1 broken" in err
    assert verify(folder / "blobs")[0] == 7


def test_blobs_without_metadata_are_neither_sound_nor_garbage(folder: Path) -> None:
    (folder / "ecr.sqlite").write_bytes(b"")  # as a copy is that left ecr.sqlite-wal behind
    kept = sorted((folder / "blobs" / "sha256").iterdir())
    for _ in range(2):
        with pytest.raises(ArchiveError, match="holds no metadata"):
            scrub(folder, print)
        with pytest.raises(ArchiveError, match="holds no metadata"):
            Store(folder, [ACCOUNT])
    assert sorted((folder / "blobs" / "sha256").iterdir()) == kept
