"""Any script of faults ends in the right bytes or in a clean exit with no archive; then an honest line completes it."""

from __future__ import annotations

import os
import random
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import boto3
import pytest
from botocore.config import Config
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from ecrdrag.content import Descriptor, Platform
from ecrdrag.errors import EcrdragError, TransferError
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.faults import API_FAULTS, BLOB_FAULTS, Fault, FaultLayer, FaultScript
from ecrdrag.pull import PullOptions, pull
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ecr import EcrSource
from ecrdrag.registry.ecr_api import EcrApi
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.resolve import Wish
from ecrdrag.transfer.pace import Paces
from ecrdrag.transfer.retry import RetryPolicy
from tests.flow.conftest import HOST
from tests.images import noise_image
from tests.localecr import REGION, Recorder, client
from tests.putting import put_image

CHUNK = 32 * 1024
HONESTLY = Fault("honest")
IMAGE = noise_image([300_000, 70_000, 0, 150_001])
LARGEST = 300_000
REFERENCE = ImageReference.parse(f"{HOST}/my/app:1")
PATIENCE = 0.1  # seconds without a byte; what is honest here takes a thousandth of that
JOBS = 4


class Watched:
    """Progress that holds what is shown to what is possible."""

    def __init__(self) -> None:
        self.total = self.shown = 0
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def begin(self, size: int | None, blobs: int, *, landed: int = 0) -> None:
        self.total, self.shown = size or 0, landed

    def advance(self, size: int) -> None:
        with self._lock:
            self.shown += size
            if not self.shown <= self.total:
                self.wrong.append(f"{self.shown} of {self.total}")
            if size > self.total // 2:
                self.wrong.append(f"a jump by {size} of {self.total}")

    def blob_done(self, blob: Descriptor) -> None:
        pass


@dataclass
class Ground:
    """A local ECR with faults to be played, a client of it, and what a whole pull gives."""

    layer: FaultLayer
    recorder: Recorder
    api: EcrApi
    folder: Path
    whole: bytes = b""

    def pull(self, script: FaultScript, *, seed: int = 0) -> Watched:
        self.layer.play(script)
        retry = RetryPolicy(tries=6, base=0.001, random=random.Random(seed))
        options = PullOptions(Wish((Platform("linux", "amd64"),)), self.path, jobs=JOBS, chunk_size=CHUNK, retry=retry)
        turns, watched = Paces(JOBS), Watched()
        with BlobTransport(connections=JOBS, turns=turns, read_timeout=PATIENCE, min_rate=20_000) as transport:
            source = EcrSource(self.api, transport, REFERENCE, turns)
            pull([REFERENCE], lambda _: source, options, lambda _: nullcontext(watched))
        return watched

    @property
    def path(self) -> Path:
        return self.folder / "app.tar"

    def check_whole(self, watched: Watched) -> None:
        assert [path.name for path in self.folder.iterdir()] == ["app.tar"]
        assert self.path.read_bytes() == self.whole
        assert (watched.wrong, watched.shown) == ([], watched.total)

    def clear(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder, layer, recorder = tmp_path_factory.mktemp("faults"), FaultLayer(), Recorder()
    own = Settings(region=REGION, idle_timeout=5.0)
    with LocalEcr(folder / "data", settings=own, wrap=lambda handler: recorder.wrap(layer.wrap(handler))) as ecr:
        with client(ecr) as api:
            api.create_repository(repositoryName="my/app")
            put_image(api, "my/app", IMAGE, tag="1")
        config = Config(retries={"total_max_attempts": 1}, read_timeout=PATIENCE, max_pool_connections=JOBS)
        key_id, secret = ecr.credentials
        api = boto3.client(
            "ecr",
            endpoint_url=ecr.endpoint,
            region_name=REGION,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=config,
        )
        (folder / "out").mkdir()
        ground = Ground(layer, recorder, api, folder / "out")
        ground.pull(FaultScript())
        ground.whole = ground.path.read_bytes()
        yield ground
        api.close()


def faults_of(names: tuple[str, ...]) -> st.SearchStrategy[tuple[Fault, ...]]:
    fault = st.builds(Fault, st.sampled_from(names), st.integers(1, LARGEST))
    return st.lists(fault, max_size=12).map(tuple)


FALTERING = ("drop", "hang", "throttle", "error", "unavailable")
API = st.one_of([faults_of(("honest", *FALTERING))] * 5 + [faults_of(API_FAULTS)])
SCRIPTS = st.builds(
    FaultScript, blob=faults_of(BLOB_FAULTS), operations=st.fixed_dictionaries({"GetDownloadUrlForLayer": API})
)


EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "0"))  # to search for longer than CI does
# Without the phase that explains: it would play a script that fails thousands of times.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)


