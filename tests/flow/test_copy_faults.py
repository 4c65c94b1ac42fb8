"""Any script of faults at either end of a copy ends in the right image, or in a clean exit without a tag."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from ecrdrag.copy import CopyOptions
from ecrdrag.errors import EcrdragError, TransferError
from ecrdrag.localecr import Settings
from ecrdrag.localecr.faults import API_FAULTS, BLOB_FAULTS, Fault, FaultScript
from ecrdrag.manifest import OCI_CONFIG, OCI_MANIFEST
from ecrdrag.reference import ImageReference
from ecrdrag.registry.ends import RepositorySettings
from ecrdrag.transfer.retry import RetryPolicy
from tests.flow.conftest import HOST, MIB
from tests.flow.copies import Shown, Site, api_of, check_whole, copied, site, tags_at
from tests.flow.scripts import HOME, environment_of
from tests.images import Blob, noise_image
from tests.localecr import REGION
from tests.putting import put_image
from tests.registry import visiting

PART = 64 * 1024
LIMITS = Settings(region=REGION, part_size=PART, min_part_size=PART, idle_timeout=5.0)
PATIENCE = 0.2  # seconds without a byte; what is honest here takes a thousandth of that
IMAGE = noise_image([300_000, 70_000, 0, 150_001])
LARGEST = 300_000
APP = f"{HOST}/my/app:1"
ELSEWHERE = HOST.replace(REGION, "eu-west-1")
HONESTLY = Fault("honest")
HONEST = FaultScript()
NUMBERS = count(1)
UPLOADS = ("BatchCheckLayerAvailability", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage")
FALTERING = ("drop", "hang", "throttle", "error", "unavailable")


@dataclass
class Ground:
    """Two registries, of which the first has the image."""

    here: Site
    there: Site

    def copy(self, to: str = "", *, source: FaultScript = HONEST, target: FaultScript = HONEST, seed: int = 0) -> None:
        """Copy, into a repository of its own unless another is given, while scripts are played; check what came."""
        to = to or f"{HOST}/to/{next(NUMBERS)}:1"
        retry = RetryPolicy(tries=6, base=0.001, random=random.Random(seed))
        options = CopyOptions(create=RepositorySettings(), retry=retry, jobs=3)
        shown = Shown()
        self.here.faults.play(source)
        self.there.faults.play(target)
        self.here.recorder.requests.clear()
        try:
            patience = 20.0 if source is target is HONEST else PATIENCE  # nobody waits for what doesn't come
            found = copied(self.here, APP, self.there, to, options, shown=shown, patience=patience)
        finally:
            self.here.faults.play(HONEST)
            self.there.faults.play(HONEST)
        assert sum(counter.landed for counter in shown.counters.values()) == found.uploaded
        check_whole(self.there, to, IMAGE)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with site(tmp_path_factory.mktemp("here"), LIMITS) as here, site(tmp_path_factory.mktemp("there"), LIMITS) as there:
        with api_of(here, ImageReference.parse(APP)) as api:
            api.create_repository(repositoryName="my/app")
            put_image(api, "my/app", IMAGE, "1")
        yield Ground(here, there)


def faults_of(names: tuple[str, ...], most: int) -> st.SearchStrategy[tuple[Fault, ...]]:
    fault = st.builds(Fault, st.sampled_from(names), st.integers(1, LARGEST))
    return st.lists(fault, max_size=most).map(tuple)


FEW = st.one_of([faults_of(("honest", *FALTERING), 4)] * 4 + [faults_of(API_FAULTS, 4)])
SOURCES = st.builds(
    FaultScript, blob=faults_of(BLOB_FAULTS, 10), operations=st.fixed_dictionaries({"GetDownloadUrlForLayer": FEW})
)
TARGETS = st.builds(FaultScript, operations=st.fixed_dictionaries({}, optional=dict.fromkeys(UPLOADS, FEW)))
# Without the phase that explains: it would play a script that fails thousands of times.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=PHASES)
@given(source=SOURCES, target=TARGETS, seed=st.integers(0, 2**32))
def test_any_scripts_of_faults_end_in_the_right_image_or_in_a_clean_exit_without_a_tag(
    ground: Ground, source: FaultScript, target: FaultScript, seed: int
) -> None:
    to = f"{HOST}/to/{next(NUMBERS)}:1"
    try:
        ground.copy(to, source=source, target=target, seed=seed)
        event("right at once")
    except EcrdragError as error:
        event(f"exit {error.exit_code}")
        clean = error.exit_code in (3, 4, 5, 6) and HOST in str(error)
        assert clean, repr(error)  # noqa: PT017 - many scripts raise nothing
        ground.copy(to)


@pytest.mark.parametrize("name", sorted({*BLOB_FAULTS} - {"flip", "total"}))
def test_three_faults_of_a_kind_at_the_source_are_got_over(ground: Ground, name: str) -> None:
    ground.copy(source=FaultScript(blob=(Fault(name, 20_000),) * 3))


@pytest.mark.parametrize("name", ["flip", "total"])
def test_bytes_or_a_size_that_are_wrong_end_the_copy_without_a_tag(ground: Ground, name: str) -> None:
    to = f"{HOST}/to/{next(NUMBERS)}:1"
    with pytest.raises(EcrdragError, match=f"^{HOST}/my/app: ") as caught:
        ground.copy(to, source=FaultScript(blob=(HONESTLY, Fault(name, 5))))
    assert caught.value.exit_code == 6
    assert tags_at(ground.there, to) == {}


@pytest.mark.parametrize("operation", UPLOADS[1:])
@pytest.mark.parametrize("name", FALTERING)
def test_a_destination_that_falters_is_asked_again(ground: Ground, operation: str, name: str) -> None:
    ground.copy(target=FaultScript(operations={operation: (HONESTLY, *[Fault(name)] * 2)}))


@pytest.mark.parametrize("name", FALTERING)
def test_a_source_whose_api_falters_is_asked_again(ground: Ground, name: str) -> None:
    ground.copy(source=FaultScript(operations={"GetDownloadUrlForLayer": (Fault(name),) * 3}))


def test_a_link_that_expires_in_the_middle_of_a_blob_is_minted_again_and_the_blob_goes_on(ground: Ground) -> None:
    cut_then_expired = (Fault("cut", 60_000), *[HONESTLY] * 4, *[Fault("expired")] * 2)
    ground.copy(source=FaultScript(blob=cut_then_expired))
    minted, read = ground.here.asked("GetDownloadUrlForLayer", "GET ").values()
    assert minted > len(IMAGE.blobs)
    assert read == len(IMAGE.blobs) + 1 + (minted - len(IMAGE.blobs))


def test_a_blob_whose_line_is_cut_many_times_comes_in_the_end_since_each_time_some_of_it_came(ground: Ground) -> None:
    ground.copy(source=FaultScript(blob=(Fault("cut", 300),) * 40))
    assert ground.here.asked("GET ")["GET "] == len(IMAGE.blobs) + 40


def test_a_server_that_ignores_ranges_gives_a_blob_from_its_start_again(ground: Ground) -> None:
    ground.copy(source=FaultScript(blob=(*[Fault("cut", 60_000)] * 5, *[Fault("whole")] * 30)))


def test_the_end_of_all_tries_names_the_source_the_blob_and_the_last_cause(ground: Ground) -> None:
    to = f"{HOST}/to/{next(NUMBERS)}:1"
    with pytest.raises(TransferError) as caught:
        ground.copy(to, source=FaultScript(blob=(HONESTLY, *[Fault("slowdown")] * 100)))
    said = str(caught.value)
    assert "gave up on blob sha256:" in said
    assert f"after 6 tries without progress: {HOST}/my/app: 127.0.0.1 answered 503 (SlowDown" in said
    assert tags_at(ground.there, to) == {}


def test_the_end_of_all_tries_names_the_destination(ground: Ground) -> None:
    to = f"{HOST}/to/{next(NUMBERS)}:1"
    with pytest.raises(TransferError, match=f"without progress: {to[:-2]}: blob sha256"):
        ground.copy(to, target=FaultScript(operations={"UploadLayerPart": (HONESTLY, *[Fault("throttle")] * 100)}))
    assert tags_at(ground.there, to) == {}


# In a process of its own, which tells at the end how much memory it had at most.
COPY = """
import sys
from contextlib import nullcontext
from pathlib import Path
import boto3
from ecrdrag.copy import CopyOptions, copy
from ecrdrag.reference import ImageReference
from ecrdrag.registry import ecr_parts
from ecrdrag.registry.ecr import EcrSource
from ecrdrag.registry.ecr_destination import EcrDestination
from ecrdrag.registry.ends import RepositorySettings
from ecrdrag.registry.transport import BlobTransport
from ecrdrag.transfer.progress import Silence

