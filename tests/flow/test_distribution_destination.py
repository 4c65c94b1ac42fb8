"""Pushes over /v2/ to the local ECR, in each of its dialects: whole, once, through faults and beyond what expires."""

from __future__ import annotations

import io
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from ecrdrag.archive.intake import open_members
from ecrdrag.archive.plan import ImageName
from ecrdrag.archive.reader import ArchiveReader
from ecrdrag.credentials.keyrings import AwsKeyring
from ecrdrag.errors import ConflictError, RepositoryNotFoundError
from ecrdrag.localecr import LocalEcr, Settings
from ecrdrag.localecr.names import PUBLIC, RegistryKey
from ecrdrag.localecr.settings import Dialect
from ecrdrag.localecr.web.exchange import Answer, Handler, Request
from ecrdrag.manifest import Manifest, parse
from ecrdrag.push import Fate, PushedImage, PushOptions, push
from ecrdrag.reference import ImageReference
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution_destination import DistributionDestination
from ecrdrag.registry.ecr_token import fetch_public_token, fetch_token
from ecrdrag.registry.ends import RepositorySettings
from ecrdrag.transfer.progress import Silence
from ecrdrag.transfer.retry import RetryPolicy
from tests.archives import assemble
from tests.flow.conftest import HELLO, HOST
from tests.images import Blob, Image, noise_image
from tests.later import Clock
from tests.localecr import ACCOUNT, REGION, Recorder, client, public_client, running
from tests.planned import plan_image

PART = 1000
NOISE = noise_image([2500, 999, 1000, 4001, 1])
LIFETIME = 12 * 60 * 60
FAST = RetryPolicy(tries=40, base=0.0)
ALIAS = RegistryKey(ACCOUNT, PUBLIC).alias
NAMES = {Dialect.ECR: HOST, Dialect.OCI: "registry.example", Dialect.PUBLIC: f"public.ecr.aws/{ALIAS}"}
WRITES = ("POST /v2/", "PATCH /v2/", "PUT /v2/")

Intercept = Callable[[Request, Handler], Answer]


@dataclass
class Door:
    """A local ECR, and how it is entered."""

    ecr: LocalEcr
    dialect: Dialect
    recorder: Recorder
    clock: Clock

    @contextmanager
    def destination(self, repository: str = "my/app") -> Iterator[DistributionDestination]:
        reference = self.reference(repository)
        with (
            self.keyring() as keyring,
            RegistryClient(self.ecr.endpoint, registry=reference.registry, keyring=keyring) as registry,
        ):
            yield DistributionDestination(registry, reference, None, self.create(repository), part_size=PART)

    @contextmanager
    def keyring(self) -> Iterator[AwsKeyring]:
        """Ask for passwords; what is asked after the clock has moved is good by the clock."""
        if self.dialect is Dialect.PUBLIC:
            with public_client(self.ecr) as public:
                yield AwsKeyring(lambda: fetch_public_token(public, "public.ecr.aws"))
        else:
            with client(self.ecr) as api:
                yield AwsKeyring(lambda: fetch_token(api, ACCOUNT, HOST))

    def create(self, repository: str) -> Callable[[RepositorySettings], bool] | None:
        def create(settings: RepositorySettings) -> bool:
            with public_client(self.ecr) if self.dialect is Dialect.PUBLIC else client(self.ecr) as api:
                api.create_repository(repositoryName=repository)
            return True

        return None if self.dialect is Dialect.OCI else create

    def reference(self, repository: str = "my/app") -> ImageReference:
        return ImageReference.parse(f"{NAMES[self.dialect]}/{repository}:1")

    def push(
        self,
        archive: Path,
        repository: str = "my/app",
        *,
        create: RepositorySettings | None = None,
        jobs: int = 3,
    ) -> PushedImage:
        options = PushOptions(jobs=jobs, create=create, retry=FAST)
        with (
            ArchiveReader(open_members(archive, io.BytesIO(), lambda _: None)) as reader,
            self.destination(repository) as destination,
        ):
            reference = self.reference(repository)
            pushed = push(reader, reference, lambda _: destination, options, lambda _: nullcontext(Silence()))
        (image,) = pushed.images
        return image

    def writes(self) -> list[str]:
        return [one.partition(" ")[0] for one in self.recorder.requests if one.startswith(WRITES)]

    def holds(self, image: Image, repository: str = "my/app") -> bool:
        """Ask the API's records."""
        operations = public_client(self.ecr) if self.dialect is Dialect.PUBLIC else client(self.ecr)
        with operations as api:
            (found,) = api.describe_images(repositoryName=repository, imageIds=[{"imageTag": "1"}])["imageDetails"]
            digests = [str(digest) for digest in image.blobs]
            layers = api.batch_check_layer_availability(repositoryName=repository, layerDigests=digests)["layers"]
        return found["imageDigest"] == str(image.manifest.digest) and all(
            layer["layerAvailability"] == "AVAILABLE" for layer in layers
        )


