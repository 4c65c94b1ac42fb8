"""A local ECR under load, killed again and again: what was acknowledged is there and right, the rest is whole or isn't.

More kills than the test has: python3 -m tests.flow.test_localecr_kill 100
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from urllib.request import urlopen

from botocore.exceptions import BotoCoreError
from mypy_boto3_ecr import ECRClient

from ecrdrag.localecr.storage.scrub import scrub
from ecrdrag.manifest import OCI_MANIFEST
from tests.bench.doors import GONE, Api, Docker, Wire
from tests.bench.population import LAYER, NUMBER, Content, Made
from tests.localecr import Served, client_for, digest_of, served
from tests.putting import put_part

SEED = 11
REGION = "us-east-1"
PART = 5 * 1024 * 1024  # the smallest that isn't the last one
TAGS = 4
_PAGE = 100

Names = frozenset[tuple[str, str]]
"""Digest and tag of every image, the tag empty where there is none."""


class Pace:
    """Count what clients were told, and let the one who kills wait for a number of it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.count = 0

    def tick(self) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait_for(self, more: int) -> None:
        with self._changed:
            wanted = self.count + more
            assert self._changed.wait_for(lambda: self.count >= wanted, 60), f"only {self.count} answers came"


@dataclass
class Unfinished:
    """An upload: what it is to hold, how much of that was acknowledged."""

    data: bytes
    received: int = 0

    @property
    def next_part(self) -> bytes:
        return self.data[self.received : self.received + PART]


@dataclass
class Ledger:
    """What one client was told, and what it asked last without having heard of it."""

    uploads: dict[str, Unfinished] = field(default_factory=dict)
    layers: dict[str, int] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    unheard: Callable[[], None] | None = None
    unheard_upload: str = ""

    @property
    def names(self) -> Names:
        tagged = set(self.tags.values())
        bare = {(digest, "") for digest in self.images if digest not in tagged}
        return frozenset(bare | {(digest, tag) for tag, digest in self.tags.items()})

    @contextmanager
    def asking(self, effect: Callable[[], None], upload: str = "") -> Iterator[None]:
        """Write down what a call does, once its answer is there."""
        self.unheard, self.unheard_upload = effect, upload
        yield
        self.settle()

    def settle(self) -> None:
        """Take the last call as done."""
        effect, self.unheard, self.unheard_upload = self.unheard, None, ""
        assert effect
        effect()

    def forget(self) -> None:
        """Take the last call as never made."""
        self.unheard, self.unheard_upload = None, ""


