"""docker_push.py killed again and again: what is finished stays finished, and never comes a second time."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from ecrdrag.archive.plan import ImageName
from ecrdrag.content import Digest
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.web.exchange import Answer, Body, Handler, Request
from ecrdrag.reference import ImageReference
from tests.archives import assemble, manifest_of, read_back
from tests.flow.conftest import HOST, MIB
from tests.flow.scripts import command_of, environment_of, run
from tests.images import noise_image, tar_of
from tests.localecr import REGION, Recorder, client, running
from tests.planned import plan_image
from tests.saved import docker_save_old, tar_with

SEED = 3
PART = 5 * MIB  # the smallest that ECR takes
SIZES = (MIB, 12 * MIB, 700_000, 6 * MIB, 2 * MIB, MIB + 1, 7 * MIB, 3 * MIB)
PLAIN_SIZES = (6 * MIB, MIB, 500_000)
WHOLE, KILLED = "my/whole", "my/killed"


class Moment(Enum):
    """Where a request is when its sender dies."""

    LOST = "never taken"
    ARRIVING = "taken as far as it came"
    TAKEN = "done, not answered"
    ANSWERED = "answered at this moment"


@dataclass(frozen=True)
class Strike:
    """Say when to kill: at which request of a run, counted from 1, and at which moment of it."""

    request: int
    moment: Moment


class Witness:
    """Keep account of every blob that came, in the order in which it was taken, and hold a request for a strike.

    A blob is known by its first part: so are the uploads that were never completed, too.
    """

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.recorder.intercept = self._answer
        self.requests = 0  # of this run
        self.parts: Counter[tuple[str, Digest]] = Counter()  # that came, by repository and blob
        self.completed: dict[tuple[str, Digest], str] = {}  # and their digests
        self.sent_again: list[str] = []  # what came of blobs that were complete
        self.held, self.dead = threading.Event(), threading.Event()
        self._strike: Strike | None = None
        self._blobs: dict[str, tuple[str, Digest]] = {}  # by upload
        self._lock = threading.Lock()

    def begin(self, strike: Strike | None = None) -> None:
        """Expect a new run, and a strike in it."""
        self.requests, self._strike = 0, strike
        self.held.clear()
        self.dead.clear()

    def completed_in(self, repository: str) -> dict[str, int]:
        """Count, by digest, the parts that a complete blob was sent in, those of lost uploads too."""
        return {digest: self.parts[blob] for blob, digest in self.completed.items() if blob[0] == repository}

    def _answer(self, request: Request, handler: Handler) -> Answer:
        moment = self._count()
        if moment in (Moment.LOST, Moment.ARRIVING):
            self._hold()
        if moment is Moment.LOST:
            raise ConnectionError("nobody is there any more")
        raw = request.body.read_all(100_000_000)
        answer = handler(replace(request, body=Body(io.BytesIO(raw), len(raw), lambda: None)))
        if request.method == "POST":
            self._note(request.headers["X-Amz-Target"].rpartition(".")[2], json.loads(raw), answer)
        if moment is Moment.TAKEN:
            self._hold()
        elif moment is Moment.ANSWERED:
            self.held.set()
        return answer

    def _count(self) -> Moment | None:
        """Say whether this request is the one to strike at; those behind it wait, so that the run can't end."""
        with self._lock:
            self.requests += 1
            behind = self.requests - self._strike.request if self._strike else -1
        if behind > 0:
            assert self.dead.wait(30)
        return self._strike.moment if self._strike and behind == 0 else None

    def _hold(self) -> None:
        self.held.set()
        assert self.dead.wait(30)

    def _note(self, operation: str, asked: dict[str, str], answer: Answer) -> None:
        if operation not in ("UploadLayerPart", "CompleteLayerUpload"):
            return
        upload = asked["uploadId"]
        if upload not in self._blobs:
            self._blobs[upload] = asked["repositoryName"], Digest.of(asked["layerPartBlob"].encode())
        blob = self._blobs[upload]
        with self._lock:
            if operation == "UploadLayerPart":
                self.parts[blob] += 1
            if blob in self.completed:
                self.sent_again.append(f"{operation} of {self.completed[blob]}")
            elif operation == "CompleteLayerUpload" and answer.status == 200:
                assert isinstance(answer.body, bytes)
                self.completed[blob] = json.loads(answer.body)["layerDigest"]