source, to = map(ImageReference.parse, sys.argv[1:])
ends = [boto3.client("ecr", region_name=one.private.region) for one in (source, to)]
ecr_parts.install(ends[1].meta.events)
with BlobTransport(connections=3) as transport:
    options = CopyOptions(create=RepositorySettings(), jobs=3)
    destination = EcrDestination(ends[1], to)
    origin, stage = EcrSource(ends[0], transport, source), lambda name: nullcontext(Silence())
    found = copy(source, origin, to, destination, options, stage)
(peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(found.uploaded, int(peak) * 1024)
"""


def test_ten_times_the_image_needs_no_more_memory(tmp_path: Path) -> None:
    small, large = (random.Random(1).randbytes(size * MIB) for size in (10, 100))
    peaks: list[int] = []
    with site(tmp_path / "data", Settings(region=REGION, part_size=MIB, min_part_size=MIB)) as place:
        for number, content in enumerate((small, large)):
            put_large(place, f"my/{number}", content)
            command = [sys.executable, "-c", COPY, f"{HOST}/my/{number}:1", f"{ELSEWHERE}/my/{number}:1"]
            environment = environment_of(place.ecr, PYTHONPATH=str(HOME))
            ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
            assert ended.returncode == 0, ended.stderr
            uploaded, peak = map(int, ended.stdout.split())
            assert uploaded > 3 * len(content)
            peaks.append(peak)
    assert peaks[1] < peaks[0] + 8 * MIB, peaks  # the system's word for it; getrusage() counts in what forked it


def put_large(place: Site, repository: str, content: bytes) -> None:
    """Put an image of three layers of about this content."""
    layers = [Blob(bytes([number]) + content, "application/vnd.oci.image.layer.v1.tar") for number in range(3)]
    config = Blob(b"{}", OCI_CONFIG)
    members = {"config": config.json, "layers": [layer.json for layer in layers]}
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, **members})
    with api_of(place, ImageReference.parse(f"{HOST}/{repository}")) as api:
        api.create_repository(repositoryName=repository)
    with visiting(place.ecr) as registry:
        for blob in (config, *layers):
            registry.push_blob(blob.content, repository)
        assert registry.push(raw, repository, "1").status == 201