class Pusher:
    """Work at one repository over the API, step by step at random, and check it after a kill."""

    def __init__(self, repository: str, chance: random.Random, pace: Pace) -> None:
        self.repository = repository
        self.ledger = Ledger()
        self._chance, self._pace = chance, pace

    def work(self, server: Served) -> None:
        """Go on until the server is no more."""
        with client_for(server.endpoint, server.credentials, region=REGION) as api:
            try:
                while True:
                    self._step(api)
                    self._pace.tick()
            except BotoCoreError:
                return

    def check(self, server: Served) -> None:
        """Compare what is there with what was said."""
        with client_for(server.endpoint, server.credentials, region=REGION) as api:
            self._check_last_call(api)
            assert names_in(api, self.repository) == self.ledger.names
            self._check_layers(api)
            self._check_images(api)

    def _step(self, api: ECRClient) -> None:
        ledger, chance = self.ledger, self._chance
        wish = chance.random()
        if ledger.uploads and wish < 0.6:
            upload = chance.choice(sorted(ledger.uploads))
            self._go_on(api, upload, ledger.uploads[upload])
        elif len(ledger.layers) < 2 or wish < 0.75:
            upload = api.initiate_layer_upload(repositoryName=self.repository)["uploadId"]
            size = chance.choice((1, 1000, 30_000, PART + 1000))
            ledger.uploads[upload] = Unfinished(chance.randbytes(size))
        elif wish < 0.93 or not ledger.images:
            self._put_image(api)
        else:
            self._delete_image(api)

    def _go_on(self, api: ECRClient, upload: str, state: Unfinished) -> None:
        ledger = self.ledger
        part, digest = state.next_part, digest_of(state.data)

        def received() -> None:
            state.received += len(part)

        def complete() -> None:
            ledger.layers[digest] = len(state.data)
            del ledger.uploads[upload]

        if part:
            with ledger.asking(received, upload):
                put_part(api, self.repository, upload, state.received, part)
            return
        with ledger.asking(complete, upload):
            try:
                api.complete_layer_upload(repositoryName=self.repository, uploadId=upload, layerDigests=[digest])
            except api.exceptions.LayerAlreadyExistsException:
                assert digest in ledger.layers

    def _put_image(self, api: ECRClient) -> None:
        ledger, chance = self.ledger, self._chance
        config, layer = chance.sample(sorted(ledger.layers), 2)
        blobs = [{"mediaType": LAYER, "digest": each, "size": ledger.layers[each]} for each in (config, layer)]
        kinds = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "annotations": {"chance": str(chance.random())}}
        raw = json.dumps({**kinds, "config": blobs[0], "layers": blobs[1:]})
        digest, tag = digest_of(raw.encode()), chance.choice(["", *(f"t{number}" for number in range(TAGS))])

        def put() -> None:
            ledger.images[digest] = raw
            if tag:
                ledger.tags[tag] = digest

        named = {"imageTag": tag} if tag else {}
        with ledger.asking(put):
            api.put_image(repositoryName=self.repository, imageManifest=raw, **named)

    def _delete_image(self, api: ECRClient) -> None:
        ledger = self.ledger
        digest = self._chance.choice(sorted(ledger.images))

        def delete() -> None:
            del ledger.images[digest]
            ledger.tags = {tag: one for tag, one in ledger.tags.items() if one != digest}

        with ledger.asking(delete):
            answer = api.batch_delete_image(repositoryName=self.repository, imageIds=[{"imageDigest": digest}])
            assert not answer["failures"]

    def _check_last_call(self, api: ECRClient) -> None:
        """Find out whether the call that was cut off was done: it was done wholly, or not at all."""
        ledger = self.ledger
        if ledger.unheard is None:
            return
        if ledger.unheard_upload:
            done = self._has_moved(api, ledger.unheard_upload)
        else:
            done = names_in(api, self.repository) != ledger.names
        ledger.settle() if done else ledger.forget()

    def _has_moved(self, api: ECRClient, upload: str) -> bool:
        state = self.ledger.uploads[upload]
        try:  # A part that fits nowhere is refused, with what the server has.
            put_part(api, self.repository, upload, len(state.data) + 1, b"x")
        except api.exceptions.UploadNotFoundException:
            return True
        except api.exceptions.InvalidLayerPartException as error:
            received = int(str(error.response.get("lastValidByteReceived", -1))) + 1
            assert received in (state.received, state.received + len(state.next_part))
            return received != state.received
        raise AssertionError("a part past the end was taken")

    def _check_layers(self, api: ECRClient) -> None:
        wanted = sorted(self.ledger.layers)
        for page in (wanted[start : start + _PAGE] for start in range(0, len(wanted), _PAGE)):
            answer = api.batch_check_layer_availability(repositoryName=self.repository, layerDigests=page)
            found = {one["layerDigest"]: one.get("layerSize") for one in answer["layers"]}
            assert found == {digest: self.ledger.layers[digest] for digest in page}

    def _check_images(self, api: ECRClient) -> None:
        wanted = sorted(self.ledger.images)
        for page in (wanted[start : start + _PAGE] for start in range(0, len(wanted), _PAGE)):
            answer = api.batch_get_image(
                repositoryName=self.repository, imageIds=[{"imageDigest": digest} for digest in page]
            )
            found = {one["imageId"]["imageDigest"]: one["imageManifest"] for one in answer["images"]}
            assert found == {digest: self.ledger.images[digest] for digest in page}
        for digest in self._chance.sample(wanted, min(3, len(wanted))):
            for layer in json.loads(self.ledger.images[digest])["layers"]:
                link = api.get_download_url_for_layer(repositoryName=self.repository, layerDigest=layer["digest"])
                with urlopen(link["downloadUrl"]) as answer_:
                    assert digest_of(answer_.read()) == layer["digest"]