@contextmanager
def opened(folder: Path, dialect: Dialect) -> Iterator[Door]:
    """Run a local ECR of a dialect, with an empty repository and a clock that can be moved."""
    recorder, clock = Recorder(), Clock()
    settings = Settings(region=REGION, dialect=dialect, token_lifetime=LIFETIME, clock_skew=10**9, min_part_size=PART)
    with running(folder / "data", settings, recorder=recorder, clock=clock) as ecr:
        with public_client(ecr) if dialect is Dialect.PUBLIC else client(ecr) as api:
            api.create_repository(repositoryName="my/app")
        recorder.requests.clear()
        yield Door(ecr, dialect, recorder, clock)


@pytest.fixture(params=list(Dialect), ids=lambda each: each.value)
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    with opened(tmp_path, request.param) as door:
        yield door


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return archive_of(NOISE, tmp_path / "noise.tar")


def archive_of(image: Image, path: Path) -> Path:
    """Write what a pull would."""
    document = document_of(image.manifest)
    name = ImageName.of(ImageReference.parse(f"{HOST}/my/app:1"))
    contents = {digest: blob.content for digest, blob in image.blobs.items()}
    path.write_bytes(assemble(plan_image(document, image.config.content, name), contents))
    return path


def document_of(blob: Blob) -> Manifest:
    document = parse(blob.content, blob.media_type)
    assert isinstance(document, Manifest)
    return document


def test_an_image_arrives_whole_and_goes_once(door: Door, archive: Path) -> None:
    assert set(door.push(archive).fates.values()) == {Fate.UPLOADED}
    assert door.holds(NOISE)
    door.recorder.requests.clear()
    assert set(door.push(archive).fates.values()) == {Fate.EXISTED}
    assert door.writes() == []