@settings(max_examples=EXAMPLES or 120, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=PHASES)
@given(script=SCRIPTS, seed=st.integers(0, 2**32))
def test_any_script_of_faults_ends_in_the_right_bytes_or_in_a_clean_exit(
    ground: Ground, script: FaultScript, seed: int
) -> None:
    ground.clear()
    try:
        watched = ground.pull(script, seed=seed)
        event("right at once")
    except EcrdragError as error:
        event(f"exit {error.exit_code}")
        clean = error.exit_code in (3, 4, 5, 6) and not ground.path.exists()
        assert clean, repr(error)  # noqa: PT017 - most scripts raise nothing
        watched = ground.pull(FaultScript())
    ground.check_whole(watched)


@pytest.mark.parametrize("name", BLOB_FAULTS)
def test_a_blob_fault_is_got_over(ground: Ground, name: str) -> None:
    ground.clear()
    ground.check_whole(ground.pull(FaultScript(blob=(Fault(name, 20_000),))))


@pytest.mark.parametrize("name", sorted({*BLOB_FAULTS} - {"flip", "total"}))  # of these a blob gets over one
def test_three_faults_of_a_kind_are_got_over(ground: Ground, name: str) -> None:
    ground.clear()
    ground.check_whole(ground.pull(FaultScript(blob=(Fault(name, 20_000),) * 3)))


@pytest.mark.parametrize("name", FALTERING)
def test_an_api_that_falters_is_asked_again(ground: Ground, name: str) -> None:
    ground.clear()
    script = FaultScript(operations={"GetDownloadUrlForLayer": (Fault(name),) * 3})
    ground.check_whole(ground.pull(script))


@pytest.mark.parametrize(("name", "code"), [("expired-token", 3), ("inaccessible", 4)])
def test_an_api_that_refuses_ends_the_pull(ground: Ground, name: str, code: int) -> None:
    ground.clear()
    with pytest.raises(EcrdragError) as caught:
        ground.pull(FaultScript(operations={"GetDownloadUrlForLayer": (HONESTLY, Fault(name))}))
    assert (caught.value.exit_code, ground.path.exists()) == (code, False)


def test_only_the_blob_with_a_wrong_byte_is_fetched_again(ground: Ground) -> None:
    ground.clear()
    ground.recorder.requests.clear()
    ground.check_whole(ground.pull(FaultScript(blob=(HONESTLY, Fault("flip", 5)))))
    once = {blob.digest.hex: -(-len(blob.content) // CHUNK) for blob in (IMAGE.config, *IMAGE.layers) if blob.content}
    asked = {name: sum(one.endswith(name) for one in ground.recorder.requests) for name in once}
    assert sorted(asked[name] / once[name] for name in once) == [*[1] * (len(once) - 1), 2]


def test_the_end_of_all_tries_names_the_blob_the_far_end_the_tries_and_the_last_cause(ground: Ground) -> None:
    ground.clear()
    with pytest.raises(TransferError) as caught:
        ground.pull(FaultScript(blob=(HONESTLY, *[Fault("slowdown")] * 100)))
    text = str(caught.value)
    assert re.search(
        r"gave up on blob sha256:[0-9a-f]{64} after 6 tries without progress: 127\.0\.0\.1 answered 503", text
    )
    assert "SlowDown: Please reduce your request rate." in text


def test_a_trickle_is_ended_by_the_least_rate_and_not_by_a_time_without_a_byte(ground: Ground) -> None:
    ground.clear()
    ground.check_whole(ground.pull(FaultScript(blob=(HONESTLY, Fault("trickle", 200)))))