class Pushes:
    """Push one archive, whole or killed, to one server's data; temporary files have a folder of their own.

    Each run meets a server that was started anew, so that no request of an earlier run is still on its way.
    """

    def __init__(self, folder: Path, archive: bytes) -> None:
        self.witness = Witness()
        self.archive = folder / "app.tar"
        self.archive.write_bytes(archive)
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._folder = folder

    def server(self) -> LocalEcr:
        settings = Settings(region=REGION, part_size=PART)
        return running(self._folder / "data", settings, recorder=self.witness.recorder)

    def to_end(self, repository: str) -> str:
        """Push until it ends by itself, and give the digest that it prints."""
        self.witness.begin()
        with self.server() as ecr:
            ended = run("docker_push.py", *self._arguments(repository), cwd=self._folder, env=self._environment(ecr))
        assert ended.code == 0, ended.err
        name, _, digest = ended.out.strip().partition("@")
        assert name == f"{HOST}/{repository}:1"
        return digest

    def killed(self, repository: str, strike: Strike) -> None:
        """Push until the strike."""
        self.witness.begin(strike)
        command = command_of("docker_push.py", *self._arguments(repository))
        with (
            self.server() as ecr,
            subprocess.Popen(
                command, cwd=self._folder, env=self._environment(ecr), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as process,
        ):
            was_held = self.witness.held.wait(30)
            process.kill()
            out, err = process.communicate(timeout=30)
            self.witness.dead.set()
        assert was_held, f"only {self.witness.requests} requests came, and {strike}: {err!r}"
        assert (process.returncode, out) == (-signal.SIGKILL, b""), err

    def pulled(self, repository: str) -> bytes:
        """Pull what is in the registry now."""
        self.witness.begin()
        pulled = self._folder / f"{repository.replace('/', '-')}.tar"
        with self.server() as ecr:
            arguments = (f"{HOST}/{repository}:1", "--platform", "linux/amd64", "-o", str(pulled))
            ended = run("docker_pull.py", *arguments, cwd=self._folder, env=self._environment(ecr))
        assert ended.code == 0, ended.err
        return pulled.read_bytes()

    def _arguments(self, repository: str) -> tuple[str, ...]:
        return str(self.archive), f"{HOST}/{repository}:1", "--api", "ecr", "--progress", "none"

    def _environment(self, ecr: LocalEcr) -> dict[str, str]:
        return environment_of(ecr, TMPDIR=str(self.temporary))


def strikes(witness: Witness, count: int, total: int, chance: random.Random) -> Iterator[Strike]:
    """Spread instants over all of a push, each at random in its share of the total of requests that it takes.

    A run has what is left of those: a finished blob saves its beginning, its parts and its completion.
    """
    whole = witness.completed_in(WHOLE)
    moments = [moment for _ in range(count) for moment in Moment][:count]
    chance.shuffle(moments)
    for place, moment in enumerate(moments):
        instant = math.ceil((place + chance.random()) / count * total)
        if moment is Moment.ANSWERED:  # the last answer would end the run
            instant = min(instant, total - 1)
        saved = sum(whole[digest] + 2 for digest in witness.completed_in(KILLED))
        yield Strike(max(1, instant - saved), moment)


def push_through(pushes: Pushes, kills: int) -> str:
    """Push once in peace, then to another repository through as many kills; give the digest of both."""
    print(f"seed {SEED}")
    with pushes.server() as ecr, client(ecr) as api:
        for repository in (WHOLE, KILLED):
            api.create_repository(repositoryName=repository)
    digest = pushes.to_end(WHOLE)
    for strike in strikes(pushes.witness, kills, pushes.witness.requests, random.Random(SEED)):
        print(strike)
        pushes.killed(KILLED, strike)
        assert list(pushes.temporary.iterdir()) == []
    assert pushes.witness.completed_in(KILLED), "every kill came before a blob was complete"
    assert pushes.to_end(KILLED) == digest
    assert list(pushes.temporary.iterdir()) == []
    return digest


def check_account(witness: Witness, blobs: set[str]) -> None:
    """Each blob was completed once and nothing of it came after that, while unfinished ones did come again."""
    whole, killed = witness.completed_in(WHOLE), witness.completed_in(KILLED)
    assert witness.sent_again == []
    assert whole.keys() == killed.keys() == blobs
    assert sorted(witness.completed.values()) == sorted(2 * list(blobs))
    assert sum(killed.values()) > sum(whole.values()), "no kill met an upload"


def test_a_push_that_is_killed_twenty_times_sends_no_finished_layer_again(tmp_path: Path) -> None:
    image = noise_image(SIZES, seed=SEED)
    manifest = manifest_of(image.manifest.content)
    name = ImageName.of(ImageReference.parse(f"{HOST}/{KILLED}:1"))
    contents = {digest: blob.content for digest, blob in image.blobs.items()}
    archive = assemble(plan_image(manifest, image.config.content, name), contents)
    pushes = Pushes(tmp_path, archive)
    assert push_through(pushes, 20) == str(image.manifest.digest)
    check_account(pushes.witness, {str(digest) for digest in image.blobs})
    assert pushes.pulled(KILLED) == archive


def test_a_push_that_compresses_layers_goes_on_after_kills_with_the_same_ones(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    tars = [tar_of({f"noise-{place}": chance.randbytes(size)}) for place, size in enumerate(PLAIN_SIZES)]
    pushes = Pushes(tmp_path, tar_with(docker_save_old(tars=tars)))
    digest = push_through(pushes, 5)
    blobs = {name.rpartition("/")[2]: blob for name, blob in read_back(pushes.pulled(KILLED)).items()}
    manifest = manifest_of(blobs[Digest.parse(digest).hex])
    assert [gzip.decompress(blobs[layer.digest.hex]) for layer in manifest.layers] == tars
    check_account(pushes.witness, {str(blob.digest) for blob in (manifest.config, *manifest.layers)})
