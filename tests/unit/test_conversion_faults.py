"""Conversions that can't be: what is said, at which end, how soon everything stops, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from ecrdrag.archive.compress import Compression
from ecrdrag.content import Digest
from ecrdrag.errors import (
    ArchiveError,
    EcrdragError,
    IntegrityError,
    NotFoundError,
    TransferError,
    TransientError,
    UnsupportedError,
)
from ecrdrag.manifest import OCI_MANIFEST
from tests.converting import (
    GZIP,
    OPEN_FILES,
    PLAIN,
    WHERE,
    Far,
    Part,
    Shown,
    Told,
    content_of,
    converting,
    image_of,
    temporary_files,
)
from tests.images import Blob, noise_image, tar_of
from tests.kinds import Parcel, index, parcel_of, zstd_image
from tests.schema1_images import hello_schema1

TAR = tar_of({"file": b"content " * 10_000})
MIB = 1024 * 1024
SEED = 20240607
MAIN = threading.main_thread()


def failure_of(far: Far, wish: Compression = GZIP, shown: Shown | None = None) -> EcrdragError:
    with converting(wish, shown=shown) as convert, pytest.raises(EcrdragError) as caught:
        convert(far)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert str(caught.value).count(WHERE) == 1
    return caught.value


def parcel_with(layer: bytes, form: str, *, tar: bytes = TAR) -> Parcel:
    """Build an image whose layer is any bytes, and whose config says what it should unpack to."""
    made = image_of([Part(tar, form)])
    document = json.loads(made.root.content)
    blob = Blob(layer, document["layers"][0]["mediaType"])
    root = Blob(json.dumps({**document, "layers": [blob.json]}).encode(), OCI_MANIFEST)
    return Parcel((root,), {**made.blobs, blob.digest: blob})


# What isn't what its image says


@pytest.mark.parametrize("wish", [GZIP, PLAIN])
@pytest.mark.parametrize("form", ["zstd", "bzip2"])
def test_a_layer_that_unpacks_to_something_else_is_refused_with_both_digests(wish: Compression, form: str) -> None:
    wrong = Digest.of(b"another tar")
    part = Part(TAR, form, "zstd")
    error = failure_of(Far(image_of([part], diff_ids=[str(wrong)])), wish)
    assert isinstance(error, IntegrityError)
    for digest in (Digest.of(part.content), Digest.of(TAR), wrong):
        assert str(digest) in str(error)
    assert error.hint


def test_a_layer_whose_type_lies_and_that_stays_is_held_to_its_config_too() -> None:
    error = failure_of(Far(image_of([Part(TAR, "gzip", "zstd")], diff_ids=[str(Digest.of(b"x"))])))
    assert isinstance(error, IntegrityError)
    assert str(Digest.of(TAR)) in str(error)


@pytest.mark.parametrize("order", [1, -1])
def test_each_image_of_an_index_is_held_to_its_own_config(order: int) -> None:
    right = image_of([Part(TAR, "zstd")])
    wrong = image_of([Part(TAR, "zstd")], architecture="arm64", diff_ids=[str(Digest.of(b"x"))])
    assert isinstance(failure_of(Far(index([right, wrong][::order]))), IntegrityError)


def test_a_layer_that_is_known_already_is_held_to_the_next_config() -> None:
    with converting() as convert:
        convert(Far(image_of([Part(TAR, "zstd")])))
        with pytest.raises(IntegrityError, match=f"^{WHERE}: layer .* the config says {Digest.of(b'x')}"):
            convert(Far(image_of([Part(TAR, "zstd")], diff_ids=[str(Digest.of(b"x"))])))


def test_a_config_that_knows_another_number_of_layers_is_refused_before_any_is_brought() -> None:
    far = Far(image_of([Part(TAR, "zstd")], diff_ids=[str(Digest.of(TAR))] * 2))
    shown = Shown()
    error = failure_of(far, shown=shown)
    assert isinstance(error, IntegrityError)
    assert re.search(r"manifest sha256:\w+ has 1 layers, its config knows 2", str(error))
    assert not shown.told


@pytest.mark.parametrize(
    "diff_ids", [5, "sha256:abc", ["sha256:abc"], [7], {"a": "b"}, [str(Digest.of(b"x", "sha512"))]]
)
def test_diff_ids_that_are_none_are_refused(diff_ids: object) -> None:
    made = image_of([Part(TAR, "zstd")])
    config = Blob(json.dumps({"os": "linux", "rootfs": {"diff_ids": diff_ids}}).encode(), "")
    document = json.loads(made.root.content)
    document["config"] |= {"digest": str(config.digest), "size": len(config.content)}
    root = Blob(json.dumps(document).encode(), OCI_MANIFEST)
    error = failure_of(Far(Parcel((root,), {**made.blobs, config.digest: config})))
    assert isinstance(error, UnsupportedError)
    assert str(config.digest) in str(error)


# What isn't right in itself


def test_a_blob_that_was_damaged_in_the_registry_is_refused() -> None:
    far = Far(zstd_image())
    (digest, *_) = (blob for blob, content in far.blobs.items() if content[:4] == b"\x28\xb5\x2f\xfd")
    far.blobs[digest] = far.blobs[digest][:-1] + b"?"
    error = failure_of(far)
    assert isinstance(error, IntegrityError)
    assert f"blob {digest} arrived with digest" in str(error)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda data: data[:-20], "is cut short"),
        (lambda data: data + b"and more", "is followed by something else"),
        (lambda data: data[:-4] + bytes(4), "is damaged"),
    ],
)
def test_a_layer_that_cannot_be_unpacked_is_its_registrys_fault(damage: Callable[[bytes], bytes], what: str) -> None:
    layer = damage(zstandard.ZstdCompressor(write_checksum=True).compress(TAR))
    error = failure_of(Far(parcel_with(layer, "zstd")))
    assert isinstance(error, IntegrityError)
    assert f"layer {Digest.of(layer)}: the zstd data {what}" in str(error)
    assert "--layers" in error.hint


def test_a_bomb_is_refused() -> None:
    block = (128 * 1024 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"  # RFC 8878, 3.1.1.2: a zero, 128 KiB times
    layer = b"\x28\xb5\x2f\xfd\0\x38" + block * 9000 + (1 << 1 | 1).to_bytes(3, "little") + b"\0"
    error = failure_of(Far(parcel_with(layer, "zstd")), Compression.parse("igzip:0"))
    assert isinstance(error, IntegrityError)
    assert f"layer {Digest.of(layer)}: is a decompression bomb" in str(error)


# What this machine lacks


def test_without_a_module_for_zstd_nothing_is_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    far = Far(index([zstd_image("arm64"), zstd_image("386")]))  # whose configs aren't known yet
    for module in ("compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)  # as where it isn't installed
    error = failure_of(far)
    assert isinstance(error, UnsupportedError)
    assert "pip install zstandard" in error.hint
    assert far.given.total() <= max(map(len, far.blobs.values())), "the one config that tells the platform"
    assert not any(far.given[digest] for digest, content in far.blobs.items() if content[:1] != b"{")


@pytest.mark.parametrize("old", [False, True], ids=["modern", "schema 1"])
def test_without_a_module_for_igzip_nothing_is_brought(monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    far = Far(hello_schema1() if old else zstd_image())
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    error = failure_of(far, Compression.parse("igzip"))
    assert isinstance(error, UnsupportedError)
    assert "pip install isal" in error.hint
    assert not any(far.given[digest] for digest, content in far.blobs.items() if content[:1] != b"{")
    assert not far.measured


def test_a_full_disk_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    error = failure_of(Far(zstd_image()))
    assert isinstance(error, ArchiveError)
    assert "TMPDIR" in error.hint


# How it stops


@pytest.mark.parametrize("said", ["the layer is gone", f"{WHERE}: the layer is gone"])
def test_what_the_source_says_is_told_with_its_place(said: str) -> None:
    far = Far(zstd_image())

    def refuse() -> None:
        raise NotFoundError(said)

    far.before_each = lambda: None if threading.current_thread() is MAIN or not shown.told else refuse()
    shown = Shown()
    error = failure_of(far, shown=shown)
    assert isinstance(error, NotFoundError)
    assert str(error) == f"{WHERE}: the layer is gone"
    assert far.aborted.is_set()


def test_what_fails_for_a_while_is_tried_again_and_what_fails_for_good_is_given_up() -> None:
    far, failures = Far(zstd_image()), iter(range(2))

    def fail_twice() -> None:
        if shown.told and next(failures, None) is not None:
            raise TransientError("not now")

    shown = Shown()
    far.before_each = fail_twice
    with converting(shown=shown, jobs=1) as convert:
        convert(far)
    assert next(failures, None) is None
    far = Far(zstd_image())
    far.before_each = lambda: fail_always(shown)
    shown = Shown()
    assert isinstance(failure_of(far, shown=shown), TransferError)


def fail_always(shown: Shown) -> None:
    if shown.told:
        raise TransientError("not now")


def test_ctrl_c_ends_a_conversion_soon() -> None:
    class Interrupting(Told):
        def advance(self, size: int) -> None:
            if not self.moved:
                signal.pthread_kill(MAIN.ident or 0, signal.SIGINT)
            super().advance(size)

    shown = Shown(convert=Interrupting)
    far = Far(parcel_of(noise_image([10 * MIB, 10 * MIB + 1, 10 * MIB + 2])))
    with converting(Compression.parse("gzip:9"), shown=shown, jobs=4) as convert, pytest.raises(KeyboardInterrupt):
        convert(far)
    (_, _), (name, told) = shown.told
    assert name == "convert"
    assert told.moved < told.size // 2
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("layers", "gzip"))]


def test_the_first_failure_ends_all_other_layers_soon_and_is_the_one_that_is_told() -> None:
    chance = random.Random(SEED)
    noise = [chance.randbytes(10 * MIB - place) for place in range(4)]
    parts = [Part(noise[0], "broken", "zstd"), *(Part(tar, "") for tar in noise[1:])]  # the largest comes first
    shown = Shown()
    error = failure_of(Far(image_of(parts)), Compression.parse("gzip:9"), shown)
    assert f"layer {Digest.of(parts[0].content)}: the zstd data is damaged" in str(error)
    name, told = shown.told[-1]
    assert name == "convert"
    assert told.moved < told.size // 2


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="this system doesn't list open files")
def test_a_failure_ends_a_layer_too_of_which_a_little_unpacks_to_a_lot() -> None:
    parts = [Part(random.Random(SEED).randbytes(MIB), "broken", "zstd"), Part(bytes(200 * MIB), "zstd")]
    far = Far(image_of(parts))
    before = temporary_files().keys()
    with converting(PLAIN) as convert:
        with pytest.raises(IntegrityError, match="is damaged"):
            convert(far)
        assert sum(size for file, size in temporary_files().items() if file not in before) < 150 * MIB


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="this system doesn't list open files")
def test_a_temporary_file_that_is_cut_is_the_disks_fault_not_the_registrys() -> None:
    class Cutting(Told):
        def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
            (file,) = (file for file, size in temporary_files().items() if size == len(layer))
            os.truncate(file, len(layer) - 1)
            super().begin(size, blobs, landed=landed)

    made = image_of([Part(TAR, "zstd")])
    layer = Part(TAR, "zstd").content
    error = failure_of(Far(made), shown=Shown(convert=Cutting))
    assert isinstance(error, ArchiveError)
    assert "the temporary file ends 1 bytes early" in str(error)


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="this system doesn't list open files")
def test_nothing_is_left_open_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(list(OPEN_FILES.iterdir()))
    failure_of(Far(image_of([Part(TAR, "zstd")], diff_ids=[str(Digest.of(b"x"))])))
    assert len(list(OPEN_FILES.iterdir())) == before
    assert not list(tmp_path.iterdir())


def test_what_lies_here_can_be_stopped_as_any_source() -> None:
    far = Far(zstd_image())
    with converting() as convert:
        converted = convert(far)
        assert converted.image.manifest is not None
        layer = converted.image.manifest.layers[0]
        converted.blobs[layer.digest].abort()
        with pytest.raises(TransferError, match="stopped"):
            content_of(converted, far, layer)
