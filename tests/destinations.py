"""Own what tests of destinations at scripted registries share: a desk where uploads are begun, blobs, answers.

The unit tests enter.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ecrdrag.content import BlobUpload, Descriptor, Digest, EncodedPart, Turns
from ecrdrag.reference import ImageReference
from ecrdrag.registry.client import RegistryClient
from ecrdrag.registry.distribution_destination import DistributionDestination
from ecrdrag.registry.distribution_upload import FlowingUpload, PartedUpload
from ecrdrag.registry.ends import RepositorySettings
from tests.scripted_registry import Asked, Keys, Registry, Reply, failing

UPLOADS = "/v2/team/app/blobs/uploads/"
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app"
PUBLIC = "public.ecr.aws/team/app"
PATIENCE = 20  # seconds that a test waits for what must happen
PART = 1000
DATA = random.Random(1).randbytes(2500)
OTHER = Digest.of(b"other")
UPLOAD = "/upload/1?_state=a%2Bb"

Scripted = Reply | Callable[[Asked], Reply]


def blob_of(content: bytes) -> Descriptor:
    return Descriptor("application/octet-stream", Digest.of(content), len(content))


BLOB = blob_of(DATA)
SMALL = blob_of(DATA[:PART])


@contextmanager
def destination_at(
    registry: Registry,
    name: str = "",
    *,
    keys: Keys | None = None,
    turns: Turns | None = None,
    create: Callable[[RepositorySettings], bool] | None = None,
    part_size: int = PART,
) -> Iterator[DistributionDestination]:
    """Open a scripted registry's team/app, or one that is called by another name."""
    reference = ImageReference.parse(name or f"{registry.host}/team/app")
    with RegistryClient(registry.url, keyring=keys) as client:
        yield DistributionDestination(client, reference, turns, create, part_size=part_size)


def methods(registry: Registry) -> list[str]:
    return [one.method for one in registry.asked]


def by_method(**replies: Scripted) -> Callable[[Asked], Reply]:
    """Answer each method in its own way."""

    def reply(asked: Asked) -> Reply:
        found = replies[asked.method]
        return found if isinstance(found, Reply) else found(asked)

    return reply


def accepted(stop: int = 0, status: int = 202, **headers: str) -> Reply:
    """Answer that bytes up to stop are there."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers={"Range": f"0-{max(stop - 1, 0)}", **named})


def created(digest: object = "") -> Reply:
    return Reply(status=201, headers={"Docker-Content-Digest": str(digest)} if digest else {})


def hanging_up(_: Asked) -> Reply:
    raise ConnectionError


def wrong_offset(wanted: int, sent: int = 0) -> Reply:
    """Refuse a part as ECR does."""
    return failing(416, "BLOB_UPLOAD_INVALID", f"First byte of the layer part is {sent} instead of {wanted}")


@dataclass
class Desk:
    """A registry where uploads are begun, and whose answers to those are a script."""

    registry: Registry
    replies: deque[Scripted] = field(default_factory=deque)
    headers: dict[str, str] = field(default_factory=lambda: {"Location": UPLOAD})

    def __post_init__(self) -> None:
        self.registry.replies[UPLOADS] = lambda _: Reply(status=202, headers=self.headers)
        self.registry.replies["/upload/1"] = self._answer

    def _answer(self, asked: Asked) -> Reply:
        reply = self.replies.popleft()
        return reply if isinstance(reply, Reply) else reply(asked)

    @contextmanager
    def opened(self, name: str = "") -> Iterator[DistributionDestination]:
        with destination_at(self.registry, name, part_size=PART) as destination:
            yield destination

    @property
    def asked(self) -> list[Asked]:
        """What uploads were asked."""
        return [one for one in self.registry.asked if not one.target.startswith("/v2/")]


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def part_of(upload: BlobUpload, start: int, stop: int) -> EncodedPart:
    return upload.encode(start, stop, [memoryview(DATA)[start : start + 7], memoryview(DATA)[start + 7 : stop]])


def send_all(upload: BlobUpload, size: int = len(DATA)) -> None:
    start = 0
    while start < size:
        start = upload.send(part_of(upload, start, min(start + upload.part_size, size)))


@contextmanager
def parted(desk: Desk, *replies: Scripted, name: str = "") -> Iterator[PartedUpload]:
    """Begin an upload in parts, at ECR or where parts are asked for."""
    if not name:
        desk.headers["OCI-Chunk-Min-Length"] = "1"
    desk.replies.extend(replies)
    with desk.opened(name) as destination:
        upload = destination.begin(BLOB)
        assert isinstance(upload, PartedUpload)
        yield upload


@contextmanager
def flowing(desk: Desk, *replies: Scripted) -> Iterator[FlowingUpload]:
    desk.replies.extend(replies)
    with desk.opened() as destination:
        upload = destination.begin(BLOB)
        assert isinstance(upload, FlowingUpload)
        yield upload
