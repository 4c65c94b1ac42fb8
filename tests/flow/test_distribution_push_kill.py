"""docker_push.py --api registry killed again and again: what is finished stays finished, and never comes again."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qs

from ecrdrag.archive.plan import ImageName
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.web.exchange import Answer, Body, Handler, Request
from ecrdrag.reference import ImageReference
from tests.archives import assemble, manifest_of
from tests.flow.conftest import HOST, MIB
from tests.flow.scripts import command_of, environment_of, run
from tests.images import Image, noise_image
from tests.localecr import REGION, Recorder, client, running
from tests.planned import plan_image

SEED = 4
KILLS = 10
IMAGE = noise_image((MIB, 18 * MIB, 700_000, 9 * MIB, 2 * MIB, 700_001), seed=SEED)
KNOWN = 64  # bytes that tell a blob
TARGET = f"{HOST}/my/app:1"


@dataclass
class Witness:
    """Keep account of the bytes of every blob that came, and hold one request for the kill."""

    image: Image
    recorder: Recorder = field(default_factory=Recorder)
    sent: Counter[str] = field(default_factory=Counter)
    completed: list[str] = field(default_factory=list)
    sent_again: list[str] = field(default_factory=list)
    requests: int = 0  # of this run
    strike: int = 0  # at which of them to kill, before it is taken; 0 is never
    held: threading.Event = field(default_factory=threading.Event)
    dead: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.recorder.intercept = self._answer
        self._names = {blob.content[:KNOWN]: str(digest) for digest, blob in self.image.blobs.items()}
        self._uploads: dict[str, str] = {}

    def begin(self, strike: int = 0) -> None:
        self.requests, self.strike = 0, strike
        self.held.clear()
        self.dead.clear()

    def _answer(self, request: Request, handler: Handler) -> Answer:
        with self.lock:
            self.requests += 1
            behind = self.requests - self.strike if self.strike else -1
        if behind >= 0:
            self.held.set()
            assert self.dead.wait(30)
            raise ConnectionError("nobody is there any more")
        raw = request.body.read_all(100 * MIB)
        answer = handler(replace(request, body=Body(io.BytesIO(raw), len(raw), lambda: None)))
        if "/blobs/uploads/" in request.path:
            with self.lock:
                self._note(request, raw, answer)
        return answer

    def _note(self, request: Request, raw: bytes, answer: Answer) -> None:
        if raw:
            name = self._uploads.setdefault(request.path, self._names.get(raw[:KNOWN], "?"))
            self.sent[name] += len(raw)
            if name in self.completed:
                self.sent_again.append(name)
        if request.method == "PUT" and answer.status == 201:
            self.completed += parse_qs(request.query)["digest"]


class Pushes:
    """Push one archive to one server's data, which is started anew each time."""

    def __init__(self, folder: Path) -> None:
        self.witness = Witness(IMAGE)
        self._folder, self._archive = folder, folder / "app.tar"
        name = ImageName.of(ImageReference.parse(TARGET))
        contents = {digest: blob.content for digest, blob in IMAGE.blobs.items()}
        document = manifest_of(IMAGE.manifest.content)
        self._archive.write_bytes(assemble(plan_image(document, IMAGE.config.content, name), contents))

    def server(self) -> LocalEcr:
        return running(self._folder / "data", Settings(region=REGION), recorder=self.witness.recorder)

    def to_end(self) -> str:
        """Push until it ends by itself, and give what it prints."""
        self.witness.begin()
        with self.server() as ecr:
            ended = run("docker_push.py", *self._arguments, cwd=self._folder, env=environment_of(ecr))
        assert ended.code == 0, ended.err
        return ended.out.strip()

    def killed(self, strike: int) -> None:
        self.witness.begin(strike)
        command = command_of("docker_push.py", *self._arguments)
        with (
            self.server() as ecr,
            subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment_of(ecr),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process,
        ):
            was_held = self.witness.held.wait(30)
            process.kill()
            _, err = process.communicate(timeout=30)
            self.witness.dead.set()
        assert was_held, f"only {self.witness.requests} requests came before {strike}: {err!r}"
        assert process.returncode == -signal.SIGKILL

    @property
    def _arguments(self) -> tuple[str, ...]:
        return str(self._archive), TARGET, "--progress", "none", "--api", "registry", "-j", "2"


def test_a_push_that_is_killed_ten_times_sends_no_finished_blob_again(tmp_path: Path) -> None:
    """Each kill comes later than the one before, by what a run still has to do."""
    print(f"seed {SEED}")
    pushes, chance = Pushes(tmp_path), random.Random(SEED)
    witness = pushes.witness
    with pushes.server() as ecr, client(ecr) as api:
        api.create_repository(repositoryName="my/app")
    for _ in range(KILLS):
        left = len(IMAGE.blobs) - len(set(witness.completed))
        # The call for a password, two questions for the repository, one for each blob; then what is sent.
        pushes.killed(4 + len(IMAGE.blobs) + chance.randrange(1 + 2 * left))
    assert witness.completed, "every kill came before a blob was complete"
    assert len(witness.completed) < len(IMAGE.blobs), "no kill met an upload"
    assert pushes.to_end() == f"{TARGET}@{IMAGE.manifest.digest}"
    assert witness.sent_again == []
    assert sorted(witness.completed) == sorted(map(str, IMAGE.blobs))
    assert "?" not in witness.sent
    assert any(witness.sent[str(digest)] > len(blob.content) for digest, blob in IMAGE.blobs.items())