def test_a_blob_takes_as_many_requests_as_the_door_needs(door: Door, archive: Path) -> None:
    door.push(archive)
    sizes = [len(blob.content) for blob in NOISE.blobs.values()]
    parts = sum(-(-size // PART) for size in sizes if size > PART)
    patches = 0 if door.dialect is Dialect.OCI else parts
    assert {method: door.writes().count(method) for method in ("POST", "PATCH", "PUT")} == {
        "POST": len(sizes),
        "PATCH": patches,
        "PUT": len(sizes) + 1,
    }


def test_a_missing_repository_is_known_before_anything_is_sent(door: Door, archive: Path) -> None:
    if door.dialect is Dialect.OCI:
        door.push(archive, "my/new")  # it comes into being
        return
    with pytest.raises(RepositoryNotFoundError, match="NAME_UNKNOWN") as caught:
        door.push(archive, "my/new")
    assert "--create-repository" in caught.value.hint
    assert door.writes() == []
    door.push(archive, "my/new", create=RepositorySettings())
    assert door.holds(NOISE, "my/new")


def test_a_blob_of_another_repository_is_mounted_where_that_is_allowed(door: Door, archive: Path) -> None:
    door.push(archive)
    layer = document_of(NOISE.manifest).layers[0]
    with door.destination("my/other") as destination:
        if create := door.create("my/other"):
            create(RepositorySettings())
        mounts = door.dialect is Dialect.OCI
        source = f"{ALIAS}/my/app" if door.dialect is Dialect.PUBLIC else "my/app"
        assert destination.mount(layer, source) is mounts
        assert destination.missing([layer]) == (set() if mounts else {layer.digest})
        assert destination.mount(layer, "not/there") is False


def test_an_immutable_tag_holds_what_it_holds(tmp_path: Path) -> None:
    with opened(tmp_path, Dialect.ECR) as door:
        door.push(archive_of(NOISE, tmp_path / "noise.tar"))
        with client(door.ecr) as api:
            api.put_image_tag_mutability(repositoryName="my/app", imageTagMutability="IMMUTABLE")
        door.push(tmp_path / "noise.tar")
        with pytest.raises(ConflictError) as caught:
            door.push(archive_of(HELLO, tmp_path / "hello.tar"))
    expected = f"{HOST}/my/app:1 is immutable and holds {NOISE.manifest.digest}, not {HELLO.manifest.digest}"
    assert str(caught.value) == expected


# What expires


@pytest.mark.parametrize("place", [2, 3, 6, 9, 13])
def test_a_login_that_expires_in_the_middle_is_renewed(door: Door, archive: Path, place: int) -> None:
    """All logins end while a request to write is on its way, one to begin, to send or to complete."""
    lock = threading.Lock()

    def expire(request: Request, handler: Handler) -> Answer:
        with lock:
            if len(door.writes()) == place and not door.clock.ahead:
                door.clock.ahead = LIFETIME + 1
        return handler(request)

    door.recorder.intercept = expire
    door.push(archive)
    assert door.clock.ahead
    assert door.holds(NOISE)


# Faults


def hang_up(request: Request, handler: Handler) -> Answer:
    """Never take it."""
    raise ConnectionResetError


def cut(request: Request, handler: Handler) -> Answer:
    """Read some of it."""
    request.body.read((request.body.length or 0) // 2)
    raise ConnectionResetError


def lose(request: Request, handler: Handler) -> Answer:
    """Take it, and say nothing."""
    handler(request)
    raise ConnectionResetError


def fail(request: Request, handler: Handler) -> Answer:
    """Take it, and say that something went wrong."""
    handler(request)
    return Answer(500, {}, b"")


def refuse(request: Request, handler: Handler) -> Answer:
    return Answer(429, {}, json.dumps({"errors": [{"code": "TOOMANYREQUESTS"}]}).encode())


FAULTS: tuple[Intercept, ...] = (hang_up, cut, lose, fail, refuse)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_goes_wrong_the_image_arrives_whole(door: Door, archive: Path, seed: int) -> None:
    """Every third request to write meets a fault, no blob so many in a row that it is given up."""
    print(f"seed {seed}")
    chance, lock = random.Random(seed), threading.Lock()

    def spoil(request: Request, handler: Handler) -> Answer:
        with lock:
            fault = chance.choice(FAULTS) if chance.random() < 1 / 3 else None
        return fault(request, handler) if fault and request.path.startswith("/v2/") else handler(request)

    door.recorder.intercept = spoil
    door.push(archive)
    door.recorder.intercept = lambda request, handler: handler(request)
    assert door.holds(NOISE)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("write", WRITES)
def test_each_fault_of_each_kind_of_request_is_got_over(
    door: Door, archive: Path, fault: Intercept, write: str
) -> None:
    """The first three requests of a kind fail."""
    lock, failed = threading.Lock(), 0

    def spoil(request: Request, handler: Handler) -> Answer:
        nonlocal failed
        with lock:
            spoils = f"{request.method} {request.path}".startswith(write) and failed < 3
            failed += spoils
        return fault(request, handler) if spoils else handler(request)

    door.recorder.intercept = spoil
    door.push(archive)
    assert failed == 3 or write.startswith("PATCH")
    assert door.holds(NOISE)


def test_parts_that_have_arrived_are_not_sent_again(tmp_path: Path) -> None:
    with opened(tmp_path, Dialect.ECR) as door:
        image = noise_image([20 * PART])
        size = len(image.layers[0].content)
        ranges: list[str] = []

        def spoil(request: Request, handler: Handler) -> Answer:
            if request.method != "PATCH":
                return handler(request)
            ranges.append(request.headers["Content-Range"])
            return lose(request, handler) if len(ranges) % 2 else handler(request)

        door.recorder.intercept = spoil
        door.push(archive_of(image, tmp_path / "noise.tar"))
        assert door.holds(image)
        taken = sorted({int(one.partition("-")[0]) for one in ranges})
        assert taken == list(range(0, size, PART))
        assert len(ranges) <= 2 * len(taken)
