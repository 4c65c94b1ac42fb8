"""The collection of garbage: what goes and when, and that nothing goes which somebody needs at that moment."""

from __future__ import annotations

import base64
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from ecrdrag.content import Digest
from ecrdrag.localecr import Settings
from ecrdrag.localecr.api.call import Caller
from ecrdrag.localecr.api.layers import take_part
from ecrdrag.localecr.api.refusals import Refusal
from ecrdrag.localecr.api.registry import Registry
from ecrdrag.localecr.s3.links import Links
from ecrdrag.localecr.storage.blobs import Blobs
from ecrdrag.localecr.storage.growing import Growing
from ecrdrag.localecr.storage.scrub import scrub
from ecrdrag.localecr.storage.store import Store
from ecrdrag.localecr.storage.sweep import Sweeper
from tests.localecr import ACCOUNT, REGION, client, digest_of, manifest_of, running

EXPIRY = 100.0
SEED = 5
CALLER = Caller(ACCOUNT, REGION, "localhost")


class Shop:
    """A store with its operations and its collection of garbage, and a clock that the test sets."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.now = 1000.0
        self.tick = 0.0  # seconds that each call takes
        self.store = Store(folder, [ACCOUNT])
        settings = settings or Settings(upload_expiry=EXPIRY, layer_expiry=EXPIRY)
        self.registry = Registry(self.store, settings, Links(self.store.keys.link, 3600), lambda: self.now)
        self.sweeper = Sweeper(self.store, settings, lambda: self.now)
        self.folder = folder

    def run(self, name: str, repository: str = "app", **members: object) -> dict[str, object]:
        """Run an operation as a client of it would."""
        self.now += self.tick
        return dict(self.registry.run(name, {"repositoryName": repository, **members}, CALLER))

    def sweep(self, after: float = 0.0) -> None:
        """Collect garbage, so many seconds later."""
        self.now += after
        self.sweeper.sweep()

    def begin(self, data: bytes = b"", repository: str = "app") -> str:
        """Begin an upload, with a first part if there is one."""
        upload = str(self.run("InitiateLayerUpload", repository)["uploadId"])
        if data:
            part = {"partFirstByte": 0, "partLastByte": len(data) - 1}
            blob = base64.b64encode(data).decode()
            self.run("UploadLayerPart", repository, uploadId=upload, layerPartBlob=blob, **part)
        return upload

    def push_layer(self, data: bytes, repository: str = "app") -> str:
        """Upload a layer; return its digest."""
        upload = self.begin(data, repository)
        with suppress_refusal("LayerAlreadyExistsException"):
            self.run("CompleteLayerUpload", repository, uploadId=upload, layerDigests=[digest_of(data)])
        return digest_of(data)

    def put_image(self, layer: bytes, config: bytes, repository: str = "app") -> str:
        """Put an image of a config and a layer that are there; return its digest."""
        raw = manifest_of(config, [layer])
        self.run("PutImage", repository, imageManifest=raw)
        return digest_of(raw.encode())

    def has(self, digest: str, repository: str = "app") -> bool:
        """Tell whether the repository knows a layer, without a word to it."""
        with self.store.metadata.read() as records:
            found = records.repository(self.registry.call("ListImages", {"repositoryName": repository}, CALLER).key)
            return found is not None and records.layer(found.id, digest) is not None

    @property
    def files(self) -> set[str]:
        """The names of all blobs and uploads on disk."""
        return {file.name for folder in ("blobs/sha256", "uploads") for file in (self.folder / folder).iterdir()}


@contextmanager
def suppress_refusal(shape: str) -> Iterator[None]:
    """Go on after a refusal of this kind, and of no other."""
    try:
        yield
    except Refusal as refusal:
        if refusal.shape != shape:
            raise


def hexadecimal(data: bytes) -> str:
    return Digest.of(data).hex


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    with made.store:
        made.run("CreateRepository")
        made.run("CreateRepository", "other")
        yield made


def test_an_upload_that_rests_too_long_is_forgotten_with_its_bytes(shop: Shop) -> None:
    upload, empty = shop.begin(b"bytes"), shop.begin()
    shop.sweep(EXPIRY - 1)
    assert shop.files == {upload}
    shop.sweep(1)
    assert shop.files == set()
    for gone in (upload, empty):
        with pytest.raises(Refusal, match="UploadNotFoundException"):
            shop.run("CompleteLayerUpload", uploadId=gone, layerDigests=[digest_of(b"bytes")])


def test_a_part_lets_an_upload_live_on(shop: Shop) -> None:
    upload = shop.begin(b"first")
    shop.now += EXPIRY - 1
    blob = base64.b64encode(b"second").decode()
    shop.run("UploadLayerPart", uploadId=upload, partFirstByte=5, partLastByte=10, layerPartBlob=blob)
    shop.sweep(EXPIRY - 1)
    assert shop.files == {upload}


def test_an_upload_whose_part_is_on_its_way_is_not_touched_and_not_waited_for(shop: Shop) -> None:
    upload, resting = shop.begin(b"bytes"), shop.begin(b"others")
    with shop.store.blobs.growing(upload):
        shop.sweep(EXPIRY)
        assert shop.files == {upload}
    shop.sweep()
    assert shop.files == set(), resting


def test_files_that_nobody_knows_are_removed_and_a_fetch_without_a_row_is_not(shop: Shop) -> None:
    upload = shop.begin(b"bytes")
    for name in ("left-by-a-kill", "0000.copy", f"{upload}.copy"):
        (shop.folder / "uploads" / name).write_bytes(b"x")
    with shop.store.blobs.growing("fetch") as growing:
        growing.append([b"from upstream"], 0)
        shop.sweep()
        assert shop.files == {upload, f"{upload}.copy", "fetch"}
    shop.store.blobs.discard("fetch")
    assert shop.files == {upload, f"{upload}.copy"}


def test_a_repository_that_is_deleted_during_a_part_leaves_no_file(shop: Shop) -> None:
    upload = shop.begin()

    def blocks() -> Iterator[bytes]:
        yield b"before"
        shop.run("DeleteRepository", force=True)
        assert shop.files == set(), "the file went with the repository, while it is written to"
        yield b"after"

    part = {"partFirstByte": 0, "partLastByte": 0, "layerPartBlob": ""}
    call = shop.registry.call("UploadLayerPart", {"repositoryName": "app", "uploadId": upload, **part}, CALLER)
    with pytest.raises(Refusal, match="UploadNotFoundException"):
        take_part(call, blocks(), 0)
    with pytest.raises(Refusal, match="RepositoryNotFoundException"):
        take_part(call, [b"again"], 0)
    assert shop.files == set()


def test_a_part_that_makes_its_file_after_the_repository_went_takes_it_away(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = shop.begin()
    real = Growing.append

    def append(growing: Growing, blocks: Iterable[bytes], offset: int) -> int:
        shop.run("DeleteRepository", force=True)
        return real(growing, blocks, offset)

    monkeypatch.setattr(Growing, "append", append)
    blob = base64.b64encode(b"x").decode()
    with pytest.raises(Refusal, match="UploadNotFoundException"):
        shop.run("UploadLayerPart", uploadId=upload, partFirstByte=0, partLastByte=0, layerPartBlob=blob)
    assert shop.files == set()


def test_a_layer_without_an_image_goes_with_its_bytes_once_it_was_idle_long_enough(shop: Shop) -> None:
    digest = shop.push_layer(b"layer")
    shop.sweep(10 * EXPIRY)
    shop.sweep(EXPIRY - 1)
    assert shop.has(digest)
    assert shop.files == {hexadecimal(b"layer")}
    shop.sweep(1)
    assert not shop.has(digest)
    assert shop.files == set()
    assert shop.push_layer(b"layer") == digest
    assert shop.files == {hexadecimal(b"layer")}


def test_layers_of_an_image_stay_and_go_long_after_it(shop: Shop) -> None:
    shop.push_layer(b"layer")
    shop.push_layer(b"config")
    shop.sweep()
    shop.now += EXPIRY - 1
    image = shop.put_image(b"layer", b"config")
    for _ in range(3):
        shop.sweep(EXPIRY)
    assert shop.files == {hexadecimal(b"layer"), hexadecimal(b"config")}
    shop.run("BatchDeleteImage", imageIds=[{"imageDigest": image}])
    shop.sweep()
    shop.sweep(EXPIRY - 1)
    assert shop.has(digest_of(b"layer")), "the time before the image counts no more"
    shop.sweep(1)
    assert shop.files == set()


def test_a_layer_that_a_client_heard_to_be_there_begins_anew(shop: Shop) -> None:
    digest = shop.push_layer(b"layer")
    shop.push_layer(b"config")
    for _ in range(3):
        shop.sweep()
        shop.now += EXPIRY - 1
        answer = shop.run("BatchCheckLayerAvailability", layerDigests=[digest])
        assert "'AVAILABLE'" in str(answer["layers"])
    shop.sweep(1)
    assert shop.has(digest)


def test_a_layer_that_is_pushed_again_begins_anew(shop: Shop) -> None:
    digest = shop.push_layer(b"layer")
    for _ in range(3):
        shop.sweep()
        shop.now += EXPIRY - 1
        assert shop.has(digest)
        shop.push_layer(b"layer")
    shop.sweep(1)
    assert shop.has(digest)


def test_bytes_stay_while_any_repository_knows_them(shop: Shop) -> None:
    shop.push_layer(b"layer")
    shop.push_layer(b"layer", "other")
    shop.push_layer(b"config", "other")
    shop.put_image(b"layer", b"config", "other")
    shop.sweep()
    shop.sweep(EXPIRY)
    assert not shop.has(digest_of(b"layer"))
    assert shop.has(digest_of(b"layer"), "other")
    assert hexadecimal(b"layer") in shop.files
    shop.run("DeleteRepository", "other", force=True)
    shop.sweep()
    assert shop.files == set()


def test_a_blob_that_is_being_placed_is_no_garbage(shop: Shop) -> None:
    digest = Digest.of(b"layer")
    with shop.store.blobs.growing("u") as growing, shop.store.blobs.placing(digest):
        growing.append([b"layer"], 0)
        shop.store.blobs.place(growing, digest)
        shop.sweep()
        assert digest.hex in shop.files
    shop.store.blobs.discard("u")
    shop.sweep()
    assert shop.files == set()


def test_a_blob_that_got_a_name_since_it_was_looked_up_stays(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Blobs.remove

    def remove(blobs: Blobs, name: str, is_named: Callable[[], bool]) -> None:
        shop.push_layer(b"layer")
        real(blobs, name, is_named)

    (shop.folder / "blobs" / "sha256" / hexadecimal(b"layer")).write_bytes(b"layer")
    monkeypatch.setattr(Blobs, "remove", remove)
    shop.sweep()
    assert shop.files == {hexadecimal(b"layer")}


def test_who_places_a_blob_waits_until_its_removal_is_done(shop: Shop) -> None:
    digest = Digest.of(b"layer")
    asked, go_on, placed = threading.Event(), threading.Event(), threading.Event()

    def is_named() -> bool:
        asked.set()
        assert go_on.wait(20)
        return False

    def place() -> None:
        with shop.store.blobs.placing(digest):
            placed.set()

    with ThreadPoolExecutor() as pool:
        removal = pool.submit(shop.store.blobs.remove, digest.hex, is_named)
        assert asked.wait(20)
        placing = pool.submit(place)
        with shop.store.blobs.placing(Digest.of(b"another")):
            assert not placed.wait(0.01)
        go_on.set()
        removal.result(20)
        placing.result(20)


def test_a_blob_is_not_placed_without_saying_so(shop: Shop) -> None:
    with shop.store.blobs.growing("u") as growing:
        growing.append([b"layer"], 0)
        with pytest.raises(RuntimeError, match="may be removed"):
            shop.store.blobs.place(growing, Digest.of(b"layer"))


def test_images_stay_whole_while_garbage_is_collected_as_fast_as_it_goes(tmp_path: Path) -> None:
    """Layers go within a few calls, so that a push is refused now and then; an image that was taken must be whole."""
    print(f"seed {SEED}")
    shop = Shop(tmp_path, Settings(upload_expiry=1e9, layer_expiry=10))
    shop.tick = 1
    stop = threading.Event()

    def collect() -> None:
        while not stop.is_set():
            shop.sweep()

    with shop.store, ThreadPoolExecutor() as pool:
        collector = pool.submit(collect)
        pushes = [pool.submit(push_again_and_again, shop, f"app-{number}", SEED + number) for number in range(4)]
        try:
            taken = [push.result(60) for push in pushes]
        finally:
            stop.set()
        collector.result(20)
    print(f"images taken by each, of 60: {taken}")
    assert all(count > 10 for count in taken)
    assert scrub(tmp_path, print).broken == 0


def push_again_and_again(shop: Shop, repository: str, seed: int) -> int:
    """Push and delete images of three layers that all share; count those that were taken."""
    chance, taken = random.Random(seed), 0
    shop.run("CreateRepository", repository)
    for _ in range(60):
        layer = b"layer %d" % chance.randrange(3)
        shop.push_layer(layer, repository)
        shop.push_layer(b"config", repository)
        image = ""
        with suppress_refusal("LayersNotFoundException"):
            image = shop.put_image(layer, b"config", repository)
        if not image:
            continue
        taken += 1
        for blob in (layer, b"config"):
            assert shop.store.blobs.path(hexadecimal(blob)).read_bytes() == blob
        shop.run("BatchDeleteImage", repository, imageIds=[{"imageDigest": image}])
    return taken


def test_a_server_collects_while_it_serves(tmp_path: Path) -> None:
    settings = Settings(region=REGION, upload_expiry=0, sweep_interval=0.005)
    with running(tmp_path / "data", settings) as ecr, client(ecr) as api:
        api.create_repository(repositoryName="app")
        upload = api.initiate_layer_upload(repositoryName="app")["uploadId"]
        codes = set()
        while "UploadNotFoundException" not in codes:
            with pytest.raises(ClientError) as caught:
                api.complete_layer_upload(repositoryName="app", uploadId=upload, layerDigests=[digest_of(b"")])
            codes.add(caught.value.response["Error"]["Code"])
    assert codes <= {"EmptyUploadException", "UploadNotFoundException"}