def names_in(api: ECRClient, repository: str) -> Names:
    """List all images of a repository."""
    pages = api.get_paginator("list_images").paginate(repositoryName=repository)
    ids = [one for page in pages for one in page["imageIds"]]
    return frozenset((one["imageDigest"], one.get("imageTag", "")) for one in ids)


class Sailor:
    """Push images over /v2/, one after the other, and pull after a kill what was pushed."""

    def __init__(self, repository: str, chance: random.Random, pace: Pace) -> None:
        self.repository = repository
        self._chance, self._pace = chance, pace
        self._pushed: list[Made] = []

    def work(self, server: Served) -> None:
        """Go on until the server is no more."""
        wire, docker = self._door(server)
        try:
            while True:
                image = self._make(len(self._pushed))
                docker.push(image)
                self._pushed.append(image)
                self._pace.tick()
        except GONE:
            return
        finally:
            wire.close()

    def check(self, server: Served) -> None:
        """Pull the last images, and some of the others."""
        wire, docker = self._door(server)
        for number in {*self._chance.sample(range(len(self._pushed)), min(5, len(self._pushed)))} | {
            number for number in (len(self._pushed) - 1,) if number >= 0
        }:
            docker.pull(self.repository, self._pushed[number].tag, number)
        wire.close()

    def _make(self, number: int) -> Made:
        layers = [Content.of(self._chance.randbytes(self._chance.choice((1, 5000, 100_000)))) for _ in range(3)]
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": layers[0].described(LAYER),
            "layers": [layer.described(LAYER) for layer in layers[1:]],
            "annotations": {NUMBER: str(number)},
        }
        return Made(self.repository, f"n{number}", tuple(layers), json.dumps(document).encode())

    def _door(self, server: Served) -> tuple[Wire, Docker]:
        wire = Wire(int(server.endpoint.rpartition(":")[2]), lambda kind, seconds: None)
        return wire, Docker(wire, Api(wire, *server.credentials).password())


def survive(folder: Path, kills: int, seed: int) -> int:
    """Kill a server under load so often, each time at an instant by chance; return how many answers were given."""
    print(f"seed {seed}")
    chance, pace = random.Random(seed), Pace()
    workers = [*(Pusher(f"app-{number}", random.Random(f"{seed} {number}"), pace) for number in range(3))]
    crew: list[Pusher | Sailor] = [*workers, Sailor("docker", random.Random(f"{seed} docker"), pace)]
    with served(folder) as server, client_for(server.endpoint, server.credentials, region=REGION) as api:
        for worker in crew:
            api.create_repository(repositoryName=worker.repository)
    for kill in range(kills):
        with served(folder) as server:
            for worker in crew:
                worker.check(server)
            let_work_and_kill(server, crew, pace, chance)
        if kill % 2 or kill == kills - 1:  # else the next start is the first to see what was left
            assert scrub(folder, print).broken == 0
    with served(folder) as server:
        for worker in crew:
            worker.check(server)
    return pace.count


def let_work_and_kill(server: Served, crew: list[Pusher | Sailor], pace: Pace, chance: random.Random) -> None:
    """Let all work at once until an instant by chance."""
    failures: list[BaseException] = []

    def work(worker: Pusher | Sailor) -> None:
        try:
            worker.work(server)
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in crew]
    for thread in threads:
        thread.start()
    pace.wait_for(chance.randrange(1, 60))
    sleep(chance.random() / 100)
    server.kill()
    for thread in threads:
        thread.join(60)
    for failure in failures:
        raise failure
    assert server.process.stderr
    assert "Traceback" not in server.process.stderr.read()


def test_what_was_acknowledged_outlives_fifteen_kills(tmp_path: Path) -> None:
    answers = survive(tmp_path, 15, SEED)
    assert answers >= 15 * 20


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(survive(Path(place), int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else SEED), "answers")
